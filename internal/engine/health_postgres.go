package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/models"
)

func (e *postgresEngine) HealthSQL() HealthSQL {
	return HealthSQL{
		NotObject:       func(column string) string { return "jsonb_typeof(" + column + ") IS DISTINCT FROM 'object'" },
		WrongDimensions: func(column, dimensions string) string { return "vector_dims(" + column + ") <> " + dimensions },
	}
}

// Versions knows pgvector by the version of its library, which is at fault, and not by that of its SQL,
// which is older until ALTER EXTENSION vector UPDATE.
func (e *postgresEngine) Versions(ctx context.Context, db *gorm.DB) ([]Version, error) {
	v, err := One(ctx, db, Value[string], "SELECT split_part(current_setting('server_version'), ' ', 1)")
	if err != nil {
		return nil, err
	}
	out := []Version{{Name: "Postgres", Version: v, Faults: faultsOf(v, postgresFaults, true)}}
	type extension struct {
		inSQL, inLibrary string
		hnsw, ivfflat    bool
	}
	x, err := One(ctx, db, func(s Scanner, x *extension) error { return s.Scan(&x.inSQL, &x.inLibrary, &x.hnsw, &x.ivfflat) },
		`SELECT x.extversion, coalesce(a.default_version, x.extversion),
			EXISTS (SELECT 1`+pgIndexes+` AND m.amname = 'hnsw'), EXISTS (SELECT 1`+pgIndexes+` AND m.amname = 'ivfflat')
		FROM pg_extension x LEFT JOIN pg_available_extensions a ON a.name = x.extname WHERE x.extname = 'vector'`)
	if errors.Is(err, ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	library := x.inSQL
	if compareVersions(x.inLibrary, library) > 0 {
		library = x.inLibrary
	}
	return append(out, Version{
		Name: "pgvector", Version: library,
		Faults: append(faultsOf(library, hnswFaults, x.hnsw), faultsOf(library, ivfflatFaults, x.ivfflat)...),
	}), nil
}

// CheckStorage runs the functions of the extension amcheck, where it is installed and this role may: every
// row of every table, and every B-tree index against its table.
func (e *postgresEngine) CheckStorage(ctx context.Context, db *gorm.DB, found func(Damage)) (map[string]string, error) {
	const name = "amcheck"
	schema, err := One(ctx, db, Value[string], "SELECT quote_ident(n.nspname) FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace WHERE x.extname = 'amcheck'")
	if errors.Is(err, ErrNotFound) {
		return map[string]string{name: "the extension is not installed, and tables and indexes were not read for damage: CREATE EXTENSION amcheck, as a superuser"}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := e.checkIndexes(ctx, db, schema, found); err != nil {
		return e.notAllowed(name, err)
	}
	if err := e.checkHeaps(ctx, db, schema, found); err != nil {
		return e.notAllowed(name, err)
	}
	return nil, nil
}

func (e *postgresEngine) notAllowed(name string, err error) (map[string]string, error) {
	if pgCode(err) == "42501" || pgCode(err) == "42883" {
		return map[string]string{name: "this role may not use it, and tables and indexes were not read for damage: " + err.Error()}, nil
	}
	return nil, err
}

// relation is a table or an index, by the number that stays the same in any search_path.
type relation struct {
	oid         int64
	name, table string
}

func scanRelation(s Scanner, r *relation) error { return s.Scan(&r.oid, &r.name, &r.table) }

// ours leaves the relations of the schema's own tables.
func ours(all []relation) []relation {
	return slices.DeleteFunc(all, func(r relation) bool { return !isOurTable(r.table) })
}

const pgIndexes = ` FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
	JOIN pg_am m ON m.oid = c.relam WHERE t.relnamespace = quote_ident(current_schema())::regnamespace`

func (e *postgresEngine) checkIndexes(ctx context.Context, db *gorm.DB, schema string, found func(Damage)) error {
	all, err := Collect(ctx, db, scanRelation, "SELECT c.oid::bigint, c.relname, t.relname"+pgIndexes+" AND m.amname = 'btree' AND i.indisvalid AND i.indisready ORDER BY c.relname")
	if err != nil {
		return err
	}
	for _, ix := range ours(all) {
		_, err := One(ctx, db, func(s Scanner, v *string) error { return s.Scan(v) }, "SELECT "+schema+".bt_index_check(?::bigint::oid::regclass, true)::text", ix.oid)
		switch pgCode(err) {
		case "XX002", "XX001":
			found(Damage{Kind: DamagedIndex, Table: ix.table, Index: ix.name, Detail: pgMessage(err)})
		case "42P01": // it was dropped meanwhile
		default:
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *postgresEngine) checkHeaps(ctx context.Context, db *gorm.DB, schema string, found func(Damage)) error {
	all, err := Collect(ctx, db, scanRelation, "SELECT oid::bigint, relname, relname FROM pg_class WHERE relkind = 'r' AND relnamespace = quote_ident(current_schema())::regnamespace ORDER BY relname")
	if err != nil {
		return err
	}
	for _, t := range ours(all) {
		msgs, err := Collect(ctx, db, Value[string], "SELECT format('block %s, item %s: %s', blkno, offnum, msg) FROM "+schema+".verify_heapam(?::bigint::oid::regclass, check_toast := true) LIMIT "+maxDamages, t.oid)
		for _, m := range msgs {
			found(Damage{Kind: DamagedStorage, Table: t.name, Detail: m})
		}
		if err != nil && pgCode(err) != "42P01" {
			return err
		}
	}
	return nil
}

func (e *postgresEngine) InvalidIndexes(ctx context.Context, db *gorm.DB) ([]string, error) {
	all, err := Collect(ctx, db, scanRelation, "SELECT c.oid::bigint, c.relname, t.relname"+pgIndexes+" AND NOT (i.indisvalid AND i.indisready) ORDER BY c.relname")
	var out []string
	for _, ix := range ours(all) {
		out = append(out, ix.name)
	}
	return out, err
}

func (e *postgresEngine) LateSequences(ctx context.Context, db *gorm.DB) ([]Sequence, error) {
	var out []Sequence
	for _, s := range serials {
		if s.Table == "knowledge_vectors" && e.Vectors() != nil {
			continue
		}
		name, err := One(ctx, db, func(sc Scanner, v **string) error { return sc.Scan(v) }, "SELECT pg_get_serial_sequence(?, ?)", s.Table, s.Column)
		if err != nil {
			return nil, err
		}
		if name == nil {
			continue // a difference of the schema
		}
		err = scanSequence(ctx, db, &s, "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END, (SELECT coalesce(max("+s.Column+"), 0) FROM "+s.Table+") FROM "+*name)
		if err != nil {
			return nil, err
		}
		if s.Last < s.Highest {
			out = append(out, s)
		}
	}
	return out, nil
}

func (e *postgresEngine) SetSequence(ctx context.Context, tx *gorm.DB, s Sequence) error {
	if _, err := Exec(ctx, tx, "LOCK TABLE "+s.Table+" IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		return err
	}
	_, err := One(ctx, tx, Value[int64], "SELECT setval(pg_get_serial_sequence(?, ?), (SELECT max("+s.Column+") FROM "+s.Table+"))", s.Table, s.Column)
	return err
}

// leftBehind are the ends of the names of indexes that a concurrent build made and did not finish:
// Postgres' own and RebuildVectorIndex'.
var leftBehind = regexp.MustCompile(`(_ccnew|_ccold)\d*$|` + rebuilt + `$`)

const rebuilt = "_rebuilt"

func (e *postgresEngine) Reindex(ctx context.Context, index string) error {
	query := "REINDEX INDEX CONCURRENTLY "
	if leftBehind.MatchString(index) {
		query = "DROP INDEX CONCURRENTLY IF EXISTS "
	}
	_, err := e.pool.ExecContext(ctx, query+quoteName(index))
	return withEnd(ctx, classifyPostgres(err))
}

func (e *postgresEngine) EmptyTerms(ctx context.Context, tx *gorm.DB, table string) error {
	_, err := Exec(ctx, tx, "DELETE FROM "+table)
	return err
}

// vectorIndex is what the catalogue says of the index of a base's vectors.
type vectorIndex struct {
	method, class, typ string
	lists              int64
	valid              bool
}

var (
	listsOption = regexp.MustCompile(`lists ?= ?'?(\d+)`)
	castType    = regexp.MustCompile(`::(\w+\(\d+\))`)
)

func listsIn(text string) int64 {
	m := listsOption.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func findVectorIndex(ctx context.Context, db *gorm.DB, name string) (vectorIndex, error) {
	return One(ctx, db, func(s Scanner, x *vectorIndex) error {
		var options string
		err := s.Scan(&x.method, &x.class, &x.typ, &options, &x.valid)
		x.lists = listsIn(options)
		return err
	}, `SELECT m.amname, o.opcname, format_type(a.atttypid, a.atttypmod), coalesce(array_to_string(c.reloptions, ','), ''), i.indisvalid AND i.indisready
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
		JOIN pg_opclass o ON o.oid = i.indclass[0] JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1
		WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relname = ?`, name)
}

func (e *postgresEngine) VectorIndexState(ctx context.Context, db *gorm.DB, base models.KnowledgeBase, rows int64) (VectorIndexState, error) {
	var st VectorIndexState
	spec, _ := e.VectorIndex(base, "ivfflat", math.MaxInt32)
	if spec.Name == "" {
		return st, nil
	}
	wanted, _ := e.VectorIndex(base, "ivfflat", rows)
	have, err := findVectorIndex(ctx, db, spec.Name)
	if errors.Is(err, ErrNotFound) {
		if wanted.Name != "" {
			st.Problem, st.Why = VectorIndexMissing, plural(rows, "vector is", "vectors are")+" compared one by one"
		}
		return st, nil
	}
	if err != nil {
		return st, err
	}
	st.Kind, st.Name = have.method, spec.Name
	typ := castType.FindStringSubmatch(spec.Body)
	lists := listsIn(wanted.Body)
	switch {
	case !have.valid: // InvalidIndexes has it
	case typ != nil && !strings.HasSuffix(have.typ, typ[1]) || !strings.Contains(spec.Body, " "+have.class+")"):
		st.Problem, st.Why = VectorIndexStale, fmt.Sprintf("it is of %s with %s, which is no use to the base's queries", have.typ, have.class)
	case have.method == "ivfflat" && lists > 0 && (have.lists > 2*lists || 2*have.lists < lists):
		st.Problem, st.Why = VectorIndexStale, fmt.Sprintf("it has %d lists, and %d vectors want %d", have.lists, rows, lists)
	}
	return st, nil
}

// VectorIndexKind asks the catalogue.
func (e *postgresEngine) VectorIndexKind(ctx context.Context, db *gorm.DB, base models.KnowledgeBase) (string, error) {
	spec, _ := e.VectorIndex(base, "ivfflat", math.MaxInt32)
	if spec.Name == "" {
		return "", nil
	}
	have, err := findVectorIndex(ctx, db, spec.Name)
	if errors.Is(err, ErrNotFound) || err == nil && !have.valid {
		return "", nil
	}
	return have.method, err
}

// RebuildVectorIndex builds the new index beside the old one, and then takes the old one's place.
func (e *postgresEngine) RebuildVectorIndex(ctx context.Context, base models.KnowledgeBase, kind string, rows int64) error {
	r, err := e.Reader(ctx)
	if err != nil {
		return err
	}
	spec, _ := e.VectorIndex(base, kind, math.MaxInt32)
	if spec.Name == "" {
		return nil
	}
	have, err := findVectorIndex(ctx, r, spec.Name)
	if err == nil {
		kind = have.method
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	spec, why := e.VectorIndex(base, kind, rows)
	if spec.Name == "" { // too few vectors by now
		e.log.Logger.InfoContext(ctx, "index of vectors dropped", "base", base.ID, "reason", why)
		spec, _ = e.VectorIndex(base, kind, math.MaxInt32)
		_, err := e.pool.ExecContext(ctx, "DROP INDEX CONCURRENTLY IF EXISTS "+quoteName(spec.Name))
		return withEnd(ctx, classifyPostgres(err))
	}
	name := spec.Name
	spec.Name += rebuilt
	if _, err := e.pool.ExecContext(ctx, "DROP INDEX CONCURRENTLY IF EXISTS "+quoteName(spec.Name)); err != nil {
		return withEnd(ctx, classifyPostgres(err))
	}
	if _, err := e.CreateIndex(ctx, spec); err != nil {
		return withEnd(ctx, err)
	}
	tx, err := e.Begin(ctx)
	if err != nil {
		return err
	}
	for _, q := range []string{"DROP INDEX IF EXISTS " + quoteName(name), "ALTER INDEX " + quoteName(spec.Name) + " RENAME TO " + quoteName(name)} {
		if _, err := Exec(ctx, tx.DB, q); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}
