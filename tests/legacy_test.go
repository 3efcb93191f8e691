package tests_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/migration/duckdb"
	"github.com/talkbase/talkbase/repo"
)

// legacyFolder is where the files are that DeepChat itself wrote.
func legacyFolder(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("TALKBASE_LEGACY_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "legacy")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the legacy files are not here; TALKBASE_LEGACY_DIR says where: %v", err)
	}
	return dir
}

// snapshot is what the files of a folder are like.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = fmt.Sprint(info.ModTime(), info.Mode(), len(b)) + string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// testLegacyFiles imports everything that there is of real files, each by itself, twice.
func testLegacyFiles(t *testing.T, dir string, place func(t *testing.T) *talkbase.DB) {
	before := snapshot(t, dir)
	for path := range before {
		kind, err := migration.DetectKind(path)
		if err != nil || strings.HasSuffix(path, ".wal") || kind == migration.KindDuckDB && !readsKnowledge() {
			continue
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.ToSlash(rel), func(t *testing.T) {
			db := place(t)
			empty := digestsOf(t, db)
			opts := migration.ImportOptions{Paths: []string{path}, BackupDir: t.TempDir(), BatchRows: 17}
			dry := opts
			dry.DryRun = true
			said, err := db.Import(t.Context(), dry)
			if err != nil {
				t.Fatalf("dry run: got error %v, want none", err)
			}
			r, err := db.Import(t.Context(), opts)
			if err != nil {
				t.Fatalf("import: got error %v, want none", err)
			}
			wantSame(t, "counts of the dry run", countsOf(said), countsOf(r))
			var read int64
			for _, c := range countsOf(r) {
				read += c.Read
				if c.Read != c.Written+c.Merged+c.Rejected {
					t.Errorf("%s: got %+v, want read to be the sum of written, merged and rejected", c.Table, c)
				}
			}
			t.Logf("%d rows: %+v", read, countsOf(r))
			full := digestsOf(t, db)
			wantSound(t, db)
			again, err := db.Import(t.Context(), opts)
			if err != nil {
				t.Fatalf("import again: got error %v, want none", err)
			}
			for _, c := range countsOf(again) {
				if c.Written != 0 {
					t.Errorf("%s: imported again: got %+v, want nothing written", c.Table, c)
				}
			}
			wantSame(t, "digests after importing again", digestsOf(t, db), full)
			if v, err := db.VerifyImport(t.Context(), r.Run, migration.VerifyOptions{}); err != nil || !v.OK || !v.Backup {
				t.Errorf("verification: got %+v (%v), want ok with the backup", v, err)
			}
			for _, run := range []string{again.Run, r.Run} {
				if _, err := db.RollbackImport(t.Context(), run, migration.RollbackOptions{}); err != nil {
					t.Fatalf("rollback: got error %v, want none", err)
				}
			}
			wantSame(t, "digests after the rollback", digestsOf(t, db), empty)
			wantSound(t, db)
		})
	}
	wantSame(t, "the legacy files", snapshot(t, dir), before)
}

// wantSound checks that the database's integrity holds: what is found are warnings and notes.
func wantSound(t *testing.T, db *talkbase.DB) {
	t.Helper()
	r, err := db.ValidateIntegrity(t.Context())
	if err != nil {
		t.Fatalf("validate integrity: got error %v, want none", err)
	}
	for _, f := range r.Findings {
		if f.Severity == repo.SeverityError {
			t.Errorf("integrity: got %+v, want no error", f)
		} else {
			t.Logf("%s %s in %s.%s: %d, such as %v", f.Severity, f.Code, f.Table, f.Column, f.Count, f.Examples)
		}
	}
}

// Where the files are missing, this is skipped as a whole, and no test of an engine by itself.
func TestLegacyFiles(t *testing.T) {
	t.Parallel()
	dir := legacyFolder(t)
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		testLegacyFiles(t, dir, func(t *testing.T) *talkbase.DB {
			return fresh(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")}, nil)
		})
	})
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		dsn := postgresDSN(t)
		testLegacyFiles(t, dir, func(t *testing.T) *talkbase.DB {
			return fresh(t, talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn)}, nil)
		})
	})
}

// readsKnowledge reports whether the DuckDB reader is linked.
func readsKnowledge() bool {
	_, err := (duckdb.LegacyKnowledge{NoTables: true}).Write(context.Background(), filepath.Join(os.DevNull, "none"))
	return !errors.Is(err, migration.ErrNoReader)
}
