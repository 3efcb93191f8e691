package bench

import (
	"context"
	"database/sql"
	"errors"
	"net/url"

	_ "modernc.org/sqlite" // the driver talkbase uses

	"github.com/talkbase/talkbase/models"
)

// rawSQLite has a writer and readers with the settings talkbase gives its own by default, and
// every statement prepared.
type rawSQLite struct {
	write, read                                         *sql.DB
	message, page                                       *sql.Stmt
	touch, insert, insertTerms, importRow, insertVector *sql.Stmt
	nextID, clearVectors                                *sql.Stmt
	stmts                                               []*sql.Stmt
}

// OpenRawSQLite opens a file that talkbase made.
func OpenRawSQLite(ctx context.Context, path, synchronous string) (Raw, error) {
	open := func(first string, pragmas ...string) (*sql.DB, error) {
		q := first + "&_time_format=sqlite"
		for _, p := range pragmas {
			q += "&_pragma=" + p
		}
		u := url.URL{Scheme: "file", Path: path, RawQuery: q}
		return sql.Open("sqlite", u.String())
	}
	r := &rawSQLite{}
	var err error
	if r.write, err = open("_txlock=immediate", "busy_timeout(5000)", "journal_mode(WAL)", "synchronous("+synchronous+")", "foreign_keys(1)", "mmap_size(268435456)", "cache_size(-262144)"); err != nil {
		return nil, err
	}
	r.write.SetMaxOpenConns(1)
	if r.read, err = open("mode=ro", "busy_timeout(5000)", "foreign_keys(1)", "query_only(1)", "mmap_size(268435456)", "cache_size(-65536)"); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.read.SetMaxOpenConns(4)
	r.read.SetMaxIdleConns(4)
	for _, p := range []struct {
		stmt  **sql.Stmt
		db    *sql.DB
		query string
	}{
		{&r.message, r.read, sqliteSQL.message},
		{&r.page, r.read, sqliteSQL.page},
		{&r.touch, r.write, sqliteSQL.touch},
		{&r.insert, r.write, sqliteSQL.insert},
		{&r.insertTerms, r.write, sqliteSQL.terms},
		{&r.importRow, r.write, "INSERT INTO messages (" + rawColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
		{&r.insertVector, r.write, "INSERT INTO knowledge_vectors (id, base_id, file_id, chunk_id, embedding, created_at) VALUES (?, ?, ?, ?, ?, ?)"},
		{&r.nextID, r.write, "SELECT coalesce(max(id), 0) + 1 FROM messages"},
		{&r.clearVectors, r.write, "DELETE FROM knowledge_vectors"},
	} {
		if *p.stmt, err = p.db.PrepareContext(ctx, p.query); err != nil { //nolint:sqlclosecheck // Close closes them
			return nil, errors.Join(err, r.Close())
		}
		r.stmts = append(r.stmts, *p.stmt)
	}
	return r, nil
}

func (r *rawSQLite) Message(ctx context.Context, msgID string) error {
	return scanOne(r.message.QueryRowContext(ctx, msgID))
}

func (r *rawSQLite) Page(ctx context.Context, conversation string, seq, id int64) error {
	return scanPage(r.page.QueryContext(ctx, conversation, seq, id, pageSize+1))
}

func (r *rawSQLite) Terms(content string) string { return analyse(content).FTS5() }

func (r *rawSQLite) in(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := r.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (r *rawSQLite) Insert(ctx context.Context, m models.Message, terms string) error {
	return r.in(ctx, func(tx *sql.Tx) error {
		get := func() string {
			if terms == "" {
				return r.Terms(m.Content)
			}
			return terms
		}
		return insertMessage(ctx, &m, get, tx.StmtContext(ctx, r.touch).ExecContext,
			tx.StmtContext(ctx, r.insert).QueryRowContext, tx.StmtContext(ctx, r.insertTerms).ExecContext)
	})
}

func (r *rawSQLite) Import(ctx context.Context, ms []models.Message, index bool) error {
	return r.in(ctx, func(tx *sql.Tx) error {
		var id int64
		if err := tx.StmtContext(ctx, r.nextID).QueryRowContext(ctx).Scan(&id); err != nil { //nolint:sqlclosecheck // the transaction closes it
			return err
		}
		row, terms := tx.StmtContext(ctx, r.importRow), tx.StmtContext(ctx, r.insertTerms) //nolint:sqlclosecheck // the transaction closes it
		for i := range ms {
			m := &ms[i]
			_, err := row.ExecContext(ctx, id+int64(i), m.MsgID, m.ConversationID, m.ParentID, string(m.Role), m.Content, m.CreatedAt, m.OrderSeq,
				m.TokenCount, string(m.Status), string(m.Metadata), bit(m.IsContextEdge), bit(m.IsVariant))
			if err != nil {
				return err
			}
		}
		if !index {
			return nil
		}
		for i := range ms { // after all rows: each row's trigger would make FTS5 write what it has collected
			if _, err := terms.ExecContext(ctx, id+int64(i), r.Terms(ms[i].Content)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *rawSQLite) Vectors(ctx context.Context, vs []models.KnowledgeVector) error {
	return r.in(ctx, func(tx *sql.Tx) error {
		row := tx.StmtContext(ctx, r.insertVector) //nolint:sqlclosecheck // the transaction closes it
		for i := range vs {
			v := &vs[i]
			if _, err := row.ExecContext(ctx, v.ID, v.BaseID, v.FileID, v.ChunkID, v.Embedding.Blob(), v.CreatedAt); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *rawSQLite) ClearVectors(ctx context.Context) error {
	_, err := r.clearVectors.ExecContext(ctx)
	return err
}

func (r *rawSQLite) Settle(ctx context.Context) error {
	_, err := r.write.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}

func (r *rawSQLite) Close() error {
	var errs []error
	for _, s := range r.stmts {
		errs = append(errs, s.Close())
	}
	for _, db := range []*sql.DB{r.read, r.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}
