package repo

import (
	"context"
	"iter"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
)

// Messages reads and writes messages. A conversation's order is (order_seq, id).
type Messages struct{ s *Store }

// NewMessages returns the repository of messages in s.
func NewMessages(s *Store) *Messages { return &Messages{s} }

const messageColumns = "id, msg_id, conversation_id, parent_id, role, content, created_at, order_seq, token_count, status, metadata, is_context_edge, is_variant"

func scanMessage(s engine.Scanner, m *models.Message) error {
	return s.Scan(&m.ID, &m.MsgID, &m.ConversationID, &m.ParentID, &m.Role, &m.Content, &m.CreatedAt, &m.OrderSeq,
		&m.TokenCount, &m.Status, &m.Metadata, &m.IsContextEdge, &m.IsVariant)
}

// InsertMessage stores m and returns it as stored. An empty MsgID becomes a new UUIDv7, a CreatedAt
// of 0 the present, an empty Status sent, and an OrderSeq of 0 the next one in the conversation,
// without gaps or repetitions however many insert at once. The conversation's updated_at moves forward
// to CreatedAt. An unknown conversation is ErrReference, a known MsgID ErrConflict.
func (r *Messages) InsertMessage(ctx context.Context, m models.Message) (models.Message, error) {
	const op = "insert message"
	if err := r.prepare(&m); err != nil {
		return models.Message{}, wrap(op, err)
	}
	seq := m.OrderSeq
	err := r.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		m.OrderSeq = seq // another attempt assigns anew
		return r.insert(ctx, db, &m)
	})
	if err != nil {
		return models.Message{}, err
	}
	return m, nil
}

