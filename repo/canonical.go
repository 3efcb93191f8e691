package repo

import (
	"context"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

// EachCanonical calls f with the key and the canonical form of every row of a table that holds a
// host's rows, in the order of keys, as of one moment. The bytes are f's until it returns.
func (b *Bulk) EachCanonical(ctx context.Context, table string, f func(key string, canonical []byte) error) error {
	if table == "knowledge_vectors" && b.s.eng().Vectors() != nil {
		return nil
	}
	return wrap("read "+table, b.s.snapshot(ctx, func(ctx context.Context, db *gorm.DB) error {
		switch table {
		case "conversations":
			return eachCanonical(ctx, db, table, conversationColumns, scanConversation, (*models.Conversation).AppendCanonical, func(c *models.Conversation) string { return c.ConvID }, f)
		case "messages":
			return eachCanonical(ctx, db, table, messageColumns, scanMessage, (*models.Message).AppendCanonical, func(m *models.Message) string { return m.MsgID }, f)
		case "message_attachments":
			return eachCanonical(ctx, db, table, attachmentColumns, scanAttachment, (*models.MessageAttachment).AppendCanonical, func(a *models.MessageAttachment) string { return a.AttachmentID }, f)
		case "knowledge_bases":
			return eachCanonical(ctx, db, table, baseColumns, scanBase, (*models.KnowledgeBase).AppendCanonical, func(k *models.KnowledgeBase) string { return k.ID }, f)
		case "knowledge_files":
			return eachCanonical(ctx, db, table, fileColumns, scanFile, (*models.KnowledgeFile).AppendCanonical, func(x *models.KnowledgeFile) string { return x.ID }, f)
		case "knowledge_chunks":
			return eachCanonical(ctx, db, table, chunkColumns, scanChunk, (*models.KnowledgeChunk).AppendCanonical, func(c *models.KnowledgeChunk) string { return c.ID }, f)
		case "knowledge_vectors":
			columns, scan := b.s.vectorRows()
			return eachCanonical(ctx, db, table, columns, scan, (*models.KnowledgeVector).AppendCanonical, func(v *models.KnowledgeVector) string { return v.ID }, f)
		}
		return engine.Invalidf("no table %.60q", table)
	}))
}

// canonicalPage is how many rows eachCanonical holds at once.
const canonicalPage = 200

func eachCanonical[T any](ctx context.Context, db *gorm.DB, table, columns string, scan func(engine.Scanner, *T) error, canonical func(*T, []byte) []byte, id func(*T) string, f func(string, []byte) error) error {
	key := keysOf[table].key
	var buf []byte
	query, args := "SELECT "+columns+" FROM "+table+" ORDER BY "+key+" LIMIT ?", []any{canonicalPage}
	for {
		rows, err := engine.Collect(ctx, db, scan, query, args...)
		if err != nil {
			return err
		}
		for i := range rows {
			buf = canonical(&rows[i], buf[:0])
			if err := f(id(&rows[i]), buf); err != nil {
				return err
			}
		}
		if len(rows) < canonicalPage {
			return nil
		}
		query, args = "SELECT "+columns+" FROM "+table+" WHERE "+key+" > ? ORDER BY "+key+" LIMIT ?", []any{id(&rows[len(rows)-1]), canonicalPage}
	}
}
