package engine

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

func TestKnownFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version string
		known   []knownFault
		want    int
	}{
		{"3.54.1", sqliteFaults, 0},
		{"3.51.3", sqliteFaults, 0},
		{"3.51.2", sqliteFaults, 1},
		{"3.50.7", sqliteFaults, 0},
		{"3.50.6", sqliteFaults, 1},
		{"3.44.6", sqliteFaults, 0},
		{"3.44.5", sqliteFaults, 1},
		{"3.36.0", sqliteFaults, 2},
		{"0.8.0", hnswFaults, 2},
		{"0.8.2", hnswFaults, 1},
		{"0.8.4", hnswFaults, 0},
		{"0.10.0", hnswFaults, 0},
		{"0.5.1", hnswFaults, 1},
		{"0.8.6", ivfflatFaults, 1},
		{"0.8.7", ivfflatFaults, 0},
		{"14.3", postgresFaults, 1},
		{"14", postgresFaults, 1},
		{"14.4", postgresFaults, 0},
		{"15.20", postgresFaults, 0},
		{"13.9", postgresFaults, 0},
		{"18beta1", postgresFaults, 0},
		{"", postgresFaults, 0},
	} {
		if got := faultsOf(c.version, c.known, true); len(got) != c.want {
			t.Errorf("version %q: got %v, want %d faults", c.version, got, c.want)
		}
	}
}

func TestLinesOfTheChecker(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]Damage{
		"row 3 missing from index idx_messages_parent":                              {Kind: DamagedIndex, Index: "idx_messages_parent"},
		"wrong # of entries in index sqlite_autoindex_messages_1":                   {Kind: DamagedIndex, Index: "sqlite_autoindex_messages_1"},
		"non-unique entry in index idx_x":                                           {Kind: DamagedIndex, Index: "idx_x"},
		"row 7 values differ from index idx_x":                                      {Kind: DamagedIndex, Index: "idx_x"},
		"rowid not at end-of-record for row 2 of index idx_x":                       {Kind: DamagedIndex, Index: "idx_x"},
		"malformed inverted index for FTS5 table main.message_terms":                {Kind: DamagedTerms, Table: "message_terms"},
		`fts5: corruption found reading blob 137438953473 from table "chunk_terms"`: {Kind: DamagedTerms, Table: "chunk_terms"},
		"CHECK constraint failed in messages":                                       {Kind: DamagedRows, Table: "messages"},
		"NULL value in messages.title":                                              {Kind: DamagedRows, Table: "messages"},
		"TEXT value in conversations.created_at":                                    {Kind: DamagedRows, Table: "conversations"},
		"Tree 12 page 12: btreeInitPage() returns error code 11":                    {Kind: DamagedStorage},
		"Freelist: size is 5 but should be 9":                                       {Kind: DamagedStorage},
		"database disk image is malformed (11)":                                     {Kind: DamagedStorage},
	} {
		want.Detail = line
		if got, ok := damageOf(line); !ok || got != want {
			t.Errorf("%s: got %+v (%t), want %+v", line, got, ok, want)
		}
	}
	for _, line := range []string{"", "ok", "*** in database main ***"} {
		if got, ok := damageOf(line); ok {
			t.Errorf("%q: got %+v, want no damage", line, got)
		}
	}
}

func TestVacuumByNeed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		use     fileUse
		full    bool
		action  string // "" for nothing
		skipped bool
	}{
		{"nothing is free", fileUse{4096, 100, 0, 0}, true, "", false},
		{"little is free", fileUse{4096, 100, 24, 0}, false, "", false},
		{"much is free", fileUse{4096, 100, 25, 0}, false, "vacuum", false},
		{"much is free of a large file", fileUse{4096, 40000, 20000, 0}, false, "", true},
		{"much is free of a large file, and it may take long", fileUse{4096, 40000, 20000, 0}, true, "vacuum", false},
		{"little is left of a large file", fileUse{4096, 40000, 39000, 0}, false, "vacuum", false},
		{"it can be given back in parts", fileUse{4096, 40000, 1, incremental}, false, "incremental_vacuum", false},
	} {
		s, todo := c.use.vacuum(c.full)
		if todo != (c.action != "") || todo && s.Action != c.action || (s.Skipped != "") != c.skipped {
			t.Errorf("%s: got %+v (%t), want %q", c.name, s, todo, c.action)
		}
	}
}

