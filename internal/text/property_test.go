package text_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
	"pgregory.net/rapid"

	"github.com/talkbase/talkbase/internal/text"
)

// anyText draws a text of awkward pieces and of any characters.
func anyText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOfN(rapid.OneOf(
			rapid.SampledFrom(vocabulary),
			rapid.SampledFrom(samples),
			rapid.StringN(0, 8, -1),
			rapid.SampledFrom([]string{" ", "  ", "\n", "-", "_", ".", "\u3000", "，", "\u200d", "\ufe0f"}),
		), 0, 20).Draw(t, "parts")
		return strings.Join(parts, rapid.SampledFrom([]string{"", " "}).Draw(t, "between"))
	})
}

func mustParse(t rapid.TB, s string) text.Query {
	q, err := text.ParseQuery(s)
	if err != nil {
		t.Fatalf("ParseQuery(%q): %v", s, err)
	}
	return q
}

func raw(s string) []string {
	return slices.DeleteFunc(text.Tokens(s), func(t string) bool { return t[0] == '=' || t == "~" })
}

func TestEveryTokenFindsItsDocument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyText().Draw(t, "text")
		d := text.Doc(s)
		for _, tok := range raw(s) {
			for _, form := range []string{tok, tok + "*", `"` + tok + `"`, strings.ToUpper(tok)} {
				if form == "OR" || form == "AND" {
					continue
				}
				if q := mustParse(t, form); !q.Match(d) {
					t.Fatalf("%q gives %q, but %s does not find it", s, tok, q.FTS5())
				}
			}
		}
	})
}

func TestEveryPhraseFindsItsDocument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyText().Draw(t, "text")
		words := strings.Fields(strings.NewReplacer(`"`, " ", "“", " ", "”", " ", "„", " ", "‟", " ", "＂", " ").Replace(s))
		if len(words) == 0 {
			return
		}
		from := rapid.IntRange(0, len(words)-1).Draw(t, "from")
		to := rapid.IntRange(from+1, len(words)).Draw(t, "to")
		phrase := strings.Join(words[from:to], " ")
		q, err := text.ParseQuery(`"` + phrase + `"`)
		if errors.Is(err, text.ErrEmptyQuery) && len(raw(phrase)) == 0 {
			return
		}
		if err != nil || !q.Match(text.Doc(s)) {
			t.Fatalf("%q is in %q, but %s does not find it: %v", phrase, s, q.FTS5(), err)
		}
	})
}

func TestEverySubstringOfIdeographsFindsItsDocument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOfN(rapid.RuneFrom([]rune("我的数据库支持向量搜索がぎコー한국어ไทย")), 1, 30, -1).Draw(t, "text")
		runes := []rune(s)
		from := rapid.IntRange(0, len(runes)-1).Draw(t, "from")
		to := rapid.IntRange(from+1, len(runes)).Draw(t, "to")
		if q := mustParse(t, string(runes[from:to])); !q.Match(text.Doc("x " + s + "y")) {
			t.Fatalf("%s does not find %q", q.FTS5(), s)
		}
	})
}

func TestTokensOfPartsAreThoseOfTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyText().Draw(t, "a"), anyText().Draw(t, "b")
		if got, want := raw(a+" "+b), append(raw(a), raw(b)...); !slices.Equal(got, want) {
			t.Fatalf("%q + %q = %q", raw(a), raw(b), got)
		}
	})
}

func checkQuery(t rapid.TB, s string) {
	q, err := text.ParseQuery(s)
	if err != nil {
		if !errors.Is(err, text.ErrEmptyQuery) || !q.IsZero() || q.Match(text.Doc(s)) {
			t.Fatalf("%q: %v", s, err)
		}
		return
	}
	if q.IsZero() || q.FTS5() == "" || q.TSQuery() == "" {
		t.Fatalf("%q is empty", s)
	}
	for _, quote := range []string{q.FTS5(), strings.ReplaceAll(q.TSQuery(), "'", `"`)} {
		// Outside the quotes there is only syntax, and nothing inside can end them.
		if strings.Count(quote, `"`)%2 != 0 {
			t.Fatalf("%q: %s", s, quote)
		}
		for i, part := range strings.Split(quote, `"`) {
			if i%2 == 0 && strings.Trim(part, " ()|&!<->:*ANDORT") != "" || i%2 == 1 && strings.ContainsAny(part, "()|&!<->:*\\'~\x00") {
				t.Fatalf("%q: %s", s, quote)
			}
		}
	}
	q.Match(text.Doc(s))
}

