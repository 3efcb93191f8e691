package engine

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// Schema describes the tables talkbase owns, as they are. Names and definitions are normalised so
// that two descriptions of the same schema are equal.
type Schema struct {
	Tables map[string]Table `json:"tables"`
}

// Table is one table of a Schema.
type Table struct {
	Columns     map[string]string `json:"columns"`
	Indexes     map[string]string `json:"indexes,omitempty"`
	Constraints map[string]string `json:"constraints,omitempty"`
	Triggers    map[string]string `json:"triggers,omitempty"`
	Virtual     string            `json:"virtual,omitempty"`
}

func newTable() Table {
	return Table{
		Columns: map[string]string{}, Indexes: map[string]string{},
		Constraints: map[string]string{}, Triggers: map[string]string{},
	}
}

var spaces = regexp.MustCompile(`\s+`)

// normalSQL makes two writings of the same definition equal: space, quotes of names, and case
// outside of string literals.
func normalSQL(s string) string {
	var b strings.Builder
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			b.WriteString("'" + part + "'")
			continue
		}
		part = strings.ToLower(spaces.ReplaceAllString(part, " "))
		part = strings.NewReplacer("`", "", `"`, "", "( ", "(", " )", ")", " ,", ",", ", ", ",").Replace(part)
		b.WriteString(part)
	}
	return strings.TrimSpace(b.String())
}

// Introspect reads the schema from SQLite's catalogue.
func (e *sqliteEngine) Introspect(ctx context.Context) (Schema, error) {
	s := Schema{Tables: map[string]Table{}}
	type object struct{ kind, name, table, sql string }
	rows, err := e.readSQL.QueryContext(ctx, "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master")
	if err != nil {
		return s, classifySQLite(err)
	}
	objects, err := scanAll(rows, func(r *sql.Rows, o *object) error { return r.Scan(&o.kind, &o.name, &o.table, &o.sql) })
	if err != nil {
		return s, classifySQLite(err)
	}
	for _, o := range objects {
		if o.kind != "table" || !isOurTable(o.name) {
			continue
		}
		t := newTable()
		if strings.HasPrefix(strings.ToUpper(o.sql), "CREATE VIRTUAL") {
			t.Virtual = normalSQL(o.sql)
			s.Tables[o.name] = t
			continue
		}
		if err := e.columns(ctx, o.name, &t); err != nil {
			return s, classifySQLite(err)
		}
		if err := e.constraints(ctx, o.name, o.sql, &t); err != nil {
			return s, classifySQLite(err)
		}
		s.Tables[o.name] = t
	}
	for _, o := range objects {
		t, ours := s.Tables[o.table]
		switch {
		case !ours || o.sql == "":
		case o.kind == "index":
			_, body, _ := strings.Cut(normalSQL(o.sql), " on ")
			_, body, _ = strings.Cut(body, "(")
			t.Indexes[o.name] = "(" + body
		case o.kind == "trigger":
			t.Triggers[o.name] = normalSQL(o.sql)
		}
	}
	return s, nil
}

func (e *sqliteEngine) columns(ctx context.Context, table string, t *Table) error {
	type column struct {
		name, typ string
		notNull   bool
		def       sql.NullString
		pk        int
	}
	rows, err := e.readSQL.QueryContext(ctx, "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info(?)", table)
	if err != nil {
		return err
	}
	cols, err := scanAll(rows, func(r *sql.Rows, c *column) error { return r.Scan(&c.name, &c.typ, &c.notNull, &c.def, &c.pk) })
	if err != nil {
		return err
	}
	for _, c := range cols {
		d := strings.ToLower(c.typ)
		if c.notNull {
			d += " not null"
		}
		if c.def.Valid {
			d += " default " + strings.Trim(normalSQL(c.def.String), "()")
		}
		if c.pk > 0 {
			d += " primary key"
			d = strings.Replace(d, " not null", "", 1)
		}
		t.Columns[c.name] = d
	}
	return nil
}

