package migration

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// replayed is what a reject file holds of one source.
type replayed struct {
	found   Found
	columns map[string][]string
	rows    map[string]int64
	order   []string
	db      *sql.DB
	file    string
}

// readReplay sorts the rows of a reject file by their sources, into one private database each.
func readReplay(ctx context.Context, file, work string) (out []*replayed, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, copyError(file, err)
	}
	defer func() { _ = f.Close() }()
	defer func() {
		if err != nil {
			for _, r := range out {
				_ = r.close()
			}
		}
	}()
	var page []rejectLine
	flush := func() error {
		for _, line := range page {
			i := slices.IndexFunc(out, func(r *replayed) bool { return r.found.Path == line.Path && r.found.Kind == line.Kind })
			if i < 0 {
				r, err := newReplayed(ctx, line, filepath.Join(work, fmt.Sprintf("replay-%d.db", len(out))))
				if err != nil {
					return err
				}
				out, i = append(out, r), len(out)
			}
			if err := out[i].add(ctx, line); err != nil {
				return fmt.Errorf("migration: %s: %w", file, err)
			}
		}
		page = page[:0]
		return nil
	}
	for line, err := range readRejects(f) {
		if err != nil {
			return out, fmt.Errorf("%s: %w", file, err)
		}
		if line.Kind != KindSQLite && line.Kind != KindDuckDB {
			return out, fmt.Errorf("migration: %s: %w: a row of kind %q", file, ErrRejectFile, line.Kind)
		}
		if page = append(page, line); len(page) >= pageRows {
			if err := flush(); err != nil {
				return out, err
			}
		}
	}
	if err := flush(); err != nil {
		return out, err
	}
	if len(out) == 0 {
		return out, fmt.Errorf("migration: %s: %w: it holds no rows", file, ErrRejectFile)
	}
	return out, nil
}

func newReplayed(ctx context.Context, line rejectLine, file string) (*replayed, error) {
	r := &replayed{found: Found{Path: line.Path, Kind: line.Kind, Base: line.Base}, columns: map[string][]string{}, rows: map[string]int64{}, file: file}
	db, err := openPrivate(file)
	if err != nil {
		return nil, fmt.Errorf("migration: %w", err)
	}
	r.db = db
	for _, stmt := range r.schema() {
		if _, err := db.ExecContext(ctx, stmt); err != nil {
			return nil, errors.Join(fmt.Errorf("migration: %w", err), db.Close())
		}
	}
	return r, nil
}

// schema makes what the rows go into: tables as they were for a chat.db, which its reader expects, and
// one table of encoded rows for others.
func (r *replayed) schema() []string {
	if r.found.Kind == KindSQLite {
		r.columns[tableConversations], r.columns[tableMessages] = []string{"conv_id"}, []string{"msg_id", "conversation_id"}
		return []string{"PRAGMA journal_mode = OFF", "CREATE TABLE conversations (conv_id)", "CREATE TABLE messages (msg_id, conversation_id)"}
	}
	return []string{"PRAGMA journal_mode = OFF", "CREATE TABLE line (tbl TEXT, rid INTEGER, vals TEXT, PRIMARY KEY (tbl, rid)) WITHOUT ROWID"}
}

// add keeps a row. A later line about the same row counts.
func (r *replayed) add(ctx context.Context, line rejectLine) error {
	table := line.SourceTable
	if r.found.Kind == KindDuckDB {
		if have, ok := r.columns[table]; ok && !slices.Equal(have, line.Columns) {
			return fmt.Errorf("%w: rows of %s have different columns", ErrRejectFile, table)
		}
		r.columns[table] = line.Columns
		vals, err := json.Marshal(line.Values)
		if err != nil {
			return err
		}
		_, err = r.db.ExecContext(ctx, "INSERT OR REPLACE INTO line (tbl, rid, vals) VALUES (?, ?, ?)", table, line.RowID, vals)
		return err
	}
	if _, ok := r.columns[table]; !ok {
		if _, err := r.db.ExecContext(ctx, "CREATE TABLE "+quoteName(table)+" ("+quoteName(line.Columns[0])+")"); err != nil {
			return err
		}
		r.columns[table] = line.Columns[:1:1]
	}
	known := newColumnSet(r.columns[table])
	names, marks, args := []string{"rowid"}, []string{"?"}, []any{line.RowID}
	for i, c := range line.Columns {
		if _, ok := known[strings.ToLower(c)]; !ok {
			if _, err := r.db.ExecContext(ctx, "ALTER TABLE "+quoteName(table)+" ADD COLUMN "+quoteName(c)); err != nil {
				return err
			}
			r.columns[table] = append(r.columns[table], c)
		}
		names, marks, args = append(names, quoteName(c)), append(marks, "?"), append(args, line.Reject.Values[i])
	}
	_, err := r.db.ExecContext(ctx, "INSERT OR REPLACE INTO "+quoteName(table)+" ("+strings.Join(names, ", ")+") VALUES ("+strings.Join(marks, ", ")+")", args...)
	return err
}

