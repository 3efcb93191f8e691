package repo

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
)

// Conversations reads and writes conversations.
//
// CreateConversation, UpdateConversation and RenameConversation set updated_at, and inserting a
// message moves it forward to the message's time. Pinning, reading and deleting messages leave it
// alone.
type Conversations struct{ s *Store }

// NewConversations returns the repository of conversations in s.
func NewConversations(s *Store) *Conversations { return &Conversations{s} }

const conversationColumns = "id, conv_id, title, created_at, updated_at, is_pinned, is_new, settings, message_count"

func scanConversation(s engine.Scanner, c *models.Conversation) error {
	return s.Scan(&c.ID, &c.ConvID, &c.Title, &c.CreatedAt, &c.UpdatedAt, &c.IsPinned, &c.IsNew, &c.Settings, &c.MessageCount)
}

// CreateConversation stores c and returns it as stored. An empty ConvID becomes a new UUIDv7, a
// CreatedAt of 0 the present, an UpdatedAt of 0 CreatedAt; ID and MessageCount are ignored, all else
// is stored as given. A known ConvID is ErrConflict.
func (r *Conversations) CreateConversation(ctx context.Context, c models.Conversation) (models.Conversation, error) {
	const op = "create conversation"
	if c.ConvID == "" {
		c.ConvID = newID()
	}
	if c.CreatedAt == 0 {
		c.CreatedAt = r.s.nowMS()
	}
	if c.UpdatedAt == 0 {
		c.UpdatedAt = c.CreatedAt
	}
	c.ID, c.MessageCount = 0, 0
	if err := prepareConversation(&c); err != nil {
		return models.Conversation{}, wrap(op, err)
	}
	err := r.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		if err := db.Create(&c).Error; err != nil {
			return named(err, "conversation", c.ConvID)
		}
		return r.s.addTerms(ctx, db, termsOfTitles, engine.TermDoc{ID: c.ID, Doc: text.Doc(c.Title)})
	})
	if err != nil {
		return models.Conversation{}, err
	}
	return c, nil
}

func prepareConversation(c *models.Conversation) error {
	if err := checkKey("conv_id", c.ConvID); err != nil {
		return err
	}
	if err := checkText(field{"title", c.Title}); err != nil {
		return err
	}
	var err error
	c.Settings, err = checkJSON("settings", c.Settings)
	return err
}

// named adds which row an error is about.
func named(err error, what, id string) error { return fmt.Errorf("%s %q: %w", what, id, err) }

// GetConversation returns one conversation; an unknown convID is ErrNotFound.
func (r *Conversations) GetConversation(ctx context.Context, convID string) (models.Conversation, error) {
	const op = "get conversation"
	db, err := r.s.reader(ctx)
	if err != nil {
		return models.Conversation{}, wrap(op, err)
	}
	c, err := engine.One(ctx, db, scanConversation, "SELECT "+conversationColumns+" FROM conversations WHERE conv_id = ?", convID)
	if err != nil {
		return models.Conversation{}, wrap(op, named(err, "conversation", convID))
	}
	return c, nil
}

// ConversationUpdate names the fields to change; nil leaves a field as it is.
type ConversationUpdate struct {
	Title    *string
	IsPinned *bool
	IsNew    *bool
	// Settings replaces the whole object.
	Settings *models.JSON
	// UpdatedAt overrides the present time that an update sets.
	UpdatedAt *int64
}

// UpdateConversation changes the given fields, sets updated_at, and returns the conversation as
// it is then.
func (r *Conversations) UpdateConversation(ctx context.Context, convID string, u ConversationUpdate) (models.Conversation, error) {
	const op = "update conversation"
	set := map[string]any{"updated_at": r.s.nowMS()}
	if u.UpdatedAt != nil {
		set["updated_at"] = *u.UpdatedAt
	}
	if u.Title != nil {
		if err := checkText(field{"title", *u.Title}); err != nil {
			return models.Conversation{}, wrap(op, err)
		}
		set["title"] = *u.Title
	}
	if u.IsPinned != nil {
		set["is_pinned"] = models.Flag(*u.IsPinned)
	}
	if u.IsNew != nil {
		set["is_new"] = models.Flag(*u.IsNew)
	}
	if u.Settings != nil {
		j, err := checkJSON("settings", *u.Settings)
		if err != nil {
			return models.Conversation{}, wrap(op, err)
		}
		set["settings"] = j
	}
	var c models.Conversation
	err := r.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		if err := r.update(ctx, db, convID, set); err != nil {
			return err
		}
		var err error
		c, err = engine.One(ctx, db, scanConversation, "SELECT "+conversationColumns+" FROM conversations WHERE conv_id = ?", convID)
		return err
	})
	return c, err
}

