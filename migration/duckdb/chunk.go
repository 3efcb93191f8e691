//go:build cgo && ((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)) || (windows && amd64))

package duckdb

import (
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

// chunk is up to 2,048 rows of a result, column by column, in DuckDB's memory.
type chunk struct {
	handle mapping.DataChunk
	rows   int
}

// vector is column i of the chunk.
func (c chunk) vector(i int) vector {
	return newVector(mapping.DataChunkGetVector(c.handle, mapping.IdxT(i)))
}

// vector is one column of a chunk: values side by side, and a bit per row that is clear for NULL.
// Chunks that come from a result are always flat.
type vector struct {
	handle mapping.Vector
	data   unsafe.Pointer
	mask   unsafe.Pointer // nil when nothing is NULL
}

func newVector(handle mapping.Vector) vector {
	return vector{handle: handle, data: mapping.VectorGetData(handle), mask: mapping.VectorGetValidity(handle)}
}

func (v vector) null(row int) bool {
	if v.mask == nil {
		return false
	}
	word := *(*uint64)(unsafe.Add(v.mask, row/64*8))
	return word&(1<<(row%64)) == 0
}

func (v vector) bool(row int) bool       { return *(*bool)(unsafe.Add(v.data, row)) }
func (v vector) int64(row int) int64     { return *(*int64)(unsafe.Add(v.data, row*8)) }
func (v vector) float64(row int) float64 { return *(*float64)(unsafe.Add(v.data, row*8)) }

// string copies a VARCHAR or BLOB out of DuckDB's memory.
func (v vector) string(row int) string {
	// The value is addressed where it lies: a copy on Go's stack may be misaligned for the pointer
	// inside it.
	return mapping.StringTData((*mapping.StringT)(unsafe.Add(v.data, row*int(unsafe.Sizeof(mapping.StringT{})))))
}

// entry is where the elements of a list lie in its child.
func (v vector) entry(row int) (offset, length int) {
	e := (*mapping.ListEntry)(unsafe.Add(v.data, row*int(unsafe.Sizeof(mapping.ListEntry{}))))
	o, l := mapping.ListEntryMembers(e)
	return int(o), int(l)
}

// decoder gives the value of one row of a column.
type decoder func(row int) any

// decoder prepares the reading of column i of the chunk.
func (c chunk) decoder(i int, col column) decoder {
	v := c.vector(i)
	switch col.kind {
	case kindBool:
		return nullable(v, func(row int) any { return v.bool(row) })
	case kindInt:
		return nullable(v, func(row int) any { return v.int64(row) })
	case kindFloat:
		return nullable(v, func(row int) any { return v.float64(row) })
	case kindBlob:
		return nullable(v, func(row int) any { return []byte(v.string(row)) })
	case kindArray:
		child := newVector(mapping.ArrayVectorGetChild(v.handle))
		return nullable(v, func(row int) any { return child.floats32(row*col.size, col.size) })
	case kindList:
		child := newVector(mapping.ListVectorGetChild(v.handle))
		return nullable(v, func(row int) any { return child.floats32(v.entry(row)) })
	case kindDoubles:
		child := newVector(mapping.ListVectorGetChild(v.handle))
		return nullable(v, func(row int) any { return child.floats64(v.entry(row)) })
	default:
		return nullable(v, func(row int) any { return v.string(row) })
	}
}

func nullable(v vector, value decoder) decoder {
	if v.mask == nil {
		return value
	}
	return func(row int) any {
		if v.null(row) {
			return nil
		}
		return value(row)
	}
}

// floats32 copies n FLOATs: a []float32, or a []any of float32 and nil if any is NULL.
func (v vector) floats32(offset, n int) any {
	if n == 0 {
		return []float32{}
	}
	values := unsafe.Slice((*float32)(v.data), offset+n)[offset:]
	if v.anyNull(offset, n) {
		return elements(v, offset, values)
	}
	out := make([]float32, n)
	copy(out, values)
	return out
}

// floats64 does the same for DOUBLEs, rounded to float32; what is too large becomes an infinity.
func (v vector) floats64(offset, n int) any {
	out := make([]float32, n)
	if n == 0 {
		return out
	}
	for i, f := range unsafe.Slice((*float64)(v.data), offset+n)[offset:] {
		out[i] = float32(f)
	}
	if v.anyNull(offset, n) {
		return elements(v, offset, out)
	}
	return out
}

func (v vector) anyNull(offset, n int) bool {
	if v.mask == nil {
		return false
	}
	for i := offset; i < offset+n; i++ {
		// Whole words of valid elements are the rule, and skipped at once.
		if i%64 == 0 && i+64 <= offset+n && *(*uint64)(unsafe.Add(v.mask, i/8)) == ^uint64(0) {
			i += 63
			continue
		}
		if v.null(i) {
			return true
		}
	}
	return false
}

func elements(v vector, offset int, values []float32) []any {
	out := make([]any, len(values))
	for i, f := range values {
		if !v.null(offset + i) {
			out[i] = f
		}
	}
	return out
}
