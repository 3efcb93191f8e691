package duckdb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/talkbase/talkbase/embedding"
)

// LegacyKnowledge describes a knowledge base file as DeepChat leaves it behind. The zero value is a
// file of 3 documents of 10 chunks each with vectors of 384 dimensions and nothing wrong. The same
// description always gives the same rows; the bytes of the file are DuckDB's affair.
//
// What the real files have and these have not is the HNSW index on the vectors: making one takes an
// extension that must be downloaded.
type LegacyKnowledge struct {
	// Seed chooses ids, texts and the default embedding.
	Seed uint64
	// Dimensions is the length of the vectors; 0 is 384.
	Dimensions int
	// Files is how many documents there are; 0 is 3, negative none.
	Files int
	// ChunksPerFile is how many chunks each has; 0 is 10, negative none.
	ChunksPerFile int
	// Embed makes the vector of a chunk from its text; it must return Dimensions elements. Nil is
	// embedding.Hash.
	Embed func(text string) []float32
	// Statuses are given to the documents in turn; none means completed. A document that is
	// "completed" or anything unknown has all its chunks so, with vectors; one that is "paused" has
	// the first half of them completed and the rest paused, without vectors; one that is "processing"
	// or "error" has no chunk yet.
	Statuses []string
	// ListVectors makes the embedding column FLOAT[], a list, in place of FLOAT[n], an array.
	ListVectors bool
	// NoTables leaves the file without any table, as when the vss extension could not be installed.
	// Everything else is then ignored.
	NoTables bool
	// InWAL is how many of the last documents, with all their rows, are only in the log `<path>.wal`,
	// as in the file of an application that was killed. All of them, or more, puts even the tables
	// there. Rows of quirks are in the file, or in the log if all is there.
	InWAL int
	// Quirks are the irregularities to add; their order does not matter. Each touches
	// chunks of the first documents or adds documents and rows of its own; never the same row
	// twice. A quirk that finds no chunk left to touch is an error.
	Quirks []Quirk
}

// Quirk names one irregularity of real files.
type Quirk string

// The irregularities. The ids in LegacyContent.Touched are those of the rows that an importer has to
// treat in a special way: chunks, unless it says otherwise.
const (
	// QuirkMissingVector: a completed chunk without a vector.
	QuirkMissingVector Quirk = "missing-vector"
	// QuirkFailedChunk: a chunk of status error, with a reason and without a vector, in a completed
	// document.
	QuirkFailedChunk Quirk = "failed-chunk"
	// QuirkOrphanVector: a vector whose document and chunk are gone. Touches vectors.
	QuirkOrphanVector Quirk = "orphan-vector"
	// QuirkOrphanChunk: a chunk, with its vector, whose document is gone.
	QuirkOrphanChunk Quirk = "orphan-chunk"
	// QuirkTwoVectors: two vectors for one chunk, the second one negated.
	QuirkTwoVectors Quirk = "two-vectors"
	// QuirkZeroVector: a vector of zeros only, cut by the old writer.
	QuirkZeroVector Quirk = "zero-vector"
	// QuirkIntegralVector: a vector cut to whole numbers, not all of them zero.
	QuirkIntegralVector Quirk = "integral-vector"
	// QuirkNullVector: a vector row whose embedding is NULL.
	QuirkNullVector Quirk = "null-vector"
	// QuirkNullElement: an embedding with a NULL element.
	QuirkNullElement Quirk = "null-element"
	// QuirkNaNElement: an embedding with a NaN.
	QuirkNaNElement Quirk = "nan-element"
	// QuirkInfElement: an embedding with an infinity.
	QuirkInfElement Quirk = "inf-element"
	// QuirkShortVector: an embedding of one element less than the others. Only with ListVectors.
	QuirkShortVector Quirk = "short-vector"
	// QuirkNoTimes: the uploaded_at of every document is NULL. Touches documents.
	QuirkNoTimes Quirk = "no-times"
	// QuirkNullColumns: a document, a chunk and a vector that are NULL in every column but id.
	// Touches all three.
	QuirkNullColumns Quirk = "null-columns"
	// QuirkNaNMetadata: a document whose metadata is {"size":NaN}. Touches documents.
	QuirkNaNMetadata Quirk = "nan-metadata"
	// QuirkNulMetadata: a document whose metadata has the escape \u0000 in a string. Touches
	// documents.
	QuirkNulMetadata Quirk = "nul-metadata"
	// QuirkRubbishMetadata: a document whose metadata is no JSON at all. Touches documents.
	QuirkRubbishMetadata Quirk = "rubbish-metadata"
	// QuirkSeconds: a document whose uploaded_at is in seconds. Touches documents.
	QuirkSeconds Quirk = "seconds"
	// QuirkNulText: a chunk with a NUL character in its text.
	QuirkNulText Quirk = "nul-text"
)

