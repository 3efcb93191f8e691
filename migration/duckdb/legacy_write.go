//go:build cgo && ((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)) || (windows && amd64))

package duckdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

// writeTables makes the file at path and closes it. What a table has beyond its saved rows stays in
// the log.
func writeTables(ctx context.Context, path string, k LegacyKnowledge, tables []legacyTable) (err error) {
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("migration/duckdb: writing %s: %w", path, err)
		}
	}()
	for _, name := range []string{path, path + ".wal"} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(&fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}, err)
		}
	}
	// Absolute, for DuckDB takes "word:rest" for a kind of database and its name.
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	db, err := openDatabase(path, []setting{
		{"threads", "1"},
		{"autoinstall_known_extensions", "false"},
		{"autoload_known_extensions", "false"},
		{"checkpoint_threshold", "1TB"},
	})
	if err != nil {
		return err
	}
	defer db.close()
	c, err := db.connect()
	if err != nil {
		return err
	}
	defer c.close()
	for _, t := range tables {
		for _, ddl := range t.ddl {
			if err := c.exec(ctx, ddl); err != nil {
				return err
			}
		}
		if err := c.appendRows(ctx, t.name, t.rows[:t.saved]); err != nil {
			return err
		}
	}
	if k.InWAL > 0 {
		if err := c.exec(ctx, "PRAGMA disable_checkpoint_on_shutdown"); err != nil {
			return err
		}
	}
	if !k.allInWAL() {
		if err := c.exec(ctx, "CHECKPOINT"); err != nil {
			return err
		}
	}
	for _, t := range tables {
		if err := c.appendRows(ctx, t.name, t.rows[t.saved:]); err != nil {
			return err
		}
	}
	return nil
}

// appendRows adds rows to a table in chunks. Nothing is parsed or checked on the way, so that what
// no INSERT would take, such as NaN inside JSON, gets in as it did for the application.
func (c *conn) appendRows(ctx context.Context, table string, rows [][]any) (err error) {
	if len(rows) == 0 {
		return nil
	}
	var app mapping.Appender
	defer func() {
		if mapping.AppenderDestroy(&app) == mapping.StateError && err == nil {
			err = nativeError("cannot finish appending to " + table)
		}
	}()
	if mapping.AppenderCreate(c.handle, "main", table, &app) == mapping.StateError {
		return appendError(app)
	}
	types := make([]mapping.LogicalType, mapping.AppenderColumnCount(app))
	for i := range types {
		types[i] = mapping.AppenderColumnType(app, mapping.IdxT(i))
		defer mapping.DestroyLogicalType(&types[i])
	}
	size := int(mapping.VectorSize())
	for len(rows) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(size, len(rows))
		if err := appendChunk(app, types, rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	if mapping.AppenderFlush(app) == mapping.StateError {
		return appendError(app)
	}
	return nil
}

func appendError(app mapping.Appender) error {
	data := mapping.AppenderErrorData(app)
	defer mapping.DestroyErrorData(&data)
	return nativeError(mapping.ErrorDataMessage(data))
}

func appendChunk(app mapping.Appender, types []mapping.LogicalType, rows [][]any) error {
	ch := mapping.CreateDataChunk(types)
	defer mapping.DestroyDataChunk(&ch)
	for i := range types {
		col := mapping.DataChunkGetVector(ch, mapping.IdxT(i))
		w := writer{vector: col, id: mapping.GetTypeId(types[i])}
		if w.id == mapping.TypeArray {
			w.size = int(mapping.ArrayTypeArraySize(types[i]))
		}
		for row, values := range rows {
			if err := w.put(row, values[i]); err != nil {
				return err
			}
		}
	}
	mapping.DataChunkSetSize(ch, mapping.IdxT(len(rows)))
	if mapping.AppendDataChunk(app, ch) == mapping.StateError {
		return appendError(app)
	}
	return nil
}

// writer fills one column of a chunk.
type writer struct {
	vector mapping.Vector
	id     mapping.Type
	size   int // of an array
	used   int // elements of the lists so far
}

func (w *writer) put(row int, value any) error {
	switch v := value.(type) {
	case nil:
		setNull(w.vector, row)
		if w.id == mapping.TypeArray {
			// The elements of a NULL array are NULL too.
			for i := range w.size {
				setNull(mapping.ArrayVectorGetChild(w.vector), row*w.size+i)
			}
		}
	case string:
		mapping.VectorAssignStringElement(w.vector, mapping.IdxT(row), v)
	case int64:
		data := mapping.VectorGetData(w.vector)
		if w.id == mapping.TypeInteger {
			*(*int32)(unsafe.Add(data, row*4)) = int32(v)
		} else {
			*(*int64)(unsafe.Add(data, row*8)) = v
		}
	case []float32:
		child, offset := w.child(row, len(v))
		copy(unsafe.Slice((*float32)(mapping.VectorGetData(child)), offset+len(v))[offset:], v)
	case []any:
		child, offset := w.child(row, len(v))
		data := unsafe.Slice((*float32)(mapping.VectorGetData(child)), offset+len(v))[offset:]
		for i, e := range v {
			if f, ok := e.(float32); ok {
				data[i] = f
			} else {
				setNull(child, offset+i)
			}
		}
	default:
		return fmt.Errorf("cannot write a %T", value)
	}
	return nil
}

// child makes room for n elements of a row.
func (w *writer) child(row, n int) (child mapping.Vector, offset int) {
	if w.id == mapping.TypeArray {
		return mapping.ArrayVectorGetChild(w.vector), row * w.size
	}
	offset = w.used
	w.used += n
	mapping.ListVectorReserve(w.vector, mapping.IdxT(w.used))
	mapping.ListVectorSetSize(w.vector, mapping.IdxT(w.used))
	entry := mapping.NewListEntry(uint64(offset), uint64(n))
	*(*mapping.ListEntry)(unsafe.Add(mapping.VectorGetData(w.vector), row*int(unsafe.Sizeof(entry)))) = entry
	return mapping.ListVectorGetChild(w.vector), offset
}

func setNull(v mapping.Vector, row int) {
	mapping.VectorEnsureValidityWritable(v)
	mapping.ValiditySetRowInvalid(mapping.VectorGetValidity(v), mapping.IdxT(row))
}
