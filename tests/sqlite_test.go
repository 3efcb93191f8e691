package tests_test

import (
	"testing"

	"github.com/talkbase/talkbase"
)

// open opens a database and closes it when the test ends.
func open(t testing.TB, cfg talkbase.Config) *talkbase.DB {
	t.Helper()
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
