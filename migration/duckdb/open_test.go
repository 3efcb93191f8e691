//go:build cgo && ((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)) || (windows && amd64))

package duckdb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/migration"
)

func TestCancel(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kb")
	if _, err := (LegacyKnowledge{Dimensions: 3, Files: 1, ChunksPerFile: 5000}).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	work := t.TempDir()
	if _, err := Open(done, path, work); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
	if left := snapshotNames(t, work); len(left) > 0 {
		t.Errorf("left in the work folder: %v", left)
	}
	src := mustOpen(t, path)
	if _, err := src.Tables(done); !errors.Is(err, context.Canceled) {
		t.Errorf("Tables: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	var last error
	for _, err := range src.Rows(ctx, "chunk", 0) {
		if err != nil {
			last = err
			continue
		}
		if n++; n == 10 {
			cancel()
		}
	}
	if n != 10 || !errors.Is(last, context.Canceled) {
		t.Errorf("%d rows, then %v", n, last)
	}
	// A query that is all computation stops as well.
	c, release, err := src.acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if _, err := c.int64(cancelled{ctx: t.Context(), calls: new(int)}, "SELECT count(*) FROM range(1000000000000)"); !errors.Is(err, context.Canceled) {
		t.Errorf("a long query: %v", err)
	}
}

// cancelled is a context that is done from the third look on.
type cancelled struct {
	ctx
	calls *int
}

type ctx = context.Context

func (c cancelled) Err() error {
	if *c.calls++; *c.calls > 2 {
		return context.Canceled
	}
	return nil
}

func TestClose(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kb")
	if _, err := (LegacyKnowledge{Dimensions: 3}).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	src, err := Open(t.Context(), path, work)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range src.Rows(t.Context(), "chunk", 0) {
		if n++; n == 1 {
			if err := errors.Join(src.Close(), src.Close()); err != nil {
				t.Error(err)
			}
			continue
		}
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("a row of a closed source: %v", err)
		}
	}
	if n != 2 {
		t.Errorf("%d rounds", n)
	}
	if left := snapshotNames(t, work); len(left) > 0 {
		t.Errorf("left in the work folder: %v", left)
	}
	if _, err := src.Tables(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Tables: %v", err)
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kb")
	if _, err := (LegacyKnowledge{Dimensions: 3}).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "open\n" {
		t.Fatalf("the other process says %q: %v", line, err)
	}
	work := t.TempDir()
	_, err = Open(t.Context(), path, work)
	if !errors.Is(err, migration.ErrSourceLocked) {
		t.Errorf("while another process has it open: %v", err)
	} else if runtime.GOOS != "windows" && !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
		t.Errorf("the process is not named: %v", err)
	}
	if left := snapshotNames(t, work); len(left) > 0 {
		t.Errorf("left in the work folder: %v", left)
	}
	// DuckDB's own words for it, should the copy ever be what is locked.
	src := &Source{path: "kb", copied: path}
	_, err = openDatabase(path, nil)
	if err == nil {
		t.Fatal("a file of another process was opened")
	}
	if err := src.wrap(err); !errors.Is(err, migration.ErrSourceLocked) || strings.Contains(err.Error(), path) {
		t.Errorf("DuckDB's own error: %v", err)
	}
	if err := stdin.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	mustRead(t, mustOpen(t, path))
}

func TestNotLegacy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, data := range map[string]string{
		"empty": "", "short": "DUCK", "garbage": strings.Repeat("garbage ", 1000),
		"sqlite": "SQLite format 3\x00" + strings.Repeat("\x00", 1000),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), path, t.TempDir()); !errors.Is(err, migration.ErrNotLegacy) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(t.Context(), filepath.Join(dir, "missing"), t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := Open(t.Context(), dir, t.TempDir()); err == nil {
		t.Error("a folder was opened")
	}

	// A real one, but encrypted.
	path := filepath.Join(dir, "encrypted")
	db, err := openDatabase("", []setting{{"threads", "1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	c, err := db.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for _, q := range []string{
		"SET force_mbedtls_unsafe = 'true'",
		"ATTACH '" + strings.ReplaceAll(path, "'", "''") + "' AS e (ENCRYPTION_KEY 'secret')",
		"CREATE TABLE e.file(id VARCHAR)", "DETACH e",
	} {
		if err := c.exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(t.Context(), path, t.TempDir()); !errors.Is(err, migration.ErrNotLegacy) || !strings.Contains(err.Error(), "encrypted") {
		t.Errorf("encrypted: %v", err)
	}
}

func TestRegistered(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kb")
	if _, err := (LegacyKnowledge{NoTables: true}).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	src, err := migration.OpenSource(t.Context(), path, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = src.Close() }()
	if tables, err := src.Tables(t.Context()); err != nil || len(tables) != 0 {
		t.Errorf("tables %v, %v", tables, err)
	}
}
