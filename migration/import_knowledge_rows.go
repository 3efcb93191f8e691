package migration

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/talkbase/talkbase/models"
)

// files imports the files of a base. One whose id another base holds is given a derived id.
func (k *knowledgeJob) files(ctx context.Context, t SourceTable) error {
	s := stream[models.KnowledgeFile]{
		job: &k.job, source: t, target: tableFiles, insert: k.target.InsertFiles, existing: k.target.FilesByID, replace: k.target.ReplaceFiles,
		fits:      func(have, row *models.KnowledgeFile) bool { return have.BaseID == row.BaseID },
		canonical: (*models.KnowledgeFile).AppendCanonical, serial: true, again: true,
		same: func(a, b *models.KnowledgeFile) bool {
			return a.BaseID == b.BaseID && a.Name == b.Name && a.Path == b.Path && a.MimeType == b.MimeType &&
				a.Status == b.Status && a.UploadedAt == b.UploadedAt && a.Metadata.String() == b.Metadata.String()
		},
		prepare: func(ctx context.Context, rows []SourceRow) ([]transformed[models.KnowledgeFile], error) {
			out := make([]transformed[models.KnowledgeFile], len(rows))
			ids := make([]string, len(rows))
			for i, r := range records(t, rows) {
				out[i] = transformFile(r, k.base.ID)
				if out[i].timeless {
					out[i].row.UploadedAt = k.smallest
				}
				ids[i] = out[i].key
			}
			there, err := k.target.FilesByID(ctx, ids)
			if err != nil {
				return nil, &targetError{fmt.Errorf("migration: %s: reading %s: %w", k.report.Path, tableFiles, err)}
			}
			for i := range out {
				out[i].link = out[i].key
				if have, ok := there[out[i].key]; ok && have.BaseID != k.base.ID {
					out[i].key = derivedID("file", k.base.ID, out[i].key)
					out[i].row.ID = out[i].key
					out[i].notes.add(ReasonFileIDTaken)
				}
			}
			return out, nil
		},
		done: func(ctx context.Context, rows []settled[models.KnowledgeFile]) error {
			var stored []settled[models.KnowledgeFile]
			for _, o := range rows {
				if o.verdict != rejected || o.reject == ReasonConflict {
					stored = append(stored, o)
				}
			}
			err := writeScratch(ctx, k.scratch, "INSERT OR IGNORE INTO file (id, target, uploaded) VALUES (?, ?, ?)", len(stored), func(i int) []any {
				return []any{stored[i].link, stored[i].key, stored[i].row.UploadedAt}
			})
			if err != nil {
				return k.scratchError(ctx, err)
			}
			return nil
		},
	}
	return s.run(ctx)
}

// place is where a file or chunk of the source went.
type place struct {
	id, file, sourceFile string
	uploaded             int64
}

// filePlaces returns where files went, by their ids in the source.
func (k *knowledgeJob) filePlaces(ctx context.Context, ids []string) (map[string]place, error) {
	out := map[string]place{}
	err := k.lookup(ctx, "SELECT id, target, uploaded FROM file WHERE id IN ", ids, func(scan func(...any) error) error {
		var id string
		var p place
		if err := scan(&id, &p.id, &p.uploaded); err != nil {
			return err
		}
		out[id] = p
		return nil
	})
	if err != nil || k.opts.Replay == "" {
		return out, err
	}
	there, err := k.placesThere(ctx, ids)
	for id, p := range there {
		if _, ok := out[id]; !ok {
			out[id] = p
		}
	}
	return out, err
}

// placesThere returns where files went that an earlier import placed, by their ids in the source.
func (k *knowledgeJob) placesThere(ctx context.Context, ids []string) (map[string]place, error) {
	out := map[string]place{}
	for part := range slices.Chunk(ids, lookupStep) {
		asked := map[string]string{}
		for _, id := range part {
			asked[id], asked[derivedID("file", k.base.ID, id)] = id, id
		}
		found, err := k.target.FilesByID(ctx, slices.Collect(maps.Keys(asked)))
		if err != nil {
			return nil, &targetError{fmt.Errorf("migration: %s: reading %s: %w", k.report.Path, tableFiles, err)}
		}
		for id, f := range found {
			if f.BaseID == k.base.ID {
				out[asked[id]] = place{id: f.ID, uploaded: f.UploadedAt}
			}
		}
	}
	return out, nil
}

