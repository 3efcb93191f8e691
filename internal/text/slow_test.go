package text_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talkbase/talkbase/internal/text"
)

// TestHostileInput checks that no text takes more than time proportional to its length.
func TestHostileInput(t *testing.T) {
	const n = 1 << 18
	rep := func(s string) string { return strings.Repeat(s, n/len(s)) }
	q, err := text.ParseQuery(`"` + strings.Repeat("a ", 60) + `" a OR b* OR c* OR "x y" 数 数据库 running ` + strings.Repeat("zz* OR ", 50) + "zz")
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{
		"marks":         "a" + rep("\u0301"),
		"marks only":    rep("\u0327\u0301"),
		"underscores":   rep("_") + "é",
		"long word":     rep("a") + "é",
		"long words":    rep(strings.Repeat("é", 3000) + " "),
		"identifiers":   rep("aB_cD2eF"),
		"letters":       rep("a "),
		"stems":         rep("running "),
		"joiners":       rep("\u200d"),
		"invalid":       rep("\xff"),
		"ideographs":    rep("数据库"),
		"jamo":          rep("\u1100\u1161\u11a8"),
		"flags":         rep("🇨🇳"),
		"families":      rep("👩‍👩‍👧‍👦"),
		"expansions":    rep("\ufdfa"),
		"nested":        strings.Repeat(`{"text":"a","content":[`, 30) + `"` + rep("x y") + `"` + strings.Repeat("]}", 30),
		"blocks":        `{"text":"` + rep("a b ") + `","content":[` + strings.Repeat(`{"type":"text","content":"z"},`, 50000) + `{"type":"text","content":"z"}]}`,
		"data URLs":     rep("data:;base64,"),
		"tool call":     `[{"type":"tool_call","tool_call":{"params":"` + rep(`\"a\"`) + `","response":"` + rep(`[[[[`) + `"}}]`,
		"open brackets": rep("["),
		"escapes":       `{"text":"` + rep(`\u00e9`) + `"}`,
	} {
		start := time.Now()
		w := text.Words(s)
		words := time.Since(start)
		d := text.Doc(w)
		doc := time.Since(start) - words
		if len(d.FTS5()) > 4<<20 || len(d.TSVector()) > 4<<20 {
			t.Errorf("%s: the output is large: %d, %d", name, len(d.FTS5()), len(d.TSVector()))
		}
		out := time.Since(start) - words - doc
		q.Snippet(w, text.SnippetOptions{})
		snippet := time.Since(start) - words - doc - out
		t.Logf("%-14s words %v, doc %v, out %v, snippet %v", name, words, doc, out, snippet)
		// Far above what it takes, and far below what anything quadratic would.
		if all := time.Since(start); all > 10*time.Second {
			t.Errorf("%s took %v", name, all)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	want := make([]string, len(samples))
	for i, s := range samples {
		want[i] = text.Doc(s).FTS5()
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				for i, s := range samples {
					if got := text.Doc(s).FTS5(); got != want[i] {
						t.Errorf("got %q, want %q", got, want[i])
					}
				}
			}
		})
	}
	wg.Wait()
}
