package tests_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/migration/duckdb"
)

// someLegacySet writes a folder with random legacy files.
func someLegacySet(t *testing.T, rt *rapid.T, dir string) {
	t.Helper()
	app := filepath.Join(dir, "app_db")
	if err := os.MkdirAll(filepath.Join(app, "KnowledgeBase"), 0o700); err != nil {
		rt.Fatal(err)
	}
	seed := rapid.Uint64Range(1, 3).Draw(rt, "seed") // so that sets share ids
	chat := fixtures.LegacyChat{
		Seed: seed, Version: rapid.IntRange(0, fixtures.MaxLegacyVersion).Draw(rt, "version"),
		Conversations: rapid.IntRange(0, 4).Draw(rt, "conversations"), MessagesPer: rapid.IntRange(0, 9).Draw(rt, "messages"),
		Quirks: fixtures.Quirk(rapid.Uint64Range(0, uint64(fixtures.AllQuirks)).Draw(rt, "quirks")) & fixtures.AllQuirks &^ fixtures.QuirkHuge,
		Log:    rapid.SampledFrom([]fixtures.LogState{fixtures.LogNone, fixtures.LogRows, fixtures.LogAll}).Draw(rt, "log"),
	}
	if _, err := chat.Write(t.Context(), filepath.Join(app, "chat.db")); err != nil {
		rt.Fatal(err)
	}
	for i := range rapid.IntRange(0, 2).Draw(rt, "bases") {
		k := duckdb.LegacyKnowledge{
			Seed: seed, Dimensions: rapid.IntRange(2, 5).Draw(rt, "dimensions"), Files: rapid.IntRange(6, 8).Draw(rt, "files"),
			ChunksPerFile: rapid.IntRange(3, 6).Draw(rt, "chunks"), ListVectors: rapid.Bool().Draw(rt, "lists"),
			InWAL: rapid.IntRange(0, 2).Draw(rt, "in the log"),
		}
		for _, q := range duckdb.AllQuirks() {
			if rapid.Bool().Draw(rt, string(q)) {
				k.Quirks = append(k.Quirks, q)
			}
		}
		if _, err := k.Write(t.Context(), filepath.Join(app, "KnowledgeBase", fmt.Sprintf("kb%d", i))); err != nil && !errors.Is(err, migration.ErrNoReader) {
			k.Quirks = nil // not every quirk goes with every size
			if _, err := k.Write(t.Context(), filepath.Join(app, "KnowledgeBase", fmt.Sprintf("kb%d", i))); err != nil {
				rt.Fatal(err)
			}
		}
	}
}

// testRandomImports imports random sets one onto the other: every row is accounted for, what is stored
// is what was read, a second import writes nothing, and rolling back leaves what was there.
func testRandomImports(t *testing.T, db *talkbase.DB) {
	left, failed := number(t, "TALKBASE_RANDOM_SETS", inShort(2, 12)), false
	rapid.Check(t, func(rt *rapid.T) {
		if left--; left < 0 && !failed { // a failure is still looked into
			return
		}
		defer func() { failed = failed || rt.Failed() }()
		dir := t.TempDir()
		var runs []string
		states := []map[string]migration.Digest{digestsOf(t, db)}
		for i := range rapid.IntRange(1, 2).Draw(rt, "sets") {
			set := filepath.Join(dir, fmt.Sprint(i))
			someLegacySet(t, rt, set)
			opts := migration.ImportOptions{
				Paths: []string{set}, BatchRows: rapid.IntRange(1, 60).Draw(rt, "batch"), Width: rapid.IntRange(1, 3).Draw(rt, "width"),
				RecoverOrphans: rapid.Bool().Draw(rt, "recover"), MarkPendingAsError: rapid.Bool().Draw(rt, "mark"),
				PreferSource: rapid.Bool().Draw(rt, "prefer"), NoBackup: true,
			}
			for again := range rapid.IntRange(1, 2).Draw(rt, "times") {
				r, err := db.Import(t.Context(), opts)
				if err != nil {
					rt.Fatalf("import: got error %v, want none", err)
				}
				for _, c := range countsOf(r) {
					if c.Read != c.Written+c.Merged+c.Rejected {
						rt.Errorf("%s: got %+v, want read to be the sum of written, merged and rejected", c.Table, c)
					}
					if again > 0 && !opts.PreferSource && c.Written > 0 {
						rt.Errorf("%s: imported again: got %+v, want nothing written", c.Table, c)
					}
				}
				if !r.Verification.OK {
					rt.Errorf("verification: got %+v, want ok", r.Verification)
				}
				runs, states = append(runs, r.Run), append(states, digestsOf(t, db))
			}
		}
		for i := len(runs) - 1; i >= 0; i-- {
			if _, err := db.RollbackImport(t.Context(), runs[i], migration.RollbackOptions{}); err != nil {
				rt.Fatalf("rollback: got error %v, want none", err)
			}
			if got := digestsOf(t, db); fmt.Sprint(got) != fmt.Sprint(states[i]) {
				rt.Fatalf("digests after rolling back: got %v, want %v", got, states[i])
			}
		}
	})
	wantSound(t, db)
}

func TestSQLiteRandomImports(t *testing.T) {
	t.Parallel()
	testRandomImports(t, fresh(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")}, nil))
}

func TestPostgresRandomImports(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	testRandomImports(t, fresh(t, talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn)}, nil))
}