// chunksThere is placesThere for chunks.
func (k *knowledgeJob) chunksThere(ctx context.Context, ids []string, out map[string]place) error {
	asked := map[string]string{}
	for _, id := range ids {
		if _, ok := out[id]; !ok {
			asked[id], asked[derivedID("chunk", k.base.ID, id)] = id, id
		}
	}
	chunks, err := k.target.ChunksByID(ctx, slices.Collect(maps.Keys(asked)))
	if err != nil {
		return &targetError{fmt.Errorf("migration: %s: reading %s: %w", k.report.Path, tableChunks, err)}
	}
	var files []string
	for _, c := range chunks {
		files = append(files, c.FileID)
	}
	slices.Sort(files)
	in, err := k.target.FilesByID(ctx, slices.Compact(files))
	if err != nil {
		return &targetError{fmt.Errorf("migration: %s: reading %s: %w", k.report.Path, tableFiles, err)}
	}
	for id, c := range chunks {
		if f, ok := in[c.FileID]; ok && f.BaseID == k.base.ID {
			out[asked[id]] = place{id: c.ID, file: f.ID, sourceFile: f.ID, uploaded: f.UploadedAt}
		}
	}
	return nil
}

// vectorRows returns, by chunk, the row of the vector to import for it.
func (k *knowledgeJob) vectorRows(ctx context.Context, chunks []string) (map[string]int64, error) {
	out := map[string]int64{}
	query := fmt.Sprintf("SELECT chunk, rid FROM vector WHERE length = %d AND chunk IN ", k.base.Dimensions)
	err := k.lookup(ctx, query, chunks, func(scan func(...any) error) error {
		var id string
		var rid int64
		if err := scan(&id, &rid); err != nil {
			return err
		}
		out[id] = rid
		return nil
	})
	return out, err
}

// chunks imports the chunks of the files that are there.
func (k *knowledgeJob) chunks(ctx context.Context, t SourceTable) error {
	s := stream[models.KnowledgeChunk]{
		job: &k.job, source: t, target: tableChunks, existing: k.target.ChunksByID, insert: k.target.InsertChunks, replace: k.target.ReplaceChunks,
		fits:      func(have, row *models.KnowledgeChunk) bool { return have.FileID == row.FileID },
		canonical: (*models.KnowledgeChunk).AppendCanonical, again: true,
		same: func(a, b *models.KnowledgeChunk) bool {
			return a.FileID == b.FileID && a.ChunkIndex == b.ChunkIndex && a.Content == b.Content && a.Status == b.Status && a.Error == b.Error
		},
		prepare: func(ctx context.Context, rows []SourceRow) ([]transformed[models.KnowledgeChunk], error) {
			recs := records(t, rows)
			ids, files := make([]string, len(recs)), make([]string, len(recs))
			for i, r := range recs {
				ids[i], files[i] = plainID(r.get("id")), plainID(r.get("file_id"))
			}
			places, err := k.filePlaces(ctx, files)
			if err != nil {
				return nil, err
			}
			vectors, err := k.vectorRows(ctx, ids)
			if err != nil {
				return nil, err
			}
			out := make([]transformed[models.KnowledgeChunk], len(recs))
			for i, r := range recs {
				out[i] = transformChunk(r, func(id string) bool { _, ok := vectors[id]; return ok })
				k.placeChunk(&out[i], places)
			}
			return out, nil
		},
		done: k.chunksStored,
	}
	return s.run(ctx)
}

// placeChunk sends a chunk where its file went.
func (k *knowledgeJob) placeChunk(t *transformed[models.KnowledgeChunk], places map[string]place) {
	t.link = t.key
	p, ok := places[t.row.FileID]
	if !ok {
		t.reject, t.detail = ReasonFileGone, "its file is gone"
		return
	}
	if p.id != t.row.FileID {
		t.key = derivedID("chunk", k.base.ID, t.key)
		t.notes.add(ReasonFileIDTaken)
	}
	t.row.ID, t.row.FileID = t.key, p.id
}

