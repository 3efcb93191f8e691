package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"

	"github.com/talkbase/talkbase/models"
)

// operator is pgvector's for a metric, and the name of its operator classes after the type.
func operator(m models.Metric) (op, class string) {
	switch m {
	case models.MetricL2:
		return "<->", "_l2_ops"
	case models.MetricIP:
		return "<#>", "_ip_ops"
	default:
		return "<=>", "_cosine_ops"
	}
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Nearest asks pgvector: by the base's index where there is one, unless a filter lets so few vectors
// pass that these are better compared one by one. An index that ends before it has found enough, because
// of the filters or of what was deleted, is not asked again: then all are compared.
func (e *postgresEngine) Nearest(ctx context.Context, db *gorm.DB, q NearestQuery) ([]Neighbor, error) {
	if !q.Exact && q.Metric == q.Base.Metric && q.K > 0 {
		out, ok, err := e.byIndex(ctx, db, q)
		if err != nil || ok {
			return out, err
		}
	}
	q.answeredBy("")
	query, args := e.exactSQL(q)
	out, err := e.neighbors(ctx, db, settings{}, query, args)
	return nearestOf(out, q), err
}

// byIndex reports ok false where the vectors are better compared one by one.
func (e *postgresEngine) byIndex(ctx context.Context, db *gorm.DB, q NearestQuery) (out []Neighbor, ok bool, err error) {
	ix, err := e.indexes.of(ctx, db, q.Base)
	if err != nil || ix == nil || ix.half && !inHalf(q) {
		return nil, false, err
	}
	if !q.Files.IsZero() {
		few, err := e.few(ctx, db, q, ix.rows)
		if err != nil || few {
			return nil, false, err
		}
	}
	query, args := e.indexedSQL(q, ix.half)
	out, err = e.neighbors(ctx, db, ix.settings(q), query, args)
	if err != nil || len(out) < q.K {
		return nil, false, err
	}
	q.answeredBy(ix.kind)
	return nearestOf(out, q), true, nil
}

// nearestOf puts neighbours in order and drops what was not asked for.
func nearestOf(found []Neighbor, q NearestQuery) []Neighbor {
	found = slices.DeleteFunc(found, func(n Neighbor) bool {
		// The cosine of a zero vector is no number, and no answer.
		return math.IsNaN(n.Distance) || q.MaxDistance != nil && n.Distance > *q.MaxDistance
	})
	slices.SortFunc(found, nearer)
	return found[:min(len(found), q.K)]
}

// binder collects the arguments of a statement.
type binder struct{ args []any }

func (b *binder) param(v any) string {
	b.args = append(b.args, v)
	return "$" + strconv.Itoa(len(b.args))
}

// rightSize is true for the vectors of a base that have its dimensions; others, written by other hands,
// would be an error to compare or to index. CASE is what the planner knows nothing of: of an equation it
// would think that it holds for a few rows only.
func rightSize(column string, dimensions int64) string {
	return fmt.Sprintf("CASE WHEN vector_dims(%s) = %d THEN true ELSE false END", column, dimensions)
}

// describing reads what belongs to neighbours. The LIMIT inside is a literal, so that the planner
// expects no more of them.
const describing = "SELECT n.id, n.chunk_id, n.file_id, c.content, c.chunk_index, f.name, f.path, f.status, n.distance FROM (%s) n" +
	" JOIN knowledge_chunks c ON c.id = n.chunk_id JOIN knowledge_files f ON f.id = n.file_id"

// indexedSQL is the query that the base's index answers. The planner considers a partial expression
// index where the base's id and its dimensions are literals and the distance alone is what is sorted by;
// the conditions on chunks and files are subqueries that it cannot turn into joins, so that walking
// through the index, which needs few of them, is the cheapest way by far. More are read than asked for:
// some at the same distance, some because the order is not strict once a filter has the index go on, and
// some because a halfvec is rounded.
func (e *postgresEngine) indexedSQL(q NearestQuery, half bool) (string, []any) {
	var b binder
	op, _ := operator(q.Metric)
	vector := b.param(models.Vector(q.Vector).Text())
	order, limit := fmt.Sprintf("v.embedding::vector(%d) %s %s::vector", q.Base.Dimensions, op, vector), q.K+2
	distance := order
	if !q.Files.IsZero() {
		limit += q.K/8 + 6
	}
	if half {
		order, limit = fmt.Sprintf("%s %s %s", halfOf("v.embedding", q.Base), op, halfOf(vector+"::vector", q.Base)), q.K+q.K/2+16
	}
	files := ""
	if !q.Files.IsZero() {
		files = " AND EXISTS (SELECT 1 FROM knowledge_files f WHERE f.id = v.file_id" + e.FilterFiles(q.Files, b.param) + " OFFSET 0)"
	}
	return fmt.Sprintf(describing, "SELECT v.id, v.chunk_id, v.file_id, "+distance+" AS distance FROM knowledge_vectors v WHERE "+inIndex("v.", q.Base)+
		" AND EXISTS (SELECT 1 FROM knowledge_chunks c WHERE c.id = v.chunk_id AND c.status = 'processed' OFFSET 0)"+files+
		" ORDER BY "+order+" LIMIT "+strconv.Itoa(limit)), b.args
}

// exactSQL compares every vector that passes the filters. subvector makes a copy of what may lie in
// another table, so that it is fetched once for its length and its distance; OFFSET 0 keeps the planner
// from putting it twice into the query.
func (e *postgresEngine) exactSQL(q NearestQuery) (string, []any) {
	var b binder
	op, _ := operator(q.Metric)
	distance := "e " + op + " " + b.param(models.Vector(q.Vector).Text()) + "::vector"
	files := ""
	if !q.Files.IsZero() {
		files = " AND v.file_id IN (SELECT f.id FROM knowledge_files f WHERE f.base_id = " + quoteLiteral(q.Base.ID) + e.FilterFiles(q.Files, b.param) + ")"
	}
	return fmt.Sprintf(describing, fmt.Sprintf("SELECT id, chunk_id, file_id, "+distance+" AS distance FROM ("+
		"SELECT v.id, v.chunk_id, v.file_id, subvector(v.embedding, 1, %d) AS e FROM knowledge_vectors v WHERE v.base_id = %s"+
		" AND EXISTS (SELECT 1 FROM knowledge_chunks c WHERE c.id = v.chunk_id AND c.status = 'processed')"+files+
		" OFFSET 0) s WHERE vector_dims(e) = %d ORDER BY "+distance+", id LIMIT %d", maxVector, quoteLiteral(q.Base.ID), q.Base.Dimensions, q.K)), b.args
}

// maxVector is the most dimensions of pgvector's type vector.
const maxVector = 16000

// narrowPostgres is where the two ways of BenchmarkPostgresNarrow take the same time: between 1 and 2.8.
const narrowPostgres = 1.5

// few reports whether so few vectors pass the filter that they are better compared one by one; see
// sketches.few.
func (e *postgresEngine) few(ctx context.Context, db *gorm.DB, q NearestQuery, rows int64) (bool, error) {
	var b binder
	limit := int64(e.narrow * math.Sqrt(float64(q.K)*float64(rows)))
	query := "SELECT count(*) FROM (SELECT 1 FROM knowledge_files f JOIN knowledge_vectors v ON v.file_id = f.id WHERE f.base_id = " + b.param(q.Base.ID) +
		e.FilterFiles(q.Files, b.param) + " LIMIT " + strconv.FormatInt(limit+1, 10) + ") t"
	var n int64
	start := time.Now()
	err := db.Statement.ConnPool.QueryRowContext(ctx, query, b.args...).Scan(&n)
	db.Logger.Trace(ctx, start, func() (string, int64) { return query, 1 }, err)
	return n <= limit, withEnd(ctx, classifyPostgres(err))
}

// settings are run-time parameters for one statement.
type settings struct {
	names  []string
	values []any
}

func (s *settings) add(name, value string) {
	s.names, s.values = append(s.names, name), append(s.values, value)
}

// neighbors runs a query with settings of its own.
func (e *postgresEngine) neighbors(ctx context.Context, db *gorm.DB, s settings, query string, args []any) (out []Neighbor, err error) {
	start := time.Now()
	defer func() {
		db.Logger.Trace(ctx, start, func() (string, int64) { return query, int64(len(out)) }, err)
	}()
	if _, in := SQLTx(db); in {
		return e.inTx(ctx, db, s, query, args)
	}
	if len(s.names) == 0 {
		return e.plain(ctx, db, query, args)
	}
	if out, done, err := e.inBatch(ctx, s, query, args); done || err != nil {
		return out, err
	}
	tx, err := e.BeginRead(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	return e.inTx(ctx, tx.DB, s, query, args)
}

func (e *postgresEngine) plain(ctx context.Context, db *gorm.DB, query string, args []any) (out []Neighbor, err error) {
	if e.running != nil {
		e.running(ctx, db, query, args)
	}
	rows, err := db.Statement.ConnPool.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, withEnd(ctx, classifyPostgres(err))
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var n Neighbor
		if err := scanNeighbor(rows, &n); err != nil {
			return nil, withEnd(ctx, classifyPostgres(err))
		}
		out = append(out, n)
	}
	return out, withEnd(ctx, classifyPostgres(rows.Err()))
}

// inBatch sends the settings and the query at once. Without BEGIN the two are one transaction, at whose
// end the settings are what they were. It reports done false where the driver is not pgx.
func (e *postgresEngine) inBatch(ctx context.Context, s settings, query string, args []any) (out []Neighbor, done bool, err error) {
	if e.running != nil {
		return nil, false, nil
	}
	for range 2 { // a connection may have been closed since it was used last
		out, done, err = e.inOneBatch(ctx, s, query, args)
		if !errors.Is(err, driver.ErrBadConn) {
			break
		}
	}
	return out, done, withEnd(ctx, classifyPostgres(err))
}

func (e *postgresEngine) inOneBatch(ctx context.Context, s settings, query string, args []any) (out []Neighbor, done bool, err error) {
	conn, err := e.pool.Conn(ctx)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = conn.Close() }()
	err = conn.Raw(func(dc any) error {
		c, ok := dc.(*stdlib.Conn)
		if !ok {
			return nil
		}
		done = true
		var b pgx.Batch
		set, values := setSQL(s.names, s.values)
		b.Queue(set, values...)
		b.Queue(query, args...)
		results := c.Conn().SendBatch(ctx, &b)
		defer func() { _ = results.Close() }()
		if _, err := results.Exec(); err != nil {
			if pgconn.SafeToRetry(err) {
				return driver.ErrBadConn
			}
			return err
		}
		rows, err := results.Query()
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (n Neighbor, err error) {
			return n, scanNeighbor(r, &n)
		})
		return err
	})
	return out, done, err
}