func (e *sqliteEngine) constraints(ctx context.Context, table, ddl string, t *Table) error {
	type key struct{ from, ref, to, onDelete string }
	rows, err := e.readSQL.QueryContext(ctx, "SELECT \"from\", \"table\", \"to\", on_delete FROM pragma_foreign_key_list(?)", table)
	if err != nil {
		return err
	}
	keys, err := scanAll(rows, func(r *sql.Rows, k *key) error { return r.Scan(&k.from, &k.ref, &k.to, &k.onDelete) })
	if err != nil {
		return err
	}
	for _, k := range keys {
		t.Constraints["foreign key ("+k.from+")"] = fmt.Sprintf("references %s (%s) on delete %s", k.ref, k.to, strings.ToLower(k.onDelete))
	}
	type unique struct{ name, cols string }
	rows, err = e.readSQL.QueryContext(ctx, `SELECT l.name, (SELECT group_concat(name, ', ') FROM pragma_index_info(l.name))
		FROM pragma_index_list(?) l WHERE l.origin = 'u'`, table)
	if err != nil {
		return err
	}
	uniques, err := scanAll(rows, func(r *sql.Rows, u *unique) error { return r.Scan(&u.name, &u.cols) })
	if err != nil {
		return err
	}
	for _, u := range uniques {
		t.Constraints["unique ("+u.cols+")"] = "unique"
	}
	for _, c := range checksOf(ddl) {
		t.Constraints["check "+c] = "check"
	}
	return nil
}

// checksOf cuts the expressions of the CHECK constraints out of a CREATE TABLE.
func checksOf(ddl string) []string {
	var out []string
	upper := strings.ToUpper(ddl)
	for i := 0; ; {
		j := strings.Index(upper[i:], "CHECK")
		if j < 0 {
			sort.Strings(out)
			return out
		}
		i += j + len("CHECK")
		open := strings.IndexByte(ddl[i:], '(')
		if open < 0 || strings.TrimSpace(ddl[i:i+open]) != "" {
			continue
		}
		depth, start := 0, i+open
		for k := start; k < len(ddl); k++ {
			if ddl[k] == '(' {
				depth++
			} else if ddl[k] == ')' {
				if depth--; depth == 0 {
					out = append(out, normalSQL(ddl[start:k+1]))
					i = k
					break
				}
			}
		}
	}
}