// chunksStored remembers where chunks went. Those in conflict are remembered as well: a vector that
// the target already holds for them is no news.
func (k *knowledgeJob) chunksStored(ctx context.Context, rows []settled[models.KnowledgeChunk]) error {
	var stored []settled[models.KnowledgeChunk]
	var files []string
	for _, o := range rows {
		if o.verdict != rejected || o.reject == ReasonConflict {
			stored = append(stored, o)
			files = append(files, o.row.FileID)
		}
	}
	sources := map[string]place{}
	err := k.lookup(ctx, "SELECT target, id, uploaded FROM file WHERE target IN ", files, func(scan func(...any) error) error {
		var target string
		var p place
		if err := scan(&target, &p.sourceFile, &p.uploaded); err != nil {
			return err
		}
		sources[target] = p
		return nil
	})
	if err != nil {
		return err
	}
	err = writeScratch(ctx, k.scratch, "INSERT OR IGNORE INTO chunk (id, target, file, source_file, uploaded) VALUES (?, ?, ?, ?, ?)", len(stored), func(i int) []any {
		o := stored[i]
		target := o.key
		if o.verdict == rejected {
			target = "" // the target's own chunk, which other vectors belong to
		}
		p := sources[o.row.FileID]
		return []any{o.link, target, o.row.FileID, p.sourceFile, p.uploaded}
	})
	if err != nil {
		return k.scratchError(ctx, err)
	}
	return nil
}

// vectors imports the vectors of the chunks that are there, one for each.
func (k *knowledgeJob) vectors(ctx context.Context, t SourceTable) error {
	s := stream[models.KnowledgeVector]{
		job: &k.job, source: t, target: tableVectors, existing: k.target.VectorsByID, insert: k.target.InsertVectors, replace: k.target.InsertVectors,
		fits:      func(have, row *models.KnowledgeVector) bool { return have.ChunkID == row.ChunkID },
		canonical: (*models.KnowledgeVector).AppendCanonical,
		same: func(a, b *models.KnowledgeVector) bool {
			return a.BaseID == b.BaseID && a.FileID == b.FileID && a.ChunkID == b.ChunkID && sameVector(a.Embedding, b.Embedding)
		},
		prepare: func(ctx context.Context, rows []SourceRow) ([]transformed[models.KnowledgeVector], error) {
			out := make([]transformed[models.KnowledgeVector], len(rows))
			chunkIDs, fileIDs := make([]string, len(rows)), make([]string, len(rows))
			for i, r := range records(t, rows) {
				out[i] = transformVector(r, k.base.ID)
				chunkIDs[i], fileIDs[i] = out[i].row.ChunkID, out[i].row.FileID
			}
			where, err := k.vectorPlaces(ctx, chunkIDs, fileIDs)
			if err != nil {
				return nil, err
			}
			for i := range out {
				k.placeVector(&out[i], where)
			}
			return out, nil
		},
		link: k.linkVectors, entails: k.processChunks,
		done: func(_ context.Context, rows []settled[models.KnowledgeVector]) error {
			for _, o := range rows {
				if o.verdict != rejected {
					k.fresh.add(chunksWithVectors, o.row.ChunkID)
				}
			}
			return nil
		},
	}
	return s.run(ctx)
}

// vectorPlaces is what a batch of vectors refers to, by ids of the source.
type vectorPlaces struct {
	files  map[string]bool
	chunks map[string]place
	chosen map[string]int64
}

func (k *knowledgeJob) vectorPlaces(ctx context.Context, chunks, files []string) (vectorPlaces, error) {
	w := vectorPlaces{chunks: map[string]place{}}
	err := k.lookup(ctx, "SELECT id, target, file, source_file, uploaded FROM chunk WHERE id IN ", slices.Clone(chunks), func(scan func(...any) error) error {
		var id string
		var p place
		if err := scan(&id, &p.id, &p.file, &p.sourceFile, &p.uploaded); err != nil {
			return err
		}
		w.chunks[id] = p
		return nil
	})
	if err != nil {
		return w, err
	}
	if k.opts.Replay != "" {
		if err := k.chunksThere(ctx, chunks, w.chunks); err != nil {
			return w, err
		}
	}
	if w.files, err = k.sourceFiles(ctx, files); err != nil {
		return w, err
	}
	w.chosen, err = k.vectorRows(ctx, chunks)
	return w, err
}

