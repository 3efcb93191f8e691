package engine

import (
	"context"
	"errors"
	"slices"
	"strings"

	"gorm.io/gorm"
)

// Statistics reads Postgres' own: https://www.postgresql.org/docs/current/monitoring-stats.html.
func (e *postgresEngine) Statistics(ctx context.Context, db *gorm.DB) (Statistics, error) {
	st := Statistics{Tables: map[string]TableSize{}}
	if err := one(ctx, db, "SELECT split_part(current_setting('server_version'), ' ', 1)", &st.Version); err != nil {
		return st, err
	}
	type table struct {
		name string
		TableSize
		total, hit, read int64
	}
	all, err := Collect(ctx, db, func(s Scanner, t *table) error {
		return s.Scan(&t.name, &t.Bytes, &t.total, &t.DeadRows, &t.LastVacuum, &t.LastAnalyze, &t.FullScans, &t.IndexScans, &t.hit, &t.read)
	}, `SELECT c.relname, pg_table_size(c.oid), pg_total_relation_size(c.oid), s.n_dead_tup,
			(extract(epoch FROM greatest(s.last_vacuum, s.last_autovacuum)) * 1000)::bigint,
			(extract(epoch FROM greatest(s.last_analyze, s.last_autoanalyze)) * 1000)::bigint,
			s.seq_scan, s.idx_scan,
			coalesce(io.heap_blks_hit, 0) + coalesce(io.idx_blks_hit, 0) + coalesce(io.toast_blks_hit, 0) + coalesce(io.tidx_blks_hit, 0),
			coalesce(io.heap_blks_read, 0) + coalesce(io.idx_blks_read, 0) + coalesce(io.toast_blks_read, 0) + coalesce(io.tidx_blks_read, 0)
		FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid LEFT JOIN pg_statio_user_tables io ON io.relid = c.oid
		WHERE c.relkind = 'r' AND c.relnamespace = quote_ident(current_schema())::regnamespace`)
	if err != nil {
		return st, err
	}
	var hit, read int64
	for _, t := range all {
		if !isOurTable(t.name) {
			continue
		}
		st.Tables[t.name] = t.TableSize
		st.Bytes += t.total
		if t.DeadRows != nil {
			st.DeadRows += *t.DeadRows
		}
		hit, read = hit+t.hit, read+t.read
	}
	if hit+read > 0 {
		st.CacheHitRate = pointer(float64(hit) / float64(hit+read))
	}
	st.Indexes, err = Collect(ctx, db, func(s Scanner, x *IndexSize) error {
		return s.Scan(&x.Table, &x.Index, &x.Kind, &x.Bytes, &x.Scans, &x.Valid)
	}, `SELECT t.relname, c.relname, m.amname, pg_relation_size(c.oid), pg_stat_get_numscans(c.oid), i.indisvalid AND i.indisready`+pgIndexes)
	if err != nil {
		return st, err
	}
	st.Indexes = slices.DeleteFunc(st.Indexes, func(x IndexSize) bool { return !isOurTable(x.Table) })
	sortIndexes(st.Indexes)
	st.Queries, st.NoQueries, err = e.queryShapes(ctx, db)
	return st, err
}

// Size asks the catalogue.
func (e *postgresEngine) Size(ctx context.Context, db *gorm.DB) (Size, error) {
	type table struct {
		name        string
		bytes, dead int64
	}
	all, err := Collect(ctx, db, func(s Scanner, t *table) error { return s.Scan(&t.name, &t.bytes, &t.dead) },
		`SELECT c.relname, pg_total_relation_size(c.oid), coalesce(pg_stat_get_dead_tuples(c.oid), 0) FROM pg_class c
		WHERE c.relkind = 'r' AND c.relnamespace = quote_ident(current_schema())::regnamespace`)
	var s Size
	for _, t := range all {
		if isOurTable(t.name) {
			s.Bytes, s.DeadRows = s.Bytes+t.bytes, s.DeadRows+t.dead
		}
	}
	return s, err
}

// queryShapes reads the extension pg_stat_statements. Where it cannot be read,
// why says so. It does not read in the transaction db is in, which an error would end.
func (e *postgresEngine) queryShapes(ctx context.Context, db *gorm.DB) (shapes []QueryShape, why string, err error) {
	const name = "pg_stat_statements"
	schema, err := One(ctx, db, Value[string], "SELECT quote_ident(n.nspname) FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace WHERE x.extname = '"+name+"'")
	if errors.Is(err, ErrNotFound) {
		return nil, "the extension " + name + " is not installed: CREATE EXTENSION " + name, nil
	}
	if err != nil {
		return nil, "", err
	}
	pool, err := e.Reader(ctx)
	if err != nil {
		return nil, "", err
	}
	shapes, err = Collect(ctx, pool, func(s Scanner, q *QueryShape) error {
		return s.Scan(&q.Query, &q.Calls, &q.Rows, &q.TotalMS, &q.MeanMS, &q.MaxMS)
	}, "SELECT query, calls, rows, total_exec_time, mean_exec_time, max_exec_time FROM "+schema+"."+name+
		" WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND userid = (SELECT oid FROM pg_roles WHERE rolname = current_user) AND query ~ ? AND query ~* '^\\s*(select|with|insert|update|delete)' ORDER BY total_exec_time DESC LIMIT ?",
		`\m(`+strings.Join(ourTables, "|")+`)\M`, slowestShapes)
	switch {
	case pgCode(err) == "55000":
		return nil, name + " is installed and not loaded: add it to shared_preload_libraries", nil
	case pgCode(err) == "42501":
		return nil, "this role may not read " + name, nil
	}
	for i := range shapes {
		shapes[i].Query = normalise(shapes[i].Query, true).text
		shapes[i].TotalMS, shapes[i].MeanMS, shapes[i].MaxMS = round(shapes[i].TotalMS), round(shapes[i].MeanMS), round(shapes[i].MaxMS)
	}
	return shapes, "", err
}

// ColumnStatistics reads the view pg_stats, and none of the values in it.
func (e *postgresEngine) ColumnStatistics(ctx context.Context, db *gorm.DB, table string) ([]ColumnStatistics, error) {
	return Collect(ctx, db, func(s Scanner, c *ColumnStatistics) error {
		return s.Scan(&c.Column, &c.Distinct, &c.NullFraction, &c.Width, &c.Correlation)
	}, `SELECT a.attname, CASE WHEN s.n_distinct < 0 THEN -s.n_distinct * greatest(c.reltuples, 0) ELSE s.n_distinct END::float8, s.null_frac::float8, s.avg_width, s.correlation::float8
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		LEFT JOIN pg_stats s ON s.schemaname = current_schema() AND s.tablename = c.relname AND s.attname = a.attname
		WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relname = ? AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, table)
}