// AllQuirks lists every quirk that any table of arrays can have, in the order they are applied:
// all but QuirkShortVector. QuirkNoTimes, which overrules others, is not among them.
func AllQuirks() []Quirk {
	return []Quirk{
		QuirkMissingVector, QuirkFailedChunk, QuirkOrphanVector, QuirkOrphanChunk, QuirkTwoVectors,
		QuirkZeroVector, QuirkIntegralVector, QuirkNullVector, QuirkNullElement, QuirkNaNElement,
		QuirkInfElement, QuirkNullColumns, QuirkNaNMetadata, QuirkNulMetadata, QuirkRubbishMetadata,
		QuirkSeconds, QuirkNulText,
	}
}

// LegacyContent says what a written file holds.
type LegacyContent struct {
	// Files, Chunks, Vectors and Metadata count the rows of the tables, the log included.
	Files, Chunks, Vectors, Metadata int
	// InWAL are those of them that are only in the log.
	InWAL struct{ Files, Chunks, Vectors, Metadata int }
	// Touched are the ids of the rows each quirk is about.
	Touched map[Quirk][]string
}

// Write makes the file at path, which must not exist, and with InWAL its log. It needs the same
// library as the reader; without it the error wraps migration.ErrNoReader.
func (k LegacyKnowledge) Write(ctx context.Context, path string) (LegacyContent, error) {
	k, err := k.withDefaults()
	if err != nil {
		return LegacyContent{}, fmt.Errorf("migration/duckdb: %w", err)
	}
	b := &builder{
		LegacyKnowledge: k,
		rng:             rand.New(rand.NewPCG(k.Seed, 0x7a1cba5e)),
		content:         LegacyContent{Touched: map[Quirk][]string{}},
		tables:          newLegacyTables(k),
	}
	if !k.NoTables {
		if err := b.fill(); err != nil {
			return LegacyContent{}, fmt.Errorf("migration/duckdb: %w", err)
		}
	} else {
		b.tables = nil
	}
	if err := writeTables(ctx, path, k, b.tables); err != nil {
		return LegacyContent{}, err
	}
	return b.content, nil
}

func (k LegacyKnowledge) withDefaults() (LegacyKnowledge, error) {
	for _, d := range []struct {
		n     *int
		value int
	}{{&k.Dimensions, 384}, {&k.Files, 3}, {&k.ChunksPerFile, 10}} {
		if *d.n == 0 {
			*d.n = d.value
		}
	}
	if k.Dimensions < 0 {
		return k, fmt.Errorf("a vector cannot have %d dimensions", k.Dimensions)
	}
	if k.Embed == nil {
		k.Embed = func(text string) []float32 { return embedding.Hash(text, k.Dimensions) }
	}
	if len(k.Statuses) == 0 {
		k.Statuses = []string{"completed"}
	}
	k.InWAL = min(max(k.InWAL, 0), max(k.Files, 0))
	return k, nil
}

// allInWAL reports that the file itself has not even tables.
func (k LegacyKnowledge) allInWAL() bool { return k.InWAL > 0 && k.InWAL >= k.Files }

// legacyTable is one table to write. The first saved rows are checkpointed, the rest only logged.
type legacyTable struct {
	name    string
	ddl     []string
	rows    [][]any // nil, int64, string, []float32, or []any of float32 and nil
	saved   int
	logging bool // rows are now added to those that are only logged
}

func (t *legacyTable) add(row ...any) {
	t.rows = append(t.rows, row)
	if !t.logging {
		t.saved = len(t.rows)
	}
}

// The tables, by their place.
const (
	tableFile = iota
	tableChunk
	tableVector
	tableMetadata
)

func newLegacyTables(k LegacyKnowledge) []legacyTable {
	embedding := fmt.Sprintf("FLOAT[%d]", k.Dimensions)
	if k.ListVectors {
		embedding = "FLOAT[]"
	}
	return []legacyTable{
		{name: "file", ddl: []string{
			"CREATE TABLE file(id VARCHAR PRIMARY KEY, name VARCHAR, path VARCHAR, mime_type VARCHAR, status VARCHAR, uploaded_at BIGINT, metadata JSON)",
			"CREATE INDEX idx_file_file_id ON file(id)",
			"CREATE INDEX idx_file_file_status ON file(status)",
			"CREATE INDEX idx_file_file_path ON file(path)",
		}},
		{name: "chunk", ddl: []string{
			"CREATE TABLE chunk(id VARCHAR PRIMARY KEY, file_id VARCHAR, content VARCHAR, status VARCHAR, chunk_index INTEGER, error VARCHAR)",
			"CREATE INDEX idx_chunk_chunk_id ON chunk(id)",
			"CREATE INDEX idx_chunk_file_id ON chunk(file_id)",
			"CREATE INDEX idx_chunk_status ON chunk(status)",
		}},
		{name: "vector", ddl: []string{
			"CREATE TABLE vector(id VARCHAR PRIMARY KEY, embedding " + embedding + ", file_id VARCHAR, chunk_id VARCHAR)",
			"CREATE INDEX idx_vector_file_id ON vector(file_id)",
			"CREATE INDEX idx_vector_chunk_id ON vector(chunk_id)",
		}},
		{name: "metadata", ddl: []string{
			"CREATE TABLE metadata(key VARCHAR PRIMARY KEY, value VARCHAR)",
		}},
	}
}

