package tests_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/internal/engine"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// introspect describes the schema of a database by a connection of its own.
func introspect(t *testing.T, o engine.Options) engine.Schema {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	e, err := engine.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("open engine: got error %v, want none", err)
	}
	defer func() { _ = e.Close() }()
	s, err := e.Introspect(t.Context())
	if err != nil {
		t.Fatalf("introspect: got error %v, want none", err)
	}
	return s
}

// checkGolden compares a freshly migrated database with the golden file that ValidateSchema uses,
// and with what Reset makes of the models.
func checkGolden(t *testing.T, db *talkbase.DB, o engine.Options) {
	t.Helper()
	migrated := introspect(t, o)
	got, err := json.MarshalIndent(migrated, "", "  ")
	if err != nil {
		t.Fatalf("marshal: got error %v, want none", err)
	}
	got = append(got, '\n')
	file := filepath.Join("..", "migration", "schema", db.Engine()+".json")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatalf("write %s: got error %v, want none", file, err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("read %s: got error %v, want none", file, err)
	}
	if !bytes.Equal(got, want) {
		var have engine.Schema
		if err := json.Unmarshal(want, &have); err != nil {
			t.Fatalf("%s: got error %v, want JSON", file, err)
		}
		t.Errorf("%s differs from a migrated database (go test ./tests -run Golden -update rewrites it): got %+v, want no difference",
			file, engine.Compare(migrated, have, nil))
	}
	if err := db.Reset(t.Context(), nil); err != nil {
		t.Fatalf("reset: got error %v, want none", err)
	}
	for _, d := range engine.Compare(migrated, introspect(t, o), nil) {
		t.Errorf("schema after Reset: got %s of %s %s.%s: %s, want %s", d.Problem, d.Kind, d.Table, d.Name, d.Have, d.Want)
	}
}

func TestGoldenSQLite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "talk.db")
	checkGolden(t, open(t, talkbase.Config{DSN: path}), engine.Options{DSN: path})
}

func TestGoldenPostgres(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	schema := schemaName(t, dsn)
	checkGolden(t, open(t, talkbase.Config{DSN: dsn, Schema: schema}), engine.Options{DSN: dsn, Schema: schema})
}
