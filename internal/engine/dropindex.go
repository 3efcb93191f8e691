package engine

import (
	"context"
	"slices"
	"strings"

	"gorm.io/gorm"
)

// neededByLoad is the index by which a load finds out whether a chunk has a vector.
const neededByLoad = "idx_knowledge_vectors_chunk"

// dropIndexes drops those of the indexes that query lists as name, table and SQL.
func dropIndexes(ctx context.Context, tx *gorm.DB, query string) ([]DroppedIndex, error) {
	type found struct {
		DroppedIndex
		table string
	}
	all, err := Collect(ctx, tx, func(s Scanner, f *found) error { return s.Scan(&f.Name, &f.table, &f.SQL) }, query)
	if err != nil {
		return nil, err
	}
	var out []DroppedIndex
	for _, f := range all {
		if !slices.Contains(ourTables, f.table) || f.Name == neededByLoad {
			continue
		}
		if _, err := Exec(ctx, tx, `DROP INDEX "`+strings.ReplaceAll(f.Name, `"`, `""`)+`"`); err != nil {
			return nil, err
		}
		out = append(out, f.DroppedIndex)
	}
	return out, nil
}

func restoreIndex(ctx context.Context, tx *gorm.DB, exists string, ix DroppedIndex) error {
	n, err := One(ctx, tx, Value[int64], exists, ix.Name)
	if err != nil || n > 0 {
		return err
	}
	_, err = Exec(ctx, tx, ix.SQL)
	return err
}

func (e *sqliteEngine) DropIndexes(ctx context.Context, tx *gorm.DB) ([]DroppedIndex, error) {
	return dropIndexes(ctx, tx, "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE 'CREATE INDEX%' ORDER BY name")
}

func (e *sqliteEngine) RestoreIndex(ctx context.Context, tx *gorm.DB, ix DroppedIndex) error {
	return restoreIndex(ctx, tx, "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND name = ?", ix)
}

func (e *postgresEngine) DropIndexes(ctx context.Context, tx *gorm.DB) ([]DroppedIndex, error) {
	return dropIndexes(ctx, tx, `SELECT c.relname, t.relname, pg_get_indexdef(i.indexrelid)
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
		JOIN pg_namespace n ON n.oid = t.relnamespace
		WHERE n.nspname = current_schema() AND NOT i.indisunique ORDER BY c.relname`)
}

func (e *postgresEngine) RestoreIndex(ctx context.Context, tx *gorm.DB, ix DroppedIndex) error {
	return restoreIndex(ctx, tx, `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = current_schema() AND c.relname = ?`, ix)
}