func (r *Conversations) update(ctx context.Context, db *gorm.DB, convID string, set map[string]any) error {
	if err := checkText(field{"conv_id", convID}); err != nil {
		return err
	}
	if err := r.s.noteEdit(ctx, db, "conversations", "conv_id = ?", convID); err != nil {
		return err
	}
	res := db.Model(&models.Conversation{}).Where("conv_id = ?", convID).Updates(set)
	if res.Error != nil {
		return named(res.Error, "conversation", convID)
	}
	if res.RowsAffected == 0 {
		return named(ErrNotFound, "conversation", convID)
	}
	title, ok := set["title"].(string)
	if !ok {
		return nil
	}
	id, err := engine.One(ctx, db, engine.Value[int64], "SELECT id FROM conversations WHERE conv_id = ?", convID)
	if err != nil {
		return err
	}
	return r.s.addTerms(ctx, db, termsOfTitles, engine.TermDoc{ID: id, Doc: text.Doc(title)})
}

// RenameConversation sets the title, clears is_new and sets updated_at.
func (r *Conversations) RenameConversation(ctx context.Context, convID, title string) error {
	const op = "rename conversation"
	if err := checkText(field{"title", title}); err != nil {
		return wrap(op, err)
	}
	return r.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		return r.update(ctx, db, convID, map[string]any{"title": title, "is_new": models.Flag(false), "updated_at": r.s.nowMS()})
	})
}

// PinConversation pins or unpins a conversation. It leaves updated_at alone, so that the order of
// the others does not change.
func (r *Conversations) PinConversation(ctx context.Context, convID string, pinned bool) error {
	return r.s.write(ctx, "pin conversation", func(ctx context.Context, db *gorm.DB) error {
		return r.update(ctx, db, convID, map[string]any{"is_pinned": models.Flag(pinned)})
	})
}

// DeleteConversation deletes a conversation with its messages and their attachments.
func (r *Conversations) DeleteConversation(ctx context.Context, convID string) error {
	return r.s.deleteOne(ctx, "delete conversation", "conversation", convID, "conversations")
}

// deleteOne deletes the row of a table that has a key, with what belongs to it.
func (s *Store) deleteOne(ctx context.Context, op, what, id, table string) error {
	return s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		n, err := s.deleteRows(ctx, db, table, keysOf[table].key+" = ?", id)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return named(err, what, id)
		}
		return nil
	})
}

// CountConversations counts all conversations.
func (r *Conversations) CountConversations(ctx context.Context) (int64, error) {
	return r.s.count(ctx, "count conversations", "SELECT count(*) FROM conversations")
}

func (s *Store) count(ctx context.Context, op, query string, args ...any) (int64, error) {
	db, err := s.reader(ctx)
	if err != nil {
		return 0, wrap(op, err)
	}
	n, err := engine.One(ctx, db, engine.Value[int64], query, args...)
	return n, wrap(op, err)
}

// ConversationSort is a field that conversations can be listed by.
type ConversationSort string

// The fields conversations can be listed by. An index serves SortUpdated; the others sort all
// conversations.
const (
	SortUpdated ConversationSort = "updated_at"
	SortCreated ConversationSort = "created_at"
	SortTitle   ConversationSort = "title"
)

// ConversationList asks for a page of conversations.
type ConversationList struct {
	// Sort is SortUpdated when empty. Titles compare bytewise.
	Sort ConversationSort
	// Ascending turns the order around; newest, or last, first is the default. Ties go by id.
	Ascending bool
	// Pinned limits the list to those that are pinned, or are not.
	Pinned *bool
	// Limit is how many to return, 50 when 0, at most 1,000.
	Limit int
	// After is Next of the page before, "" for the first page.
	After string
	// WithTotal counts all that match, at a cost that grows with their number.
	WithTotal bool
}

// ConversationPage is one page of a list.
type ConversationPage struct {
	Conversations []models.Conversation `json:"conversations"`
	// Next asks for the page after this one; "" when this is the last.
	Next string `json:"next,omitempty"`
	// Total is the number that match, if asked for.
	Total *int64 `json:"total,omitempty"`
}

