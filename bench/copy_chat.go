package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
)

// chatTable is a table of a chat.db as somebody would copy it by hand: what is selected, and the columns
// of talkbase's table of the same name that it goes to. Nothing is looked at on the way.
type chatTable struct {
	name, selected string
	columns        []string
	// texts says which of the columns are text; the others are integers.
	texts string
}

var chatTables = []chatTable{
	{
		"conversations", "id, conv_id, title, created_at, updated_at, is_pinned, is_new, '{}'",
		strings.Fields("id conv_id title created_at updated_at is_pinned is_new settings"), " conv_id title settings ",
	},
	{
		"messages", rawColumns, strings.Split(rawColumns, ", "),
		" msg_id conversation_id parent_id role content status metadata ",
	},
	{
		"message_attachments", "id, attachment_id, message_id, type, content, created_at",
		strings.Fields("id attachment_id message_id attachment_type attachment_data created_at"), " attachment_id message_id attachment_type attachment_data ",
	},
}

// plainPrefix begins the names of tables without keys, indexes, checks and triggers.
const plainPrefix = "plain_"

func (t chatTable) into(keyed bool) string {
	if keyed {
		return t.name
	}
	return plainPrefix + t.name
}

// chatRows reads a table row by row. It is a pgx.CopyFromSource.
type chatRows struct {
	*sql.Rows
	values, places []any
}

func (t chatTable) read(ctx context.Context, db *sql.DB) (*chatRows, error) {
	rows, err := db.QueryContext(ctx, "SELECT "+t.selected+" FROM "+t.name+" ORDER BY rowid") //nolint:rowserrcheck // whoever goes through them does
	if err != nil {
		return nil, err
	}
	r := &chatRows{Rows: rows}
	for _, c := range t.columns {
		if strings.Contains(t.texts, " "+c+" ") {
			r.places = append(r.places, new(string))
		} else {
			r.places = append(r.places, new(int64))
		}
	}
	r.values = make([]any, len(r.places))
	return r, nil
}

// Values returns the row that Next went to.
func (r *chatRows) Values() ([]any, error) {
	if err := r.Scan(r.places...); err != nil {
		return nil, err
	}
	for i, p := range r.places {
		switch p := p.(type) {
		case *string:
			r.values[i] = *p
		case *int64:
			r.values[i] = *p
		}
	}
	return r.values, nil
}

// copyChat copies a chat.db: to Postgres by COPY in one transaction, reading while the server writes; to
// SQLite by prepared inserts.
func (t task) copyChat(ctx context.Context) (err error) {
	u := url.URL{Scheme: "file", Path: t.Source, RawQuery: "mode=ro&_pragma=mmap_size(268435456)"}
	source, err := sql.Open("sqlite", u.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if t.Schema != "" {
		return t.copyChatPostgres(ctx, source)
	}
	return t.copyChatSQLite(ctx, source)
}

// connect opens a connection of pgx's own to the target's schema.
func (t task) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(t.Target)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["search_path"] = pgx.Identifier{t.Schema}.Sanitize() + ", public"
	return pgx.ConnectConfig(ctx, cfg)
}

func (t task) copyChatPostgres(ctx context.Context, source *sql.DB) (err error) {
	conn, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	for _, table := range chatTables {
		rows, err := table.read(ctx, source)
		if err == nil && !t.Keyed {
			_, err = tx.Exec(ctx, "CREATE TABLE "+table.into(false)+" AS SELECT "+strings.Join(table.columns, ", ")+" FROM "+table.name+" LIMIT 0")
		}
		if err != nil {
			return err
		}
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{table.into(t.Keyed)}, table.columns, rows); err != nil {
			return fmt.Errorf("%s: %w", table.name, err)
		}
	}
	return tx.Commit(ctx)
}

// copyRows is how many rows go into one transaction of a copy by hand to SQLite.
const copyRows = 10_000

func (t task) copyChatSQLite(ctx context.Context, source *sql.DB) (err error) {
	u := url.URL{Scheme: "file", Path: t.Target, RawQuery: "_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=cache_size(-65536)"}
	target, err := sql.Open("sqlite", u.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	target.SetMaxOpenConns(1)
	for _, table := range chatTables {
		if !t.Keyed {
			if _, err := target.ExecContext(ctx, "CREATE TABLE "+table.into(false)+" ("+strings.Join(table.columns, ", ")+")"); err != nil {
				return err
			}
		}
		if err := t.insertAll(ctx, source, target, table); err != nil {
			return fmt.Errorf("%s: %w", table.name, err)
		}
	}
	return nil
}

func (t task) insertAll(ctx context.Context, source, target *sql.DB, table chatTable) error {
	rows, err := table.read(ctx, source)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	insert, err := target.PrepareContext(ctx, "INSERT INTO "+table.into(t.Keyed)+" ("+strings.Join(table.columns, ", ")+") VALUES (?"+strings.Repeat(", ?", len(table.columns)-1)+")")
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }()
	for more := true; more; {
		tx, err := target.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		stmt := tx.StmtContext(ctx, insert) //nolint:sqlclosecheck // the transaction closes it
		for n := 0; n < copyRows; n++ {
			if more = rows.Next(); !more {
				break
			}
			values, err := rows.Values()
			if err == nil {
				_, err = stmt.ExecContext(ctx, values...)
			}
			if err != nil {
				return errors.Join(err, tx.Rollback())
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return rows.Err()
}
