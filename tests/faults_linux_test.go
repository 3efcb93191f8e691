package tests_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func init() { childTasks["faults"] = taskOf(beFaultChild) }

// faultTask is what a child process does with a disk of its own.
type faultTask struct {
	DSN, Schema string
	Source, Dir string
	// Full names the folder that is on the small disk: target, backup or work. "" limits the size of
	// files instead.
	Full string
	// Phase is when the disk becomes full.
	Phase migration.Phase
	// Want is the digest of an import that had room.
	Want map[string]migration.Digest
}

// faultOutcome is what came of it.
type faultOutcome struct {
	// Message is the error's, "" where the import ended well.
	Message string
	// DiskFull and Typed say what the error is.
	DiskFull, Typed bool
	// Resumed says that the import had to go on from a checkpoint.
	Resumed bool
}

const smallDisk = 24 << 20

// fill takes all the room of a disk.
func fill(dir string) error {
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		return err
	}
	for block := make([]byte, 64<<10); ; {
		n, err := f.Write(block)
		if err == nil {
			continue
		}
		if len(block) > 1 && n == 0 {
			block = block[:len(block)/2]
			continue
		}
		if len(block) == 1 {
			return f.Close()
		}
	}
}

func beFaultChild(c faultTask) error {
	ctx := context.Background()
	dirs := map[string]string{}
	for _, name := range []string{"target", "backup", "work"} {
		dirs[name] = filepath.Join(c.Dir, name)
		if err := os.MkdirAll(dirs[name], 0o700); err != nil {
			return err
		}
	}
	if c.Full != "" {
		if err := unix.Mount("tmpfs", dirs[c.Full], "tmpfs", 0, fmt.Sprintf("size=%d", smallDisk)); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
	}
	if c.DSN == "" {
		c.DSN = filepath.Join(dirs["target"], "talk.db")
	}
	db, err := talkbase.Open(ctx, killedConfig(c.DSN, c.Schema))
	if err != nil {
		return err
	}
	out, err := faultyImport(ctx, db, c, dirs)
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// faultyImport imports while there is no room, and again when there is.
func faultyImport(ctx context.Context, db *talkbase.DB, c faultTask, dirs map[string]string) (out faultOutcome, err error) {
	opts := migration.ImportOptions{Paths: []string{c.Source}, RecoverOrphans: true, BackupDir: dirs["backup"], WorkDir: dirs["work"], BatchRows: 20}
	opts.Progress = func(p migration.Progress) {
		if p.Phase != c.Phase || p.Table != "" || p.Source != "" {
			return
		}
		if c.Full != "" {
			err = errors.Join(err, fill(dirs[c.Full]))
			return
		}
		// The limit is the process's, so that it meets the database, the backup and the copies alike.
		signal.Ignore(syscall.SIGXFSZ)
		err = errors.Join(err, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 48 << 10, Max: unix.RLIM_INFINITY}))
	}
	report, failed := db.Import(ctx, opts)
	if err != nil {
		return out, err
	}
	if c.Full != "" {
		err = os.Remove(filepath.Join(dirs[c.Full], "ballast"))
	} else {
		err = unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	}
	if err != nil {
		return out, err
	}
	opts.Progress = nil
	if failed != nil {
		var me *migration.MigrationError
		out.Message, out.DiskFull = failed.Error(), errors.Is(failed, repo.ErrDiskFull)
		if !errors.As(failed, &me) {
			return out, fmt.Errorf("import: got error %w, want a MigrationError", failed)
		}
		var de *repo.DatabaseError
		out.Typed = out.DiskFull || errors.As(failed, &de) || errors.Is(failed, migration.ErrSourceDamaged)
		runs, err := db.ImportRuns(ctx)
		if err != nil {
			return out, err
		}
		out.Resumed = len(runs) > 0 && runs[0].State == models.ImportRunning
		if out.Resumed != me.Recoverable {
			return out, fmt.Errorf("recoverable: got %t, want %t: %w", me.Recoverable, out.Resumed, failed)
		}
		opts.Resume = out.Resumed
		if report, err = db.Import(ctx, opts); err != nil {
			return out, fmt.Errorf("when there is room: got error %w, want none, after %w", err, failed)
		}
	}
	got, err := db.Digests(ctx)
	if err != nil {
		return out, err
	}
	if fmt.Sprint(got) != fmt.Sprint(c.Want) {
		return out, fmt.Errorf("digests: got %v, want %v, after %w", got, c.Want, failed)
	}
	if !report.Verification.OK {
		return out, fmt.Errorf("verification: got %+v, want ok", report.Verification)
	}
	valid, err := db.ValidateSchema(ctx)
	if err == nil && !valid.OK {
		err = fmt.Errorf("schema: got %+v, want it whole", valid)
	}
	return out, err
}

