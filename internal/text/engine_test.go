package text_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite"

	"github.com/talkbase/talkbase/internal/text"
)

// vocabulary is what random documents and queries are made of: few enough pieces for queries to
// find something, and awkward enough for the engines to differ if they can.
var vocabulary = []string{
	"run", "running", "runs", "runner", "universe", "universal", "univers", "the", "a", "be", "being",
	"getUserName", "get_user_name", "user", "name", "userName", "HTTPServer2", "http", "server", "2", "sha256",
	"数", "据", "库", "数据", "据库", "数据库", "我的数据库", "库数据", "か\u3099", "が", "ガ", "ｶﾞ", "한국", "국어", "어",
	"é", "e\u0301", "École", "ecole", "ß", "ss", "привет", "Σίσυφος", "العربية", "ไทย", "ไท",
	"foo.bar", "foo-bar", "foo_bar", "foo", "bar", "fo", "f", "don't", "c++", "C#", ".NET",
	"👩‍👩‍👧‍👦", "🇨🇳", "…", "\\", "'", "''", "\\'", ":*", "&", "|", "!", "<->", "(", ")", "=run", "~", "NEAR", "^",
	"OR", "AND", "NOT", "or", "{a}", "a:b", "x\u200by", "x\u00ady", "z\u0336\u0335z", "\u0301", "नमस्ते", "ﬁ", "㎏", "½",
}

func piece(r *rand.Rand) string { return vocabulary[r.IntN(len(vocabulary))] }

func randomText(r *rand.Rand, n int) string {
	var b strings.Builder
	for range r.IntN(n) {
		b.WriteString(piece(r))
		b.WriteString([]string{" ", " ", " ", "", "\n", ", ", "_", "-"}[r.IntN(8)])
	}
	return b.String()
}

func randomQuery(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(4) {
		switch r.IntN(10) {
		case 0:
			b.WriteString("-" + piece(r))
		case 1, 2:
			b.WriteString(`"` + randomText(r, 4) + piece(r) + `"`)
		case 3:
			b.WriteString(piece(r) + "*")
		case 4:
			b.WriteString(piece(r) + " OR " + piece(r))
		case 5:
			b.WriteString(`-"` + piece(r) + " " + piece(r) + `"`)
		case 6:
			b.WriteString(`"` + piece(r) + " " + piece(r) + `"*`)
		default:
			b.WriteString(piece(r))
		}
		b.WriteString([]string{" ", " ", "", " OR "}[r.IntN(4)])
	}
	return b.String()
}

// randomCorpus returns short documents, and many queries.
func randomCorpus() (docs, queries []string) {
	r := rand.New(rand.NewPCG(1, 2))
	docs = slices.Clone(samples)
	for range 400 {
		docs = append(docs, randomText(r, 14))
	}
	queries = []string{
		`"foo" OR -bar`, `"`, `""`, `"""`, `foo"bar`, "foo\x00bar", "foo AND bar", "NOT foo", "foo NEAR bar", "terms:foo", "foo*bar", "*foo", "**",
		strings.Repeat("数据库", 300), strings.Repeat("foo OR ", 100) + "bar", strings.Repeat("bar ", 100) + "foo", strings.Repeat("-zzz ", 40) + "foo",
	}
	for _, s := range samples {
		queries = append(queries, s, `"`+s+`"`)
	}
	many := 2000
	if testing.Short() {
		many = 300
	}
	for range many {
		queries = append(queries, randomQuery(r))
	}
	return docs, queries
}

