package text

import (
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// keycap is the mark that makes an emoji of a digit.
const keycap = 0x20E3

// kind is how a token came to be. Indexing does not care; queries and highlights do.
type kind uint8

const (
	kindWord  kind = iota
	kindWhole      // an identifier as a whole; its parts follow
	kindPart       // a part of the identifier before
	kindGram       // two neighbouring characters of a run
	kindTail       // the last character of a run
	kindSolo       // the only character of a run
	kindLong       // too long a word; text is the filler
)

// token is one token of a text. Text is valid only until the next one. Start and end are byte
// offsets into the text as given; mid is, for pairs, where the first character ends.
type token struct {
	text            []byte
	start, mid, end int
	kind            kind
}

// char is one normalised, folded character of a word and where it came from.
type char struct {
	r          rune
	class      class
	start, end int
}

// scanner cuts a text into tokens. The zero value with emit set is ready; it may be used again.
type scanner struct {
	emit func(token)
	stop bool // set by emit to end the scan

	word  []char // of the word being read
	gram  char   // the last character of the run of pairs being read
	grams int    // its length
	open  bool   // a word is being read
	long  bool   // the word is too long for an identifier: underscores end a token
	strip bool   // its last character loses its marks

	buf   []byte // a token's text
	norm  []byte // a normalised segment
	parts []int  // where the parts of an identifier begin
}

// scan calls emit for every token of s, in order. Invalid UTF-8 separates words.
func (sc *scanner) scan(s string) {
	letters := letterTable()
	for i := 0; i < len(s) && !sc.stop; {
		c := s[i]
		if c < utf8.RuneSelf {
			if asciiClass[c] == classSep {
				sc.flush()
				i++
				continue
			}
			if !sc.open && sc.grams == 0 {
				if j, ok := sc.ascii(s, i); ok {
					i = j
					continue
				}
			}
			if i+1 == len(s) || s[i+1] < utf8.RuneSelf {
				sc.add(rune(c), i, i+1, true)
				i++
				continue
			}
		}
		r, w := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && w == 1 || r == '™' || r == '℠' {
			// The trade marks would become letters of the word before them.
			sc.flush()
			i += w
			continue
		}
		if r < tableSize && letters[r].class != classSep {
			next, _ := utf8.DecodeRuneInString(s[i+w:])
			if next < utf8.RuneSelf || next < tableSize && letters[next].class != classSep {
				sc.flushGrams()
				sc.open, sc.strip = true, true
				sc.addWord(char{letters[r].r, letters[r].class, i, i + w})
				i += w
				continue
			}
		}
		if isStable(r) {
			next, _ := utf8.DecodeRuneInString(s[i+w:])
			if next < utf8.RuneSelf || isStable(next) {
				sc.flushWord()
				sc.addGram(char{r: r, start: i, end: i + w})
				i += w
				continue
			}
		}
		n := w
		if i+w < len(s) && s[i+w] >= utf8.RuneSelf && !norm.NFKC.PropertiesString(s[i+w:]).BoundaryBefore() {
			n = max(norm.NFKC.NextBoundaryInString(s[i:], true), w)
		}
		sc.segment(s[i:i+n], i, n == w)
		i += n
	}
	sc.flush()
}

// ascii reads the word at i when it is ASCII to its end, and returns how far it came.
func (sc *scanner) ascii(s string, i int) (int, bool) {
	var upper, digits, joins int
	start := i
	for i < len(s) && s[i] == '_' { // emphasis, or a private name
		i++
	}
	j := i
	for ; j < len(s); j++ {
		switch asciiClass[s[j]] {
		case classLower:
			continue
		case classUpper:
			upper++
			continue
		case classDigit:
			digits++
			continue
		case classJoin:
			joins++
			continue
		}
		break
	}
	if j < len(s) && s[j] >= utf8.RuneSelf {
		return i, i > start
	}
	n := j - i
	switch {
	case n == 0:
	case joins == 0 && (n > maxCompound || digits == n ||
		digits == 0 && (upper == 0 || upper == n || upper == 1 && asciiClass[s[i]] == classUpper)):
		sc.asciiToken(s, i, j)
	case n > maxCompound:
		for a := i; a < j; {
			b := a
			for b < j && s[b] != '_' {
				b++
			}
			if b > a {
				sc.asciiToken(s, a, b)
			}
			a = b + 1
		}
	default:
		for k := i; k < j; k++ {
			c, r := asciiClass[s[k]], rune(s[k])
			if c == classUpper {
				r += 'a' - 'A'
			}
			sc.word = append(sc.word, char{r, c, k, k + 1})
		}
		sc.open = true
		sc.flushWord()
	}
	return j, true
}

// asciiToken emits s[i:j], lower-cased, as one word.
func (sc *scanner) asciiToken(s string, i, j int) {
	if j-i > MaxToken {
		sc.emit(token{[]byte(filler), i, i, j, kindLong})
		return
	}
	sc.buf = append(sc.buf[:0], s[i:j]...)
	for k, c := range sc.buf {
		if asciiClass[c] == classUpper {
			sc.buf[k] = c + 'a' - 'A'
		}
	}
	sc.emit(token{sc.buf, i, j, j, kindWord})
}

// tableSize is the end of the alphabets whose letters are looked up: Latin with Vietnamese, Greek,
// Cyrillic, Hebrew, Arabic.
const tableSize = 0x2000

// letterTable holds, for letters outside ASCII whose marks are dropped, what segment makes of each,
// where that is one character. A letter is in it only when nothing in it combines with what is
// before; so between two of them there is nothing to normalise.
var letterTable = sync.OnceValue(func() *[tableSize]struct {
	r     rune
	class class
} {
	var t [tableSize]struct {
		r     rune
		class class
	}
	tokens := 0
	sc := scanner{emit: func(token) { tokens++ }}
	for r := rune(utf8.RuneSelf); r < tableSize; r++ {
		tokens = 0
		sc.segment(string(r), 0, true)
		if tokens == 0 && sc.open && sc.strip && len(sc.word) == 1 {
			t[r].r, t[r].class = sc.word[0].r, sc.word[0].class
		}
		sc.flush()
	}
	return &t
})

// segment reads a base character with what combines with it, which began at offset i. Single says
// that it is one character.
func (sc *scanner) segment(seg string, i int, single bool) {
	sc.norm = decompose(sc.norm[:0], seg, single)
	strip := sc.open && sc.strip // when there are only marks, as in a very long segment
	for b := sc.norm; len(b) > 0; {
		r, w := utf8.DecodeRune(b)
		b = b[w:]
		if c := classify(r); c != classMark && c != classSep {
			if strip = isStripped(r); !strip {
				break
			}
		}
	}
	if !strip {
		// Kept marks are composed, so that Hangul and voiced Kana are single characters.
		switch {
		case norm.NFKC.QuickSpanString(seg) == len(seg):
			sc.norm = append(sc.norm[:0], seg...)
		case norm.NFKC.QuickSpan(sc.norm) != len(sc.norm):
			sc.norm = norm.NFKC.AppendString(sc.norm[:0], seg)
		}
	}
	for b := sc.norm; len(b) > 0; {
		r, w := utf8.DecodeRune(b)
		b = b[w:]
		stripped := isStripped(r)
		if stripped && !strip && r >= utf8.RuneSelf {
			// A letter among others that are composed, which only broken text has.
			if d := norm.NFKD.PropertiesString(string(r)).Decomposition(); d != nil {
				r, _ = utf8.DecodeRune(d)
			}
		}
		sc.add(r, i, i+len(seg), stripped)
	}
}

// decompose appends the NFKD form of a segment. The general way of the norm package costs an
// allocation each time, so the common cases go without.
func decompose(dst []byte, seg string, single bool) []byte {
	if norm.NFKD.QuickSpanString(seg) == len(seg) {
		return append(dst, seg...)
	}
	if single {
		if d := norm.NFKD.PropertiesString(seg).Decomposition(); d != nil {
			return append(dst, d...)
		}
	}
	return norm.NFKD.AppendString(dst, seg)
}

// add reads one normalised character. Strip says whether marks after it are dropped.
func (sc *scanner) add(r rune, start, end int, strip bool) {
	switch c := classify(r); c {
	case classSep:
		sc.flush()
	case classSkip:
	case classSpace0:
		sc.flushWord()
	case classMark:
		switch {
		case sc.grams > 0:
			sc.gram.end = end // foreign: those of its scripts are characters of their own
		case sc.open && r == keycap && len(sc.word) == 1 && sc.word[0].class == classDigit:
			sc.word, sc.open = sc.word[:0], false // an emoji
		case sc.open && sc.strip:
			sc.word[len(sc.word)-1].end = end
		case sc.open:
			sc.addWord(char{r, c, start, end})
		}
	case classGram:
		sc.flushWord()
		sc.addGram(char{r, c, start, end})
	case classJoin:
		sc.flushGrams()
		if sc.open {
			sc.addWord(char{r, c, start, end})
		}
	default:
		sc.flushGrams()
		sc.open, sc.strip = true, strip
		a, b := fold(r)
		sc.addWord(char{a, c, start, end})
		if b != 0 {
			sc.addWord(char{b, classMark, start, end}) // Æ is one letter, not two
		}
	}
}

func (sc *scanner) addGram(c char) {
	if sc.grams > 0 {
		sc.buf = utf8.AppendRune(utf8.AppendRune(sc.buf[:0], sc.gram.r), c.r)
		sc.emit(token{sc.buf, sc.gram.start, sc.gram.end, c.end, kindGram})
	}
	sc.gram = c
	sc.grams++
}

func (sc *scanner) flush() {
	if sc.grams > 0 {
		sc.flushGrams()
	}
	if sc.open {
		sc.flushWord()
	}
}

func (sc *scanner) flushGrams() {
	if sc.grams == 0 {
		return
	}
	k := kindTail
	if sc.grams == 1 {
		k = kindSolo
	}
	sc.buf = utf8.AppendRune(sc.buf[:0], sc.gram.r)
	sc.grams = 0
	sc.emit(token{sc.buf, sc.gram.start, sc.gram.end, sc.gram.end, k})
}
