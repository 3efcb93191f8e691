package engine

import (
	"context"
	"database/sql"
	"os"
	"strings"

	"gorm.io/gorm"
)

// Statistics reads every page's header by the virtual table dbstat. A host's driver may lack that; then
// tables and indexes have no sizes.
func (e *sqliteEngine) Statistics(ctx context.Context, db *gorm.DB) (Statistics, error) {
	st := Statistics{Tables: map[string]TableSize{}, NoQueries: "SQLite keeps no record of queries"}
	var err error
	if st.Size, err = e.Size(ctx, db); err != nil {
		return st, err
	}
	if err := one(ctx, db, "SELECT sqlite_version()", &st.Version); err != nil {
		return st, err
	}
	has, err := One(ctx, db, Value[bool], "SELECT count(*) > 0 FROM pragma_module_list WHERE name = 'dbstat'")
	if err != nil || !has {
		return st, err
	}
	type object struct {
		name, kind, table string
		bytes             int64
	}
	objects, err := Collect(ctx, db, func(s Scanner, o *object) error { return s.Scan(&o.name, &o.kind, &o.table, &o.bytes) },
		"SELECT s.name, coalesce(m.type, ''), coalesce(m.tbl_name, ''), s.pgsize FROM dbstat s LEFT JOIN sqlite_master m ON m.name = s.name WHERE s.aggregate = 1")
	if err != nil {
		return st, err
	}
	for _, o := range objects {
		table := shadowed(o.table)
		switch {
		case !isOurTable(table):
		case o.kind == "index":
			st.Indexes = append(st.Indexes, IndexSize{Table: table, Index: o.name, Kind: "btree", Bytes: o.bytes, Valid: true})
		default:
			t := st.Tables[table]
			t.Bytes += o.bytes
			st.Tables[table] = t
		}
	}
	sortIndexes(st.Indexes)
	return st, nil
}

// Size asks the file's header.
func (e *sqliteEngine) Size(ctx context.Context, db *gorm.DB) (Size, error) {
	var s Size
	var page, pages, free int64
	err := one(ctx, db, "SELECT page_size, page_count, freelist_count FROM pragma_page_size, pragma_page_count, pragma_freelist_count", &page, &pages, &free)
	if info, serr := os.Stat(e.path + "-wal"); serr == nil && e.path != "" {
		s.WALBytes = info.Size()
	}
	s.Bytes, s.FreeBytes = page*pages+s.WALBytes, page*free
	return s, err
}

// shadowed is the table that an FTS5 table of its own belongs to.
func shadowed(table string) string {
	for _, suffix := range []string{"_data", "_idx", "_docsize", "_config"} {
		if base, ok := strings.CutSuffix(table, suffix); ok && isOurTable(base) {
			return base
		}
	}
	return table
}

// one reads a row of several columns.
func one(ctx context.Context, db *gorm.DB, query string, dest ...any) error {
	_, err := One(ctx, db, func(s Scanner, _ *struct{}) error { return s.Scan(dest...) }, query)
	return err
}

// ColumnStatistics reads what ANALYZE stored of the indexes, which is of their first columns.
func (e *sqliteEngine) ColumnStatistics(ctx context.Context, db *gorm.DB, table string) ([]ColumnStatistics, error) {
	out, err := Collect(ctx, db, func(s Scanner, c *ColumnStatistics) error { return s.Scan(&c.Column) }, "SELECT name FROM pragma_table_info(?)", table)
	if err != nil {
		return nil, err
	}
	k, err := loadKnown(ctx, db)
	if err != nil {
		return nil, err
	}
	type first struct {
		index  string
		column sql.NullString
	}
	firsts, err := Collect(ctx, db, func(s Scanner, f *first) error { return s.Scan(&f.index, &f.column) },
		"SELECT l.name, i.name FROM pragma_index_list(?) l, pragma_index_info(l.name) i WHERE i.seqno = 0 AND NOT l.partial ORDER BY l.name", table)
	if err != nil {
		return nil, err
	}
	for _, f := range firsts {
		stat := k.stat[f.index]
		if len(stat) < 2 || stat[1] <= 0 {
			continue
		}
		for i := range out {
			if out[i].Column == f.column.String && out[i].Distinct == nil {
				out[i].Distinct, out[i].Index = pointer(stat[0]/stat[1]), f.index
			}
		}
	}
	return out, nil
}