// InsertMessages stores messages in one transaction, in the order given, each as InsertMessage
// does. It stores all of them or none.
func (r *Messages) InsertMessages(ctx context.Context, ms []models.Message) ([]models.Message, error) {
	const op = "insert messages"
	ctx, room, err := r.s.room(ctx, messagesMemory(ms))
	if err != nil {
		return nil, wrap(op, err)
	}
	defer room.Release()
	out := make([]models.Message, len(ms))
	copy(out, ms)
	for i := range out {
		if err := r.prepare(&out[i]); err != nil {
			return nil, wrap(op, err)
		}
	}
	err = r.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		for i := range out {
			if ms[i].OrderSeq == 0 {
				out[i].OrderSeq = 0 // another attempt assigns anew
			}
			if err := r.insert(ctx, db, &out[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (r *Messages) prepare(m *models.Message) error {
	if m.MsgID == "" {
		m.MsgID = newID()
	}
	if m.CreatedAt == 0 {
		m.CreatedAt = r.s.nowMS()
	}
	if m.Status == "" {
		m.Status = models.StatusSent
	}
	m.ID = 0
	return checkMessage(m)
}

// checkMessage refuses what cannot be stored and makes the metadata canonical.
func checkMessage(m *models.Message) error {
	if err := checkText(field{"parent_id", m.ParentID}, field{"content", m.Content}); err != nil {
		return err
	}
	return checkBulkMessage(m)
}

// checkBulkMessage is checkMessage but for the text, which a bulk insert leaves to the engine.
func checkBulkMessage(m *models.Message) error {
	if err := checkKey("msg_id", m.MsgID); err != nil {
		return err
	}
	if err := checkKey("conversation_id", m.ConversationID); err != nil {
		return err
	}
	if len(m.ParentID) > maxKey {
		return engine.Invalidf("parent_id is %d bytes long; at most %d can be indexed", len(m.ParentID), maxKey)
	}
	if !m.Role.Valid() {
		return engine.Invalidf("role %.40q: use user, assistant, system or function", string(m.Role))
	}
	if !m.Status.Valid() {
		return engine.Invalidf("status %.40q: use sent, pending or error", string(m.Status))
	}
	var err error
	m.Metadata, err = checkJSON("metadata", m.Metadata)
	return err
}

const insertMessage = `INSERT INTO messages (msg_id, conversation_id, parent_id, role, content, created_at, order_seq, token_count,
	status, metadata, is_context_edge, is_variant) VALUES (?, ?, ?, ?, ?, ?, `

// touchConversation moves updated_at forward. On Postgres it also locks the conversation, so that
// of several inserts one after the other sees the highest order_seq.
const touchConversation = "UPDATE conversations SET updated_at = CASE WHEN updated_at < ? THEN ? ELSE updated_at END WHERE conv_id = ?"

func (r *Messages) insert(ctx context.Context, db *gorm.DB, m *models.Message) error {
	n, err := engine.Exec(ctx, db, touchConversation, m.CreatedAt, m.CreatedAt, m.ConversationID)
	if err != nil {
		return err
	}
	if n == 0 {
		return named(ErrReference, "conversation", m.ConversationID)
	}
	head := []any{m.MsgID, m.ConversationID, m.ParentID, string(m.Role), m.Content, m.CreatedAt}
	tail := []any{m.TokenCount, string(m.Status), m.Metadata, m.IsContextEdge, m.IsVariant}
	seq, arg := "?", any(m.OrderSeq)
	if m.OrderSeq == 0 {
		seq, arg = "(SELECT coalesce(max(order_seq), 0) + 1 FROM messages WHERE conversation_id = ?)", m.ConversationID
	}
	stored, err := engine.One(ctx, db, func(s engine.Scanner, v *[2]int64) error { return s.Scan(&v[0], &v[1]) },
		insertMessage+seq+", ?, ?, ?, ?, ?) RETURNING id, order_seq", append(append(head, arg), tail...)...)
	if err != nil {
		return named(err, "message", m.MsgID)
	}
	m.ID, m.OrderSeq = stored[0], stored[1]
	return r.s.addTerms(ctx, db, termsOfMessages, messageTerms(m))
}

func messageTerms(m *models.Message) engine.TermDoc {
	return engine.TermDoc{ID: m.ID, Doc: text.Doc(text.Words(m.Content))}
}

// GetMessage returns one message; an unknown msgID is ErrNotFound.
func (r *Messages) GetMessage(ctx context.Context, msgID string) (models.Message, error) {
	m, err := r.one(ctx, "WHERE msg_id = ?", msgID)
	if err != nil {
		return models.Message{}, wrap("get message", named(err, "message", msgID))
	}
	return m, nil
}

func (r *Messages) one(ctx context.Context, tail string, args ...any) (models.Message, error) {
	db, err := r.s.reader(ctx)
	if err != nil {
		return models.Message{}, err
	}
	return engine.One(ctx, db, scanMessage, "SELECT "+messageColumns+" FROM messages "+tail, args...)
}

func (r *Messages) many(ctx context.Context, op, tail string, args ...any) ([]models.Message, error) {
	db, err := r.s.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	ms, err := engine.Collect(ctx, db, scanMessage, "SELECT "+messageColumns+" FROM messages "+tail, args...)
	return ms, wrap(op, err)
}

// MessageUpdate names the fields to change; nil leaves a field as it is.
type MessageUpdate struct {
	Content *string
	Status  *models.MessageStatus
	// Metadata replaces the whole object.
	Metadata      *models.JSON
	IsContextEdge *bool
	TokenCount    *int64
}

// UpdateMessage changes the given fields and returns the message as it is then.
func (r *Messages) UpdateMessage(ctx context.Context, msgID string, u MessageUpdate) (models.Message, error) {
	const op = "update message"
	if err := checkText(field{"msg_id", msgID}); err != nil {
		return models.Message{}, wrap(op, err)
	}
	set := map[string]any{}
	if u.Content != nil {
		if err := checkText(field{"content", *u.Content}); err != nil {
			return models.Message{}, wrap(op, err)
		}
		set["content"] = *u.Content
	}
	if u.Status != nil {
		if !u.Status.Valid() {
			return models.Message{}, wrap(op, engine.Invalidf("status %.40q: use sent, pending or error", string(*u.Status)))
		}
		set["status"] = *u.Status
	}
	if u.Metadata != nil {
		j, err := checkJSON("metadata", *u.Metadata)
		if err != nil {
			return models.Message{}, wrap(op, err)
		}
		set["metadata"] = j
	}
	if u.IsContextEdge != nil {
		set["is_context_edge"] = models.Flag(*u.IsContextEdge)
	}
	if u.TokenCount != nil {
		set["token_count"] = *u.TokenCount
	}
	var m models.Message
	err := r.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		if len(set) > 0 {
			if err := r.s.noteEdit(ctx, db, "messages", "msg_id = ?", msgID); err != nil {
				return err
			}
			if err := db.Model(&models.Message{}).Where("msg_id = ?", msgID).Updates(set).Error; err != nil {
				return named(err, "message", msgID)
			}
		}
		var err error
		m, err = engine.One(ctx, db, scanMessage, "SELECT "+messageColumns+" FROM messages WHERE msg_id = ?", msgID)
		if err != nil {
			return named(err, "message", msgID)
		}
		if u.Content == nil {
			return nil
		}
		return r.s.addTerms(ctx, db, termsOfMessages, messageTerms(&m))
	})
	if err != nil {
		return models.Message{}, err
	}
	return m, nil
}

// UpdateMessageParent sets what a message answers; "" for nothing. The parent need not exist.
func (r *Messages) UpdateMessageParent(ctx context.Context, msgID, parentID string) error {
	const op = "update message parent"
	if len(parentID) > maxKey {
		return wrap(op, engine.Invalidf("parent_id is %d bytes long; at most %d can be indexed", len(parentID), maxKey))
	}
	if err := checkText(field{"parent_id", parentID}); err != nil {
		return wrap(op, err)
	}
	return r.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		if err := r.s.noteEdit(ctx, db, "messages", "msg_id = ?", msgID); err != nil {
			return err
		}
		n, err := engine.Exec(ctx, db, "UPDATE messages SET parent_id = ? WHERE msg_id = ?", parentID, msgID)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return named(err, "message", msgID)
		}
		return nil
	})
}

