package migration

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// dryTarget is a Target that writes to a database of its own and looks like the real one with what was
// written on top. What rows refer to is copied from the real one, so that foreign keys hold.
type dryTarget struct {
	*repo.Bulk
	real Target
}

// newDryTarget makes a throw-away database in a folder.
func newDryTarget(ctx context.Context, real Target, dir string) (Target, func() error, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.DiscardHandler)
	e, err := engine.Open(ctx, engine.Options{DSN: filepath.Join(dir, "dry.db"), Synchronous: "NORMAL", Logger: log})
	if err != nil {
		return nil, nil, err
	}
	late := &engine.Late{}
	late.Set(e)
	if err := NewSchema(late, "", log).Prepare(ctx, false); err != nil {
		return nil, nil, errors.Join(err, e.Close())
	}
	scratch := repo.NewBulk(repo.NewStore(late, repo.BaseDefaults{})).WithoutText()
	return &dryTarget{Bulk: scratch, real: real}, e.Close, nil
}

// both returns rows by id, what was written before what is really there.
func both[T any](ctx context.Context, ids []string, written, real func(context.Context, []string) (map[string]T, error)) (map[string]T, error) {
	out, err := written(ctx, ids)
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { _, ok := out[id]; return ok })
	if len(ids) == 0 {
		return out, nil
	}
	there, err := real(ctx, ids)
	if err != nil {
		return nil, err
	}
	maps.Copy(there, out)
	return there, nil
}

func (d *dryTarget) IsEmpty(ctx context.Context) (bool, error) { return d.real.IsEmpty(ctx) }

func (d *dryTarget) ConversationsByID(ctx context.Context, ids []string) (map[string]models.Conversation, error) {
	return both(ctx, ids, d.Bulk.ConversationsByID, d.real.ConversationsByID)
}

func (d *dryTarget) MessagesByID(ctx context.Context, ids []string) (map[string]models.Message, error) {
	return both(ctx, ids, d.Bulk.MessagesByID, d.real.MessagesByID)
}

func (d *dryTarget) HasMessages(ctx context.Context, ids []string) (map[string]bool, error) {
	return both(ctx, ids, d.Bulk.HasMessages, d.real.HasMessages)
}

func (d *dryTarget) AttachmentsByID(ctx context.Context, ids []string) (map[string]models.MessageAttachment, error) {
	return both(ctx, ids, d.Bulk.AttachmentsByID, d.real.AttachmentsByID)
}

func (d *dryTarget) BasesByID(ctx context.Context, ids []string) (map[string]models.KnowledgeBase, error) {
	return both(ctx, ids, d.Bulk.BasesByID, d.real.BasesByID)
}

func (d *dryTarget) FilesByID(ctx context.Context, ids []string) (map[string]models.KnowledgeFile, error) {
	return both(ctx, ids, d.Bulk.FilesByID, d.real.FilesByID)
}

func (d *dryTarget) ChunksByID(ctx context.Context, ids []string) (map[string]models.KnowledgeChunk, error) {
	return both(ctx, ids, d.Bulk.ChunksByID, d.real.ChunksByID)
}

func (d *dryTarget) VectorsByID(ctx context.Context, ids []string) (map[string]models.KnowledgeVector, error) {
	return both(ctx, ids, d.Bulk.VectorsByID, d.real.VectorsByID)
}

func (d *dryTarget) VectorsOfChunks(ctx context.Context, ids []string) (map[string]string, error) {
	return both(ctx, ids, d.Bulk.VectorsOfChunks, d.real.VectorsOfChunks)
}

// parents copies rows that are really there, and were not written, for others to refer to.
func parents[T any](ctx context.Context, ids []string, written, real func(context.Context, []string) (map[string]T, error), insert func(context.Context, []T) error) error {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	have, err := written(ctx, ids)
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { _, ok := have[id]; return ok })
	if len(ids) == 0 {
		return nil
	}
	there, err := real(ctx, ids)
	if err != nil || len(there) == 0 {
		return err
	}
	return insert(ctx, slices.Collect(maps.Values(there)))
}

func pluck[T any](rows []T, f func(*T) string) []string {
	out := make([]string, len(rows))
	for i := range rows {
		out[i] = f(&rows[i])
	}
	return out
}