// setSQL sets run-time parameters until the end of the transaction. NULL is what the session has.
func setSQL(names []string, values []any) (string, []any) {
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("set_config('%s', $%d::text, true)", name, i+1)
	}
	return "SELECT " + strings.Join(parts, ", "), values
}

// inTx runs the query in the transaction of db, whose settings are then what they were.
func (e *postgresEngine) inTx(ctx context.Context, db *gorm.DB, s settings, query string, args []any) ([]Neighbor, error) {
	if len(s.names) == 0 {
		return e.plain(ctx, db, query, args)
	}
	n := len(s.names)
	parts, was, dest, have := make([]string, n), make([]sql.NullString, n), make([]any, n), make([]any, n)
	for i, name := range s.names {
		parts[i], dest[i] = fmt.Sprintf("current_setting('%s', true)", name), &was[i]
	}
	if err := db.Statement.ConnPool.QueryRowContext(ctx, "SELECT "+strings.Join(parts, ", ")).Scan(dest...); err != nil {
		return nil, withEnd(ctx, classifyPostgres(err))
	}
	change := false
	for i := range was {
		have[i] = was[i]
		change = change || !was[i].Valid || was[i].String != s.values[i]
	}
	set := func(values []any) error {
		query, args := setSQL(s.names, values)
		_, err := db.Statement.ConnPool.ExecContext(ctx, query, args...)
		return withEnd(ctx, classifyPostgres(err))
	}
	if !change {
		return e.plain(ctx, db, query, args)
	}
	if err := set(s.values); err != nil {
		return nil, err
	}
	out, err := e.plain(ctx, db, query, args)
	if err != nil {
		return nil, err // the transaction, or its savepoint, takes the settings with it
	}
	return out, set(have)
}
