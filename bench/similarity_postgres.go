package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
)

// handWritten is the query that one writes for the base "vectors"; the condition is what its index has.
const handWritten = `SELECT v.id, v.chunk_id, v.file_id, c.content, c.chunk_index, f.name, f.path, f.status, v.embedding::vector(%[1]d) <=> $1::vector
	FROM knowledge_vectors v JOIN knowledge_chunks c ON c.id = v.chunk_id JOIN knowledge_files f ON f.id = v.file_id
	WHERE v.base_id = 'vectors'%[2]s AND c.status = 'processed'
	ORDER BY v.embedding::vector(%[1]d) <=> $1::vector LIMIT %[3]d`

const inIndex = " AND CASE WHEN vector_dims(v.embedding) = %d THEN true ELSE false END"

// byHand makes that query on one connection.
type byHand struct {
	conn  *sql.Conn
	d     *made
	where string
}

func (h *byHand) set(ctx context.Context, settings ...string) error {
	for _, s := range settings {
		if _, err := h.conn.ExecContext(ctx, "SET "+s); err != nil {
			return err
		}
	}
	return nil
}

// indexed reports whether the query goes by a vector index.
func (h *byHand) indexed(ctx context.Context) (bool, error) {
	rows, err := h.conn.QueryContext(ctx, "EXPLAIN "+fmt.Sprintf(handWritten, h.d.dims, h.where, similarK), models.Vector(h.d.query(0)).Text())
	if err != nil {
		return false, err
	}
	defer func() { _ = rows.Close() }()
	used := false
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return false, err
		}
		used = used || strings.Contains(line, "Index Scan using idx_knowledge_vectors_base_")
	}
	return used, rows.Err()
}

func (h *byHand) nearest(ctx context.Context, query []float32, k int) (found []int, err error) {
	rows, err := h.conn.QueryContext(ctx, fmt.Sprintf(handWritten, h.d.dims, h.where, k), models.Vector(query).Text())
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, chunk, file, content, name, path, status string
		var index int64
		var distance float64
		if err := rows.Scan(&id, &chunk, &file, &content, &index, &name, &path, &status, &distance); err != nil {
			return nil, err
		}
		n, err := numberOf(id)
		if err != nil {
			return nil, err
		}
		found = append(found, n)
	}
	return found, rows.Err()
}

// withHand compares queries on Postgres with the same SQL, over an index with the same effort and over
// all vectors.
func (e *Env) withHand(ctx context.Context, s Sizes) ([]Comparison, error) {
	d := clusters(s.Served, s.SimilarDimensions)
	d.findTruth(similarK)
	const schema = "talkbase_bench_similar"
	if err := e.dropSchema(ctx, schema); err != nil {
		return nil, err
	}
	e.close = append(e.close, func() error { return e.dropSchema(context.Background(), schema) })
	cfg := talkbase.Config{DSN: e.DSN, Schema: schema}
	cfg.Vector.Index = "hnsw"
	b, err := e.newBase(ctx, cfg, d)
	if err != nil {
		return nil, err
	}
	raw, err := OpenRawPostgres(ctx, e.DSN, schema)
	if err != nil {
		return nil, err
	}
	e.close = append(e.close, raw.Close)
	if err := raw.Settle(ctx); err != nil {
		return nil, err
	}
	p, ok := raw.(*rawPostgres)
	if !ok {
		return nil, fmt.Errorf("the hand-written side is %T", raw)
	}
	conn := func() (*sql.Conn, error) {
		c, err := p.db.Conn(ctx)
		if err == nil {
			e.close = append(e.close, c.Close)
		}
		return c, err
	}
	c1, err1 := conn()
	c2, err2 := conn()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	walk, scan := &byHand{conn: c1, d: d, where: fmt.Sprintf(inIndex, d.dims)}, &byHand{conn: c2, d: d}
	// What talkbase has measured when it made the index is in the index's comment.
	var effort sql.NullInt64 // NULL where there is no index
	if err := c1.QueryRowContext(ctx, `SELECT max((substr(obj_description(c.oid), 11)::json->>'search10')::int) FROM pg_class c
		WHERE c.relnamespace = current_schema()::regnamespace AND obj_description(c.oid) LIKE 'talkbase: {%'`).Scan(&effort); err != nil {
		return nil, err
	}
	if effort.Int64 == 0 {
		return nil, errors.New("the index says nothing of ef_search")
	}
	if err := walk.set(ctx, "enable_seqscan = off", "enable_sort = off", "jit = off", fmt.Sprintf("hnsw.ef_search = %d", effort.Int64)); err != nil {
		return nil, err
	}
	used, err := walk.indexed(ctx)
	if err != nil {
		return nil, err
	}
	if !used && s.Served >= 1000 {
		return nil, errors.New("the SQL written by hand does not use the index")
	}
	ours, oursExact := oneByOne("talkbase", d, similarK, b.nearest(false)), oneByOne("talkbase, exact", d, similarK, b.nearest(true))
	hand, handExact := oneByOne(fmt.Sprintf("SQL, ef_search %d", effort.Int64), d, similarK, walk.nearest), oneByOne("SQL, exact", d, similarK, scan.nearest)
	for _, p := range []*peer{ours, oursExact, hand, handExact} {
		if err := p.measure(ctx, similarK); err != nil {
			return nil, err
		}
	}
	what := fmt.Sprintf("%d nearest of %s x %d", similarK, count(s.Served), d.dims)
	e.noted(what+", HNSW", ours, hand)
	e.noted(what, oursExact, handExact)
	return []Comparison{
		{Name: what + ", HNSW", Target: byHandTarget, A: ours.side(), B: hand.side()},
		{Name: what + ", exact", Target: byHandTarget, A: oursExact.side(), B: handExact.side()},
	}, nil
}
