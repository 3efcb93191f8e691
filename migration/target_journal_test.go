package migration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// memoryJournal is the Journal and the Checker of a memoryTarget.
type memoryJournal struct {
	runs    map[string]models.ImportRun
	sources map[string]models.ImportSource
	batches map[string]models.ImportBatch
	edits   map[string]int64
}

func newMemoryJournal() memoryJournal {
	return memoryJournal{map[string]models.ImportRun{}, map[string]models.ImportSource{}, map[string]models.ImportBatch{}, map[string]int64{}}
}

func (j memoryJournal) clone() memoryJournal {
	return memoryJournal{maps.Clone(j.runs), maps.Clone(j.sources), maps.Clone(j.batches), maps.Clone(j.edits)}
}

func (j *memoryJournal) SaveRun(_ context.Context, run models.ImportRun) error {
	j.runs[run.ID] = run
	return nil
}

func (j *memoryJournal) ImportRuns(context.Context) ([]models.ImportRun, error) {
	runs := slices.SortedFunc(maps.Values(j.runs), func(a, b models.ImportRun) int { return strings.Compare(b.ID, a.ID) })
	return runs, nil
}

func (j *memoryJournal) ImportRun(_ context.Context, id string) (models.ImportRun, error) {
	run, ok := j.runs[id]
	if !ok {
		return run, repo.ErrNotFound
	}
	return run, nil
}

func (j *memoryJournal) OwnRun(_ context.Context, id, owner string) error {
	if j.runs[id].Owner != owner {
		return repo.ErrTaken
	}
	return nil
}

func (j *memoryJournal) SaveSource(_ context.Context, s models.ImportSource) error {
	j.sources[fmt.Sprint(s.RunID, s.Position)] = s
	return nil
}

func (j *memoryJournal) SaveProgress(_ context.Context, run string, position int64, p models.JSON) error {
	s := j.sources[fmt.Sprint(run, position)]
	s.Progress = p
	j.sources[fmt.Sprint(run, position)] = s
	return nil
}

func (j *memoryJournal) ImportSources(_ context.Context, run string) ([]models.ImportSource, error) {
	out := slices.SortedFunc(maps.Values(j.sources), func(a, b models.ImportSource) int { return int(a.Position - b.Position) })
	return slices.DeleteFunc(out, func(s models.ImportSource) bool { return s.RunID != run }), nil
}

func (j *memoryJournal) AppendBatch(_ context.Context, b models.ImportBatch) error {
	key := fmt.Sprint(b.RunID, b.Seq)
	if _, there := j.batches[key]; there {
		return fmt.Errorf("batch %d is there already", b.Seq)
	}
	j.batches[key] = b
	return nil
}

func (j *memoryJournal) ImportBatches(_ context.Context, run string, from int64, backward bool, limit int) ([]models.ImportBatch, error) {
	out := slices.SortedFunc(maps.Values(j.batches), func(a, b models.ImportBatch) int { return int(a.Seq - b.Seq) })
	out = slices.DeleteFunc(out, func(b models.ImportBatch) bool {
		return b.RunID != run || !backward && b.Seq <= from || backward && b.Seq >= from
	})
	if backward {
		slices.Reverse(out)
	}
	return out[:min(len(out), limit)], nil
}

func (j *memoryJournal) DeleteBatch(_ context.Context, run string, seq int64) error {
	delete(j.batches, fmt.Sprint(run, seq))
	return nil
}

func (j *memoryJournal) MarkImported(context.Context) error { return nil }

func (j *memoryJournal) EditedSince(_ context.Context, table string, keys []string) (map[string]int64, error) {
	out := map[string]int64{}
	for _, k := range keys {
		if at, ok := j.edits[table+"/"+k]; ok {
			out[k] = at
		}
	}
	return out, nil
}

func (j *memoryJournal) NoteEdits(_ context.Context, table string, keys []string, _ bool) error {
	for _, k := range keys {
		j.edits[table+"/"+k] = 1
	}
	return nil
}

func (j *memoryJournal) ForgetEdits(_ context.Context, table string, keys []string) error {
	for _, k := range keys {
		delete(j.edits, table+"/"+k)
	}
	return nil
}