// limitCorpus returns documents at the limits of the analyser and of the engines, and queries for
// what is on either side of them.
func limitCorpus() (docs, queries []string) {
	var words []string
	for i := range text.MaxPositions - 3 {
		words = append(words, fmt.Sprintf("w%dw", i))
	}
	full := strings.Join(words, " ")
	docs = append(docs,
		full+" one two three running four getUserName five 数据库 six one two",
		strings.Repeat("same ", 256)+"same other same",
		strings.Repeat("runner ", 300)+"runner running",
		strings.Repeat("ab ", text.MaxPositions-1)+"foo bar foo bar baz",
		"foo "+strings.Repeat("x", text.MaxToken)+" bar "+strings.Repeat("y", text.MaxToken+1)+" foo bar",
		strings.Repeat("数据库", 20000),
	)
	var big strings.Builder // more distinct words than a tsvector can hold
	for i := range 20000 {
		fmt.Fprintf(&big, "%s%d ", strings.Repeat("q", 60), i*7919)
	}
	docs = append(docs, big.String()+"foo running")
	big.Reset()
	for i := range 300000 { // the same with short ones
		fmt.Fprintf(&big, "%dx ", i)
	}
	docs = append(docs, big.String()+"foo running")

	queries = []string{
		"one", `"one two"`, `"two three"`, "thre*", `"w1w w2w"`, `"one tw"*`, "getUserName", "user", "数据库", "据*",
		"same", `"same same"`, `"same other"`, `"other same"`, `"runner runner"`, `"runner run"*`, `"runner running"`,
		`"foo bar"`, `"bar foo"`, "baz", `"bar ba"*`, `"ab fo"*`, "12345x", "299999x", "qqqq*", "foo", "running", "foo -ab", "-same foo",
		strings.Repeat("x", text.MaxToken), strings.Repeat("y", text.MaxToken+1) + " bar", strings.Repeat("数据库", 300),
	}
	return docs, queries
}

// checkEngine compares what an engine finds with what Query.Match says. Load puts documents into a
// new index, by their place in the slice, and returns a search of it.
func checkEngine(t *testing.T, load func(t *testing.T, docs []text.Document) func(text.Query) ([]int, error)) {
	for name, corpus := range map[string]func() ([]string, []string){"random": randomCorpus, "limits": limitCorpus} {
		t.Run(name, func(t *testing.T) {
			docs, queries := corpus()
			parsed := make([]text.Document, len(docs))
			for i, s := range docs {
				parsed[i] = text.Doc(s)
			}
			find := load(t, parsed)
			found, asked := 0, 0
			for i, s := range queries {
				q, err := text.ParseQuery(s)
				if err != nil {
					continue
				}
				if i%4 == 3 {
					q = q.Any()
				}
				asked++
				var want []int
				for i, d := range parsed {
					if q.Match(d) {
						want = append(want, i)
					}
				}
				got, err := find(q)
				if err != nil {
					t.Errorf("%.200q: %v", s, err)
					continue
				}
				if !slices.Equal(got, want) {
					t.Errorf("%.200q\n fts5 %.300s\n tsquery %.300s\n finds %v, want %v", s, q.FTS5(), q.TSQuery(), got, want)
				}
				if len(want) > 0 {
					found++
				}
			}
			t.Logf("%d documents, %d queries, %d found something", len(docs), asked, found)
			if found < asked/2 {
				t.Error("most queries find nothing: the test shows little")
			}
		})
	}
}

func TestFTS5(t *testing.T) {
	checkEngine(t, func(t *testing.T, docs []text.Document) func(text.Query) ([]int, error) {
		db, err := sql.Open("sqlite", t.TempDir()+"/t.db?_pragma=synchronous(OFF)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		if _, err := db.Exec(`CREATE VIRTUAL TABLE t USING fts5(terms, content='', contentless_delete=1, ` + text.FTS5Tokenizer + `)`); err != nil {
			t.Fatal(err)
		}
		for i, d := range docs {
			if _, err := db.Exec(`INSERT INTO t(rowid, terms) VALUES (?, ?)`, i, d.FTS5()); err != nil {
				t.Fatal(err)
			}
		}
		return func(q text.Query) (ids []int, err error) {
			rows, err := db.Query(`SELECT rowid FROM t WHERE t MATCH ? ORDER BY rowid`, q.FTS5())
			if err != nil {
				return nil, err
			}
			defer func() { _ = rows.Close() }()
			for rows.Next() {
				var id int
				if err := rows.Scan(&id); err != nil {
					return nil, err
				}
				ids = append(ids, id)
			}
			return ids, rows.Err()
		}
	})
}