// placeVector sends a vector where its chunk went, or rejects it.
func (k *knowledgeJob) placeVector(t *transformed[models.KnowledgeVector], where vectorPlaces) {
	v := &t.row
	p, ok := where.chunks[v.ChunkID]
	switch {
	case v.FileID != "" && !where.files[v.FileID]:
		t.reject, t.detail = ReasonFileGone, "its file is gone"
	case !ok:
		t.reject, t.detail = ReasonChunkGone, "its chunk is gone"
	case t.reject != "":
		// It cannot be used by itself.
	case int64(len(v.Embedding)) != k.base.Dimensions:
		t.reject, t.detail = ReasonVectorLength, fmt.Sprintf("it has %d elements, the knowledge base has %d dimensions", len(v.Embedding), k.base.Dimensions)
	case where.chosen[v.ChunkID] != t.src.RowID:
		t.reject, t.detail = ReasonSecondVector, "its chunk has another vector"
	}
	if t.reject != "" {
		return
	}
	if v.FileID != p.sourceFile {
		t.notes.add(ReasonVectorFile)
	}
	if p.id != "" && p.id != v.ChunkID {
		t.key = derivedID("vector", k.base.ID, t.key)
		t.notes.add(ReasonFileIDTaken)
	}
	v.ID, v.FileID, v.CreatedAt = t.key, p.file, p.uploaded
	if p.id != "" {
		v.ChunkID = p.id
	} else {
		t.link = chunkDiffers
	}
}

// chunksWithVectors stands for a table in newIDs: the chunks that have a vector.
const chunksWithVectors = "chunks with vectors"

// chunkDiffers marks, on the way to the target, a vector whose chunk is another one there.
const chunkDiffers = "chunk differs"

// linkVectors rejects vectors of chunks that are others in the target, or have a vector there.
func (k *knowledgeJob) linkVectors(ctx context.Context, rows []*transformed[models.KnowledgeVector]) error {
	ids := make([]string, 0, len(rows))
	for _, r := range rows {
		ids = append(ids, r.row.ChunkID)
	}
	have, err := k.target.VectorsOfChunks(ctx, k.fresh.known(chunksWithVectors, ids))
	if err != nil {
		return err
	}
	for _, r := range rows {
		switch id, there := have[r.row.ChunkID]; {
		case r.link != "":
			r.reject, r.detail = ReasonConflict, "its chunk is there with other content"
		case there:
			r.reject, r.detail = ReasonSecondVector, "its chunk has the vector "+id+" there"
		}
	}
	return nil
}

// processChunks has the chunks found again whose vectors were replayed. Chunks that are imported with their
// vectors are processed from the start.
func (k *knowledgeJob) processChunks(ctx context.Context, rows []settled[models.KnowledgeVector], next *sourceProgress) error {
	if k.opts.Replay == "" {
		return nil
	}
	vectors := map[string]*settled[models.KnowledgeVector]{}
	for i := range rows {
		if rows[i].verdict == written {
			vectors[rows[i].row.ChunkID] = &rows[i]
		}
	}
	there, err := k.target.ChunksByID(ctx, slices.Sorted(maps.Keys(vectors)))
	if err != nil {
		return err
	}
	var before, after []models.KnowledgeChunk
	var wrote []entry
	for _, id := range slices.Sorted(maps.Keys(there)) {
		c := there[id]
		if c.Status == models.TaskProcessed {
			continue
		}
		before = append(before, c)
		c.Status = models.TaskProcessed
		e := newEntry(c.ID, c.AppendCanonical(nil))
		after, wrote = append(after, c), append(wrote, e)
		vectors[id].notes.add(ReasonChunkProcessed)
		next.store(tableChunks, e.full)
	}
	if len(after) == 0 {
		return nil
	}
	if err := k.target.ReplaceChunks(ctx, after); err != nil {
		return err
	}
	return k.journal(ctx, tableChunks, wrote, nil, before)
}

func sameVector(a, b models.Vector) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}
