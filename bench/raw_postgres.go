package bench

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pgvector/pgvector-go"
	pgxvec "github.com/pgvector/pgvector-go/pgx"

	"github.com/talkbase/talkbase/models"
)

// rawPostgres has a pool of database/sql, whose driver prepares and caches each statement, and a
// connection of pgx's own for COPY.
type rawPostgres struct {
	db   *sql.DB
	conn *pgx.Conn
}

// OpenRawPostgres opens a schema that talkbase made.
func OpenRawPostgres(ctx context.Context, dsn, schema string) (Raw, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["search_path"] = pgx.Identifier{schema}.Sanitize() + ", public"
	cfg.RuntimeParams["work_mem"] = "64MB"
	cfg.RuntimeParams["maintenance_work_mem"] = "256MB"
	r := &rawPostgres{db: stdlib.OpenDB(*cfg)}
	r.db.SetMaxIdleConns(8)
	if r.conn, err = pgx.ConnectConfig(ctx, cfg); err != nil {
		return nil, errors.Join(err, r.db.Close())
	}
	if err := pgxvec.RegisterTypes(ctx, r.conn); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *rawPostgres) Message(ctx context.Context, msgID string) error {
	return scanOne(r.db.QueryRowContext(ctx, postgresSQL.message, msgID))
}

func (r *rawPostgres) Page(ctx context.Context, conversation string, seq, id int64) error {
	return scanPage(r.db.QueryContext(ctx, postgresSQL.page, conversation, seq, id, pageSize+1))
}

func (r *rawPostgres) Terms(content string) string { return analyse(content).TSVector() }

func (r *rawPostgres) Insert(ctx context.Context, m models.Message, terms string) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	get := func() string {
		if terms == "" {
			return r.Terms(m.Content)
		}
		return terms
	}
	exec := func(query string) execer {
		return func(ctx context.Context, args ...any) (sql.Result, error) { return tx.ExecContext(ctx, query, args...) }
	}
	row := func(ctx context.Context, args ...any) *sql.Row {
		return tx.QueryRowContext(ctx, postgresSQL.insert, args...)
	}
	if err := insertMessage(ctx, &m, get, exec(postgresSQL.touch), row, exec(postgresSQL.terms)); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (r *rawPostgres) in(ctx context.Context, f func(tx pgx.Tx) error) error {
	tx, err := r.conn.Begin(ctx)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback(ctx))
	}
	return tx.Commit(ctx)
}

func (r *rawPostgres) Import(ctx context.Context, ms []models.Message, index bool) error {
	return r.in(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, "SELECT nextval(pg_get_serial_sequence('messages', 'id')) FROM generate_series(1, $1::int) ORDER BY 1", len(ms))
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return err
		}
		columns := []string{
			"id", "msg_id", "conversation_id", "parent_id", "role", "content", "created_at", "order_seq", "token_count",
			"status", "metadata", "is_context_edge", "is_variant",
		}
		_, err = tx.CopyFrom(ctx, pgx.Identifier{"messages"}, columns, pgx.CopyFromSlice(len(ms), func(i int) ([]any, error) {
			m := &ms[i]
			return []any{
				ids[i], m.MsgID, m.ConversationID, m.ParentID, string(m.Role), m.Content, m.CreatedAt, m.OrderSeq, m.TokenCount,
				string(m.Status), string(m.Metadata), bit(m.IsContextEdge), bit(m.IsVariant),
			}, nil
		}))
		if err != nil || !index {
			return err
		}
		terms := make([]string, len(ms))
		for i := range ms {
			terms[i] = r.Terms(ms[i].Content)
		}
		_, err = tx.Exec(ctx, "INSERT INTO message_terms (id, terms) SELECT a, b::tsvector FROM unnest($1::bigint[], $2::text[]) AS u(a, b)", ids, terms)
		return err
	})
}

func (r *rawPostgres) Vectors(ctx context.Context, vs []models.KnowledgeVector) error {
	return r.in(ctx, func(tx pgx.Tx) error {
		columns := []string{"id", "base_id", "file_id", "chunk_id", "embedding", "created_at"}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"knowledge_vectors"}, columns, pgx.CopyFromSlice(len(vs), func(i int) ([]any, error) {
			v := &vs[i]
			return []any{v.ID, v.BaseID, v.FileID, v.ChunkID, pgvector.NewVector(v.Embedding), v.CreatedAt}, nil
		}))
		return err
	})
}

func (r *rawPostgres) ClearVectors(ctx context.Context) error {
	_, err := r.conn.Exec(ctx, "TRUNCATE knowledge_vectors")
	return err
}

func (r *rawPostgres) Settle(ctx context.Context) error {
	if _, err := r.conn.Exec(ctx, "VACUUM ANALYZE"); err != nil {
		return err
	}
	_, err := r.conn.Exec(ctx, "CHECKPOINT")
	return err
}

func (r *rawPostgres) Close() error {
	return errors.Join(r.conn.Close(context.Background()), r.db.Close())
}