func scanAll[T any](rows *sql.Rows, scan func(*sql.Rows, *T) error) ([]T, error) {
	defer func() { _ = rows.Close() }()
	var out []T
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// pgCatalogue reads one kind of object as (table, name, definition).
var pgCatalogue = map[string]string{
	"columns": `SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
			|| CASE WHEN co.collname IS NOT NULL AND co.collname <> 'default' THEN ' collate ' || co.collname ELSE '' END
			|| CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
			|| coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		LEFT JOIN pg_collation co ON co.oid = a.attcollation
		WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped`,
	"indexes": `SELECT t.relname, c.relname, pg_get_indexdef(i.indexrelid)
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
		WHERE t.relnamespace = quote_ident(current_schema())::regnamespace
		AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u'))`,
	"constraints": `SELECT t.relname, CASE WHEN k.contype = 'p' THEN 'primary key' ELSE k.conname END, pg_get_constraintdef(k.oid)
		FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
		WHERE t.relnamespace = quote_ident(current_schema())::regnamespace AND k.contype IN ('p', 'u', 'f', 'c')`,
	"triggers": `SELECT t.relname, g.tgname, pg_get_triggerdef(g.oid)
		FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid
		WHERE t.relnamespace = quote_ident(current_schema())::regnamespace AND NOT g.tgisinternal`,
}

// Introspect reads the schema from Postgres' catalogue.
func (e *postgresEngine) Introspect(ctx context.Context) (Schema, error) {
	s := Schema{Tables: map[string]Table{}}
	var schema string
	if err := e.pool.QueryRowContext(ctx, "SELECT coalesce(current_schema(), '')").Scan(&schema); err != nil {
		return s, classifyPostgres(err)
	}
	type object struct{ table, name, def string }
	for _, kind := range []string{"columns", "indexes", "constraints", "triggers"} {
		rows, err := e.pool.QueryContext(ctx, pgCatalogue[kind])
		if err != nil {
			return s, classifyPostgres(err)
		}
		objects, err := scanAll(rows, func(r *sql.Rows, o *object) error { return r.Scan(&o.table, &o.name, &o.def) })
		if err != nil {
			return s, classifyPostgres(err)
		}
		for _, o := range objects {
			if !isOurTable(o.table) {
				continue
			}
			t, ok := s.Tables[o.table]
			if !ok {
				t = newTable()
				s.Tables[o.table] = t
			}
			def := normalSQL(o.def)
			for _, prefix := range []string{normalSQL(schema) + ".", "public."} {
				def = strings.ReplaceAll(def, prefix, "")
			}
			switch kind {
			case "columns":
				t.Columns[o.name] = def
			case "indexes":
				t.Indexes[o.name] = def
			case "constraints":
				t.Constraints[o.name] = def
			case "triggers":
				t.Triggers[o.name] = def
			}
		}
	}
	return s, nil
}

// Drift is one difference between the schema that should be and the one that is.
type Drift struct {
	// Table is the table concerned.
	Table string `json:"table"`
	// Kind is table, column, index, constraint or trigger.
	Kind string `json:"kind"`
	// Name is the object's name.
	Name string `json:"name"`
	// Problem is missing, extra or different.
	Problem string `json:"problem"`
	// Want and Have are the definitions.
	Want string `json:"want,omitempty"`
	Have string `json:"have,omitempty"`
}

// Compare lists what differs between want and have, in a fixed order. Indexes for which optional
// returns true may be extra.
func Compare(want, have Schema, optional func(index string) bool) []Drift {
	var out []Drift
	for _, name := range sortedKeys(want.Tables) {
		w := want.Tables[name]
		h, ok := have.Tables[name]
		if !ok {
			out = append(out, Drift{Table: name, Kind: "table", Name: name, Problem: "missing"})
			continue
		}
		if w.Virtual != h.Virtual {
			out = append(out, Drift{Table: name, Kind: "table", Name: name, Problem: "different", Want: w.Virtual, Have: h.Virtual})
		}
		out = append(out, compareMaps(name, "column", w.Columns, h.Columns, nil)...)
		out = append(out, compareMaps(name, "index", w.Indexes, h.Indexes, optional)...)
		out = append(out, compareMaps(name, "constraint", w.Constraints, h.Constraints, nil)...)
		out = append(out, compareMaps(name, "trigger", w.Triggers, h.Triggers, nil)...)
	}
	for _, name := range sortedKeys(have.Tables) {
		if _, ok := want.Tables[name]; !ok {
			out = append(out, Drift{Table: name, Kind: "table", Name: name, Problem: "extra"})
		}
	}
	return out
}

func compareMaps(table, kind string, want, have map[string]string, optional func(string) bool) []Drift {
	var out []Drift
	for _, k := range sortedKeys(want) {
		h, ok := have[k]
		switch {
		case !ok:
			out = append(out, Drift{Table: table, Kind: kind, Name: k, Problem: "missing", Want: want[k]})
		case h != want[k]:
			out = append(out, Drift{Table: table, Kind: kind, Name: k, Problem: "different", Want: want[k], Have: h})
		}
	}
	for _, k := range sortedKeys(have) {
		if _, ok := want[k]; !ok && (optional == nil || !optional(k)) {
			out = append(out, Drift{Table: table, Kind: kind, Name: k, Problem: "extra", Have: have[k]})
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
