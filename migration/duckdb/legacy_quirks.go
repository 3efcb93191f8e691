package duckdb

import (
	"fmt"
	"math"
	"slices"
)

// quirks applies those asked for, each once, in the order of the constants.
func (b *builder) quirks() error {
	known := append(AllQuirks(), QuirkShortVector, QuirkNoTimes)
	for _, q := range b.Quirks {
		if !slices.Contains(known, q) {
			return fmt.Errorf("there is no quirk %q", q)
		}
	}
	for _, q := range known {
		if !slices.Contains(b.Quirks, q) {
			continue
		}
		if err := b.quirk(q); err != nil {
			return fmt.Errorf("quirk %s: %w", q, err)
		}
	}
	return nil
}

func (b *builder) quirk(q Quirk) error {
	if q == QuirkShortVector && !b.ListVectors {
		return fmt.Errorf("an array column cannot hold it; set ListVectors")
	}
	switch q {
	case QuirkNoTimes:
		return nil // done when all documents are there
	case QuirkOrphanVector:
		file := b.id()
		id := b.id()
		b.tables[tableVector].add(id, b.Embed("left behind"), file, chunkID(file, 0))
		b.touch(q, id)
		return nil
	case QuirkOrphanChunk:
		p, err := b.chunk(b.id(), 1, "The document that this chunk was cut from has been deleted.", "completed")
		if err != nil {
			return err
		}
		b.free = b.free[:len(b.free)-1] // not for other quirks
		b.touch(q, b.tables[tableChunk].rows[p.chunk][0].(string))
		return nil
	case QuirkNullColumns:
		file, chunk, vector := b.id(), b.id(), b.id()
		b.tables[tableFile].add(file, nil, nil, nil, nil, nil, nil)
		b.tables[tableChunk].add(chunk, nil, nil, nil, nil, nil)
		b.tables[tableVector].add(vector, nil, nil, nil)
		b.touch(q, file, chunk, vector)
		return nil
	case QuirkNaNMetadata:
		b.oddDocument(q, epoch, `{"size":NaN}`)
		return nil
	case QuirkNulMetadata:
		b.oddDocument(q, epoch, `{"errorReason":"a\u0000b"}`)
		return nil
	case QuirkRubbishMetadata:
		b.oddDocument(q, epoch, `{"size":12,`)
		return nil
	case QuirkSeconds:
		b.oddDocument(q, epoch/1000, `{}`)
		return nil
	}
	return b.chunkQuirk(q)
}

// chunkQuirk touches a chunk that is there, or its vector.
func (b *builder) chunkQuirk(q Quirk) error {
	if len(b.free) == 0 {
		return errNoChunk
	}
	p := b.free[0]
	b.free = b.free[1:]
	chunk, vectors := b.tables[tableChunk].rows[p.chunk], &b.tables[tableVector]
	vector := vectors.rows[p.vector]
	b.touch(q, chunk[0].(string))
	embedding := vector[1].([]float32)
	switch q {
	case QuirkMissingVector:
		b.dropVector(p.vector)
	case QuirkFailedChunk:
		chunk[3], chunk[5] = "error", "Failed to generate embeddings"
		b.dropVector(p.vector)
	case QuirkTwoVectors:
		second := make([]float32, len(embedding))
		for i, v := range embedding {
			second[i] = -v
		}
		vectors.add(b.id(), second, vector[2], vector[3])
	case QuirkZeroVector:
		vector[1] = make([]float32, len(embedding))
	case QuirkIntegralVector:
		whole := make([]float32, len(embedding))
		for i := range whole {
			whole[i] = float32(i%3 - 1)
		}
		vector[1] = whole
	case QuirkNullVector:
		vector[1] = nil
	case QuirkNullElement:
		elements := make([]any, len(embedding))
		for i, v := range embedding {
			elements[i] = v
		}
		elements[len(elements)/2] = nil
		vector[1] = elements
	case QuirkNaNElement:
		vector[1] = withElement(embedding, float32(math.NaN()))
	case QuirkInfElement:
		vector[1] = withElement(embedding, float32(math.Inf(-1)))
	case QuirkShortVector:
		vector[1] = embedding[:len(embedding)-1]
	case QuirkNulText:
		chunk[2] = "before\x00after"
	}
	return nil
}

// dropTimes applies QuirkNoTimes.
func (b *builder) dropTimes() {
	if !slices.Contains(b.Quirks, QuirkNoTimes) {
		return
	}
	for _, row := range b.tables[tableFile].rows {
		row[5] = nil
		b.touch(QuirkNoTimes, row[0].(string))
	}
}

func (b *builder) touch(q Quirk, ids ...string) {
	b.content.Touched[q] = append(b.content.Touched[q], ids...)
}

// oddDocument adds a completed document without chunks.
func (b *builder) oddDocument(q Quirk, uploaded int64, metadata string) {
	b.extra++
	id, name := b.id(), fmt.Sprintf("odd-%d.md", b.extra)
	b.tables[tableFile].add(id, name, "/home/user/documents/"+name, "text/markdown", "completed", uploaded, metadata)
	b.touch(q, id)
}

// dropVector removes a vector, so that the places behind it move up.
func (b *builder) dropVector(at int) {
	t := &b.tables[tableVector]
	t.rows = slices.Delete(t.rows, at, at+1)
	if at < t.saved {
		t.saved--
	}
	for i := range b.free {
		if b.free[i].vector > at {
			b.free[i].vector--
		}
	}
}

func withElement(embedding []float32, v float32) []float32 {
	out := slices.Clone(embedding)
	out[len(out)/2] = v
	return out
}
