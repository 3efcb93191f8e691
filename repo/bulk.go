package repo

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
)

// Bulk stores rows as fast as the engine can and exactly as given: no defaults, no updated_at that
// moves, order_seq as it is. The text index is kept in step. It is what an import writes through.
// Calls belong inside Batch; each stores all of its rows or none.
type Bulk struct {
	s *Store
	// noText leaves the text index to IndexText.
	noText bool
	// asGiven keeps integer keys and leaves judging the rows to the database.
	asGiven bool
}

// NewBulk returns the bulk loader of s.
func NewBulk(s *Store) *Bulk { return &Bulk{s: s} }

// Batch runs f in one transaction.
func (b *Bulk) Batch(ctx context.Context, f func(ctx context.Context) error) error {
	return b.s.WithTransaction(ctx, func(ctx context.Context, tx *Tx) error { return b.frugal(ctx, tx.db, f) })
}

// readAttempts is how many times as long as other calls Read waits for a connection.
const readAttempts = 10

// Read runs f, which only reads, on the database as of one moment. Where there are fewer connections than
// calls at once it waits for its turn, several times as long as others do.
func (b *Bulk) Read(ctx context.Context, f func(ctx context.Context) error) error {
	for attempt := 1; ; attempt++ {
		began := false
		err := b.s.snapshot(ctx, func(ctx context.Context, db *gorm.DB) error {
			began = true
			return b.frugal(b.s.newTx(ctx, db, nil).ctx, db, f)
		})
		if began || attempt == readAttempts || !errors.Is(err, ErrBusy) {
			return wrap("read", err)
		}
	}
}

func (b *Bulk) frugal(ctx context.Context, db *gorm.DB, f func(ctx context.Context) error) error {
	over, err := b.s.eng().Frugal(ctx, db)
	if err != nil {
		return err
	}
	defer over()
	return f(ctx)
}

// load checks and writes rows of a table whose integer key is assigned here, and indexes their text.
func load[T any](ctx context.Context, b *Bulk, op string, t loadSpec[T], in []T) error {
	if len(in) == 0 {
		return nil
	}
	rows := make([]T, len(in))
	copy(rows, in)
	for i := range rows {
		if b.asGiven {
			break
		}
		if err := t.check(&rows[i]); err != nil {
			return wrap(op, err)
		}
	}
	if b.noText {
		t.terms = ""
	}
	t.hasID = b.asGiven
	return t.store(ctx, b.s, op, rows)
}

// loadSpec says how the rows of one table are loaded.
type loadSpec[T any] struct {
	table, key string // key is the integer key, the first of values, "" when there is none
	hasID      bool   // the rows have theirs
	columns    []string
	check      func(*T) error
	setID      func(*T, int64)
	values     func(*T) []any
	size       func(*T) int // the bytes of its texts
	terms      string
	doc        func(*T) engine.TermDoc
}