// ListConversations returns a page of conversations. Its cost depends on the page, not on how many
// came before it. A field that is not in the list of sorts is ErrInvalid.
func (r *Conversations) ListConversations(ctx context.Context, q ConversationList) (ConversationPage, error) {
	const op = "list conversations"
	page, err := r.list(ctx, q)
	return page, wrap(op, err)
}

func (r *Conversations) list(ctx context.Context, q ConversationList) (ConversationPage, error) {
	var page ConversationPage
	limit, err := limitOf(q.Limit, 50)
	if err != nil {
		return page, err
	}
	if q.Sort == "" {
		q.Sort = SortUpdated
	}
	var col string
	switch q.Sort {
	case SortUpdated, SortCreated, SortTitle:
		col = string(q.Sort)
	default:
		return page, engine.Invalidf("conversations cannot be sorted by %.40q: use updated_at, created_at or title", string(q.Sort))
	}
	where, args := " WHERE 1 = 1", []any{}
	if q.Pinned != nil {
		where += " AND is_pinned = ?"
		args = append(args, models.Flag(*q.Pinned))
	}
	db, err := r.s.reader(ctx)
	if err != nil {
		return page, err
	}
	if q.WithTotal {
		n, err := engine.One(ctx, db, engine.Value[int64], "SELECT count(*) FROM conversations"+where, args...)
		if err != nil {
			return page, err
		}
		page.Total = &n
	}
	dir, than, sort := "DESC", "<", col+" desc"
	if q.Ascending {
		dir, than, sort = "ASC", ">", col+" asc"
	}
	if q.After != "" {
		key, id, err := decodeAny(q.After, sort, q.Sort == SortTitle)
		if err != nil {
			return page, err
		}
		where += " AND (" + col + ", id) " + than + " (?, ?)"
		args = append(args, key, id)
	}
	page.Conversations, err = engine.Collect(ctx, db, scanConversation,
		"SELECT "+conversationColumns+" FROM conversations"+where+" ORDER BY "+col+" "+dir+", id "+dir+" LIMIT ?", append(args, limit+1)...)
	if err != nil {
		return page, err
	}
	if len(page.Conversations) > limit {
		page.Conversations = page.Conversations[:limit]
		last := page.Conversations[limit-1]
		c := cursor{Sort: sort, ID: last.ID}
		switch q.Sort {
		case SortTitle:
			c.Key = last.Title
		case SortCreated:
			c.Key = last.CreatedAt
		default:
			c.Key = last.UpdatedAt
		}
		page.Next = c.encode()
	}
	return page, nil
}

func decodeAny(s, sort string, isText bool) (any, int64, error) {
	if isText {
		return wrapKey(decodeCursor[string](s, sort))
	}
	return wrapKey(decodeCursor[int64](s, sort))
}

func wrapKey[K any](k K, id int64, err error) (any, int64, error) { return k, id, err }

// RecentConversations returns the first limit conversations (50 when 0, at most 1,000), the pinned
// ones first, then by updated_at, with their message counts. Its cost grows neither with the number of
// conversations nor of messages.
func (r *Conversations) RecentConversations(ctx context.Context, limit int) ([]models.Conversation, error) {
	const op = "recent conversations"
	limit, err := limitOf(limit, 50)
	if err != nil {
		return nil, wrap(op, err)
	}
	db, err := r.s.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	out, err := engine.Collect(ctx, db, scanConversation,
		"SELECT "+conversationColumns+" FROM conversations ORDER BY is_pinned DESC, updated_at DESC, id DESC LIMIT ?", limit)
	return out, wrap(op, err)
}

// ConversationMessages is a conversation with all its messages in order.
type ConversationMessages struct {
	Conversation models.Conversation `json:"conversation"`
	Messages     []models.Message    `json:"messages"`
}

// ConversationWithMessages returns a conversation and all its messages as of one moment. A long
// one is better read by StreamMessages.
func (r *Conversations) ConversationWithMessages(ctx context.Context, convID string) (ConversationMessages, error) {
	const op = "conversation with messages"
	var out ConversationMessages
	err := r.s.snapshot(ctx, func(ctx context.Context, db *gorm.DB) error {
		var err error
		out.Conversation, err = engine.One(ctx, db, scanConversation, "SELECT "+conversationColumns+" FROM conversations WHERE conv_id = ?", convID)
		if err != nil {
			return named(err, "conversation", convID)
		}
		out.Messages, err = engine.Collect(ctx, db, scanMessage,
			"SELECT "+messageColumns+" FROM messages WHERE conversation_id = ? ORDER BY order_seq, id", convID)
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		out = ConversationMessages{}
	}
	return out, wrap(op, err)
}