// builder makes the rows of a description.
type builder struct {
	LegacyKnowledge
	rng     *rand.Rand
	tables  []legacyTable
	content LegacyContent
	free    []place // completed chunks that no quirk has touched
	extra   int     // documents made by quirks
}

// place is where a completed chunk and its vector stand in their tables.
type place struct{ chunk, vector int }

// errNoChunk is for a quirk that has nothing to work on.
var errNoChunk = errors.New("no completed chunk is left to touch; ask for more files or chunks")

func (b *builder) fill() error {
	b.log(b.allInWAL())
	b.tables[tableMetadata].add("db_version", "1")
	saved := b.Files - b.InWAL
	for i := range max(saved, 0) {
		if err := b.document(i); err != nil {
			return err
		}
	}
	if b.allInWAL() {
		for i := range b.Files {
			if err := b.document(i); err != nil {
				return err
			}
		}
	}
	if err := b.quirks(); err != nil {
		return err
	}
	b.log(b.InWAL > 0)
	if !b.allInWAL() {
		for i := max(saved, 0); i < b.Files; i++ {
			if err := b.document(i); err != nil {
				return err
			}
		}
	}
	b.dropTimes()
	c, t := &b.content, b.tables
	c.Files, c.InWAL.Files = t[tableFile].counts()
	c.Chunks, c.InWAL.Chunks = t[tableChunk].counts()
	c.Vectors, c.InWAL.Vectors = t[tableVector].counts()
	c.Metadata, c.InWAL.Metadata = t[tableMetadata].counts()
	return nil
}

func (b *builder) log(on bool) {
	for i := range b.tables {
		b.tables[i].logging = on
	}
}

func (t *legacyTable) counts() (rows, logged int) { return len(t.rows), len(t.rows) - t.saved }

// id makes one of the ids of 21 characters that the application makes; they may hold a '_', so that
// a chunk's id cannot be cut at the first.
func (b *builder) id() string {
	const alphabet = "useandom-26T198340PX75pxJACKVERYMINDBUSHWOLF_GQZbfghjklqvwyzrict"
	var id [21]byte
	for i := range id {
		id[i] = alphabet[b.rng.IntN(len(alphabet))]
	}
	return string(id[:])
}

// epoch is the time of the first upload, in ms; each document comes a minute later.
const epoch = 1_740_000_000_000

func (b *builder) document(n int) error {
	topic := topics[(n+int(b.Seed%uint64(len(topics))))%len(topics)]
	status := b.Statuses[n%len(b.Statuses)]
	id, chunks := b.id(), b.ChunksPerFile
	completed := chunks
	switch status {
	case "paused":
		completed = chunks / 2
	case "processing", "error":
		chunks, completed = 0, 0
	}
	chunks, completed = max(chunks, 0), max(completed, 0)
	metadata := fmt.Sprintf(`{"size":%d,"totalChunks":%d}`, 900*chunks+b.rng.IntN(900), chunks)
	switch status {
	case "processing":
		metadata = `{"size":-1,"totalChunks":0}`
	case "error":
		metadata = `{"size":0,"totalChunks":0,"errorReason":"the file could not be read or is empty"}`
	}
	name := fmt.Sprintf("%s-%d.md", topic.name, n+1)
	b.tables[tableFile].add(id, name, "/home/user/documents/"+name, "text/markdown", status, int64(epoch+n*60_000), metadata)
	for i := range chunks {
		if i < completed {
			if _, err := b.chunk(id, i, topic.text(b.rng, i), "completed"); err != nil {
				return err
			}
			continue
		}
		b.tables[tableChunk].add(chunkID(id, i), id, topic.text(b.rng, i), status, int64(i), "")
	}
	return nil
}

func chunkID(file string, index int) string { return file + "_" + strconv.Itoa(index) }

// chunk adds a chunk with its vector and offers it to the quirks.
func (b *builder) chunk(file string, index int, text, status string) (place, error) {
	embedding := b.Embed(text)
	if len(embedding) != b.Dimensions {
		return place{}, fmt.Errorf("the embedding function gave %d elements for %d dimensions", len(embedding), b.Dimensions)
	}
	id := chunkID(file, index)
	p := place{chunk: len(b.tables[tableChunk].rows), vector: len(b.tables[tableVector].rows)}
	b.tables[tableChunk].add(id, file, text, status, int64(index), "")
	b.tables[tableVector].add(b.id(), embedding, file, id)
	b.free = append(b.free, p)
	return p, nil
}