func TestOnlyQueriesAreRead(t *testing.T) {
	t.Parallel()
	for _, q := range []string{
		"SELECT 1", "  select 1 ;\n", "WITH x AS (SELECT 1) SELECT * FROM x", "VALUES (1), (2)", "(SELECT 1) UNION (SELECT 2)",
		"-- why\nSELECT 1", "/* why */ SELECT 1", "/**/--\n ( ( select 1))", "SELECT '--' || 1;;  ;",
	} {
		if err := CheckReadOnly(q); err != nil {
			t.Errorf("%q: got error %v, want none", q, err)
		}
	}
	for _, q := range []string{
		"", ";", "  ", "--", "/* SELECT 1", "-- SELECT 1", "INSERT INTO x VALUES (1)", "UPDATE x SET y = 1", "DELETE FROM x", "DROP TABLE x", "PRAGMA query_only = 0",
		"SELECT 1; DELETE FROM x", "SELECT ';'", "COMMIT", "EXPLAIN SELECT 1", "SET x = 1", "COPY x TO PROGRAM 'y'", "CALL f()", "DO $$ $$", "ATTACH 'x' AS y", "VACUUM",
		"SELECT\x00 1", "\xff", "1", "'SELECT'", "selects", "TABLE x",
	} {
		if err := CheckReadOnly(q); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got error %v, want %v", q, err, ErrInvalid)
		}
	}
}

func FuzzCheckReadOnly(f *testing.F) {
	for _, s := range []string{"SELECT 1", "/* x */ WITH", "--\nVALUES", ";", "((", "/*/SELECT 1*/DELETE"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, q string) {
		if CheckReadOnly(q) != nil {
			return
		}
		// What passes is one statement of three kinds, whatever is around it.
		if strings.Contains(strings.TrimRight(strings.TrimSpace(q), "; \t\r\n"), ";") {
			t.Errorf("%q passes with a semicolon inside", q)
		}
		upper := strings.ToUpper(q)
		if !strings.Contains(upper, "SELECT") && !strings.Contains(upper, "WITH") && !strings.Contains(upper, "VALUES") {
			t.Errorf("%q passes without a word that reads", q)
		}
	})
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	node := func(n PlanNode) Plan { return Plan{Root: n} }
	for _, c := range []struct {
		name string
		plan Plan
		want string // codes
	}{
		{"a small scan", node(PlanNode{Node: "Seq Scan", Table: "t", FullScan: true, ReadRows: pointer(9999.0)}), ""},
		{"a large scan", node(PlanNode{Node: "Seq Scan", Table: "t", FullScan: true, ReadRows: pointer(10000.0)}), "full_scan"},
		{"a large scan by an index", node(PlanNode{Node: "Index Scan", Table: "t", ReadRows: pointer(10000.0)}), ""},
		{"a sort on the disk", node(PlanNode{Node: "Sort", OnDisk: true}), "on_disk"},
		{"a good estimate", node(PlanNode{EstimatedRows: pointer(1000.0), ActualRows: pointer(100.0)}), ""},
		{"too high", node(PlanNode{EstimatedRows: pointer(1001.0), ActualRows: pointer(100.0)}), "misestimate"},
		{"too low", node(PlanNode{EstimatedRows: pointer(1.0), ActualRows: pointer(100.0)}), "misestimate"},
		{"of few rows", node(PlanNode{EstimatedRows: pointer(1.0), ActualRows: pointer(99.0)}), ""},
		{"too high because it was stopped", node(PlanNode{EstimatedRows: pointer(1001.0), ActualRows: pointer(10.0), Limited: true}), ""},
		{"too low although it was stopped", node(PlanNode{EstimatedRows: pointer(1.0), ActualRows: pointer(1000.0), Limited: true}), "misestimate"},
		{"none at all", node(PlanNode{EstimatedRows: pointer(200.0), ActualRows: pointer(0.0)}), "misestimate"},
		{"deep down, once for twins", node(PlanNode{Children: []PlanNode{{Children: []PlanNode{{OnDisk: true}, {OnDisk: true}}}}}), "on_disk"},
		{"a sort of a large scan", node(PlanNode{ReadRows: pointer(20000.0), Children: []PlanNode{{Node: "USE TEMP B-TREE FOR ORDER BY"}}}), "sort"},
		{"a sort of little", node(PlanNode{Children: []PlanNode{{Node: "USE TEMP B-TREE FOR ORDER BY"}}}), ""},
	} {
		var codes []string
		for _, w := range c.plan.Warnings() {
			codes = append(codes, w.Code)
			if w.Message == "" {
				t.Errorf("%s: got no words", c.name)
			}
		}
		if got := strings.Join(codes, " "); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPostgresEndsWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	dsn := os.Getenv("TALKBASE_TEST_POSTGRES")
	switch {
	case dsn != "":
	case os.Getenv("TALKBASE_REQUIRE_POSTGRES") == "1":
		t.Fatal("TALKBASE_TEST_POSTGRES: got nothing, want a DSN")
	default:
		t.Skip("TALKBASE_TEST_POSTGRES is not set: use scripts/postgres run -- go test ./internal/engine")
	}
	e, err := Open(t.Context(), Options{DSN: dsn, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	tx, err := e.BeginAnalysis(t.Context(), 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := e.Explain(t.Context(), tx.DB, "SELECT pg_sleep(60)", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a query that takes long: got error %v, want %v", err, context.DeadlineExceeded)
	}
}
