//go:build cgo && ((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)) || (windows && amd64))

package duckdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

// This file is the little of a DuckDB client that reading takes, straight on the bindings. Going
// through database/sql would cost half the speed on vectors (each element boxed in an any), and its
// driver opens files through a URL, which a path with a question mark in it breaks.

// setting is one configuration option of a database.
type setting struct{ name, value string }

// nativeError is a message of DuckDB, as it stands.
type nativeError string

func (e nativeError) Error() string { return string(e) }

// database is an open DuckDB file.
type database struct{ handle mapping.Database }

// openDatabase opens or creates the file at path, which should be absolute: DuckDB takes "word:rest"
// for a kind of database and its name. An empty path is a database in memory. Opening cannot be
// interrupted: a log beside the file is replayed first.
func openDatabase(path string, settings []setting) (*database, error) {
	// DuckDB takes it for a URL's, and looks for the log in a place of its own, without a word if
	// none is there.
	if strings.Contains(path, "?") {
		return nil, fmt.Errorf("DuckDB cannot work in a folder that has a question mark in its path: %s", path)
	}
	var config mapping.Config
	if mapping.CreateConfig(&config) == mapping.StateError {
		mapping.DestroyConfig(&config)
		return nil, nativeError("cannot create a configuration")
	}
	defer mapping.DestroyConfig(&config)
	for _, s := range settings {
		if mapping.SetConfig(config, s.name, s.value) == mapping.StateError {
			return nil, nativeError("cannot set " + s.name + " to " + s.value)
		}
	}
	var (
		db  database
		msg string
	)
	if mapping.OpenExt(path, &db.handle, config, &msg) == mapping.StateError {
		mapping.Close(&db.handle)
		return nil, nativeError(msg)
	}
	return &db, nil
}

func (db *database) close() { mapping.Close(&db.handle) }

// connect gives a connection, which serves one query at a time.
func (db *database) connect() (*conn, error) {
	var c conn
	if mapping.Connect(db.handle, &c.handle) == mapping.StateError {
		return nil, nativeError("cannot connect to the opened file")
	}
	return &c, nil
}

// conn is one connection to a database.
type conn struct{ handle mapping.Connection }

func (c *conn) close() { mapping.Disconnect(&c.handle) }

// exec runs a statement and drops its result.
func (c *conn) exec(ctx context.Context, query string) error {
	res, err := c.query(ctx, query)
	if err != nil {
		return err
	}
	defer res.close()
	for {
		if _, err := res.next(ctx); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// query runs a statement whose parameters are all integers. The whole result is made before the
// first row is fetched, which is why what may be large is asked for in pages.
func (c *conn) query(ctx context.Context, query string, args ...int64) (*result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &result{}
	if mapping.Prepare(c.handle, query, &r.stmt) == mapping.StateError {
		err := nativeError(mapping.PrepareError(r.stmt))
		r.close()
		return nil, err
	}
	for i, arg := range args {
		if mapping.BindInt64(r.stmt, mapping.IdxT(i+1), arg) == mapping.StateError {
			r.close()
			return nil, nativeError("cannot bind a parameter")
		}
	}
	if mapping.PendingPrepared(r.stmt, &r.pending) == mapping.StateError {
		err := nativeError(mapping.PendingError(r.pending))
		r.close()
		return nil, err
	}
	// Executing task by task, in this goroutine, is what lets a cancelled context stop the query
	// without another goroutine that calls for an interrupt at the wrong moment.
	for {
		state := mapping.PendingExecuteTask(r.pending)
		if state == mapping.PendingStateError {
			err := nativeError(mapping.PendingError(r.pending))
			r.close()
			return nil, err
		}
		if mapping.PendingExecutionIsFinished(state) {
			break
		}
		if err := ctx.Err(); err != nil {
			r.close()
			return nil, err
		}
		if state == mapping.PendingStateNoTasksAvailable {
			runtime.Gosched()
		}
	}
	if mapping.ExecutePending(r.pending, &r.res) == mapping.StateError {
		err := nativeError(mapping.ResultError(&r.res))
		r.close()
		return nil, err
	}
	return r, nil
}

// int64 runs a query for a single integer.
func (c *conn) int64(ctx context.Context, query string, args ...int64) (int64, error) {
	res, err := c.query(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	defer res.close()
	ch, err := res.next(ctx)
	if err != nil {
		return 0, err
	}
	return ch.vector(0).int64(0), nil
}

// result is the result of a query.
type result struct {
	stmt    mapping.PreparedStatement
	pending mapping.PendingResult
	res     mapping.Result
	chunk   mapping.DataChunk
}

// next gives the next chunk of at least one row, or io.EOF. The chunk is good until the following
// call.
func (r *result) next(ctx context.Context) (chunk, error) {
	for {
		if err := ctx.Err(); err != nil {
			return chunk{}, err
		}
		mapping.DestroyDataChunk(&r.chunk)
		r.chunk = mapping.FetchChunk(r.res)
		if r.chunk.Ptr == nil {
			if msg := mapping.ResultError(&r.res); msg != "" {
				return chunk{}, nativeError(msg)
			}
			return chunk{}, io.EOF
		}
		if n := int(mapping.DataChunkGetSize(r.chunk)); n > 0 {
			return chunk{handle: r.chunk, rows: n}, nil
		}
	}
}

func (r *result) close() {
	mapping.DestroyDataChunk(&r.chunk)
	mapping.DestroyResult(&r.res)
	mapping.DestroyPending(&r.pending)
	mapping.DestroyPrepare(&r.stmt)
}