func TestParseQueryIsAlwaysWellFormed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyText().Draw(t, "text")
		checkQuery(t, s)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		checkQuery(t, randomQuery(r)+s)
	})
}

// checkSnippet checks what every snippet of s promises.
func checkSnippet(t rapid.TB, s string, q text.Query, width int) {
	sn := q.Snippet(s, text.SnippetOptions{Runes: width})
	longest := 0
	bounds := map[int]bool{0: true}
	for g, at := graphemes.FromString(s), 0; g.Next(); {
		at += len(g.Value())
		bounds[at] = true
		longest = max(longest, utf8.RuneCountInString(g.Value()))
	}
	// The text may begin or end with an ellipsis of its own.
	contained, whole := false, false
	body := sn.Text
	for _, b := range []string{
		sn.Text, strings.TrimPrefix(sn.Text, "…"), strings.TrimSuffix(sn.Text, "…"),
		strings.TrimSuffix(strings.TrimPrefix(sn.Text, "…"), "…"),
	} {
		for at := 0; at+len(b) <= len(s); at++ {
			if s[at:at+len(b)] == b {
				contained = true
				whole = whole || bounds[at] && bounds[at+len(b)]
				body = b
			}
		}
	}
	if !contained {
		t.Fatalf("%q is not in %q", sn.Text, s)
	}
	if !utf8.ValidString(s) {
		return
	}
	if !utf8.ValidString(sn.Text) {
		t.Fatalf("snippet %q is not valid UTF-8", sn.Text)
	}
	if !whole {
		t.Fatalf("snippet %q of %q splits a character", sn.Text, s)
	}
	if width == 0 {
		width = 160
	}
	if n := utf8.RuneCountInString(body); n > width+2*longest {
		t.Fatalf("snippet %q has %d characters, not %d", sn.Text, n, width)
	}
	at := 0
	inner := map[int]bool{0: true}
	for _, pre := range []string{"", "…"} { // a cluster may begin after the ellipsis
		for g, at := graphemes.FromString(strings.TrimPrefix(sn.Text, pre)), len(pre); g.Next(); {
			inner[at] = true
			at += len(g.Value())
			inner[at] = true
		}
	}
	for i, h := range sn.Highlights {
		if h[0] < at || h[1] <= h[0] || h[1] > len(sn.Text) || i > 0 && h[0] == at {
			t.Fatalf("highlights %v of %q", sn.Highlights, sn.Text)
		}
		if !inner[h[0]] || !inner[h[1]] {
			t.Fatalf("highlight %v of %q splits a character", h, sn.Text)
		}
		at = h[1]
	}
	if q.Match(text.Doc(s)) && len(sn.Highlights) == 0 {
		t.Fatalf("%s finds %q, but highlights nothing in %q", q.FTS5(), s, sn.Text)
	}
}

func TestSnippetsAreWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyText().Draw(t, "text")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		q, err := text.ParseQuery(randomQuery(r))
		if err != nil {
			q = text.Query{}
		}
		checkSnippet(t, s, q, rapid.SampledFrom([]int{0, 1, 2, 10, 40}).Draw(t, "width"))
		if toks := raw(s); len(toks) > 0 {
			q := mustParse(t, rapid.SampledFrom(toks).Draw(t, "token"))
			checkSnippet(t, s, q, rapid.SampledFrom([]int{1, 5, 30}).Draw(t, "narrow"))
		}
	})
}

func addSeeds(f *testing.F) {
	for _, s := range append(slices.Clone(samples), vocabulary...) {
		f.Add(s)
	}
}

func FuzzParseQuery(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, s string) { checkQuery(t, s) })
}

func FuzzTokens(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, s string) {
		d := text.Doc(s)
		for _, tok := range text.Tokens(s) {
			if tok == "" || strings.ContainsAny(tok, " \t\n\r\x00'\"\\") || !utf8.ValidString(tok) || len(tok) > text.MaxToken {
				t.Fatalf("token %q of %q", tok, s)
			}
			if tok[0] == '=' || tok == "~" {
				continue
			}
			if q, err := text.ParseQuery(tok); err != nil || !q.Match(d) {
				t.Fatalf("token %q does not find %q: %v", tok, s, err)
			}
		}
	})
}

func FuzzSnippet(f *testing.F) {
	for i, s := range samples {
		f.Add(s, vocabulary[i], 20)
	}
	f.Fuzz(func(t *testing.T, s, query string, width int) {
		q, err := text.ParseQuery(query)
		if err != nil {
			q = text.Query{}
		}
		checkSnippet(t, s, q, max(width, 0)%1000)
	})
}
