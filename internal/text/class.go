package text

import "unicode"

// class is what a normalised character is to the scanner.
type class uint8

const (
	classSep    class = iota // ends a run
	classSkip                // is not there: soft hyphens, joiners, variation selectors
	classSpace0              // a zero-width space: ends a word, but not a run of pairs
	classMark                // belongs to the character before it
	classJoin                // the underscore: inside a word, but between its parts
	classLower               // a letter that is not upper-case
	classUpper
	classDigit
	classGram // a character of a script written without spaces
)

// asciiClass is the class of every byte below 0x80.
var asciiClass = func() (t [256]class) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z':
			t[c] = classLower
		case c >= 'A' && c <= 'Z':
			t[c] = classUpper
		case c >= '0' && c <= '9':
			t[c] = classDigit
		case c == '_':
			t[c] = classJoin
		}
	}
	return t
}()

// classify returns the class of a character that is already normalised.
func classify(r rune) class {
	if r < 0x80 {
		return asciiClass[r]
	}
	switch {
	case r == 0x200B:
		return classSpace0
	case r >= 0xFE00 && r <= 0xFE0F, r >= 0xE0100 && r <= 0xE01EF, r == 0x034F, r == 0x0640,
		r >= 0x180B && r <= 0x180F:
		// Variation selectors, the grapheme joiner and the Arabic kashida change how a word looks,
		// not what it is.
		return classSkip
	case isGram(r):
		if unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsNumber(r) {
			return classGram
		}
		return classSep
	case unicode.IsUpper(r) || unicode.IsTitle(r):
		return classUpper
	case unicode.IsLetter(r):
		return classLower
	case unicode.IsNumber(r):
		return classDigit
	case unicode.IsMark(r):
		return classMark
	case unicode.Is(unicode.Cf, r):
		return classSkip
	}
	return classSep
}

// isGram reports whether r lies in a block of a script that is written without spaces. Blocks and
// not scripts, because the prolonged sound mark and its like belong to no single script.
func isGram(r rune) bool {
	if r < 0x0E00 {
		return false
	}
	switch {
	case r <= 0x0EFF: // Thai, Lao
	case r >= 0x1000 && r <= 0x109F, r >= 0xA9E0 && r <= 0xA9FF, r >= 0xAA60 && r <= 0xAA7F: // Myanmar
	case r >= 0x1100 && r <= 0x11FF, r >= 0xA960 && r <= 0xA97F, r >= 0xAC00 && r <= 0xD7FF: // Hangul
	case r >= 0x1780 && r <= 0x17FF: // Khmer
	case r >= 0x2E80 && r <= 0x2FDF: // radicals
	case r >= 0x3005 && r <= 0x3007, r >= 0x3021 && r <= 0x303C: // iteration marks, Hangzhou numerals
	case r >= 0x3040 && r <= 0x31FF: // Kana, Bopomofo, Hangul letters
	case r >= 0x3400 && r <= 0x4DBF, r >= 0x4E00 && r <= 0x9FFF, r >= 0xF900 && r <= 0xFAFF: // Han
	case r >= 0x16FE0 && r <= 0x16FFF, r >= 0x1AFF0 && r <= 0x1B16F: // ideographic symbols, Kana
	case r >= 0x20000 && r <= 0x3FFFF: // Han
	default:
		return false
	}
	return true
}

// isStable reports whether r is a character of a script without spaces that normalisation leaves
// alone and that joins nothing before it. With a like one after it, it needs no normalisation.
func isStable(r rune) bool {
	return r >= 0x4E00 && r <= 0x9FFF || r >= 0x3041 && r <= 0x3096 || r >= 0x30A1 && r <= 0x30FA ||
		r == 0x30FC || r >= 0xAC00 && r <= 0xD7A3 || r >= 0x3400 && r <= 0x4DBF
}

// isStripped reports whether the marks of base character r are dropped.
func isStripped(r rune) bool {
	switch {
	case r < 0x0530: // ASCII, Latin, Greek, Cyrillic
	case r >= 0x0590 && r <= 0x06FF, r >= 0x0750 && r <= 0x077F, r >= 0x0870 && r <= 0x08FF: // Hebrew, Arabic
	case r >= 0x1C80 && r <= 0x1C8F, r >= 0x1D00 && r <= 0x1DBF, r >= 0x1E00 && r <= 0x1FFF: // extensions
	case r >= 0x2C60 && r <= 0x2C7F, r >= 0x2DE0 && r <= 0x2DFF, r >= 0xA640 && r <= 0xA69F: // extensions
	case r >= 0xA720 && r <= 0xA7FF, r >= 0xAB30 && r <= 0xAB6F: // extensions
	default:
		return false
	}
	return true
}

// fold returns the case-folded form of a letter without marks, as one or two characters (the second
// is 0 for none). Letters that are another with a stroke are that other, as for diacritics.
func fold(r rune) (rune, rune) {
	if r < 0x80 {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r, 0
	}
	// By way of upper case, so that the forms of one letter (σ and ς) become one.
	r = unicode.ToLower(unicode.ToUpper(r))
	switch r {
	case 'ß':
		return 's', 's'
	case 'æ':
		return 'a', 'e'
	case 'œ':
		return 'o', 'e'
	case 'þ':
		return 't', 'h'
	case 'ø':
		return 'o', 0
	case 'ł':
		return 'l', 0
	case 'đ', 'ð':
		return 'd', 0
	case 'ħ':
		return 'h', 0
	case 'ŧ':
		return 't', 0
	}
	return r, 0
}