func (m *memoryTarget) DeleteImported(_ context.Context, table string, keys []string) (n int64, err error) {
	for _, k := range keys {
		before := len(m.conversations) + len(m.messages) + len(m.attachments) + len(m.bases) + len(m.files) + len(m.chunks) + len(m.vectors)
		switch table {
		case tableConversations:
			delete(m.conversations, k)
		case tableMessages:
			delete(m.messages, k)
		case tableMessageAttachments:
			delete(m.attachments, k)
		case tableBases:
			delete(m.bases, k)
		case tableFiles:
			delete(m.files, k)
		case tableChunks:
			delete(m.chunks, k)
		case tableVectors:
			delete(m.vectors, k)
		}
		n += int64(before - len(m.conversations) - len(m.messages) - len(m.attachments) - len(m.bases) - len(m.files) - len(m.chunks) - len(m.vectors))
	}
	return n, nil
}

func (m *memoryTarget) Dependents(_ context.Context, table string, keys []string, f func(repo.Dependent) error) error {
	var out []repo.Dependent
	switch table {
	case tableConversations:
		for id, x := range m.messages {
			if slices.Contains(keys, x.ConversationID) {
				out = append(out, repo.Dependent{Table: tableMessages, Key: id, Parent: x.ConversationID})
			}
		}
	case tableMessages:
		for id, a := range m.attachments {
			if slices.Contains(keys, a.MessageID) {
				out = append(out, repo.Dependent{Table: tableMessageAttachments, Key: id, Parent: a.MessageID})
			}
		}
	}
	for _, d := range out {
		if err := f(d); err != nil {
			return err
		}
	}
	return nil
}

func (m *memoryTarget) IsEmpty(context.Context) (bool, error) {
	return len(m.conversations)+len(m.bases) == 0, nil
}

func (m *memoryTarget) BrokenReferences(context.Context, int) ([]string, error) { return nil, nil }

func (m *memoryTarget) TextMissing(context.Context) (map[string]int64, error) { return nil, nil }

func (m *memoryTarget) CountRows(_ context.Context, table string) (int64, error) {
	return int64(map[string]int{
		tableConversations: len(m.conversations), tableMessages: len(m.messages), tableMessageAttachments: len(m.attachments),
		tableBases: len(m.bases), tableFiles: len(m.files), tableChunks: len(m.chunks), tableVectors: len(m.vectors),
	}[table]), nil
}

func (m *memoryTarget) DropForLoad(context.Context, bool) ([]repo.Dropped, error) { return nil, nil }
func (m *memoryTarget) Restore(context.Context, repo.Dropped) error               { return nil }
func (m *memoryTarget) Snapshot(context.Context, string) error                    { return repo.ErrUnsupported }

func (m *memoryTarget) Finds(context.Context, string, string, string) (bool, error) { return true, nil }

func (m *memoryTarget) IndexText(context.Context, string, int64) (int64, int, error) {
	return 0, 0, nil
}

// overwrite is the memory's way to replace rows.
func overwrite[T any](into map[string]T, rows []T, key func(T) string) error {
	for _, r := range rows {
		if _, ok := into[key(r)]; !ok {
			return errors.New("nothing to replace")
		}
		into[key(r)] = r
	}
	return nil
}

func (m *memoryTarget) ReplaceConversations(_ context.Context, rows []models.Conversation) error {
	return overwrite(m.conversations, rows, func(c models.Conversation) string { return c.ConvID })
}

func (m *memoryTarget) ReplaceMessages(_ context.Context, rows []models.Message) error {
	return overwrite(m.messages, rows, func(c models.Message) string { return c.MsgID })
}

func (m *memoryTarget) ReplaceAttachments(_ context.Context, rows []models.MessageAttachment) error {
	return overwrite(m.attachments, rows, func(c models.MessageAttachment) string { return c.AttachmentID })
}

func (m *memoryTarget) ReplaceBases(_ context.Context, rows []models.KnowledgeBase) error {
	return overwrite(m.bases, rows, func(c models.KnowledgeBase) string { return c.ID })
}

func (m *memoryTarget) ReplaceFiles(_ context.Context, rows []models.KnowledgeFile) error {
	return overwrite(m.files, rows, func(c models.KnowledgeFile) string { return c.ID })
}

func (m *memoryTarget) ReplaceChunks(_ context.Context, rows []models.KnowledgeChunk) error {
	return overwrite(m.chunks, rows, func(c models.KnowledgeChunk) string { return c.ID })
}

func (m *memoryTarget) File(context.Context) (string, error) { return "", nil }