// store writes rows in one transaction and leaves the keys it assigned in them.
func (t loadSpec[T]) store(ctx context.Context, s *Store, op string, rows []T) error {
	ctx, room, err := s.room(ctx, t.memory(rows))
	if err != nil {
		return wrap(op, err)
	}
	defer room.Release()
	return s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		for piece := range t.pieces(rows, room.bytes) {
			if err := t.write(ctx, s, db, piece); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t loadSpec[T]) write(ctx context.Context, s *Store, db *gorm.DB, rows []T) error {
	columns := t.columns
	keyed := t.key != "" && (t.terms != "" || t.hasID)
	if keyed {
		columns = append([]string{t.key}, columns...)
	}
	if keyed && !t.hasID {
		ids, err := s.eng().ReserveIDs(ctx, db, t.table, t.key, len(rows))
		if err != nil {
			return err
		}
		for i := range rows {
			t.setID(&rows[i], ids[i])
		}
	}
	values := make([][]any, len(rows))
	for i := range rows {
		values[i] = t.values(&rows[i])
		if t.key != "" && !keyed { // the database numbers the rows, in their order
			values[i] = values[i][1:]
		}
	}
	if err := s.eng().BulkInsert(ctx, db, t.table, columns, values); err != nil {
		return err
	}
	if t.terms == "" {
		return nil
	}
	docs := make([]engine.TermDoc, len(rows))
	for i := range rows {
		docs[i] = t.doc(&rows[i])
	}
	return s.addTerms(ctx, db, t.terms, docs...)
}

var loadConversations = loadSpec[models.Conversation]{
	table: "conversations", key: "id", terms: termsOfTitles,
	columns: []string{"conv_id", "title", "created_at", "updated_at", "is_pinned", "is_new", "settings"},
	check:   prepareConversation,
	setID:   func(c *models.Conversation, id int64) { c.ID = id },
	values: func(c *models.Conversation) []any {
		return []any{c.ID, c.ConvID, c.Title, c.CreatedAt, c.UpdatedAt, flag(c.IsPinned), flag(c.IsNew), c.Settings.String()}
	},
	size: func(c *models.Conversation) int { return len(c.Title) + len(c.Settings) },
	doc:  func(c *models.Conversation) engine.TermDoc { return engine.TermDoc{ID: c.ID, Doc: text.Doc(c.Title)} },
}

var loadMessages = loadSpec[models.Message]{
	table: "messages", key: "id", terms: termsOfMessages,
	columns: strings.Split(messageColumns, ", ")[1:],
	check:   checkBulkMessage,
	setID:   func(m *models.Message, id int64) { m.ID = id },
	values: func(m *models.Message) []any {
		return []any{
			m.ID, m.MsgID, m.ConversationID, m.ParentID, string(m.Role), m.Content, m.CreatedAt, m.OrderSeq, m.TokenCount,
			string(m.Status), m.Metadata.String(), flag(m.IsContextEdge), flag(m.IsVariant),
		}
	},
	size: func(m *models.Message) int { return len(m.Content) + len(m.Metadata) },
	doc:  messageTerms,
}

var loadAttachments = loadSpec[models.MessageAttachment]{
	table: "message_attachments", key: "id",
	columns: strings.Split(attachmentColumns, ", ")[1:],
	check:   checkBulkAttachment,
	setID:   func(a *models.MessageAttachment, id int64) { a.ID = id },
	values: func(a *models.MessageAttachment) []any {
		return []any{a.ID, a.AttachmentID, a.MessageID, a.Type, a.Data, a.CreatedAt}
	},
	size: func(a *models.MessageAttachment) int { return len(a.Data) },
}

var loadFiles = loadSpec[models.KnowledgeFile]{
	table:   "knowledge_files",
	columns: strings.Split(fileColumns, ", "),
	check:   checkFile,
	values: func(f *models.KnowledgeFile) []any {
		return []any{f.ID, f.BaseID, f.Name, f.Path, f.MimeType, string(f.Status), f.UploadedAt, f.Metadata.String()}
	},
	size: func(f *models.KnowledgeFile) int { return len(f.Metadata) },
}

var loadChunks = loadSpec[models.KnowledgeChunk]{
	table: "knowledge_chunks", key: "seq", terms: termsOfChunks,
	columns: strings.Split(chunkColumns, ", ")[1:],
	check:   checkChunk,
	setID:   func(c *models.KnowledgeChunk, seq int64) { c.Seq = seq },
	values: func(c *models.KnowledgeChunk) []any {
		return []any{c.Seq, c.ID, c.FileID, c.ChunkIndex, c.Content, string(c.Status), c.Error}
	},
	size: func(c *models.KnowledgeChunk) int { return len(c.Content) },
	doc:  chunkTerms,
}

func flag(f models.Flag) int64 {
	if f {
		return 1
	}
	return 0
}

// InsertConversations stores conversations.
func (b *Bulk) InsertConversations(ctx context.Context, rows []models.Conversation) error {
	return load(ctx, b, "load conversations", loadConversations, rows)
}

// InsertMessages stores messages.
func (b *Bulk) InsertMessages(ctx context.Context, rows []models.Message) error {
	return load(ctx, b, "load messages", loadMessages, rows)
}

// InsertAttachments stores attachments.
func (b *Bulk) InsertAttachments(ctx context.Context, rows []models.MessageAttachment) error {
	return load(ctx, b, "load attachments", loadAttachments, rows)
}

// InsertBases stores knowledge bases.
func (b *Bulk) InsertBases(ctx context.Context, rows []models.KnowledgeBase) error {
	k := NewKnowledge(b.s)
	for _, base := range rows {
		if _, err := k.createBase(ctx, base); err != nil {
			return err
		}
	}
	return nil
}

// InsertFiles stores files.
func (b *Bulk) InsertFiles(ctx context.Context, rows []models.KnowledgeFile) error {
	if err := b.s.eng().Vectors(); err != nil {
		return wrap("load files", err)
	}
	return b.LoadFiles(ctx, rows)
}

// InsertChunks stores chunks.
func (b *Bulk) InsertChunks(ctx context.Context, rows []models.KnowledgeChunk) error {
	if err := b.s.eng().Vectors(); err != nil {
		return wrap("load chunks", err)
	}
	return b.LoadChunks(ctx, rows)
}

// InsertVectors stores vectors; one whose id is known is replaced.
func (b *Bulk) InsertVectors(ctx context.Context, rows []models.KnowledgeVector) error {
	_, err := NewKnowledge(b.s).upsert(ctx, "load vectors", rows, false)
	return err
}

// byKey reads the rows whose key is one of ids.
func byKey[T any](ctx context.Context, b *Bulk, table, columns, key string, scan func(engine.Scanner, *T) error, id func(*T) string, ids []string) (map[string]T, error) {
	out := make(map[string]T, len(ids))
	if len(ids) == 0 {
		return out, nil
	}
	op := "read " + table
	where, keys, err := b.s.eng().AnyOf(key, ids)
	if err != nil {
		return nil, wrap(op, err)
	}
	db, err := b.s.reader(ctx)
	if err != nil {
		return nil, err
	}
	err = engine.Each(ctx, db, scan, func(row *T) bool {
		out[id(row)] = *row
		return true
	}, "SELECT "+columns+" FROM "+table+" WHERE "+where, keys)
	return out, wrap(op, err)
}

// keysPerQuery bounds the placeholders of a statement.
const keysPerQuery = 250

// ConversationsByID returns those of the conversations that exist, by conv_id.
func (b *Bulk) ConversationsByID(ctx context.Context, ids []string) (map[string]models.Conversation, error) {
	return byKey(ctx, b, "conversations", conversationColumns, "conv_id", scanConversation, func(c *models.Conversation) string { return c.ConvID }, ids)
}

// MessagesByID returns those of the messages that exist, by msg_id.
func (b *Bulk) MessagesByID(ctx context.Context, ids []string) (map[string]models.Message, error) {
	return byKey(ctx, b, "messages", messageColumns, "msg_id", scanMessage, func(m *models.Message) string { return m.MsgID }, ids)
}

// AttachmentsByID returns those of the attachments that exist, by attachment_id.
func (b *Bulk) AttachmentsByID(ctx context.Context, ids []string) (map[string]models.MessageAttachment, error) {
	return byKey(ctx, b, "message_attachments", attachmentColumns, "attachment_id", scanAttachment, func(a *models.MessageAttachment) string { return a.AttachmentID }, ids)
}

// BasesByID returns those of the knowledge bases that exist.
func (b *Bulk) BasesByID(ctx context.Context, ids []string) (map[string]models.KnowledgeBase, error) {
	return byKey(ctx, b, "knowledge_bases", baseColumns, "id", scanBase, func(k *models.KnowledgeBase) string { return k.ID }, ids)
}

// FilesByID returns those of the files that exist.
func (b *Bulk) FilesByID(ctx context.Context, ids []string) (map[string]models.KnowledgeFile, error) {
	return byKey(ctx, b, "knowledge_files", fileColumns, "id", scanFile, func(f *models.KnowledgeFile) string { return f.ID }, ids)
}

// ChunksByID returns those of the chunks that exist.
func (b *Bulk) ChunksByID(ctx context.Context, ids []string) (map[string]models.KnowledgeChunk, error) {
	return byKey(ctx, b, "knowledge_chunks", chunkColumns, "id", scanChunk, func(c *models.KnowledgeChunk) string { return c.ID }, ids)
}

// vectorRows are the columns of vectors to read, and how a row of them is read.
func (s *Store) vectorRows() (columns string, scan func(engine.Scanner, *models.KnowledgeVector) error) {
	eng := s.eng()
	columns = "id, base_id, file_id, chunk_id, " + eng.VectorBytes("embedding") + ", created_at"
	return columns, func(row engine.Scanner, v *models.KnowledgeVector) error {
		var raw sql.RawBytes
		if err := row.Scan(&v.ID, &v.BaseID, &v.FileID, &v.ChunkID, &raw, &v.CreatedAt); err != nil {
			return err
		}
		var err error
		v.Embedding, err = eng.VectorOf(raw)
		return err
	}
}

// VectorsByID returns those of the vectors that exist.
func (b *Bulk) VectorsByID(ctx context.Context, ids []string) (map[string]models.KnowledgeVector, error) {
	if err := b.s.eng().Vectors(); err != nil {
		return nil, wrap("read knowledge_vectors", err)
	}
	columns, scan := b.s.vectorRows()
	return byKey(ctx, b, "knowledge_vectors", columns, "id", scan, func(v *models.KnowledgeVector) string { return v.ID }, ids)
}

// HasMessages returns which of the msg_ids exist.
func (b *Bulk) HasMessages(ctx context.Context, ids []string) (map[string]bool, error) {
	found, err := byKey(ctx, b, "messages", "msg_id", "msg_id", engine.Value[string], func(id *string) string { return *id }, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[string]bool, len(found))
	for id := range found {
		out[id] = true
	}
	return out, nil
}

// VectorsOfChunks returns, by chunk id, the id of a vector the chunk has.
func (b *Bulk) VectorsOfChunks(ctx context.Context, chunkIDs []string) (map[string]string, error) {
	if err := b.s.eng().Vectors(); err != nil {
		return nil, wrap("read knowledge_vectors", err)
	}
	type pair struct{ chunk, id string }
	found, err := byKey(ctx, b, "knowledge_vectors", "chunk_id, id", "chunk_id",
		func(s engine.Scanner, p *pair) error { return s.Scan(&p.chunk, &p.id) }, func(p *pair) string { return p.chunk }, chunkIDs)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(found))
	for chunk, p := range found {
		out[chunk] = p.id
	}
	return out, nil
}

// Refused reports whether err is the database's judgement on the rows themselves, and not a failure
// of the database.
func (b *Bulk) Refused(err error) bool {
	return errors.Is(err, ErrInvalid) || errors.Is(err, ErrReference) || errors.Is(err, ErrConflict)
}
