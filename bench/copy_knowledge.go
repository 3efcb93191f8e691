package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"
	"github.com/jackc/pgx/v5"
	"github.com/pgvector/pgvector-go"
	pgxvec "github.com/pgvector/pgvector-go/pgx"
)

// knowledgeTable is a table of a knowledge file as somebody would copy it by hand.
type knowledgeTable struct {
	from, selected, to string
	columns            []string
}

// copiedBase is the knowledge base that a copy by hand goes to.
const copiedBase = "copied"

var knowledgeTables = []knowledgeTable{
	{
		"file", "id, '" + copiedBase + "', name, path, mime_type, 'processed', uploaded_at, metadata::VARCHAR", "knowledge_files",
		[]string{"id", "base_id", "name", "path", "mime_type", "status", "uploaded_at", "metadata"},
	},
	{
		"chunk", "rowid + 1, id, file_id, chunk_index::BIGINT, content, 'processed', error", "knowledge_chunks",
		[]string{"seq", "id", "file_id", "chunk_index", "content", "status", "error"},
	},
	{
		"vector", "id, '" + copiedBase + "', file_id, chunk_id, embedding, 0::BIGINT", "knowledge_vectors",
		[]string{"id", "base_id", "file_id", "chunk_id", "embedding", "created_at"},
	},
}

// copyKnowledge copies a knowledge file to Postgres: DuckDB's chunks are read through its C API and go
// out by COPY, in one transaction.
func (t task) copyKnowledge(ctx context.Context) (out outcome, err error) {
	var config mapping.Config
	if mapping.CreateConfig(&config) == mapping.StateError {
		return out, errors.New("no configuration for DuckDB")
	}
	defer mapping.DestroyConfig(&config)
	mapping.SetConfig(config, "access_mode", "READ_ONLY")
	var db mapping.Database
	var said string
	if mapping.OpenExt(t.Source, &db, config, &said) == mapping.StateError {
		return out, errors.New(said)
	}
	defer mapping.Close(&db)
	var source mapping.Connection
	if mapping.Connect(db, &source) == mapping.StateError {
		return out, errors.New("no connection to DuckDB")
	}
	defer mapping.Disconnect(&source)

	conn, err := t.connect(ctx)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	if err := pgxvec.RegisterTypes(ctx, conn); err != nil {
		return out, err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return out, err
	}
	if t.Keyed {
		if _, err := tx.Exec(ctx, "INSERT INTO knowledge_bases (id, name, dimensions, metric) SELECT $1, $1, 16000, 'cosine'", copiedBase); err != nil {
			return out, err
		}
	}
	for _, table := range knowledgeTables {
		start := time.Now()
		to := table.to
		if !t.Keyed {
			to = plainPrefix + to
			if _, err := tx.Exec(ctx, "CREATE TABLE "+to+" AS SELECT "+strings.Join(table.columns, ", ")+" FROM "+table.to+" LIMIT 0"); err != nil {
				return out, err
			}
		}
		if err := table.copy(ctx, source, tx, to); err != nil {
			return out, fmt.Errorf("%s: %w", table.from, err)
		}
		out.Vectors = time.Since(start)
	}
	return out, tx.Commit(ctx)
}

func (t knowledgeTable) copy(ctx context.Context, source mapping.Connection, tx pgx.Tx, to string) error {
	var stmt mapping.PreparedStatement
	defer mapping.DestroyPrepare(&stmt)
	if mapping.Prepare(source, "SELECT "+t.selected+" FROM "+t.from, &stmt) == mapping.StateError {
		return errors.New(mapping.PrepareError(stmt))
	}
	var pending mapping.PendingResult
	defer mapping.DestroyPending(&pending)
	if mapping.PendingPrepared(stmt, &pending) == mapping.StateError {
		return errors.New(mapping.PendingError(pending))
	}
	rows := &chunkRows{}
	defer mapping.DestroyResult(&rows.result)
	if mapping.ExecutePending(pending, &rows.result) == mapping.StateError {
		return errors.New(mapping.ResultError(&rows.result))
	}
	defer mapping.DestroyDataChunk(&rows.chunk)
	_, err := tx.CopyFrom(ctx, pgx.Identifier{to}, t.columns, rows)
	return err
}

// chunkRows reads a result chunk by chunk. It is a pgx.CopyFromSource.
type chunkRows struct {
	result  mapping.Result
	chunk   mapping.DataChunk
	at, n   int
	columns []chunkColumn
	values  []any
}

// chunkColumn is a column of a chunk without NULLs.
type chunkColumn struct {
	kind mapping.Type
	size int
	data unsafe.Pointer
}

// Next goes to the next row.
func (r *chunkRows) Next() bool {
	if r.at++; r.at < r.n {
		return true
	}
	mapping.DestroyDataChunk(&r.chunk)
	r.chunk = mapping.FetchChunk(r.result)
	if r.chunk.Ptr == nil {
		return false
	}
	r.at, r.n = 0, int(mapping.DataChunkGetSize(r.chunk))
	r.columns = r.columns[:0]
	for i := range mapping.DataChunkGetColumnCount(r.chunk) {
		v := mapping.DataChunkGetVector(r.chunk, i)
		kind := mapping.VectorGetColumnType(v)
		c := chunkColumn{kind: mapping.GetTypeId(kind)}
		if c.kind == mapping.TypeArray {
			c.size = int(mapping.ArrayTypeArraySize(kind))
			v = mapping.ArrayVectorGetChild(v)
		}
		mapping.DestroyLogicalType(&kind)
		c.data = mapping.VectorGetData(v)
		r.columns = append(r.columns, c)
	}
	r.values = make([]any, len(r.columns))
	return r.n > 0
}

// Values returns the row that Next went to.
func (r *chunkRows) Values() ([]any, error) {
	for i, c := range r.columns {
		switch c.kind {
		case mapping.TypeArray:
			r.values[i] = pgvector.NewVector(unsafe.Slice((*float32)(c.data), (r.at+1)*c.size)[r.at*c.size:])
		case mapping.TypeBigInt:
			r.values[i] = *(*int64)(unsafe.Add(c.data, r.at*8))
		case mapping.TypeVarchar:
			r.values[i] = mapping.StringTData((*mapping.StringT)(unsafe.Add(c.data, r.at*int(unsafe.Sizeof(mapping.StringT{})))))
		default:
			return nil, fmt.Errorf("column %d has the type %d", i, c.kind)
		}
	}
	return r.values, nil
}

// Err returns the error that ended the rows.
func (r *chunkRows) Err() error {
	if said := mapping.ResultError(&r.result); said != "" {
		return errors.New(said)
	}
	return nil
}
