package text

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
)

// SnippetOptions says how a snippet is cut. The zero value is the default.
type SnippetOptions struct {
	// Runes is about how long the snippet is, in characters (code points), without the ellipses.
	// 0 means 160.
	Runes int
}

// Snippet is an excerpt of a text around what a query found in it.
type Snippet struct {
	// Text is a piece of the text as it is, with "…" at an end that was cut.
	Text string
	// Highlights are the byte offsets into Text, start and end, of what was found: ascending, not
	// overlapping, never empty, and between grapheme clusters.
	Highlights [][2]int
}

const (
	defaultRunes = 160
	ellipsis     = "…"
	// snippetSearch is how many bytes after the first match are searched for better ones.
	snippetSearch = 64 << 10
	// maxSpans bounds the matches that are compared.
	maxSpans = 512
	// maxCluster is the longest grapheme cluster, in bytes, that is kept together.
	maxCluster = 512
)

// Snippet returns the part of s, the text that was indexed, that shows best what q finds in it: most
// different terms, then most matches, then first. Without a match it is the beginning of s. Only
// MaxInput bytes of s are searched.
func (q Query) Snippet(s string, o SnippetOptions) Snippet {
	width := o.Runes
	if width <= 0 {
		width = defaultRunes
	}
	found := q.find(clip(s))
	first, last := best(s, found, width)
	var from, to int
	if first < len(found) {
		from = found[first].start
		for _, f := range found[first : last+1] {
			to = max(to, f.end)
		}
	}
	start, end := window(s, from, to, width)

	out := Snippet{}
	pre := ""
	if start > 0 {
		pre = ellipsis
	}
	out.Text = pre + s[start:end]
	if end < len(s) {
		out.Text += ellipsis
	}
	var spans [][2]int
	for _, f := range found {
		if a, b := max(f.start, start), min(f.end, end); a < b {
			spans = append(spans, [2]int{a - start, b - start})
		}
	}
	out.Highlights = snap(s[start:end], spans)
	for i := range out.Highlights {
		out.Highlights[i][0] += len(pre)
		out.Highlights[i][1] += len(pre)
	}
	return out
}

// span is a match: bytes of the text, and which condition of the query it is.
type span struct{ start, end, cond int }

// finder looks for the conditions of a query in a stream of tokens.
type finder struct {
	conds []node            // phrases, all of the query's that can match
	exact map[string][]int  // by their last token
	begin []int             // those that end with a beginning
	first [256]bool         // first bytes of tokens with a stem asked for
	vocab map[string]string // the tokens of phrases, to keep them without a copy

	ring  []seen // the last tokens
	n     int    // how many there were
	found []span
}

type seen struct {
	text       string
	start, end int
}