func (r *replayed) close() error { return r.db.Close() }

// open makes a source of the rows.
func (r *replayed) open(ctx context.Context, dir string) (Source, error) {
	if r.found.Kind == KindSQLite {
		if err := r.db.Close(); err != nil {
			return nil, err
		}
		return openSQLite(ctx, r.file, dir)
	}
	rows, err := r.db.QueryContext(ctx, "SELECT tbl, count(*) FROM line GROUP BY tbl ORDER BY tbl")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var table string
		var n int64
		if err := rows.Scan(&table, &n); err != nil {
			return nil, err
		}
		r.order = append(r.order, table)
		r.rows[table] = n
	}
	return r, rows.Err()
}

// Kind is the kind of the file that the rows were in.
func (r *replayed) Kind() Kind { return r.found.Kind }

// Path is the file that the rows were in.
func (r *replayed) Path() string { return r.found.Path }

// Tables lists the tables that rows were in.
func (r *replayed) Tables(context.Context) ([]SourceTable, error) {
	out := make([]SourceTable, len(r.order))
	for i, name := range r.order {
		out[i] = SourceTable{Name: name, Columns: r.columns[name], Rows: r.rows[name]}
	}
	return out, nil
}

// Rows streams the rows of a table.
func (r *replayed) Rows(ctx context.Context, table string, after int64) iter.Seq2[SourceRow, error] {
	return func(yield func(SourceRow, error) bool) {
		for {
			var page []SourceRow
			err := eachRow(ctx, r.db, "SELECT rid, vals FROM line WHERE tbl = ? AND rid > ? ORDER BY rid LIMIT 100", []any{table, after}, func(scan func(...any) error) error {
				var row SourceRow
				var vals []byte
				if err := scan(&row.RowID, &vals); err != nil {
					return err
				}
				var decoded []rejectValue
				if err := json.Unmarshal(vals, &decoded); err != nil {
					return err
				}
				for _, v := range decoded {
					row.Values = append(row.Values, v.v)
				}
				after = row.RowID
				page = append(page, row)
				return nil
			})
			if err != nil {
				yield(SourceRow{}, err)
				return
			}
			for _, row := range page {
				if !yield(row, nil) {
					return
				}
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// Close closes the private database.
func (r *replayed) Close() error { return r.close() }

// openReplay opens the sources that a reject file stands for.
func (i *importer) openReplay(ctx context.Context) error {
	file, resumed := i.opts.Replay, i.sources
	i.sources, i.report.Sources, i.report.Preflight = nil, nil, nil
	rows, err := readReplay(ctx, file, i.work)
	if err != nil {
		return err
	}
	for _, r := range rows {
		i.closers = append(i.closers, r.close)
	}
	print, err := fingerprint(ctx, Found{Path: file})
	if err != nil {
		return err
	}
	for n, r := range rows {
		s := i.add(r.found, print)
		if n < len(resumed) {
			s.state = resumed[n].state
		}
		if err := os.Mkdir(s.dir, 0o700); err != nil {
			return fmt.Errorf("migration: %w", err)
		}
		if s.source, err = r.open(ctx, s.dir); err != nil {
			return err
		}
		i.closers = append(i.closers, s.source.Close)
	}
	return nil
}
