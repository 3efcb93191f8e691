package embedding

import (
	"context"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"unicode"
)

// HashedWordsModel is the model name of HashedWords.
const HashedWordsModel = "hashed-words"

// HashedWords returns an embedder that needs no model and no network: it finds texts with the same
// words, not with the same meaning. It is for tests and demonstrations. Dimensions must be at least 1.
//
// Every word, the beginning of every long word, and every pair of neighbouring Chinese, Japanese or
// Korean characters has a direction of its own, derived from its hash; a text is their sum, made one
// long. The same text always gives the same vector; one without words gives the first unit vector.
func HashedWords(dimensions int) Embedder { return hashedWords(max(dimensions, 1)) }

type hashedWords int

func (h hashedWords) Dimensions() int { return int(h) }

func (h hashedWords) Model() string { return HashedWordsModel }

func (h hashedWords) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	for i, t := range texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out[i] = Hash(t, int(h))
	}
	return out, nil
}

// Hash returns the vector that HashedWords gives a text. Vectors are stored, so it must not change.
func Hash(text string, dimensions int) []float32 {
	sum := make([]float64, dimensions)
	for _, word := range words(text) {
		add(sum, word, weight(word))
		if r := []rune(word); len(r) > 4 && !wide(r[0]) {
			add(sum, string(r[:4])+"*", 0.5)
		}
	}
	norm := 0.0
	for _, v := range sum {
		norm += v * v
	}
	out := make([]float32, dimensions)
	if norm == 0 {
		out[0] = 1
		return out
	}
	norm = math.Sqrt(norm)
	for i, v := range sum {
		out[i] = float32(v / norm)
	}
	return out
}

// weight makes short words, which are in every text, count for little.
func weight(word string) float64 {
	r := []rune(word)
	if !wide(r[0]) && len(r) <= 3 {
		return 0.1
	}
	return 1
}

func add(sum []float64, feature string, weight float64) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(feature))
	direction := rand.New(rand.NewPCG(h.Sum64(), 1)) //nolint:gosec // no secret
	for i := range sum {
		sum[i] += weight * (direction.Float64() - 0.5)
	}
}

// words splits a text into words in lower case, and runs of characters that are written without
// spaces into pairs.
func words(text string) []string {
	var out []string
	for _, run := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) }) {
		rest := []rune(run)
		for len(rest) > 0 {
			n := 1
			for n < len(rest) && wide(rest[n]) == wide(rest[0]) {
				n++
			}
			if part := rest[:n]; !wide(part[0]) || n == 1 {
				out = append(out, string(part))
			} else {
				for i := range n - 1 {
					out = append(out, string(part[i:i+2]))
				}
			}
			rest = rest[n:]
		}
	}
	return out
}

// wide reports whether a character belongs to a script that is written without spaces.
func wide(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul)
}