// DeleteMessage deletes a message with its attachments. Messages that answer it keep their
// parent_id.
func (r *Messages) DeleteMessage(ctx context.Context, msgID string) error {
	return r.s.deleteOne(ctx, "delete message", "message", msgID, "messages")
}

// DeleteConversationMessages deletes all messages of a conversation and returns how many there
// were.
func (r *Messages) DeleteConversationMessages(ctx context.Context, convID string) (int64, error) {
	return r.s.deleteMany(ctx, "delete messages of conversation", "messages", "conversation_id = ?", convID)
}

// DeleteAllMessages deletes every message; the conversations stay. It returns how many there were.
func (r *Messages) DeleteAllMessages(ctx context.Context) (int64, error) {
	return r.s.deleteMany(ctx, "delete all messages", "messages", "1 = 1")
}

// deleteMany deletes the rows of a table that a condition selects, with what belongs to them.
func (s *Store) deleteMany(ctx context.Context, op, table, where string, args ...any) (n int64, err error) {
	err = s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		n, err = s.deleteRows(ctx, db, table, where, args...)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (s *Store) deleteRows(ctx context.Context, db *gorm.DB, table, where string, args ...any) (int64, error) {
	if err := s.noteDelete(ctx, db, table, where, args...); err != nil {
		return 0, err
	}
	return engine.Exec(ctx, db, "DELETE FROM "+table+" WHERE "+where, args...)
}

// MessageThread is a message with its variants: the other answers to the same parent.
type MessageThread struct {
	models.Message
	// Variants are in conversation order.
	Variants []models.Message `json:"variants,omitempty"`
}

// QueryMessages returns a conversation's messages in order, each variant attached to the first
// message that is no variant and has the same parent and role. A variant without such a message
// stands for itself, so that none is lost.
func (r *Messages) QueryMessages(ctx context.Context, convID string) ([]MessageThread, error) {
	ms, err := r.many(ctx, "query messages", "WHERE conversation_id = ? ORDER BY order_seq, id", convID)
	if err != nil {
		return nil, err
	}
	type reply struct {
		parent string
		role   models.Role
	}
	main := map[reply]int{}
	out := make([]MessageThread, 0, len(ms))
	for _, m := range ms {
		if k := (reply{m.ParentID, m.Role}); !bool(m.IsVariant) && m.ParentID != "" {
			if _, taken := main[k]; !taken {
				main[k] = -1
			}
		}
	}
	var waiting []models.Message
	for _, m := range ms {
		k := reply{m.ParentID, m.Role}
		at, hasMain := main[k]
		if bool(m.IsVariant) && hasMain {
			if at < 0 {
				waiting = append(waiting, m)
			} else {
				out[at].Variants = append(out[at].Variants, m)
			}
			continue
		}
		out = append(out, MessageThread{Message: m})
		if hasMain && at < 0 {
			main[k] = len(out) - 1
			for _, w := range waiting {
				if w.ParentID == k.parent && w.Role == k.role {
					out[len(out)-1].Variants = append(out[len(out)-1].Variants, w)
				}
			}
		}
	}
	return out, nil
}

// MessageVariants returns the variants that belong to a message, in conversation order: of a reply,
// those that share its parent; of the message they answer, all of its variants.
func (r *Messages) MessageVariants(ctx context.Context, msgID string) ([]models.Message, error) {
	const op = "message variants"
	m, err := r.one(ctx, "WHERE msg_id = ?", msgID)
	if err != nil {
		return nil, wrap(op, named(err, "message", msgID))
	}
	parent := m.MsgID
	if m.ParentID != "" && m.Role == models.RoleAssistant {
		parent = m.ParentID
	}
	return r.many(ctx, op, "WHERE conversation_id = ? AND parent_id = ? AND is_variant = 1 AND msg_id <> ? ORDER BY order_seq, id", m.ConversationID, parent, msgID)
}

// MainMessage returns the first answer to parentID that is no variant; ErrNotFound when there is
// none.
func (r *Messages) MainMessage(ctx context.Context, convID, parentID string) (models.Message, error) {
	m, err := r.one(ctx, "WHERE conversation_id = ? AND parent_id = ? AND is_variant = 0 ORDER BY order_seq, id LIMIT 1", convID, parentID)
	if err != nil {
		return models.Message{}, wrap("main message", named(err, "main answer to message", parentID))
	}
	return m, nil
}

// LastUserMessage returns the last message of the user in a conversation; ErrNotFound when there
// is none.
func (r *Messages) LastUserMessage(ctx context.Context, convID string) (models.Message, error) {
	m, err := r.one(ctx, "WHERE conversation_id = ? AND role = 'user' ORDER BY order_seq DESC, id DESC LIMIT 1", convID)
	if err != nil {
		return models.Message{}, wrap("last user message", named(err, "user message in conversation", convID))
	}
	return m, nil
}

// MaxOrderSeq returns the highest order_seq in a conversation, 0 when it has no messages.
func (r *Messages) MaxOrderSeq(ctx context.Context, convID string) (int64, error) {
	return r.s.count(ctx, "max order_seq", "SELECT coalesce(max(order_seq), 0) FROM messages WHERE conversation_id = ?", convID)
}

// MessageList asks for a page of a conversation's messages.
type MessageList struct {
	ConversationID string
	// Limit is how many to return, 50 when 0, at most 1,000.
	Limit int
	// After is Next of the page before, "" for the first page.
	After string
	// Newest begins at the end of the conversation and goes backwards.
	Newest bool
	// WithTotal counts the conversation's messages, at a cost that grows with their number.
	WithTotal bool
}

// MessagePage is one page of messages.
type MessagePage struct {
	Messages []models.Message `json:"messages"`
	// Next asks for the page after this one; "" when this is the last.
	Next string `json:"next,omitempty"`
	// Total is the number of messages in the conversation, if asked for.
	Total *int64 `json:"total,omitempty"`
}

// messageSorts are the sorts a message cursor can belong to.
var messageSorts = map[bool]string{false: "order asc", true: "order desc"}

// ListMessages returns a page of a conversation's messages. Its cost depends on the page, not on
// the length of the conversation.
func (r *Messages) ListMessages(ctx context.Context, q MessageList) (MessagePage, error) {
	const op = "list messages"
	var page MessagePage
	limit, err := limitOf(q.Limit, 50)
	if err != nil {
		return page, wrap(op, err)
	}
	where, args := "WHERE conversation_id = ?", []any{q.ConversationID}
	if q.WithTotal {
		n, err := r.s.count(ctx, op, "SELECT count(*) FROM messages "+where, args...)
		if err != nil {
			return page, err
		}
		page.Total = &n
	}
	than, dir := ">", "ASC"
	if q.Newest {
		than, dir = "<", "DESC"
	}
	if q.After != "" {
		seq, id, err := decodeCursor[int64](q.After, messageSorts[q.Newest])
		if err != nil {
			return page, wrap(op, err)
		}
		where += " AND (order_seq, id) " + than + " (?, ?)"
		args = append(args, seq, id)
	}
	page.Messages, err = r.many(ctx, op, where+" ORDER BY order_seq "+dir+", id "+dir+" LIMIT ?", append(args, limit+1)...)
	if err != nil {
		return page, err
	}
	if len(page.Messages) > limit {
		page.Messages = page.Messages[:limit]
		last := page.Messages[limit-1]
		page.Next = cursor{Sort: messageSorts[q.Newest], Key: last.OrderSeq, ID: last.ID}.encode()
	}
	return page, nil
}

// A stream reads pages of at most this many messages and about this many bytes.
const (
	streamRows  = 256
	streamBytes = 8 << 20
)

// StreamMessages yields a conversation's messages in order. It holds a page in memory and no
// connection while the caller works, so that the caller may write meanwhile; what is inserted
// behind the present place is still seen. An error ends the stream.
func (r *Messages) StreamMessages(ctx context.Context, convID string) iter.Seq2[models.Message, error] {
	return func(yield func(models.Message, error) bool) {
		var seq, id int64
		first := true
		for {
			page, more, err := r.streamPage(ctx, convID, first, seq, id)
			if err != nil {
				yield(models.Message{}, wrap("stream messages", err))
				return
			}
			for _, m := range page {
				if !yield(m, nil) {
					return
				}
				seq, id, first = m.OrderSeq, m.ID, false
			}
			if !more {
				return
			}
		}
	}
}

func (r *Messages) streamPage(ctx context.Context, convID string, first bool, seq, id int64) (page []models.Message, more bool, err error) {
	db, err := r.s.reader(ctx)
	if err != nil {
		return nil, false, err
	}
	where, args := "WHERE conversation_id = ?", []any{convID}
	if !first {
		where += " AND (order_seq, id) > (?, ?)"
		args = append(args, seq, id)
	}
	rows, err := engine.Query(ctx, db, "SELECT "+messageColumns+" FROM messages "+where+" ORDER BY order_seq, id LIMIT ?", append(args, streamRows)...)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = rows.Close() }()
	for size := 0; rows.Next(); {
		var m models.Message
		if err := scanMessage(rows, &m); err != nil {
			return nil, false, err
		}
		page = append(page, m)
		if size += len(m.Content); size >= streamBytes {
			return page, true, nil
		}
	}
	return page, len(page) == streamRows, rows.Err()
}
