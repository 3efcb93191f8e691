package text

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/kljensen/snowball/english"
)

// Words outside these lengths have no stem: there is nothing to take off, or it is not English.
const minStem, maxStem = 3, 64

// stemmed is a word and its stem with the marker, which is "" when the stem is the word.
type stemmed struct{ word, mark string }

// stems is a bounded cache: the place of a word is given by its hash, and the last one there stays.
// Stemming costs some 1 µs, far more than everything else about a word.
var (
	stems    [1 << 13]atomic.Pointer[stemmed]
	stemSeed = maphash.MakeSeed()
)

// stemOf returns the stem of a lower-case word with the marker before it, or "" for a word that
// has none or is its own.
func stemOf(word []byte) string {
	if !isStemmable(word) {
		return ""
	}
	slot := &stems[maphash.Bytes(stemSeed, word)%uint64(len(stems))]
	if e := slot.Load(); e != nil && e.word == string(word) {
		return e.mark
	}
	e := &stemmed{word: string(word)}
	if st := english.Stem(e.word, true); st != "" && st != e.word {
		e.mark = string(stemMark) + st
	}
	slot.Store(e)
	return e.mark
}

// isStemmable reports whether a lower-case word is one that can have a stem.
func isStemmable[T string | []byte](word T) bool {
	if len(word) < minStem || len(word) > maxStem {
		return false
	}
	for i := range len(word) {
		if word[i] < 'a' || word[i] > 'z' {
			return false
		}
	}
	return true
}