// find returns the matches of q in s, by their start.
func (q Query) find(s string) []span {
	f := finder{exact: make(map[string][]int), vocab: make(map[string]string)}
	for _, g := range q.groups {
		for _, n := range g {
			f.add(n)
		}
	}
	size := 1
	for _, c := range f.conds {
		size = max(size, len(c.toks))
	}
	f.ring = make([]seen, size)
	var sc scanner
	sc.emit = func(t token) {
		f.token(t)
		sc.stop = len(f.found) >= maxSpans ||
			len(f.found) > 0 && t.start > f.found[0].start+snippetSearch
	}
	sc.scan(s)
	slices.SortFunc(f.found, func(a, b span) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	return f.found
}

func (f *finder) add(n node) {
	switch {
	case n.or != nil, n.and != nil:
		for _, n := range append(slices.Clone(n.or), n.and...) {
			f.add(n)
		}
	default:
		i := len(f.conds)
		f.conds = append(f.conds, n)
		last := n.toks[len(n.toks)-1]
		if len(n.toks) > 1 {
			for _, t := range n.toks {
				f.vocab[t] = t
			}
		}
		if n.prefix {
			f.begin = append(f.begin, i)
			return
		}
		f.exact[last] = append(f.exact[last], i)
		if last[0] == stemMark {
			// A stem begins with the letter of its words, so only those need be stemmed.
			f.first[last[1]] = true
		}
	}
}

func (f *finder) token(t token) {
	slot := &f.ring[f.n%len(f.ring)]
	f.n++
	*slot = seen{text: f.vocab[string(t.text)], start: t.start, end: t.end}
	for _, i := range f.exact[string(t.text)] {
		f.try(i, t.end)
	}
	if f.first[t.text[0]] {
		if stem := stemOf(t.text); stem != "" {
			for _, i := range f.exact[stem] {
				f.try(i, t.end)
			}
		}
	}
	for _, i := range f.begin {
		toks := f.conds[i].toks
		last := toks[len(toks)-1]
		if len(t.text) < len(last) || string(t.text[:len(last)]) != last {
			continue
		}
		end := t.end
		if _, w := utf8.DecodeRuneInString(last); t.kind == kindGram && w == len(last) {
			end = t.mid // one character was asked for, and the token has two
		}
		f.try(i, end)
	}
}

// try records condition i, whose last token was just read, if those before it are there too.
func (f *finder) try(i, end int) {
	toks := f.conds[i].toks
	k := len(toks)
	if k > f.n {
		return
	}
	start := f.ring[(f.n-1)%len(f.ring)].start
	for j := 2; j <= k; j++ {
		s := &f.ring[(f.n-j)%len(f.ring)]
		if s.text != toks[k-j] {
			return
		}
		start = min(start, s.start)
	}
	f.found = append(f.found, span{start, end, i})
}

// best returns the first and last of the spans to show in a window of the given width. First is
// len(spans) when there are none.
func best(s string, spans []span, width int) (first, last int) {
	score := -1
	first = len(spans)
	at := make([]int, len(spans)) // where spans begin, in runes from the first
	for i := 1; i < len(spans); i++ {
		at[i] = at[i-1] + utf8.RuneCountInString(s[spans[i-1].start:spans[i].start])
	}
	conds := map[int]bool{}
	for i := range spans {
		clear(conds)
		j := i
		for ; j < len(spans); j++ {
			length := at[j] - at[i] + utf8.RuneCountInString(s[spans[j].start:spans[j].end])
			if j > i && length > width {
				break
			}
			conds[spans[j].cond] = true
		}
		if n := len(conds)*maxSpans + j - i; n > score {
			score, first, last = n, i, j-1
		}
	}
	return first, last
}

// window returns the part of s to show around s[from:to]: width runes, cut between words where
// possible and always between grapheme clusters.
func window(s string, from, to, width int) (start, end int) {
	spare := width - utf8.RuneCountInString(s[from:to])
	// A third before and the rest after; what one side does not use, the other gets.
	start, before := back(s, from, spare/3)
	end, after := forward(s, to, spare-before)
	if more := spare - before - after; more > 0 {
		start, _ = back(s, from, before+more)
	}
	start = toCluster(s, start)
	if end = max(end, start+1); end < len(s) {
		if e := toCluster(s, end); e < end {
			end = e + cluster(s[e:])
		}
	}
	end = min(end, len(s))
	return toWord(s, start, from, true), toWord(s, end, to, false)
}

// back goes up to n runes back from i.
func back(s string, i, n int) (at, gone int) {
	for i > 0 && gone < n {
		_, w := utf8.DecodeLastRuneInString(s[:i])
		i -= w
		gone++
	}
	return i, gone
}

// forward goes n runes on from i; fewer than none is backwards.
func forward(s string, i, n int) (at, gone int) {
	if n < 0 {
		at, gone = back(s, i, -n)
		return at, -gone
	}
	for i < len(s) && gone < n {
		_, w := utf8.DecodeRuneInString(s[i:])
		i += w
		gone++
	}
	return i, gone
}

// cluster returns the length of the grapheme cluster s begins with, or of its first rune when it is
// too long to be kept together.
func cluster(s string) int {
	g := graphemes.FromString(s[:min(len(s), maxCluster+utf8.UTFMax)])
	if !g.Next() {
		return 0
	}
	if n := len(g.Value()); n <= maxCluster {
		return n
	}
	_, w := utf8.DecodeRuneInString(s)
	return w
}

// toCluster returns the last place at or before i where a grapheme cluster of s ends.
func toCluster(s string, i int) int {
	if i <= 0 || i >= len(s) {
		return i
	}
	// Clusters are counted from a place that surely is between two.
	a := i
	for a > 0 && i-a < 8*maxCluster && !surely(s, a) {
		a--
	}
	for a > 0 && !utf8.RuneStart(s[a]) {
		a--
	}
	for a < i {
		n := cluster(s[a:])
		if a+n > i {
			break
		}
		a += n
	}
	return a
}

// surely reports whether a is plainly between two clusters: before an ASCII letter or ideograph
// that follows another or a space.
func surely(s string, a int) bool {
	next, _ := utf8.DecodeRuneInString(s[a:])
	if !(next > ' ' && next < 0x7F || next >= 0x4E00 && next <= 0x9FFF) {
		return false
	}
	prev, _ := utf8.DecodeLastRuneInString(s[:a])
	return prev < 0x7F || prev >= 0x4E00 && prev <= 0x9FFF
}

// toWord moves a cut at i away from the middle of a word, over at most 20 runes and never beyond
// what must be shown. Scripts without spaces stay as they are cut.
func toWord(s string, i, keep int, start bool) int {
	if i <= 0 || i >= len(s) {
		return i
	}
	prev, _ := utf8.DecodeLastRuneInString(s[:i])
	next, _ := utf8.DecodeRuneInString(s[i:])
	if !start && unicode.IsSpace(next) || start && unicode.IsSpace(prev) || isGram(prev) && isGram(next) {
		return i
	}
	for at, n := i, 0; n < 20; n++ {
		var r rune
		var w int
		if start {
			r, w = utf8.DecodeRuneInString(s[at:])
			at += w
		} else {
			r, w = utf8.DecodeLastRuneInString(s[:at])
			at -= w
		}
		if start && at > keep || !start && at < keep {
			break
		}
		if unicode.IsSpace(r) && toCluster(s, at) == at {
			return at
		}
	}
	return i
}

// snap widens the spans to grapheme clusters of s and joins those that meet.
func snap(s string, spans [][2]int) [][2]int {
	var out [][2]int
	at, k := 0, 0
	for at < len(s) && k < len(spans) {
		end := at + cluster(s[at:])
		for k < len(spans) && spans[k][1] <= at {
			k++
		}
		if k < len(spans) && spans[k][0] < end {
			if n := len(out); n > 0 && out[n-1][1] == at {
				out[n-1][1] = end
			} else {
				out = append(out, [2]int{at, end})
			}
		}
		at = end
	}
	return out
}
