package tests_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/migration/duckdb"
	"github.com/talkbase/talkbase/models"
)

// childVariable holds the task of a child process of these tests: its name and its JSON.
const childVariable = "TALKBASE_TEST_CHILD"

// childTasks are what child processes do.
var childTasks = map[string]func(task string) error{"imports": taskOf(beChild)}

// taskOf makes a task of what takes its JSON.
func taskOf[T any](be func(T) error) func(task string) error {
	return func(task string) error {
		var c T
		if err := json.Unmarshal([]byte(task), &c); err != nil {
			return err
		}
		return be(c)
	}
}

// child is a command that has a child process do a task.
func child(t testing.TB, name string, task any) *exec.Cmd {
	t.Helper()
	b, err := json.Marshal(task)
	if err != nil {
		t.Errorf("task %s: %v", name, err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+name+" "+string(b))
	return cmd
}

// childTask is what a child process does until it is killed.
type childTask struct {
	DSN, Schema string
	// Source is the folder to import.
	Source             string
	BackupDir, WorkDir string
	BatchRows          int
	Resume             bool
	// Rollback is the run to take out, instead of importing.
	Rollback string
}

func (c childTask) options() migration.ImportOptions {
	return migration.ImportOptions{
		Paths: []string{c.Source}, BackupDir: c.BackupDir, WorkDir: c.WorkDir, BatchRows: c.BatchRows, Resume: c.Resume, RecoverOrphans: true,
	}
}

// beChild imports or rolls back. It prints a line when it is ready and one for every
// report of progress.
func beChild(c childTask) error {
	ctx := context.Background()
	db, err := talkbase.Open(ctx, killedConfig(c.DSN, c.Schema))
	if err != nil {
		return err
	}
	fmt.Println(migration.PhasePrepare)
	report := func(p migration.Progress) { fmt.Println(p.Phase) }
	if c.Rollback != "" {
		_, err = db.RollbackImport(ctx, c.Rollback, migration.RollbackOptions{Progress: report})
	} else {
		opts := c.options()
		opts.Progress = report
		_, err = db.Import(ctx, opts)
	}
	return errors.Join(err, db.Close())
}

func killedConfig(dsn, schema string) talkbase.Config {
	cfg := talkbase.Config{DSN: dsn, Schema: schema, Logger: slog.New(slog.DiscardHandler)}
	cfg.Performance.MaxConns = 3
	return cfg
}

// moment is when a child is killed: so long after the nth report of a phase, or of a later one.
type moment struct {
	phase migration.Phase
	nth   int
	after time.Duration
}

var (
	importPhases = []migration.Phase{
		migration.PhasePrepare, migration.PhaseBackup, migration.PhaseInitialize, migration.PhaseConversations,
		migration.PhaseKnowledge, migration.PhaseIndex, migration.PhaseText, migration.PhaseValidate,
	}
	allPhases = append(slices.Clone(importPhases), migration.PhaseRollback)
	reportsOf = map[migration.Phase]int{
		migration.PhaseConversations: 12, migration.PhaseKnowledge: 9, migration.PhaseIndex: 6, migration.PhaseText: 3, migration.PhaseValidate: 6, migration.PhaseRollback: 15,
	}
)

// someMoment is a random moment of one of the phases.
func someMoment(rng *rand.Rand, phases ...migration.Phase) moment {
	p := phases[rng.IntN(len(phases))]
	return moment{p, 1 + rng.IntN(1+reportsOf[p]), time.Duration(rng.IntN(4000)) * time.Microsecond}
}

// runChild runs a child process and kills it at m, if it comes to that. It returns whether it was
// killed, and the last phase it reported.
func runChild(t *testing.T, task childTask, m *moment) (killed bool, last migration.Phase) {
	t.Helper()
	cmd := child(t, "imports", task)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var timer *time.Timer
	seen := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last = migration.Phase(lines.Text())
		if m == nil || timer != nil {
			continue
		}
		at, want := slices.Index(allPhases, last), slices.Index(allPhases, m.phase)
		if at == want {
			seen++
		}
		if at > want || at == want && seen == m.nth {
			timer = time.AfterFunc(m.after, func() { _ = cmd.Process.Kill() })
		}
	}
	err = cmd.Wait()
	if timer != nil {
		timer.Stop()
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false, last
	case errors.As(err, &exit) && exit.ExitCode() == -1:
		return true, last
	}
	t.Fatalf("the child ended with %v, want success or a kill", err)
	return false, last
}

