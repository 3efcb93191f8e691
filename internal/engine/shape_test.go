package engine

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestShapesHoldNoValues(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"SELECT 1": "SELECT ?",
		"SELECT a1, $2 FROM t2 WHERE b = 'x''y' AND c=7": "SELECT a1, $2 FROM t2 WHERE b = ? AND c=?",
		`SELECT "a 1" FROM t LIMIT 10`:                   `SELECT "a 1" FROM t LIMIT ?`,
		"SELECT 1.5e-3, -2, (3)":                         "SELECT ?, -?, (?)",
		"SELECT $$a 'b$$, $t$ c $$ $t$, $1":              "SELECT ?, ?, $1",
		"SELECT /* 'secret */ a -- secret\n FROM t":      "SELECT a FROM t",
		`SELECT E'it\'s', 'a\', b`:                       `SELECT E?, ?, b`,
		"SELECT 'not closed":                             "SELECT ?",
		"  SELECT\n\ta ":                                 "SELECT a",
		"SELECT v.embedding::vector(768) <-> $1::vector": "SELECT v.embedding::vector(?) <-> $1::vector",
		"": "",
	} {
		if got := shapeOf(query); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
}

func TestShapesOfAnyValue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.StringMatching(`[a-z $"'\-/*E\\]{0,12}`).Draw(t, "before")
		value := rapid.StringMatching(`[^']{0,20}secret[^']{0,20}`).Draw(t, "value")
		query := "SELECT a FROM t WHERE b = '" + strings.ReplaceAll(before, "'", "''") + value + "' AND c = $1"
		if got := shapeOf(query); strings.Contains(got, "secret") {
			t.Fatalf("%q: got %q, want no value in it", query, got)
		}
	})
}
