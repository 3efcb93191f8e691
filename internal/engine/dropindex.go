package engine

import (
	"context"
	"slices"
	"strings"

	"gorm.io/gorm"
)

// neededByLoad is the index by which a load finds out whether a chunk has a vector.
const neededByLoad = "idx_knowledge_vectors_chunk"

// countMessages is the trigger that counts the messages of a conversation as they are inserted.
const countMessages = "trg_messages_insert"

// recount are the statements that count them at once.
var recount = []string{
	"UPDATE conversations SET message_count = 0 WHERE message_count <> 0",
	`UPDATE conversations SET message_count = n.n FROM (SELECT conversation_id, count(*) AS n FROM messages GROUP BY conversation_id) n
		WHERE conv_id = n.conversation_id`,
}

// found is what can be dropped, in which table it is, and the statement that drops it.
type found struct {
	Dropped
	table, drop string
}

// dropAll drops what was found and returns it, as far as it belongs to the schema and no load needs it.
func dropAll(ctx context.Context, tx *gorm.DB, all []found) ([]Dropped, error) {
	var out []Dropped
	for _, f := range all {
		if !slices.Contains(ourTables, f.table) || f.Name == neededByLoad {
			continue
		}
		if _, err := Exec(ctx, tx, f.drop); err != nil {
			return nil, err
		}
		f.Text = strings.HasSuffix(f.table, "_terms")
		out = append(out, f.Dropped)
	}
	return out, nil
}

func restore(ctx context.Context, tx *gorm.DB, exists string, d Dropped) error {
	n, err := One(ctx, tx, Value[int64], exists, d.Name)
	if err != nil || n > 0 {
		return err
	}
	for _, stmt := range d.SQL {
		if _, err := Exec(ctx, tx, stmt); err != nil {
			return err
		}
	}
	return nil
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// DropForLoad leaves foreign keys: SQLite cannot drop them.
func (e *sqliteEngine) DropForLoad(ctx context.Context, tx *gorm.DB, _ bool) ([]Dropped, error) {
	all, err := Collect(ctx, tx, func(s Scanner, f *found) error {
		var kind, sql string
		err := s.Scan(&kind, &f.Name, &f.table, &sql)
		f.SQL, f.drop = []string{sql}, "DROP "+kind+" "+quoted(f.Name)
		if kind == "trigger" {
			f.SQL = append(f.SQL, recount...)
		}
		return err
	}, `SELECT type, name, tbl_name, sql FROM sqlite_master
		WHERE type = 'index' AND sql LIKE 'CREATE INDEX%' OR type = 'trigger' AND name = '`+countMessages+`' ORDER BY type, name`)
	if err != nil {
		return nil, err
	}
	return dropAll(ctx, tx, all)
}

func (e *sqliteEngine) Restore(ctx context.Context, tx *gorm.DB, d Dropped) error {
	return restore(ctx, tx, "SELECT count(*) FROM sqlite_master WHERE name = ?", d)
}

// DropForLoad drops foreign keys, each of which is one query for every row that is loaded, and
// the trigger that counts messages, for which each row is kept until its statement ends.
func (e *postgresEngine) DropForLoad(ctx context.Context, tx *gorm.DB, parentsKnown bool) ([]Dropped, error) {
	indexes, err := Collect(ctx, tx, func(s Scanner, f *found) error {
		var sql string
		err := s.Scan(&f.Name, &f.table, &sql)
		f.SQL, f.drop = []string{sql}, "DROP INDEX "+quoted(f.Name)
		return err
	}, `SELECT c.relname, t.relname, pg_get_indexdef(i.indexrelid)
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
		JOIN pg_namespace n ON n.oid = t.relnamespace
		WHERE n.nspname = current_schema() AND NOT i.indisunique ORDER BY c.relname`)
	if err != nil {
		return nil, err
	}
	keys, err := Collect(ctx, tx, func(s Scanner, f *found) error {
		var parent, column, key, definition string
		err := s.Scan(&f.Name, &f.table, &parent, &column, &key, &definition)
		child, parent := quoted(f.table), quoted(parent)
		f.drop = "ALTER TABLE " + child + " DROP CONSTRAINT " + quoted(f.Name)
		f.SQL = []string{
			"LOCK TABLE " + parent + ", " + child + " IN SHARE ROW EXCLUSIVE MODE",
			// Whoever deletes a parent meanwhile means its children too.
			"DELETE FROM " + child + " c WHERE NOT EXISTS (SELECT 1 FROM " + parent + " p WHERE p." + quoted(key) + " = c." + quoted(column) + ")",
			"ALTER TABLE " + child + " ADD CONSTRAINT " + quoted(f.Name) + " " + definition,
		}
		return err
	}, `SELECT k.conname, c.relname, p.relname, a.attname, b.attname, pg_get_constraintdef(k.oid)
		FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class p ON p.oid = k.confrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
		JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = k.confkey[1]
		WHERE n.nspname = current_schema() AND k.contype = 'f' AND k.confdeltype = 'c' AND cardinality(k.conkey) = 1 ORDER BY k.conname`)
	if err != nil {
		return nil, err
	}
	if !parentsKnown {
		keys = nil
	}
	triggers, err := Collect(ctx, tx, func(s Scanner, f *found) error {
		var sql string
		err := s.Scan(&f.Name, &f.table, &sql)
		f.SQL, f.drop = append([]string{sql}, recount...), "DROP TRIGGER "+quoted(f.Name)+" ON "+quoted(f.table)
		return err
	}, `SELECT t.tgname, c.relname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND t.tgname = '`+countMessages+`'`)
	if err != nil {
		return nil, err
	}
	return dropAll(ctx, tx, slices.Concat(indexes, keys, triggers))
}

func (e *postgresEngine) Restore(ctx context.Context, tx *gorm.DB, d Dropped) error {
	return restore(ctx, tx, `SELECT count(*) FROM (
		SELECT relname AS name, relnamespace AS namespace FROM pg_class
		UNION ALL SELECT conname, connamespace FROM pg_constraint
		UNION ALL SELECT tgname, c.relnamespace FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid) o
		JOIN pg_namespace n ON n.oid = o.namespace WHERE n.nspname = current_schema() AND o.name = ?`, d)
}
