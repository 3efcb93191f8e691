package migration

import (
	"context"
	"errors"
	"testing"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// endedTarget has another process end a run after it was looked at.
type endedTarget struct {
	*memoryTarget
	seen int
}

func (e *endedTarget) ImportSources(ctx context.Context, run string) ([]models.ImportSource, error) {
	if e.seen++; e.seen == 1 {
		row := e.runs[run]
		row.State = models.ImportDone
		e.runs[run] = row
	}
	return e.memoryTarget.ImportSources(ctx, run)
}

func TestResumeOfWhatEnded(t *testing.T) {
	t.Parallel()
	m := newMemoryTarget()
	m.runs["r"] = models.ImportRun{ID: "r", State: models.ImportRunning, Owner: "first", Options: models.JSON("{}"), Progress: models.JSON("{}")}
	_, err := Import(t.Context(), &endedTarget{memoryTarget: m}, ImportOptions{Resume: true, WorkDir: t.TempDir()})
	if !errors.Is(err, repo.ErrTaken) {
		t.Errorf("resume: got error %v, want ErrTaken", err)
	}
	if got := m.runs["r"]; got.State != models.ImportDone || got.Owner != "first" {
		t.Errorf("the run: got %+v, want it done by the first process", got)
	}
}