// runFault runs a child in a mount namespace of its own.
func runFault(t *testing.T, task faultTask) faultOutcome {
	t.Helper()
	cmd := child(t, "faults", task)
	cmd.SysProcAttr = ownMounts()
	cmd.Stderr = t.Output()
	stdout, err := cmd.Output()
	var out faultOutcome
	if err == nil {
		err = json.Unmarshal(stdout, &out)
	}
	if err != nil {
		t.Fatalf("%s full in %s: %v", task.Full, task.Phase, err)
	}
	return out
}

func testFullDisks(t *testing.T, places []string, place func(t *testing.T) (dsn, schema string)) {
	dir := t.TempDir()
	writeLegacySet(t, dir)
	dsn, schema := place(t)
	if dsn == "" {
		dsn = filepath.Join(t.TempDir(), "talk.db")
	}
	db := open(t, killedConfig(dsn, schema))
	if _, err := db.Import(t.Context(), migration.ImportOptions{Paths: []string{dir}, RecoverOrphans: true, NoBackup: true}); err != nil {
		t.Fatalf("import: got error %v, want none", err)
	}
	want := digestsOf(t, db)
	for _, full := range places[:inShort(1, len(places))] {
		t.Run("full "+full, func(t *testing.T) {
			t.Parallel()
			met := 0
			for _, phase := range importPhases[1:inShort(3, len(importPhases))] {
				dsn, schema := place(t)
				out := runFault(t, faultTask{DSN: dsn, Schema: schema, Source: dir, Dir: t.TempDir(), Full: full, Phase: phase, Want: want})
				t.Logf("%s: resumed %t: %s", phase, out.Resumed, out.Message)
				if out.Message == "" {
					continue
				}
				met++
				if full != "" && !out.DiskFull || !out.Typed {
					t.Errorf("%s full in %s: got error %s, want ErrDiskFull", full, phase, out.Message)
				}
				if strings.Contains(out.Message, "resumed") != out.Resumed {
					t.Errorf("%s: got error %s, want it to say what to do", phase, out.Message)
				}
			}
			if met == 0 {
				t.Error("no import met the full disk, want some")
			}
		})
	}
}

func TestSQLiteFullDisks(t *testing.T) {
	t.Parallel()
	testFullDisks(t, []string{"target", "backup", "work", ""}, func(*testing.T) (string, string) { return "", "" })
}

func TestPostgresFullDisks(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	testFullDisks(t, []string{"backup", "work", ""}, func(t *testing.T) (string, string) { return dsn, schemaName(t, dsn) })
}

// A disk that is too small from the beginning is said to be so before anything is copied or written.
func TestNoRoomIsSaidFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	huge := filepath.Join(dir, "chat.db")
	if _, err := (fixtures.LegacyChat{Version: 9, Conversations: 1, MessagesPer: 1}).Write(t.Context(), huge); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<43); err != nil { // 8 TiB, all but the beginning a hole
		t.Skipf("no file is that large here: %v", err)
	}
	db := fresh(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")}, nil)
	backup := filepath.Join(dir, "backup")
	_, err := db.Import(t.Context(), migration.ImportOptions{Paths: []string{huge}, BackupDir: backup})
	if !errors.Is(err, repo.ErrDiskFull) || !strings.Contains(err.Error(), "the backup") {
		t.Errorf("import: got error %v, want ErrDiskFull that names the backup", err)
	}
	var me *migration.MigrationError
	if !errors.As(err, &me) || me.Phase != migration.PhasePrepare || me.Recoverable {
		t.Errorf("import: got %+v, want it to end before anything is done", me)
	}
	if _, err := os.Stat(backup); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the backup's folder: got %v, want none", err)
	}
}

func init() { childTasks["unreadable"] = taskOf(beUnreadable) }

// beUnreadable imports a file that its user may not read.
func beUnreadable(task string) error {
	ctx := context.Background()
	dir := filepath.Dir(task)
	db, err := talkbase.Open(ctx, killedConfig(filepath.Join(dir, "talk.db"), ""))
	if err != nil {
		return err
	}
	_, err = db.Import(ctx, migration.ImportOptions{Paths: []string{task}, WorkDir: dir})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "no permission to read it") {
		return fmt.Errorf("import: got error %w, want that it may not be read", err)
	}
	if runs, err := db.ImportRuns(ctx); err != nil || len(runs) > 0 {
		return fmt.Errorf("runs: got %d (%w), want none", len(runs), err)
	}
	return db.Close()
}

// The child is an ordinary user, even where the tests are run by root.
func TestSourcesThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chat.db")
	if _, err := (fixtures.LegacyChat{Version: 9, Conversations: 1, MessagesPer: 2}).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	if out, err := asUser(t, "unreadable", path); err != nil {
		t.Errorf("the child: %v: %s", err, out)
	}
}
