package tests_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
)

// loadSets loads all data sets, in a short run without the long one.
func loadSets(t *testing.T, db *talkbase.DB) {
	t.Helper()
	for _, name := range []string{"chats", "branches", "knowledge", "long"}[:inShort(3, 4)] {
		if err := fixtures.Load(t.Context(), db, name); err != nil {
			t.Fatal(err)
		}
	}
}

// From SQLite to Postgres and back, by copying and by dumps, everything stays as it was.
func TestDatabasesMoveBetweenEngines(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	ctx := t.Context()
	legacy := t.TempDir()
	writeLegacySet(t, legacy)
	sqlite := func() *talkbase.DB {
		return fresh(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")}, nil)
	}
	postgres := func() *talkbase.DB { return fresh(t, talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn)}, nil) }

	first := sqlite()
	loadSets(t, first)
	run, err := first.Import(ctx, migration.ImportOptions{Paths: []string{legacy}, RecoverOrphans: true, NoBackup: true, BatchRows: 50})
	if err != nil {
		t.Fatal(err)
	}
	want := digestsOf(t, first)
	var whole map[string]migration.Digest
	check := func(what string, db *talkbase.DB, r *migration.RestoreReport, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: got error %v, want none", what, err)
		}
		wantSame(t, what, digestsOf(t, db), want)
		if whole == nil {
			whole = r.Tables
		}
		wantSame(t, what+": every table, those of imports as well", r.Tables, whole)
		if missing, err := db.Bulk().TextMissing(ctx); err != nil || len(missing) > 0 {
			t.Errorf("%s: rows that are not in the text index: %v (%v), want none", what, missing, err)
		}
		if v, err := db.ValidateSchema(ctx); err != nil || !v.OK {
			t.Errorf("%s: got schema %+v (%v), want it whole", what, v, err)
		}
	}
	second := postgres()
	r, err := talkbase.Copy(ctx, first, second, migration.RestoreOptions{})
	check("copied to Postgres", second, r, err)
	third := sqlite()
	r, err = talkbase.Copy(ctx, second, third, migration.RestoreOptions{})
	check("copied back to SQLite", third, r, err)

	path := filepath.Join(t.TempDir(), "p.dump")
	if _, err := second.Backup(ctx, path, migration.DumpOptions{}); err != nil {
		t.Fatal(err)
	}
	fourth := sqlite()
	r, err = fourth.Restore(ctx, path, migration.RestoreOptions{})
	check("dumped on Postgres, restored on SQLite", fourth, r, err)
	path += "2"
	if _, err := third.Backup(ctx, path, migration.DumpOptions{}); err != nil {
		t.Fatal(err)
	}
	fifth := postgres()
	r, err = fifth.Restore(ctx, path, migration.RestoreOptions{})
	check("dumped on SQLite, restored on Postgres", fifth, r, err)

	// The journal of the import came along.
	for _, db := range []*talkbase.DB{second, third, fifth} {
		if v, err := db.VerifyImport(ctx, run.Run, migration.VerifyOptions{}); err != nil || !v.OK {
			t.Errorf("verification: got %+v (%v), want ok", v, err)
		}
	}
	if _, err := fifth.RollbackImport(ctx, run.Run, migration.RollbackOptions{}); err != nil {
		t.Errorf("rollback: got error %v, want none", err)
	}
}

func init() { childTasks["dump"] = taskOf(beDumpChild) }

// dumpTask is a database that is dumped, restored and copied in a process of its own.
type dumpTask struct{ From, Dir string }

// beDumpChild prints the largest heap, in bytes, that each of these had.
func beDumpChild(c dumpTask) error {
	ctx := context.Background()
	cfg := killedConfig(c.From, "")
	cfg.Performance.WorkMem, cfg.Performance.MaintenanceWorkMem = "4MB", "4MB"
	db, err := talkbase.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	var peak uint64
	look := func(migration.Progress) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapInuse)
	}
	path := filepath.Join(c.Dir, "talk.dump")
	out := map[string]uint64{}
	done := func(what string) { out[what], peak = peak, 0 }
	if _, err := db.Backup(ctx, path, migration.DumpOptions{Progress: look}); err != nil {
		return err
	}
	done("backup")
	for _, what := range []string{"restore", "copy"} {
		cfg.DSN = filepath.Join(c.Dir, what+".db")
		to, err := talkbase.Open(ctx, cfg)
		if err != nil {
			return err
		}
		if what == "restore" {
			_, err = to.Restore(ctx, path, migration.RestoreOptions{Progress: look})
		} else {
			_, err = talkbase.Copy(ctx, db, to, migration.RestoreOptions{Progress: look})
		}
		if err != nil {
			return err
		}
		done(what)
		if err := to.Close(); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// However large a database is, the memory for its backup stays the same.
func TestBackupsHaveBoundedMemory(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it writes 100 MB")
	}
	path := filepath.Join(t.TempDir(), "talk.db")
	db := fresh(t, talkbase.Config{DSN: path}, nil)
	if _, err := db.CreateConversation(t.Context(), models.Conversation{ConvID: "c"}); err != nil {
		t.Fatal(err)
	}
	const mib, total = 1 << 20, 96 << 20
	for i := range total / mib / 8 {
		var ms []models.Message
		for j := range 8 {
			ms = append(ms, models.Message{MsgID: fmt.Sprint(i, "-", j), ConversationID: "c", Role: models.RoleUser, Content: `{"data":"` + strings.Repeat("x", mib) + `"}`})
		}
		if _, err := db.InsertMessages(t.Context(), ms); err != nil {
			t.Fatal(err)
		}
	}
	cmd := child(t, "dump", dumpTask{path, t.TempDir()})
	cmd.Env = append(cmd.Env, "GOGC=25")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var peaks map[string]uint64
	content, rerr := io.ReadAll(out)
	if err := cmd.Wait(); err != nil || rerr != nil {
		t.Fatalf("child: got error %v (%v), want none", err, rerr)
	}
	if err := json.Unmarshal(content, &peaks); err != nil {
		t.Fatal(err)
	}
	for what, peak := range peaks {
		t.Logf("%s: %d MiB", what, peak/mib)
		if peak == 0 || peak > total/2 {
			t.Errorf("%s: got a heap of %d MiB for %d MiB of rows, want it bounded", what, peak/mib, total/mib)
		}
	}
}