// FuzzFTS5 checks that FTS5 takes every query, and finds what Match finds.
func FuzzFTS5(f *testing.F) {
	for i, s := range samples {
		f.Add(s, vocabulary[i])
	}
	f.Add(`a"b OR terms:c NEAR(d e, 2) ^f`, "a b c d e f")
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		f.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	f.Cleanup(func() { _ = db.Close() })
	if _, err := db.Exec(`CREATE VIRTUAL TABLE t USING fts5(terms, content='', contentless_delete=1, ` + text.FTS5Tokenizer + `)`); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query, body string) {
		q, err := text.ParseQuery(query)
		if err != nil {
			return
		}
		d := text.Doc(body + " " + query)
		if _, err := db.Exec(`DELETE FROM t`); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(`INSERT INTO t(rowid, terms) VALUES (1, ?)`, d.FTS5()); err != nil {
			t.Fatal(err)
		}
		for _, q := range []text.Query{q, q.Any()} {
			var n int
			if err := db.QueryRow(`SELECT count(*) FROM t WHERE t MATCH ?`, q.FTS5()).Scan(&n); err != nil || n == 1 != q.Match(d) {
				t.Fatalf("%q as %s: found %d and %v, want %t", query, q.FTS5(), n, err, q.Match(d))
			}
		}
	})
}

// TestFTS5Tokenizer checks that every ASCII character that is not a space is part of a token.
func TestFTS5Tokenizer(t *testing.T) {
	db, err := sql.Open("sqlite", t.TempDir()+"/t.db")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var all strings.Builder
	for c := byte('!'); c < 0x7F; c++ {
		if c < 'A' || c > 'Z' {
			all.WriteByte(c)
		}
	}
	for _, q := range []string{
		`CREATE VIRTUAL TABLE t USING fts5(terms, ` + text.FTS5Tokenizer + `)`,
		`CREATE VIRTUAL TABLE v USING fts5vocab(t, 'row')`,
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec(`INSERT INTO t VALUES (?)`, all.String()); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := db.QueryRow(`SELECT group_concat(term, ' ') FROM v`).Scan(&got); err != nil || got != all.String() {
		t.Errorf("%v: one token became %q", err, got)
	}
}

// TestPostgres runs where TALKBASE_TEST_POSTGRES is the DSN of a server.
func TestPostgres(t *testing.T) {
	dsn := os.Getenv("TALKBASE_TEST_POSTGRES")
	if dsn == "" {
		t.Skip("TALKBASE_TEST_POSTGRES is not set")
	}
	ctx := context.Background()
	db, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(ctx) }()
	for _, plan := range []string{"seq", "bitmap"} {
		t.Run(plan, func(t *testing.T) {
			// A scan and the index evaluate phrases each in its own way.
			for _, p := range []string{"seq", "bitmap"} {
				if _, err := db.Exec(ctx, fmt.Sprintf(`SET enable_%sscan = %t`, p, p == plan)); err != nil {
					t.Fatal(err)
				}
			}
			checkEngine(t, func(t *testing.T, docs []text.Document) func(text.Query) ([]int, error) {
				if _, err := db.Exec(ctx, `DROP TABLE IF EXISTS pg_temp.t;
					CREATE TEMPORARY TABLE t (id int, terms tsvector);
					CREATE INDEX ON t USING gin (terms)`); err != nil {
					t.Fatal(err)
				}
				for i, d := range docs {
					if _, err := db.Exec(ctx, `INSERT INTO t VALUES ($1, $2::text::tsvector)`, i, d.TSVector()); err != nil {
						t.Fatalf("%d: %v", i, err)
					}
				}
				return func(q text.Query) ([]int, error) {
					rows, err := db.Query(ctx, `SELECT id FROM t WHERE terms @@ $1::text::tsquery ORDER BY id`, q.TSQuery())
					if err != nil {
						return nil, err
					}
					return pgx.CollectRows(rows, pgx.RowTo[int])
				}
			})
		})
	}
}
