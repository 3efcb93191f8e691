package engine

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNormalisedStatementsHoldNoValues(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in       string
		postgres bool
		want     statementShape
	}{
		"bound":                  {in: "SELECT a FROM messages WHERE b = ?", want: statementShape{"SELECT a FROM messages WHERE b = ?", 1, "SELECT", "messages"}},
		"numbered":               {in: "SELECT a FROM m WHERE b = $2 AND c = $1 AND d = $2", postgres: true, want: statementShape{"SELECT a FROM m WHERE b = ? AND c = ? AND d = ?", 2, "SELECT", "m"}},
		"SQLite's numbers":       {in: "SELECT ?2, a + ?1", want: statementShape{"SELECT ?, a + ?", 2, "SELECT", ""}},
		"SQLite's names":         {in: "SELECT a FROM m WHERE b = :b AND c = @c AND d = $d", want: statementShape{"SELECT a FROM m WHERE b = ? AND c = ? AND d = ?", 3, "SELECT", "m"}},
		"a string":               {in: "SELECT a FROM m WHERE b = 'secret' AND c = ?", want: statementShape{"SELECT a FROM m WHERE b = ? AND c = ?", 1, "SELECT", "m"}},
		"doubled quotes":         {in: "SELECT 'it''s secret' || 'ty'", want: statementShape{"SELECT ? || ?", 0, "SELECT", ""}},
		"a backslash at the end": {in: `SELECT 'c:\' , secret`, postgres: true, want: statementShape{"SELECT ? , secret", 0, "SELECT", ""}},
		"escapes":                {in: `SELECT E'it\'s secret' AS a`, postgres: true, want: statementShape{"SELECT ? AS a", 0, "SELECT", ""}},
		"other strings":          {in: `SELECT X'dead' AS a, U&'\0441' AS b, N'x' AS c`, postgres: true, want: statementShape{"SELECT ? AS a, ? AS b, ? AS c", 0, "SELECT", ""}},
		"dollars":                {in: "DO $body$ it's $$ secret $body$; SELECT $$x$$", postgres: true, want: statementShape{"DO ?; SELECT ?", 0, "DO", ""}},
		"an open string":         {in: "SELECT a, 'secret", want: statementShape{"SELECT a, ?", 0, "SELECT", ""}},
		"an open dollar string":  {in: "SELECT a, $x$ secret", postgres: true, want: statementShape{"SELECT a, ?", 0, "SELECT", ""}},
		"names in Postgres":      {in: `SELECT "a""b" FROM "messages" WHERE "c" = $1`, postgres: true, want: statementShape{`SELECT "a""b" FROM "messages" WHERE "c" = ?`, 1, "SELECT", "messages"}},
		"strings in SQLite":      {in: `SELECT a FROM m WHERE b = "secret"`, want: statementShape{"SELECT a FROM m WHERE b = ?", 0, "SELECT", "m"}},
		"names in SQLite":        {in: "SELECT `a` FROM `m`", want: statementShape{"SELECT `a` FROM `m`", 0, "SELECT", "m"}},
		"numbers":                {in: "SELECT a1, 1 + a, -2.5e-3 + a, .5 + a, 0xFF + a FROM m LIMIT 10", want: statementShape{"SELECT a1, ? + a, -? + a, ? + a, ? + a FROM m LIMIT ?", 0, "SELECT", "m"}},
		"casts":                  {in: "SELECT (v::vector(768) <=> $1::vector)", postgres: true, want: statementShape{"SELECT (v::vector(?) <=> ?::vector)", 1, "SELECT", ""}},
		"a base's own query": {
			in: "SELECT v.id FROM knowledge_vectors v WHERE v.base_id = 'the base''s secret' ORDER BY v.embedding LIMIT $2", postgres: true,
			want: statementShape{"SELECT v.id FROM knowledge_vectors v WHERE v.base_id = ? ORDER BY v.embedding LIMIT ?", 2, "SELECT", "knowledge_vectors"},
		},
		"comments":        {in: "/* secret */ SELECT -- secret\n a /* it's */ FROM m", want: statementShape{"SELECT a FROM m", 0, "SELECT", "m"}},
		"nested comments": {in: "/* a /* b */ secret */ SELECT a", postgres: true, want: statementShape{"SELECT a", 0, "SELECT", ""}},
		"a list":          {in: "DELETE FROM m WHERE id IN (?,?, ?,\n?)", want: statementShape{"DELETE FROM m WHERE id IN (?, …)", 4, "DELETE", "m"}},
		"a list of many":  {in: "SELECT a IN (?" + strings.Repeat(",?", 249) + ")", want: statementShape{"SELECT a IN (?, …)", 250, "SELECT", ""}},
		"rows":            {in: "INSERT INTO m (a, b) VALUES (?,?),(?,?), (?, ?),(?,?)", want: statementShape{"INSERT INTO m (a, b) VALUES (?, …), …", 8, "INSERT", "m"}},
		"rows of one":     {in: "INSERT INTO m VALUES (1),(2),(3)", want: statementShape{"INSERT INTO m VALUES (?), …", 0, "INSERT", "m"}},
		"calls":           {in: "SELECT max(?), max(a, ?), f(g(?), ?)", want: statementShape{"SELECT max(?), max(a, ?), f(g(?), ?)", 4, "SELECT", ""}},
		"a table's name":  {in: "CREATE TABLE IF NOT EXISTS m (a int)", want: statementShape{"CREATE TABLE IF NOT EXISTS m (a int)", 0, "CREATE", "m"}},
		"a copy":          {in: "COPY m (a, b) FROM STDIN", postgres: true, want: statementShape{"COPY m (a, b) FROM STDIN", 0, "COPY", "m"}},
		"space":           {in: "\n\tUPDATE  m\n\tSET a = ? ", want: statementShape{"UPDATE m SET a = ?", 1, "UPDATE", "m"}},
		"nothing":         {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := normalise(c.in, c.postgres); got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestNormalisedStatementsAreShort(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"a literal of a megabyte": "SELECT a FROM m WHERE b = '" + strings.Repeat("secret ", 150_000) + "' AND c = ?",
		"a long statement":        "SELECT " + strings.Repeat("name, ", 100_000) + "name",
	} {
		got := normalise(in, false).text
		if len(got) > maxShape+16 || strings.Contains(got, "secret") || !strings.HasSuffix(got, " …") {
			t.Errorf("%s: got %d bytes: %.60s, want a short shape that says that there is more", name, len(got), got)
		}
	}
}

func FuzzNormalise(f *testing.F) {
	f.Add("SELECT a FROM m WHERE b = ", "it's \\ $$ secret", true)
	f.Add("INSERT INTO m VALUES (?,?),(?,?), (", "-- \" /*", false)
	f.Add("SELECT $a$ E'\\' \"x", "a", true)
	f.Fuzz(func(t *testing.T, head, secret string, postgres bool) {
		_ = normalise(head+secret, postgres)
		if strings.ContainsAny(head, "'\"`$/-\\EeUu&") || !utf8.ValidString(secret) {
			return // head must not open anything
		}
		const mark = "5ecretMark"
		s := normalise(head+quoteLiteral(secret+mark+secret)+" AND c = ?", postgres)
		if strings.Contains(s.text, mark) {
			t.Errorf("got %q, want no literal in it", s.text)
		}
	})
}
