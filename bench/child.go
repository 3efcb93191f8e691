package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/migration"
)

// childVariable holds the task of a child process.
const childVariable = "TALKBASE_BENCH_CHILD"

// task is what a child process does, so that its memory is that of this work alone.
type task struct {
	// Do is the work: an import, or a copy by hand.
	Do string
	// Source is the legacy file.
	Source string
	// Target is a path or a Postgres DSN, Schema the schema there.
	Target, Schema string
	// Verify has the import read everything back, Backup is where it makes its backup.
	Verify bool
	Backup string
	// Keyed has a copy by hand go into talkbase's own tables.
	Keyed bool
	// Profile is a folder for a profile, "" for none.
	Profile string
}

// The tasks.
const (
	doImport        = "import"
	doCopyChat      = "copy-chat"
	doCopyKnowledge = "copy-knowledge"
)

// outcome is what came of a task.
type outcome struct {
	// Took is how long the work took, without the process's start and the opening of the target.
	Took time.Duration
	// Phases are an import's parts.
	Phases map[migration.Phase]time.Duration
	// Vectors is how long the table of vectors took.
	Vectors time.Duration
	// Peak is the most anonymous memory that the process had above its start, in bytes.
	Peak int64
}

// counted is the time that is compared: all but the backup and the text index.
func (o outcome) counted() time.Duration {
	return o.Took - o.Phases[migration.PhaseBackup] - o.Phases[migration.PhaseText]
}

// Child does the work of a child process, when this is one, and reports whether it was. A program that
// runs the comparisons of GroupMigration calls it before anything else, and ends when it is true.
func Child() bool {
	job := os.Getenv(childVariable)
	if job == "" {
		return false
	}
	if err := beChild(context.Background(), job); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func beChild(ctx context.Context, job string) (err error) {
	var t task
	if err := json.Unmarshal([]byte(job), &t); err != nil {
		return err
	}
	memory := watchMemory()
	if t.Profile != "" {
		f, err := os.CreateTemp(t.Profile, t.Do+"-*.pprof")
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	var out outcome
	start := time.Now()
	switch t.Do {
	case doImport:
		out, err = t.importAll(ctx)
	case doCopyChat:
		err = t.copyChat(ctx)
		out.Took = time.Since(start)
	case doCopyKnowledge:
		out, err = t.copyKnowledge(ctx)
		out.Took = time.Since(start)
	default:
		err = fmt.Errorf("no task %q", t.Do)
	}
	if err != nil {
		return err
	}
	if out.Peak, err = memory(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// importAll imports the source as the command line does.
func (t task) importAll(ctx context.Context) (out outcome, err error) {
	db, err := talkbase.Open(ctx, talkbase.Config{DSN: t.Target, Schema: t.Schema})
	if err != nil {
		return out, err
	}
	defer func() {
		if cerr := db.Close(); err == nil {
			err = cerr
		}
	}()
	start := time.Now()
	var first, last time.Time
	report, err := db.Import(ctx, migration.ImportOptions{
		Paths: []string{t.Source}, NoVerify: !t.Verify, BackupDir: t.Backup, WorkDir: filepath.Dir(t.Source),
		Progress: func(p migration.Progress) {
			if p.Phase != migration.PhaseKnowledge {
				return
			}
			if last = time.Now(); p.Table != "knowledge_vectors" {
				first = last
			}
		},
	})
	if err != nil {
		return out, err
	}
	out = outcome{Took: time.Since(start), Phases: map[migration.Phase]time.Duration{}, Vectors: last.Sub(first)}
	for _, p := range report.Phases {
		out.Phases[p.Phase] = time.Duration(p.Milliseconds) * time.Millisecond
	}
	return out, nil
}

// runChild has a child process do t.
func runChild(ctx context.Context, t task) (out outcome, err error) {
	job, err := json.Marshal(t)
	if err != nil {
		return out, err
	}
	exe, err := os.Executable()
	if err != nil {
		return out, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), childVariable+"="+string(job))
	var said bytes.Buffer
	cmd.Stderr = &said
	b, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s: %w\n%s", t.Do, err, said.String())
	}
	return out, json.Unmarshal(b, &out)
}

// watchMemory samples the process's anonymous memory. The function it returns ends that, and returns
// the most there was above the first sample.
func watchMemory() (end func() (int64, error)) {
	first, err := anonymous()
	most := first
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for err == nil {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			var now int64
			now, err = anonymous()
			most = max(most, now)
		}
	})
	return func() (int64, error) {
		close(stop)
		done.Wait()
		return most - first, err
	}
}

// anonymous is RssAnon of /proc/self/status: memory that no file stands behind, in bytes. Only Linux tells;
// elsewhere it is 0.
func anonymous() (int64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status does not tell RssAnon")
}
