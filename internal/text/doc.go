// Package text analyses text for full-text search. It is pure Go and knows no database, but its
// output is made for two of them: the terms of an FTS5 index and the literal of a tsvector, and
// for both the query that finds the same rows.
//
// # Tokens
//
// Text is normalised (NFKC), case-folded and, in Latin, Greek, Cyrillic, Arabic and Hebrew,
// freed of its diacritics: É, e and é are one letter. What is left is cut into runs:
//
//   - Words are runs of letters, digits and marks. An identifier gives the whole word and then
//     its parts: getUserName → getusername get user name, user_name → user_name user name,
//     HTTPServer2 → httpserver2 http server 2. Hyphens, dots and apostrophes separate words.
//   - Runs of scripts written without spaces (Han, Kana, Hangul, Bopomofo, Thai, Lao, Khmer,
//     Myanmar) give overlapping pairs of characters and then the last character alone:
//     数据库 → 数据 据库 库. Thus any substring is a phrase of pairs, and a single character is a
//     prefix (库*).
//   - Punctuation, symbols and emoji give nothing.
//
// English stems (Porter2) that differ from their word follow at the end, once each, with the
// marker "=": "running fast" → running fast =run. A query for a word asks for stem OR =stem.
//
// # Limits
//
// The limits are Postgres', and hold for both engines so that both find the same rows. Positions
// beyond the limit, the 257th and later occurrence of a token and tokens that are too long leave
// the filler "~" in their place, which no query asks for. Words beyond the last position are still
// found as words, only not as part of a phrase; those that would take a tsvector beyond 1 MB (some
// 80,000 different words) are not. The limits are the constants below.
package text

// Version is the version of the analyser. Store it beside the index: when it differs from the
// stored one, the same text may give other tokens and the index must be rebuilt. It must be
// raised with every change of the tokens, a new version of the stemmer included.
const Version = 1

// FTS5Tokenizer is the tokenize argument of CREATE VIRTUAL TABLE … USING fts5(…), as SQL: it makes
// FTS5 take what lies between spaces as one token and change nothing, because letters arrive
// lower-cased and every ASCII punctuation character is declared part of a token.
const FTS5Tokenizer = `tokenize="ascii tokenchars '!""#$%&''()*+,-./:;<=>?@[\]^_` + "`" + `{|}~'"`

const (
	// MaxInput is how many bytes of a text are analysed; what follows is not found. It bounds the
	// time of a call, to a fraction of a second for any ordinary text.
	MaxInput = 4 << 20
	// MaxPositions is the number of token positions of a document that phrases can use. Postgres
	// has 16,383; the last is for the words that come after, the one before separates them.
	MaxPositions = lastPosition - 2
	// MaxOccurrences is how often one token is recorded in a document (Postgres' limit).
	MaxOccurrences = 256
	// MaxToken is the longest token in bytes (Postgres' limit); longer ones are not found.
	MaxToken = 2046
	// maxVector bounds the lexemes of a document in bytes. A tsvector must stay under 1,048,575
	// bytes with its positions, which take at most 2*16,383.
	maxVector = 1_000_000
	// lastPosition is the greatest position Postgres stores.
	lastPosition = 16383
	// maxCompound is the longest word, in characters, that is taken for an identifier and cut into
	// parts. Longer ones are hashes and encodings, whose parts nobody looks for.
	maxCompound = 128
	// maxParts is the greatest number of parts of one; beyond it is not an identifier either.
	maxParts = 16
	// filler stands in the place of a token that is not indexed. No query can ask for it.
	filler = "~"
	// stemMark begins a token that is a stem. No word can begin with it.
	stemMark = '='
)
