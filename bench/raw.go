package bench

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/google/uuid"

	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
)

// Raw is what somebody who knows the schema would write by hand on database/sql and the driver.
type Raw interface {
	// Message reads one message.
	Message(ctx context.Context, msgID string) error
	// Page reads the 50 messages of a conversation behind a place, and whether there are more.
	Page(ctx context.Context, conversation string, seq, id int64) error
	// Insert stores a message at the end of its conversation: the conversation's updated_at, the
	// message, and its words in the text index, in one transaction. With given terms the text is not
	// analysed.
	Insert(ctx context.Context, m models.Message, terms string) error
	// Import stores messages in one transaction, with their words in the text index or without.
	Import(ctx context.Context, ms []models.Message, index bool) error
	// Vectors stores new vectors in one transaction.
	Vectors(ctx context.Context, vs []models.KnowledgeVector) error
	// Terms analyses a message's text into what the text index stores.
	Terms(content string) string
	// ClearVectors removes every vector.
	ClearVectors(ctx context.Context) error
	// Settle does what a database does by itself some time after a large load.
	Settle(ctx context.Context) error
	// Close closes the connections.
	Close() error
}

// rawMessage is a message in plain types.
type rawMessage struct {
	ID                              int64
	MsgID, ConversationID, ParentID string
	Role, Content                   string
	CreatedAt, OrderSeq, TokenCount int64
	Status, Metadata                string
	IsContextEdge, IsVariant        bool
}

func (m *rawMessage) scan(s interface{ Scan(...any) error }) error {
	return s.Scan(&m.ID, &m.MsgID, &m.ConversationID, &m.ParentID, &m.Role, &m.Content, &m.CreatedAt, &m.OrderSeq,
		&m.TokenCount, &m.Status, &m.Metadata, &m.IsContextEdge, &m.IsVariant)
}

const (
	rawColumns = "id, msg_id, conversation_id, parent_id, role, content, created_at, order_seq, token_count, status, metadata, is_context_edge, is_variant"
	pageSize   = 50
)

// rawSQL is a set of statements; they are text for Postgres, whose driver prepares them itself, and
// prepared for SQLite.
type rawSQL struct{ message, page, touch, insert, terms string }

var postgresSQL = rawSQL{
	message: "SELECT " + rawColumns + " FROM messages WHERE msg_id = $1",
	page:    "SELECT " + rawColumns + " FROM messages WHERE conversation_id = $1 AND (order_seq, id) > ($2, $3) ORDER BY order_seq ASC, id ASC LIMIT $4",
	touch:   "UPDATE conversations SET updated_at = CASE WHEN updated_at < $1 THEN $1 ELSE updated_at END WHERE conv_id = $2",
	insert: `INSERT INTO messages (msg_id, conversation_id, parent_id, role, content, created_at, order_seq, token_count, status, metadata, is_context_edge, is_variant)
		VALUES ($1, $2, $3, $4, $5, $6, (SELECT coalesce(max(order_seq), 0) + 1 FROM messages WHERE conversation_id = $2), $7, $8, $9, $10, $11) RETURNING id, order_seq`,
	terms: "INSERT INTO message_terms (id, terms) VALUES ($1, $2::text::tsvector)",
}

var sqliteSQL = rawSQL{
	message: "SELECT " + rawColumns + " FROM messages WHERE msg_id = ?",
	page:    "SELECT " + rawColumns + " FROM messages WHERE conversation_id = ? AND (order_seq, id) > (?, ?) ORDER BY order_seq ASC, id ASC LIMIT ?",
	touch:   "UPDATE conversations SET updated_at = CASE WHEN updated_at < ?1 THEN ?1 ELSE updated_at END WHERE conv_id = ?2",
	insert: `INSERT INTO messages (msg_id, conversation_id, parent_id, role, content, created_at, order_seq, token_count, status, metadata, is_context_edge, is_variant)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, (SELECT coalesce(max(order_seq), 0) + 1 FROM messages WHERE conversation_id = ?2), ?7, ?8, ?9, ?10, ?11) RETURNING id, order_seq`,
	terms: "INSERT INTO message_terms (rowid, terms) VALUES (?, ?)",
}

func scanOne(row *sql.Row) error {
	var m rawMessage
	return m.scan(row)
}

func scanPage(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var page []rawMessage
	for rows.Next() {
		var m rawMessage
		if err := m.scan(rows); err != nil {
			return err
		}
		page = append(page, m)
	}
	if len(page) < pageSize {
		return fmt.Errorf("the page has %d rows", len(page))
	}
	return rows.Err()
}

// execer and querier are a transaction's statements, whichever way they were prepared.
type (
	execer  func(ctx context.Context, args ...any) (sql.Result, error)
	querier func(ctx context.Context, args ...any) *sql.Row
)

// insertMessage runs the three statements of an insert.
func insertMessage(ctx context.Context, m *models.Message, terms func() string, touch execer, insert querier, index execer) error {
	if m.MsgID == "" {
		m.MsgID = uuid.Must(uuid.NewV7()).String()
	}
	if _, err := touch(ctx, m.CreatedAt, m.ConversationID); err != nil {
		return err
	}
	row := insert(ctx, m.MsgID, m.ConversationID, m.ParentID, string(m.Role), m.Content, m.CreatedAt,
		m.TokenCount, string(m.Status), string(m.Metadata), bit(m.IsContextEdge), bit(m.IsVariant))
	if err := row.Scan(&m.ID, &m.OrderSeq); err != nil {
		return err
	}
	_, err := index(ctx, m.ID, terms())
	return err
}

func bit(f models.Flag) int64 {
	if f {
		return 1
	}
	return 0
}

func analyse(content string) text.Document { return text.Doc(text.Words(content)) }