func (d *dryTarget) InsertMessages(ctx context.Context, rows []models.Message) error {
	err := parents(ctx, pluck(rows, func(m *models.Message) string { return m.ConversationID }), d.Bulk.ConversationsByID, d.real.ConversationsByID, d.InsertConversations)
	if err != nil {
		return err
	}
	return d.Bulk.InsertMessages(ctx, rows)
}

func (d *dryTarget) InsertAttachments(ctx context.Context, rows []models.MessageAttachment) error {
	err := parents(ctx, pluck(rows, func(a *models.MessageAttachment) string { return a.MessageID }), d.Bulk.MessagesByID, d.real.MessagesByID, d.InsertMessages)
	if err != nil {
		return err
	}
	return d.Bulk.InsertAttachments(ctx, rows)
}

func (d *dryTarget) InsertFiles(ctx context.Context, rows []models.KnowledgeFile) error {
	err := parents(ctx, pluck(rows, func(f *models.KnowledgeFile) string { return f.BaseID }), d.Bulk.BasesByID, d.real.BasesByID, d.InsertBases)
	if err != nil {
		return err
	}
	return d.Bulk.InsertFiles(ctx, rows)
}

func (d *dryTarget) InsertChunks(ctx context.Context, rows []models.KnowledgeChunk) error {
	err := parents(ctx, pluck(rows, func(c *models.KnowledgeChunk) string { return c.FileID }), d.Bulk.FilesByID, d.real.FilesByID, d.InsertFiles)
	if err != nil {
		return err
	}
	return d.Bulk.InsertChunks(ctx, rows)
}

func (d *dryTarget) InsertVectors(ctx context.Context, rows []models.KnowledgeVector) error {
	err := parents(ctx, pluck(rows, func(v *models.KnowledgeVector) string { return v.ChunkID }), d.Bulk.ChunksByID, d.real.ChunksByID, d.InsertChunks)
	if err != nil {
		return err
	}
	return d.Bulk.InsertVectors(ctx, rows)
}

// over overwrites rows, those that are only really there by copying them first.
func over[T any](ctx context.Context, rows []T, id func(*T) string, written, real func(context.Context, []string) (map[string]T, error), insert, replace func(context.Context, []T) error) error {
	if err := parents(ctx, pluck(rows, id), written, real, insert); err != nil {
		return err
	}
	return replace(ctx, rows)
}

func (d *dryTarget) ReplaceConversations(ctx context.Context, rows []models.Conversation) error {
	return over(ctx, rows, func(c *models.Conversation) string { return c.ConvID }, d.Bulk.ConversationsByID, d.real.ConversationsByID, d.InsertConversations, d.Bulk.ReplaceConversations)
}

func (d *dryTarget) ReplaceMessages(ctx context.Context, rows []models.Message) error {
	return over(ctx, rows, func(m *models.Message) string { return m.MsgID }, d.Bulk.MessagesByID, d.real.MessagesByID, d.InsertMessages, d.Bulk.ReplaceMessages)
}

func (d *dryTarget) ReplaceAttachments(ctx context.Context, rows []models.MessageAttachment) error {
	return over(ctx, rows, func(a *models.MessageAttachment) string { return a.AttachmentID }, d.Bulk.AttachmentsByID, d.real.AttachmentsByID, d.InsertAttachments, d.Bulk.ReplaceAttachments)
}

func (d *dryTarget) ReplaceBases(ctx context.Context, rows []models.KnowledgeBase) error {
	return over(ctx, rows, func(k *models.KnowledgeBase) string { return k.ID }, d.Bulk.BasesByID, d.real.BasesByID, d.InsertBases, d.Bulk.ReplaceBases)
}

func (d *dryTarget) ReplaceFiles(ctx context.Context, rows []models.KnowledgeFile) error {
	return over(ctx, rows, func(f *models.KnowledgeFile) string { return f.ID }, d.Bulk.FilesByID, d.real.FilesByID, d.InsertFiles, d.Bulk.ReplaceFiles)
}

func (d *dryTarget) ReplaceChunks(ctx context.Context, rows []models.KnowledgeChunk) error {
	return over(ctx, rows, func(c *models.KnowledgeChunk) string { return c.ID }, d.Bulk.ChunksByID, d.real.ChunksByID, d.InsertChunks, d.Bulk.ReplaceChunks)
}
