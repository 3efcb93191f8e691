package tests_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/tests"
)

// open opens a database and closes it when the test ends.
func open(t testing.TB, cfg talkbase.Config) *talkbase.DB {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	db, err := talkbase.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open: got error %v, want none", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: got error %v, want none", err)
		}
	})
	return db
}

// fresh opens what configure made of cfg.
func fresh(t testing.TB, cfg talkbase.Config, configure func(*talkbase.Config)) *talkbase.DB {
	t.Helper()
	// What is tested does not depend on the size of the caches or on waiting for the disk.
	cfg.Performance.Synchronous = "NORMAL"
	cfg.Performance.MaxConns = 4
	if configure != nil {
		configure(&cfg)
	}
	return open(t, cfg)
}

// secondWay declares what a short run, such as the one under the race detector, leaves out on a second
// way to an engine: what takes long and hardly depends on the way.
func secondWay(skip map[tests.Category]string) map[tests.Category]string {
	if skip == nil {
		skip = map[tests.Category]string{}
	}
	if testing.Short() {
		for _, c := range []tests.Category{tests.Import, tests.Large, tests.Health, tests.Explain, tests.Backup, tests.Similarity} {
			skip[c] = "a short run has it on the engine's first way only"
		}
	}
	return skip
}

// inShort is n, or, in a short run, few.
func inShort(few, n int) int {
	if testing.Short() {
		return few
	}
	return n
}

func TestSQLiteFile(t *testing.T) {
	t.Parallel()
	tests.Run(t, tests.Suite{Open: func(t testing.TB, configure func(*talkbase.Config)) *talkbase.DB {
		return fresh(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")}, configure)
	}})
}

func TestSQLiteMemory(t *testing.T) {
	t.Parallel()
	tests.Run(t, tests.Suite{
		Open: func(t testing.TB, configure func(*talkbase.Config)) *talkbase.DB {
			return fresh(t, talkbase.Config{DSN: "sqlite::memory:"}, configure)
		},
		Skip: secondWay(nil),
	})
}
