package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/talkbase/talkbase/cmd/talkbase/internal/sample"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/migration/duckdb"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"talkbase": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, params("testdata/script", nil))
}

func TestPostgresScripts(t *testing.T) {
	t.Parallel()
	dsn := os.Getenv("TALKBASE_TEST_POSTGRES")
	if dsn == "" {
		if os.Getenv("TALKBASE_REQUIRE_POSTGRES") == "1" {
			t.Fatal("TALKBASE_TEST_POSTGRES is not set, and TALKBASE_REQUIRE_POSTGRES asks for it: use scripts/postgres run -- go test ./cmd/talkbase")
		}
		t.Skip("TALKBASE_TEST_POSTGRES is not set: use scripts/postgres run -- go test ./cmd/talkbase")
	}
	testscript.Run(t, params("testdata/postgres", func(env *testscript.Env) error {
		// Each script has a schema of its own in the database.
		schema := "cli_" + strings.ReplaceAll(uuid.NewString(), "-", "")
		env.Setenv("PG", dsn)
		env.Setenv("SCHEMA", schema)
		env.Defer(func() {
			conn, err := pgx.Connect(context.Background(), dsn)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close(context.Background()) }()
			if _, err := conn.Exec(context.Background(), "DROP SCHEMA IF EXISTS "+pgx.Identifier{schema}.Sanitize()+" CASCADE"); err != nil {
				t.Error(err)
			}
		})
		return nil
	}))
}

// params runs the scripts of a folder; in a short run, such as the one under the race detector, those
// whose commands do something at once with another thing.
func params(dir string, setup func(*testscript.Env) error) testscript.Params {
	pattern := "*.txtar"
	if testing.Short() {
		pattern = "[ip]*.txtar" // import, postgres
	}
	files, _ := filepath.Glob(filepath.Join(dir, pattern))
	return testscript.Params{
		Files: files, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("TALKBASE_DB", "")
			env.Setenv("LATEST", fmt.Sprint((*migration.Schema)(nil).LatestSchemaVersion()))
			home := filepath.Join(env.WorkDir, ".home")
			env.Setenv("HOME", home)
			env.Setenv("XDG_CONFIG_HOME", home)
			if err := os.Mkdir(home, 0o700); err != nil {
				return err
			}
			if setup != nil {
				return setup(env)
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "duckdb" {
				return noKnowledgeReader(context.Background()) == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"code": code, "json": jsonIs, "chat": writeChat, "knowledge": writeKnowledge, "sample": unpackSample, "bytes": writeBytes, "damage": damagePage, "embedder": embedServer, "sql": runSQL,
		},
	}
}

// code runs a command that must end with an exit code: code 2 talkbase nope.
func code(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: got %v, want an exit code", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%v: got exit code %d, want %d", args[1:], got, want)
	}
}

// jsonIs checks that standard output is one JSON document whose value at a path is the given one:
// json sources.0.kind '"sqlite"'. A path of a dot is the whole, len at its end a length, and a missing
// value compares as nothing.
func jsonIs(ts *testscript.TestScript, neg bool, args []string) {
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		ts.Fatalf("standard output: got %v, want a JSON document", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		ts.Fatalf("standard output: got more than one JSON document, want one")
	}
	if len(args) == 0 {
		return
	}
	got, want := at(v, args[0]), args[1]
	var w any
	if json.Unmarshal([]byte(want), &w) == nil {
		want = at(w, ".") // in the same spelling
	}
	if (got == want) == neg {
		ts.Fatalf("%s: got %s, want %s (negated: %t)", args[0], got, want, neg)
	}
}

func at(v any, path string) string {
	for key := range strings.SplitSeq(strings.Trim(path, "."), ".") {
		if key == "" {
			continue
		}
		switch t := v.(type) {
		case map[string]any:
			if key == "len" {
				return strconv.Itoa(len(t))
			}
			next, ok := t[key]
			if !ok {
				return ""
			}
			v = next
		case []any:
			if key == "len" {
				return strconv.Itoa(len(t))
			}
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(t) {
				return ""
			}
			v = t[i]
		default:
			return ""
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}

// writeChat makes a chat.db of made-up conversations, or of the rows in a JSON file:
// chat FILE CONVERSATIONS MESSAGES, or chat FILE ROWS.json.
func writeChat(ts *testscript.TestScript, _ bool, args []string) {
	l := fixtures.LegacyChat{Version: 7}
	if len(args) == 3 {
		var err error
		l.Conversations, err = strconv.Atoi(args[1])
		ts.Check(err)
		l.MessagesPer, err = strconv.Atoi(args[2])
		ts.Check(err)
	} else {
		dec := json.NewDecoder(strings.NewReader(ts.ReadFile(args[1])))
		dec.UseNumber()
		ts.Check(dec.Decode(&l.Rows))
		for _, row := range l.Rows {
			for name, v := range row.Values {
				if n, ok := v.(json.Number); ok {
					i, err := n.Int64()
					ts.Check(err)
					row.Values[name] = i
				}
			}
		}
	}
	_, err := l.Write(context.Background(), ts.MkAbs(args[0]))
	ts.Check(err)
}

// writeKnowledge makes a knowledge file with an irregularity or two, or of so many chunks a file:
// knowledge FILE QUIRK…, or knowledge FILE CHUNKS.
func writeKnowledge(ts *testscript.TestScript, _ bool, args []string) {
	k := duckdb.LegacyKnowledge{Files: 2, ChunksPerFile: 3, Dimensions: 8}
	for _, q := range args[1:] {
		if n, err := strconv.Atoi(q); err == nil {
			k.ChunksPerFile = n
			continue
		}
		k.Quirks = append(k.Quirks, duckdb.Quirk(q))
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o700))
	_, err := k.Write(context.Background(), path)
	ts.Check(err)
}

// runSQL runs a statement on an SQLite file past talkbase, as another program might: sql FILE STATEMENT.
func runSQL(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.Exec(args[1])
	ts.Check(err)
	ts.Check(db.Close())
}

// unpackSample writes the user-data folder of the demo: sample FOLDER.
func unpackSample(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o700))
	ts.Check(sample.Unpack(ts.MkAbs(args[0])))
}

// writeBytes writes a file from a Go string: bytes FILE '"\x00"'.
func writeBytes(ts *testscript.TestScript, _ bool, args []string) {
	s, err := strconv.Unquote(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(s), 0o600))
}

// damagePage fills a page of an SQLite file with zeros: damage FILE PAGE.
func damagePage(ts *testscript.TestScript, _ bool, args []string) {
	const size = 4096
	page, err := strconv.Atoi(args[1])
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteAt(make([]byte, size), int64(page-1)*size)
	ts.Check(errors.Join(err, f.Close()))
}

// embedServer starts a server that speaks OpenAI's embeddings protocol and wants a key: embedder KEY. It
// embeds as the sample is embedded, and $EMBED is its address.
func embedServer(ts *testscript.TestScript, _ bool, args []string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if auth := r.Header.Get("Authorization"); auth != "Bearer "+args[0] {
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"message": "incorrect key " + auth}})
			return
		}
		var req struct{ Input []string }
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || len(req.Input) != 1 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"object": "list", "data": []any{
			map[string]any{"object": "embedding", "index": 0, "embedding": sample.Embed(req.Input[0])},
		}})
	}))
	ts.Defer(s.Close)
	ts.Setenv("EMBED", s.URL+"/v1")
}
