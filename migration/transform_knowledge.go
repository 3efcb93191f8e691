package migration

import (
	"math"
	"strconv"
	"strings"

	"github.com/talkbase/talkbase/models"
)

// transformFile makes a file of a row of a knowledge base.
func transformFile(r record, base string) transformed[models.KnowledgeFile] {
	t := transformed[models.KnowledgeFile]{src: r.row}
	n := &t.notes
	f := &t.row
	f.BaseID = base
	f.ID = n.clean(plainText(n, r.get("id")))
	if f.ID == "" {
		f.ID = derivedID("file", base, strconv.FormatInt(r.row.RowID, 10))
		n.add(ReasonIDDerived)
	}
	t.key = f.ID
	f.Name = n.text(r.get("name"))
	f.Path = n.text(r.get("path"))
	f.MimeType = n.optionalText(r.get("mime_type"))
	f.Status = readFileStatus(r.get("status"), n)
	ms, ok := n.time(r.get("uploaded_at"))
	f.UploadedAt, t.timeless = ms, !ok
	f.Metadata = n.object(r.get("metadata"))
	return t
}

// readFileStatus maps the old states of a file. What is unknown can be resumed.
func readFileStatus(v any, n *notes) models.TaskStatus {
	switch s := strings.ToLower(strings.TrimSpace(n.optionalText(v))); s {
	case "completed", string(models.TaskProcessed):
		return models.TaskProcessed
	case string(models.TaskPaused), string(models.TaskError), string(models.TaskPending):
		return models.TaskStatus(s)
	case string(models.TaskProcessing):
		n.add(ReasonResumable)
		return models.TaskPaused
	default:
		n.add(ReasonStatusReplaced)
		return models.TaskPaused
	}
}

// transformChunk makes a chunk of a row; hasVector says whether a vector of it will be imported.
// Search used to find every chunk that has a vector, whatever its status, and none without.
func transformChunk(r record, hasVector func(chunk string) bool) transformed[models.KnowledgeChunk] {
	t := transformed[models.KnowledgeChunk]{src: r.row}
	n := &t.notes
	c := &t.row
	c.FileID = n.clean(plainText(n, r.get("file_id")))
	c.ID = n.clean(plainText(n, r.get("id")))
	vector := c.ID != "" && hasVector(c.ID)
	if c.ID == "" {
		c.ID = derivedID("chunk", c.FileID, strconv.FormatInt(r.row.RowID, 10))
		n.add(ReasonIDDerived)
	}
	t.key = c.ID
	c.ChunkIndex = readChunkIndex(r.get("chunk_index"), c.ID, n)
	c.Content = n.text(r.get("content"))
	c.Error = n.optionalText(r.get("error"))
	c.Status = readChunkStatus(r.get("status"), vector, n)
	return t
}

// readChunkIndex falls back on the end of the chunk's id, which is <file>_<index>.
func readChunkIndex(v any, id string, n *notes) int64 {
	if i, exact, ok := coerceInt(v); ok {
		if !exact {
			n.add(ReasonNumberCoerced)
		}
		return i
	}
	n.add(ReasonNumberReplaced)
	if at := strings.LastIndexByte(id, '_'); at >= 0 {
		if i, err := strconv.ParseInt(id[at+1:], 10, 32); err == nil && i >= 0 {
			return i
		}
	}
	return 0
}

func readChunkStatus(v any, vector bool, n *notes) models.TaskStatus {
	s := strings.ToLower(strings.TrimSpace(n.optionalText(v)))
	done := s == "completed" || s == string(models.TaskProcessed)
	switch {
	case done && vector:
		return models.TaskProcessed
	case vector:
		n.add(ReasonChunkProcessed)
		return models.TaskProcessed
	case done:
		n.add(ReasonChunkPending)
		return models.TaskPending
	}
	switch models.TaskStatus(s) {
	case models.TaskProcessing:
		n.add(ReasonResumable)
		return models.TaskPaused
	case models.TaskPaused, models.TaskPending, models.TaskError:
		return models.TaskStatus(s)
	default:
		n.add(ReasonStatusReplaced)
		return models.TaskPending
	}
}

// transformVector makes a vector of a row, with the chunk and file it names. A vector that must
// not be imported is rejected with the reason; its length is checked by the caller, who knows the
// base.
func transformVector(r record, base string) transformed[models.KnowledgeVector] {
	t := transformed[models.KnowledgeVector]{src: r.row}
	n := &t.notes
	v := &t.row
	v.BaseID = base
	v.ID = n.clean(plainText(n, r.get("id")))
	if v.ID == "" {
		v.ID = derivedID("vector", base, strconv.FormatInt(r.row.RowID, 10))
		n.add(ReasonIDDerived)
	}
	t.key = v.ID
	v.ChunkID = n.optionalText(r.get("chunk_id"))
	v.FileID = n.optionalText(r.get("file_id"))
	v.Embedding, t.reject = readVector(r.get("embedding"))
	return t
}

// readVector reads an embedding and says why it cannot be used.
func readVector(v any) (models.Vector, Reason) {
	var out models.Vector
	switch e := v.(type) {
	case []float32:
		out = e
	case []any:
		out = make(models.Vector, len(e))
		for i, x := range e {
			f, ok := element(x)
			if !ok {
				return nil, ReasonVectorNull
			}
			out[i] = f
		}
	default:
		return nil, ReasonVectorNull
	}
	return out, vectorFault(out)
}

func element(v any) (float32, bool) {
	switch f := v.(type) {
	case float32:
		return f, true
	case float64:
		return float32(f), true
	case int64:
		return float32(f), true
	default:
		return 0, false
	}
}

// vectorFault says why a vector cannot be used, "" when it can. An old release cut vectors to
// integers: what is all zeros or all integral is not an embedding.
func vectorFault(v []float32) Reason {
	if len(v) == 0 {
		return ReasonVectorLength
	}
	zero, integral := true, true
	for _, x := range v {
		f := float64(x)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return ReasonVectorNotFinite
		}
		zero = zero && f == 0
		integral = integral && f == math.Trunc(f)
	}
	switch {
	case zero:
		return ReasonVectorZero
	case integral:
		return ReasonVectorIntegral
	}
	return ""
}

// vectorLength returns how many elements an embedding has, whatever they are; 0 for none.
func vectorLength(v any) int {
	switch e := v.(type) {
	case []float32:
		return len(e)
	case []any:
		return len(e)
	default:
		return 0
	}
}
