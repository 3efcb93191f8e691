package text

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrEmptyQuery says that a query has nothing to search for: it is blank, has only punctuation or
// emoji, or only says what must not be found.
var ErrEmptyQuery = errors.New("nothing to search for")

const (
	// MaxQuery is how many bytes of a query are read; what follows is ignored.
	MaxQuery = 4096
	// MaxTerms is how many terms of a query count; the rest are ignored, which can only find more.
	MaxTerms = 64
	// maxPhrase is how many tokens of a phrase count.
	maxPhrase = 128
)

// ParseQuery reads what a user typed into a search box:
//
//	word         the word or another English form of it (run finds running)
//	word*        words that begin so
//	"two words"  exactly these words in this order; "two wor"* leaves the last one open
//	a b          both, as is a AND b
//	a OR b       either; OR binds more tightly than the space, as in web searches
//	-word        not this; -"two words" and -word* as well
//
// Words hold together what is written together: foo.bar is the phrase foo bar, an identifier is
// itself or the phrase of its parts, and characters of a script without spaces are found where
// they follow each other. Anything else is ignored: there is no syntax error. The error is
// ErrEmptyQuery, wrapped in the reason, when nothing is left to search for.
func ParseQuery(s string) (Query, error) {
	if len(s) > MaxQuery {
		n := MaxQuery
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	var q Query
	or := false // an OR after a term came last
	for terms := 0; terms < MaxTerms; {
		t, rest := nextTerm(s)
		if t.text == "" && rest == "" {
			break
		}
		s = rest
		if t.operator() && terms > 0 && strings.TrimSpace(rest) != "" {
			or = t.text == "OR"
			continue
		}
		ns := t.nodes()
		if len(ns) == 0 {
			continue
		}
		terms++
		switch {
		case t.exclude:
			// An exclusion is never an alternative: nearly every document would be found.
			q.excluded = append(q.excluded, all(ns))
		case or && len(q.groups) > 0:
			g := &q.groups[len(q.groups)-1]
			*g = append(*g, all(ns))
		default:
			q.groups = append(q.groups, []node{all(ns)})
		}
		or = false
	}
	if len(q.groups) == 0 {
		if len(q.excluded) > 0 {
			return Query{}, fmt.Errorf("%w: the query only excludes", ErrEmptyQuery)
		}
		return Query{}, fmt.Errorf("%w: the query has no words", ErrEmptyQuery)
	}
	return q, nil
}

// all joins conditions into one.
func all(ns []node) node {
	if len(ns) == 1 {
		return ns[0]
	}
	return node{and: ns}
}

// term is one term of a query as it was written.
type term struct {
	text                    string
	quoted, exclude, prefix bool
}

// operator reports whether the term is OR or AND, if it stands between others.
func (t term) operator() bool {
	return (t.text == "OR" || t.text == "AND") && !t.quoted && !t.exclude && !t.prefix
}

func isQuote(r rune) bool {
	switch r {
	case '"', '“', '”', '„', '‟', '＂':
		return true
	}
	return false
}

// nextTerm cuts the first term off s. A text of "" with more to come is nothing.
func nextTerm(s string) (t term, rest string) {
	s = strings.TrimLeftFunc(s, unicode.IsSpace)
	if len(s) > 1 && s[0] == '-' {
		if r, _ := utf8.DecodeRuneInString(s[1:]); r != '-' && !unicode.IsSpace(r) {
			t.exclude = true
			s = s[1:]
		}
	}
	if r, w := utf8.DecodeRuneInString(s); isQuote(r) {
		t.quoted = true
		s = s[w:]
		end := strings.IndexFunc(s, isQuote)
		if end < 0 {
			t.text = s
			return t, ""
		}
		t.text = s[:end]
		_, w = utf8.DecodeRuneInString(s[end:])
		s = s[end+w:]
		if strings.HasPrefix(s, "*") {
			t.prefix = true
			s = s[1:]
		}
		return t, s
	}
	end := strings.IndexFunc(s, func(r rune) bool { return isQuote(r) || unicode.IsSpace(r) })
	if end < 0 {
		end = len(s)
	}
	t.text, rest = s[:end], s[end:]
	if word := strings.TrimRight(t.text, "*"); word != t.text {
		// Only directly after a word: in "foo.*" the star has nothing to complete.
		r, _ := utf8.DecodeLastRuneInString(word)
		t.prefix = word != "" && classify(r) != classSep
		t.text = word
	}
	return t, rest
}

// nodes returns the conditions that together are the term: none when it has no tokens.
func (t term) nodes() []node {
	var toks []token
	sc := scanner{emit: func(k token) {
		k.text = slices.Clone(k.text)
		toks = append(toks, k)
	}}
	sc.scan(t.text)
	switch {
	case !oneWord(toks):
		ns := phrases(toks, t.prefix)
		for i := range ns {
			ns[i].loose = !t.quoted
		}
		return ns
	case t.quoted:
		// Exactly this identifier, however it is capitalised and thus cut.
		return phrases(toks[:1], t.prefix)
	}
	n := word(toks[0], t.prefix)
	if parts := phrases(toks[1:], t.prefix); len(parts) > 0 {
		// Spelled another way, get_user_name is still getUserName.
		n = node{or: append([]node{n}, parts...)}
	}
	return []node{n}
}

// oneWord reports whether the tokens are one word, or one identifier with its parts.
func oneWord(toks []token) bool {
	if len(toks) == 0 || toks[0].kind != kindWord && toks[0].kind != kindWhole {
		return false
	}
	for _, t := range toks[1:] {
		if t.kind != kindPart {
			return false
		}
	}
	return true
}

// word returns the condition for a word in any of its forms, or for its beginning.
func word(t token, prefix bool) node {
	s := string(t.text)
	stem := stemOf(t.text)
	switch {
	case prefix:
		return node{toks: []string{s}, prefix: true}
	case stem != "":
		return node{or: []node{{toks: []string{stem[1:]}}, {toks: []string{stem}}}}
	case isStemmable(s):
		// The word is its own stem. Its other forms carry it with the marker.
		return node{or: []node{{toks: []string{s}}, {toks: []string{string(stemMark) + s}}}}
	}
	return node{toks: []string{s}}
}

// phrases returns the tokens as a phrase of what a document has in their place. Words too long to
// be indexed divide it.
func phrases(toks []token, prefix bool) []node {
	var out []node
	var n node
	flush := func() {
		if len(n.toks) > 0 {
			out = append(out, n)
		}
		n = node{}
	}
	for i, t := range toks {
		last := i == len(toks)-1
		switch t.kind {
		case kindLong:
			flush()
			continue
		case kindTail:
			// In a document, the run may go on where it ends here.
			if last {
				continue
			}
		}
		if len(n.toks) < maxPhrase {
			n.toks = append(n.toks, string(t.text))
			n.prefix = last && (prefix || t.kind == kindSolo)
		}
	}
	flush()
	return out
}