// number is what an environment variable says, or else a default.
func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: got %v, want a number", variable, err)
	}
	return n
}

// kills are the kills so far, by the phase they came in.
type kills struct {
	mu    sync.Mutex
	left  int
	phase map[migration.Phase]int
}

func (k *kills) take() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left--
	return k.left >= 0
}

func (k *kills) note(p migration.Phase, killed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if killed {
		k.phase[p]++
	} else {
		k.left++
	}
}

// testKilledImports kills importing processes at random moments, resumes, and compares the end with
// that of an import that nobody killed.
func testKilledImports(t *testing.T, place func(t *testing.T) (dsn, schema string)) {
	dir := t.TempDir()
	writeLegacySet(t, dir)
	k := &kills{left: number(t, "TALKBASE_KILLS", inShort(1, 25)), phase: map[migration.Phase]int{}}
	total := k.left
	const workers = 2
	t.Run("workers", func(t *testing.T) {
		for w := range workers {
			t.Run(strconv.Itoa(w), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(w)))
				for cycle := w; ; cycle++ {
					if k.mu.Lock(); k.left <= 0 {
						k.mu.Unlock()
						return
					}
					k.mu.Unlock()
					// A test of its own, so that its connections are not kept for thousands of cycles.
					if !t.Run(strconv.Itoa(cycle), func(t *testing.T) {
						dsn, schema := place(t)
						killCycle(t, rng, k, dir, dsn, schema, cycle%2 == 1)
					}) {
						return
					}
				}
			})
		}
	})
	t.Logf("killed: %v", k.phase)
	for _, p := range allPhases {
		if total >= 200 && k.phase[p] == 0 {
			t.Errorf("killed in phase %s: never, want it", p)
		}
	}
}

func writeLegacySet(t *testing.T, dir string) {
	t.Helper()
	app := filepath.Join(dir, "app_db")
	if err := os.MkdirAll(filepath.Join(app, "KnowledgeBase"), 0o700); err != nil {
		t.Fatal(err)
	}
	chat := fixtures.LegacyChat{Seed: 21, Version: 9, Conversations: 8, MessagesPer: 20, Quirks: fixtures.AllQuirks &^ fixtures.QuirkHuge}
	if _, err := chat.Write(t.Context(), filepath.Join(app, "chat.db")); err != nil {
		t.Fatal(err)
	}
	kb := duckdb.LegacyKnowledge{Seed: 21, Dimensions: 8, Files: 9, ChunksPerFile: 9, Quirks: duckdb.AllQuirks()}
	if _, err := kb.Write(t.Context(), filepath.Join(app, "KnowledgeBase", "kb21")); err != nil && !errors.Is(err, migration.ErrNoReader) {
		t.Fatal(err)
	}
}

