package tests_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// checkAnalyserWarning opens a database whose text index another version of the analyser made.
func checkAnalyserWarning(t *testing.T, cfg talkbase.Config) {
	ctx := t.Context()
	reopen := func() (*talkbase.DB, string) {
		var log bytes.Buffer
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		return open(t, cfg), log.String()
	}
	warned := func(log string) bool { return strings.Contains(log, "talkbase reindex") }
	db, log := reopen()
	if warned(log) {
		t.Errorf("a new database: got a warning: %s", log)
	}
	err := db.WithTransaction(ctx, func(_ context.Context, tx *repo.Tx) error {
		return tx.Gorm().Exec("UPDATE talkbase_meta SET value = '0' WHERE key = ?", models.MetaTextAnalyser).Error
	})
	if err != nil {
		t.Fatal(err)
	}
	db, log = reopen()
	if !warned(log) || !strings.Contains(log, "level=WARN") {
		t.Errorf("an index of another version: got %q, want a warning that names the remedy", log)
	}
	if _, err := db.RebuildTextIndex(ctx); err != nil {
		t.Fatal(err)
	}
	if _, log = reopen(); warned(log) {
		t.Errorf("after a rebuild: got a warning: %s", log)
	}
}

func TestSQLiteAnalyserWarning(t *testing.T) {
	t.Parallel()
	checkAnalyserWarning(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")})
}

func TestPostgresAnalyserWarning(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	checkAnalyserWarning(t, talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn)})
}
