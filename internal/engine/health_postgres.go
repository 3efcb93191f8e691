package engine

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

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
// Postgres' own and createVectorIndex'.
var leftBehind = regexp.MustCompile(`(_ccnew|_ccold)\d*$|` + newSuffix + `$`)

func (e *postgresEngine) Reindex(ctx context.Context, index string) error {
	query := "REINDEX INDEX CONCURRENTLY "
	if leftBehind.MatchString(index) {
		query = "DROP INDEX CONCURRENTLY IF EXISTS "
	}
	return e.patiently(ctx, query+quoteName(index))
}

func (e *postgresEngine) EmptyTerms(ctx context.Context, tx *gorm.DB, table string) error {
	_, err := Exec(ctx, tx, "DELETE FROM "+table)
	return err
}

// ownVectorIndex is the index of a base's vectors, nil when there is none.
func ownVectorIndex(ctx context.Context, db *gorm.DB, base models.KnowledgeBase) (*vectorIndex, error) {
	all, err := vectorIndexes(ctx, db, base)
	if err != nil {
		return nil, err
	}
	name := vectorIndexName(base.ID)
	if i := slices.IndexFunc(all, func(v vectorIndex) bool { return v.name == name }); i >= 0 {
		return &all[i], nil
	}
	return nil, nil
}

func (e *postgresEngine) VectorIndexState(ctx context.Context, db *gorm.DB, base models.KnowledgeBase, rows int64) (VectorIndexState, error) {
	var st VectorIndexState
	have, err := ownVectorIndex(ctx, db, base)
	if err != nil {
		return st, err
	}
	if have == nil {
		if wanted, _ := e.VectorIndex(base, "", rows); wanted.Name != "" {
			st.Problem, st.Why = VectorIndexMissing, plural(rows, "vector is", "vectors are")+" compared one by one"
		}
		return st, nil
	}
	st.Kind, st.Name = have.kind, have.name
	switch {
	case !have.valid: // InvalidIndexes has it
	case !have.fits:
		st.Problem, st.Why = VectorIndexStale, "it is of other dimensions or another metric, which is no use to the base's queries"
	case have.unfit(rows):
		st.Problem, st.Why = VectorIndexStale, fmt.Sprintf("it has %d lists, and %d vectors want %d", have.lists, rows, listsOf(rows))
	}
	return st, nil
}

// VectorIndexKind asks the catalogue.
func (e *postgresEngine) VectorIndexKind(ctx context.Context, db *gorm.DB, base models.KnowledgeBase) (string, error) {
	have, err := ownVectorIndex(ctx, db, base)
	if err != nil || have == nil || !have.valid {
		return "", err
	}
	return have.kind, nil
}

// RebuildVectorIndex builds the new index beside the old one, and then takes the old one's place.
func (e *postgresEngine) RebuildVectorIndex(ctx context.Context, base models.KnowledgeBase, kind string, rows int64) error {
	r, err := e.Reader(ctx)
	if err != nil {
		return err
	}
	have, err := ownVectorIndex(ctx, r, base)
	if err != nil {
		return err
	}
	if have != nil {
		kind = have.kind
	}
	spec, why := e.VectorIndex(base, kind, rows)
	if spec.Name != "" {
		_, err = e.CreateIndex(ctx, spec)
		return err
	}
	if have == nil {
		return nil
	}
	// There are too few vectors by now.
	e.log.Logger.InfoContext(ctx, "index of vectors dropped", "base", base.ID, "reason", why)
	defer e.indexes.forget(base.ID)
	return e.patiently(ctx, "DROP INDEX CONCURRENTLY IF EXISTS "+quoteName(have.name))
}