// killCycle imports into one database and rolls back, with kills, and compares.
func killCycle(t *testing.T, rng *rand.Rand, k *kills, dir, dsn, schema string, earlier bool) {
	t.Helper()
	ctx := t.Context()
	db := open(t, killedConfig(dsn, schema))
	if earlier {
		for _, name := range []string{"chats", "knowledge"} {
			if err := fixtures.Load(ctx, db, name); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := digestsOf(t, db)
	work := t.TempDir()
	task := childTask{DSN: dsn, Schema: schema, Source: dir, BackupDir: filepath.Join(work, "backup"), WorkDir: work, BatchRows: 5 + rng.IntN(40)}
	want, wantCounts := uninterrupted(t, db, task.options(), before)

	var run models.ImportRun
	var moments []string
	for run = lastRun(t, db); run.State != models.ImportDone; run = lastRun(t, db) {
		if t.Failed() {
			return
		}
		task.Resume = run.State == models.ImportRunning
		killOnce(t, rng, k, task, &moments, importPhases...)
	}
	wantSame(t, "digests after resuming", digestsOf(t, db), want)
	var report migration.ImportReport
	if err := json.Unmarshal(run.Report, &report); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "counts after resuming", countsOf(&report), wantCounts)
	if valid, err := db.ValidateSchema(ctx); err != nil || !valid.OK {
		t.Errorf("schema after resuming: got %+v (%v), want it whole", valid, err)
	}
	if v, err := db.VerifyImport(ctx, run.ID, migration.VerifyOptions{}); err != nil || !v.OK {
		t.Errorf("verification after resuming: got %+v (%v), want ok", v, err)
	}
	wantSound(t, db)
	task.Rollback = run.ID
	for ; run.State != models.ImportRolledBack; run = lastRun(t, db) {
		killOnce(t, rng, k, task, &moments, migration.PhaseRollback)
	}
	wantSame(t, "digests after the rollback", digestsOf(t, db), before)
	wantSound(t, db)
	if t.Failed() {
		t.Logf("killed at: %v", moments)
	}
}

// uninterrupted imports and rolls back in this process, and returns what the import came to.
func uninterrupted(t *testing.T, db *talkbase.DB, opts migration.ImportOptions, before map[string]migration.Digest) (map[string]migration.Digest, []migration.TableReport) {
	t.Helper()
	r, err := db.Import(t.Context(), opts)
	if err != nil {
		t.Fatalf("import: got error %v, want none", err)
	}
	d, c := digestsOf(t, db), countsOf(r)
	if _, err := db.RollbackImport(t.Context(), r.Run, migration.RollbackOptions{}); err != nil {
		t.Fatalf("rollback: got error %v, want none", err)
	}
	wantSame(t, "digests after a rollback that nobody killed", digestsOf(t, db), before)
	return d, c
}

func killOnce(t *testing.T, rng *rand.Rand, k *kills, task childTask, moments *[]string, phases ...migration.Phase) {
	t.Helper()
	var m *moment
	// Some are left alone, so that each database comes to its rollback, and that to its end.
	if rng.IntN(4) > 0 && k.take() {
		some := someMoment(rng, phases...)
		m = &some
	}
	killed, last := runChild(t, task, m)
	if m != nil {
		k.note(last, killed)
		*moments = append(*moments, fmt.Sprintf("%s %d+%s in %s: %t", m.phase, m.nth, m.after, last, killed))
	}
}

// lastRun is the newest run that was not rolled back when the test began, or the one that is.
func lastRun(t *testing.T, db *talkbase.DB) models.ImportRun {
	t.Helper()
	runs, err := db.ImportRuns(t.Context())
	if err != nil {
		t.Fatalf("runs: got error %v, want none", err)
	}
	if len(runs) < 2 { // the uninterrupted one alone
		return models.ImportRun{}
	}
	return runs[0]
}

func digestsOf(t *testing.T, db *talkbase.DB) map[string]migration.Digest {
	t.Helper()
	d, err := db.Digests(t.Context())
	if err != nil {
		t.Fatalf("digests: got error %v, want none", err)
	}
	return d
}

func countsOf(r *migration.ImportReport) []migration.TableReport {
	var out []migration.TableReport
	for _, s := range r.Sources {
		for _, c := range s.Tables {
			out = append(out, *c)
		}
	}
	return out
}

func wantSame(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

func TestSQLiteKilledImports(t *testing.T) {
	t.Parallel()
	testKilledImports(t, func(t *testing.T) (string, string) { return filepath.Join(t.TempDir(), "talk.db"), "" })
}

func TestPostgresKilledImports(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	testKilledImports(t, func(t *testing.T) (string, string) { return dsn, schemaName(t, dsn) })
}
