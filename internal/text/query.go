package text

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kljensen/snowball/english"
)

// Query is a parsed search. It finds a document that matches every group, of which one alternative
// is enough, and none of the exclusions. The zero Query finds nothing.
type Query struct {
	groups   [][]node
	excluded []node
}

// node is one condition: a phrase of tokens, or alternatives, or conditions that all must hold.
// Exactly one of its fields toks, or and and is set.
type node struct {
	toks   []string // consecutive tokens; one is simply a token
	prefix bool     // the last of toks is a beginning
	loose  bool     // toks are written together, but not in quotes
	or     []node
	and    []node
}

// IsZero reports whether q is the zero Query, which finds nothing.
func (q Query) IsZero() bool { return len(q.groups) == 0 }

// Any returns the query that needs only one of q's words or phrases and none of what q excludes.
// Frequent English words are left out unless there are no others; a run of characters written without
// spaces is found by any of its pairs.
func (q Query) Any() Query {
	if q.IsZero() {
		return q
	}
	var words, frequent []node
	for _, g := range q.groups {
		for _, n := range g {
			if n.isFrequent() {
				frequent = append(frequent, n)
			} else {
				words = append(words, n.apart()...)
			}
		}
	}
	if len(words) == 0 {
		words = frequent
	}
	return Query{groups: [][]node{words}, excluded: q.excluded}
}

// isFrequent reports whether n is an English word that is in every text.
func (n node) isFrequent() bool {
	if n.or != nil {
		return n.or[0].isFrequent() // the word comes before its other forms
	}
	return len(n.toks) == 1 && !n.prefix && english.IsStopWord(n.toks[0])
}

// apart returns the tokens of a run of characters written without spaces, or n itself.
func (n node) apart() []node {
	if n.and != nil {
		var out []node
		for _, part := range n.and {
			out = append(out, part.apart()...)
		}
		return out
	}
	gram := func(t string) bool { r, _ := utf8.DecodeRuneInString(t); return isGram(r) }
	if !n.loose || len(n.toks) < 2 || !slices.ContainsFunc(n.toks, gram) {
		return []node{n}
	}
	var out []node
	for i, t := range n.toks {
		if gram(t) && utf8.RuneCountInString(t) < 2 && len(out) > 0 {
			continue // the last character is in the pair before
		}
		out = append(out, node{toks: []string{t}, prefix: n.prefix && i == len(n.toks)-1})
	}
	return out
}

// FTS5 returns the query as the right side of MATCH on an FTS5 table made with FTS5Tokenizer. Every
// token is quoted, so it is always well-formed and never names a column.
func (q Query) FTS5() string {
	return q.write(syntax{
		and: " AND ", or: " OR ", not: " NOT ",
		phrase: func(b *strings.Builder, n node) {
			b.WriteByte('"')
			for i, t := range n.toks {
				if i > 0 {
					b.WriteByte(' ')
				}
				b.WriteString(strings.ReplaceAll(t, `"`, `""`))
			}
			b.WriteByte('"')
			if n.prefix {
				b.WriteString(" *")
			}
		},
	})
}

// TSQuery returns the query as the text form of a Postgres tsquery, to be bound as
// $1::text::tsquery. It finds the tsvectors of the documents that FTS5 finds.
func (q Query) TSQuery() string {
	return q.write(syntax{
		and: " & ", or: " | ", not: " & !",
		phrase: func(b *strings.Builder, n node) {
			if len(n.toks) > 1 {
				b.WriteByte('(')
			}
			for i, t := range n.toks {
				if i > 0 {
					b.WriteString(" <-> ")
				}
				b.Write(appendLexeme(nil, t))
			}
			if n.prefix {
				b.WriteString(":*")
			}
			if len(n.toks) > 1 {
				b.WriteByte(')')
			}
		},
	})
}

// syntax is how an engine writes a query.
type syntax struct {
	and, or, not string
	phrase       func(*strings.Builder, node)
}

func (q Query) write(s syntax) string {
	var b strings.Builder
	many := len(q.groups) > 1 && len(q.excluded) > 0
	if many {
		b.WriteByte('(')
	}
	for i, g := range q.groups {
		if i > 0 {
			b.WriteString(s.and)
		}
		s.list(&b, s.or, g)
	}
	if many {
		b.WriteByte(')')
	}
	if len(q.excluded) > 0 {
		b.WriteString(s.not)
		s.list(&b, s.or, q.excluded)
	}
	return b.String()
}

func (s syntax) list(b *strings.Builder, op string, ns []node) {
	if len(ns) > 1 {
		b.WriteByte('(')
	}
	for i, n := range ns {
		if i > 0 {
			b.WriteString(op)
		}
		switch {
		case n.or != nil:
			s.list(b, s.or, n.or)
		case n.and != nil:
			s.list(b, s.and, n.and)
		default:
			s.phrase(b, n)
		}
	}
	if len(ns) > 1 {
		b.WriteByte(')')
	}
}

// Match reports whether q finds d. It is the meaning of a query, which both engines must agree
// with; it takes time proportional to the document and is meant for tests and small sets.
func (q Query) Match(d Document) bool {
	if q.IsZero() {
		return false
	}
	for _, g := range q.groups {
		if !slices.ContainsFunc(g, d.has) {
			return false
		}
	}
	return !slices.ContainsFunc(q.excluded, d.has)
}

// has reports whether the condition n holds for d.
func (d Document) has(n node) bool {
	switch {
	case n.or != nil:
		return slices.ContainsFunc(n.or, d.has)
	case n.and != nil:
		return !slices.ContainsFunc(n.and, func(n node) bool { return !d.has(n) })
	case len(n.toks) == 1:
		t := n.toks[0]
		if n.prefix {
			return slices.ContainsFunc(d.terms, func(s string) bool { return strings.HasPrefix(s, t) })
		}
		return slices.Contains(d.terms, t) || slices.Contains(d.stems, t)
	}
	for i := 0; i+len(n.toks) <= len(d.seq); i++ {
		if n.matches(func(k int) string {
			if id := d.seq[i+k]; id >= 0 {
				return d.terms[id]
			}
			return filler
		}) {
			return true
		}
	}
	return false
}

// matches reports whether the phrase n is what at returns for 0, 1, 2 …
func (n node) matches(at func(int) string) bool {
	for k, t := range n.toks {
		if s := at(k); s != t && !(n.prefix && k == len(n.toks)-1 && strings.HasPrefix(s, t)) {
			return false
		}
	}
	return true
}
