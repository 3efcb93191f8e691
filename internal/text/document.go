package text

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Document is an analysed text, within the limits of the package.
type Document struct {
	terms []string // distinct, in the order of their first appearance
	seq   []int32  // at each position a term, or -1 for a filler
	rest  []int32  // terms that appear only beyond the last position
	stems []string // distinct, with the marker
}

// Doc analyses s.
func Doc(s string) Document {
	s = clip(s)
	// A word and the space after it take some six bytes; half of the words are not new.
	b := builder{src: s, dict: make(map[string]int32, min(len(s)/16, 4096))}
	b.doc.seq = make([]int32, 0, min(len(s)/5+1, MaxPositions))
	sc := scanner{emit: b.add}
	sc.scan(s)
	return b.doc
}

// clip shortens s to MaxInput, if it can at white space, so that no half word is indexed.
func clip(s string) string {
	if len(s) <= MaxInput {
		return s
	}
	n := MaxInput
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	if i := strings.LastIndexAny(s[n-256:n], " \t\r\n"); i >= 0 {
		n += i - 256
	}
	return s[:n]
}

// builder makes a Document.
type builder struct {
	src   string
	dict  map[string]int32 // a term's place in doc.terms; -1 for stems
	count []int32          // its occurrences
	size  int              // of the tsvector, without positions
	doc   Document
}

// lexemeSize is what a lexeme takes in a tsvector beside its bytes: alignment and a count.
const lexemeSize = 4

func (b *builder) add(t token) {
	d := &b.doc
	id := int32(-1)
	if t.kind != kindLong {
		id = b.term(t)
	}
	switch {
	case len(d.seq) < MaxPositions:
		if id >= 0 {
			if b.count[id] == MaxOccurrences {
				id = -1
			} else {
				b.count[id]++
			}
		}
		d.seq = append(d.seq, id)
	case id >= 0 && b.count[id] == 0:
		b.count[id] = 1
		d.rest = append(d.rest, id)
	}
}

// term returns the place of a token among the terms, or -1 when there is no room for it. A word is
// in the document only together with its stem, so that a query for the stem is enough.
func (b *builder) term(t token) int32 {
	d := &b.doc
	if id, ok := b.dict[string(t.text)]; ok {
		return id
	}
	size := b.size + len(t.text) + lexemeSize
	stem := stemOf(t.text)
	if stem != "" {
		if _, ok := b.dict[stem]; ok {
			stem = ""
		} else {
			size += len(stem) + lexemeSize
		}
	}
	if size > maxVector {
		return -1
	}
	b.size = size
	if stem != "" {
		b.dict[stem] = -1
		d.stems = append(d.stems, stem)
	}
	var term string
	if src := b.src[t.start:t.end]; src == string(t.text) {
		term = src // most words are in the text as they are: no copy
	} else {
		term = string(t.text)
	}
	id := int32(len(d.terms))
	b.dict[term] = id
	d.terms = append(d.terms, term)
	b.count = append(b.count, 0)
	return id
}

// Tokens returns the tokens to index for s in their order, stems last. They contain no spaces.
func Tokens(s string) []string {
	d := Doc(s)
	out := make([]string, 0, len(d.seq)+2*len(d.rest)+len(d.stems)+1)
	d.each(func(tok string) { out = append(out, tok) })
	return out
}

// each calls f for the tokens of d in order. Words beyond the last position stand between fillers,
// where no phrase can take two of them together.
func (d Document) each(f func(string)) {
	for _, id := range d.seq {
		if id < 0 {
			f(filler)
		} else {
			f(d.terms[id])
		}
	}
	for _, id := range d.rest {
		f(filler)
		f(d.terms[id])
	}
	for _, st := range d.stems {
		f(st)
	}
}

// Empty reports whether the document has no tokens.
func (d Document) Empty() bool { return len(d.seq) == 0 }

// FTS5 returns the document for the column of an FTS5 table made with FTS5Tokenizer: its tokens,
// separated by single spaces.
func (d Document) FTS5() string {
	n := 0
	d.each(func(tok string) { n += len(tok) + 1 })
	var b strings.Builder
	b.Grow(n)
	d.each(func(tok string) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(tok)
	})
	return b.String()
}

// Lexemes calls f for the lexemes of the document as a Postgres tsvector, each once, with their
// positions, ascending from 1. It is never over Postgres' limits. Stems have no positions.
func (d Document) Lexemes(f func(word string, positions []int32)) {
	// Sort the positions by term: count, sum up, distribute.
	from := make([]int32, len(d.terms)+1)
	for _, id := range d.seq {
		if id >= 0 {
			from[id+1]++
		}
	}
	for _, id := range d.rest {
		from[id+1]++
	}
	for i := range d.terms {
		from[i+1] += from[i]
	}
	pos := make([]int32, from[len(d.terms)])
	next := append([]int32(nil), from...)
	for p, id := range d.seq {
		if id >= 0 {
			pos[next[id]] = int32(p + 1)
			next[id]++
		}
	}
	for _, id := range d.rest {
		pos[next[id]] = lastPosition
	}

	for id, t := range d.terms {
		f(t, pos[from[id]:from[id+1]])
	}
	for _, t := range d.stems {
		f(t, nil)
	}
}

// Size returns the number of lexemes and bounds that of their positions.
func (d Document) Size() (lexemes, positions int) {
	return len(d.terms) + len(d.stems), len(d.seq) + len(d.rest)
}

// TSVector returns the document as the text form of a Postgres tsvector, to be bound as
// $1::text::tsvector.
func (d Document) TSVector() string {
	n := 6 * (len(d.seq) + len(d.rest))
	for _, t := range d.terms {
		n += len(t) + 4
	}
	for _, t := range d.stems {
		n += len(t) + 3
	}
	buf := make([]byte, 0, n)
	d.Lexemes(func(word string, positions []int32) {
		buf = appendLexeme(buf, word)
		for i, p := range positions {
			if i == 0 {
				buf = append(buf, ':')
			} else {
				buf = append(buf, ',')
			}
			buf = strconv.AppendInt(buf, int64(p), 10)
		}
	})
	return string(buf)
}

// appendLexeme appends a quoted lexeme, after a space if it is not the first. No token has a quote
// or a backslash in it; they are doubled all the same, because this is what keeps a literal safe.
func appendLexeme(buf []byte, t string) []byte {
	if len(buf) > 0 {
		buf = append(buf, ' ')
	}
	buf = append(buf, '\'')
	for i := range len(t) {
		if t[i] == '\'' || t[i] == '\\' {
			buf = append(buf, t[i])
		}
		buf = append(buf, t[i])
	}
	return append(buf, '\'')
}
