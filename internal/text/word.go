package text

import "unicode/utf8"

// addWord adds a character to the word being read. A word too long for an identifier is cut at
// its underscores as it comes, so that memory stays bounded.
func (sc *scanner) addWord(c char) {
	if sc.long && c.class == classJoin {
		sc.simple(sc.word)
		sc.word = sc.word[:0]
		return
	}
	if len(sc.word) > MaxToken {
		sc.word[len(sc.word)-1].end = c.end
		return
	}
	sc.word = append(sc.word, c)
	if !sc.long && len(sc.word) > maxCompound {
		sc.long = true
		a := 0
		for i, c := range sc.word {
			if c.class == classJoin {
				sc.simple(sc.word[a:i])
				a = i + 1
			}
		}
		sc.word = append(sc.word[:0], sc.word[a:]...)
	}
}

// flushWord ends the word being read and emits its tokens.
func (sc *scanner) flushWord() {
	if !sc.open {
		return
	}
	w, long := sc.word, sc.long
	sc.word, sc.open, sc.long = sc.word[:0], false, false
	if long {
		sc.simple(w)
		return
	}
	for len(w) > 0 && w[len(w)-1].class == classJoin {
		w = w[:len(w)-1]
	}
	parts := sc.split(w)
	if len(parts) < 2 || len(parts) > maxParts && !hasJoin(w) {
		sc.simple(w)
		return
	}
	sc.token(w, kindWhole)
	for i, a := range parts {
		b := len(w)
		if i+1 < len(parts) {
			b = parts[i+1]
		}
		for w[b-1].class == classJoin {
			b--
		}
		sc.token(w[a:b], kindPart)
	}
}

func hasJoin(w []char) bool {
	for _, c := range w {
		if c.class == classJoin {
			return true
		}
	}
	return false
}

// split returns where the parts of an identifier begin: after underscores, at the humps of
// camelCase, before the last capital of an abbreviation (HTTP|Server), and between digits and two
// or more letters (so that sha|256 is cut, but not i18n, gpt4o's 4o or hexadecimal numbers).
func (sc *scanner) split(w []char) []int {
	p := sc.parts[:0]
	letters := 0 // before i, without a break
	next := classJoin
	for i, c := range w {
		if c.class == classMark { // it, or the second half of a letter, goes with what is before
			continue
		}
		prev := next
		next = c.class
		cut := false
		switch c.class {
		case classJoin:
			letters = 0
			continue
		case classDigit:
			cut = prev != classDigit && letters >= 2
			letters = 0
		case classUpper:
			cut = prev == classLower ||
				prev == classUpper && i+1 < len(w) && w[i+1].class == classLower && !plural(w, i+1) ||
				prev == classDigit && twoLetters(w, i)
			letters++
		default:
			cut = prev == classDigit && twoLetters(w, i)
			letters++
		}
		if cut || prev == classJoin {
			p = append(p, i)
		}
	}
	sc.parts = p
	return p
}

// plural reports whether w[i] is the s of an abbreviation's plural, as in IDs.
func plural(w []char, i int) bool {
	return w[i].r == 's' && (i+1 == len(w) || w[i+1].class != classLower)
}

// twoLetters reports whether w[i:] begins with at least two letters.
func twoLetters(w []char, i int) bool {
	return i+1 < len(w) && w[i+1].class != classDigit && w[i+1].class != classJoin
}

// simple emits w as one word, if there is any.
func (sc *scanner) simple(w []char) {
	for len(w) > 0 && w[0].class == classMark {
		w = w[1:]
	}
	if len(w) > 0 {
		sc.token(w, kindWord)
	}
}

func (sc *scanner) token(w []char, k kind) {
	sc.buf = sc.buf[:0]
	for _, c := range w {
		sc.buf = utf8.AppendRune(sc.buf, c.r)
	}
	t := token{sc.buf, w[0].start, w[len(w)-1].end, w[len(w)-1].end, k}
	if len(sc.buf) > MaxToken {
		t.text, t.kind = []byte(filler), kindLong
	}
	sc.emit(t)
}
