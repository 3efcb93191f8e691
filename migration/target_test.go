package migration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/talkbase/talkbase/models"
)

// errRefused is how memoryTarget judges rows.
var errRefused = errors.New("refused")

// memoryTarget is a Target in memory that keeps the rules of the real ones: unique ids, foreign
// keys, storable text, checks and dimensions.
type memoryTarget struct {
	conversations map[string]models.Conversation
	messages      map[string]models.Message
	attachments   map[string]models.MessageAttachment
	bases         map[string]models.KnowledgeBase
	files         map[string]models.KnowledgeFile
	chunks        map[string]models.KnowledgeChunk
	vectors       map[string]models.KnowledgeVector
	memoryJournal
	inBatch bool
	batches int
	largest int
	// fail, when set, is asked before each insert.
	fail func(table string, ids []string) error
}

func newMemoryTarget() *memoryTarget {
	return &memoryTarget{
		conversations: map[string]models.Conversation{}, messages: map[string]models.Message{},
		attachments: map[string]models.MessageAttachment{}, bases: map[string]models.KnowledgeBase{},
		files: map[string]models.KnowledgeFile{}, chunks: map[string]models.KnowledgeChunk{}, vectors: map[string]models.KnowledgeVector{},
		memoryJournal: newMemoryJournal(),
	}
}

func (m *memoryTarget) clone() memoryTarget {
	c := *m
	c.conversations, c.messages, c.attachments = maps.Clone(m.conversations), maps.Clone(m.messages), maps.Clone(m.attachments)
	c.memoryJournal = m.memoryJournal.clone()
	c.bases, c.files, c.chunks, c.vectors = maps.Clone(m.bases), maps.Clone(m.files), maps.Clone(m.chunks), maps.Clone(m.vectors)
	return c
}

func (m *memoryTarget) Batch(ctx context.Context, f func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	before := m.clone()
	m.batches++
	// Collided transactions run again: the first attempt never counts.
	for range 2 {
		again := before.clone()
		again.batches, again.largest = m.batches, m.largest
		*m = again
		m.inBatch = true
		err := f(ctx)
		m.inBatch = false
		if err != nil {
			largest, batches := m.largest, m.batches
			*m = before
			m.largest, m.batches = largest, batches
			return err
		}
	}
	return nil
}

func (m *memoryTarget) Read(ctx context.Context, f func(ctx context.Context) error) error {
	return f(ctx)
}

func (m *memoryTarget) Refused(err error) bool { return errors.Is(err, errRefused) }

func byID[T any](from map[string]T, ids []string) (map[string]T, error) {
	out := map[string]T{}
	for _, id := range ids {
		if row, ok := from[id]; ok {
			out[id] = row
		}
	}
	return out, nil
}

func (m *memoryTarget) ConversationsByID(_ context.Context, ids []string) (map[string]models.Conversation, error) {
	return byID(m.conversations, ids)
}

func (m *memoryTarget) MessagesByID(_ context.Context, ids []string) (map[string]models.Message, error) {
	return byID(m.messages, ids)
}

func (m *memoryTarget) HasMessages(_ context.Context, ids []string) (map[string]bool, error) {
	out := map[string]bool{}
	for _, id := range ids {
		if _, ok := m.messages[id]; ok {
			out[id] = true
		}
	}
	return out, nil
}

func (m *memoryTarget) AttachmentsByID(_ context.Context, ids []string) (map[string]models.MessageAttachment, error) {
	return byID(m.attachments, ids)
}

func (m *memoryTarget) BasesByID(_ context.Context, ids []string) (map[string]models.KnowledgeBase, error) {
	return byID(m.bases, ids)
}

func (m *memoryTarget) FilesByID(_ context.Context, ids []string) (map[string]models.KnowledgeFile, error) {
	return byID(m.files, ids)
}

func (m *memoryTarget) ChunksByID(_ context.Context, ids []string) (map[string]models.KnowledgeChunk, error) {
	return byID(m.chunks, ids)
}

func (m *memoryTarget) VectorsByID(_ context.Context, ids []string) (map[string]models.KnowledgeVector, error) {
	return byID(m.vectors, ids)
}

func (m *memoryTarget) VectorsOfChunks(_ context.Context, ids []string) (map[string]string, error) {
	wanted, out := map[string]bool{}, map[string]string{}
	for _, id := range ids {
		wanted[id] = true
	}
	for id, v := range m.vectors {
		if wanted[v.ChunkID] {
			out[v.ChunkID] = id
		}
	}
	return out, nil
}

// put stores rows after the rules that hold for every table.
func put[T any](m *memoryTarget, table string, into map[string]T, rows []T, key func(T) string, check func(T) error, texts func(T) []string) error {
	if !m.inBatch {
		return fmt.Errorf("%s written outside of a batch", table)
	}
	m.largest = max(m.largest, len(rows))
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = key(r)
	}
	if m.fail != nil {
		if err := m.fail(table, ids); err != nil {
			return err
		}
	}
	for i, r := range rows {
		if ids[i] == "" {
			return fmt.Errorf("%w: %s without an id", errRefused, table)
		}
		if _, ok := into[ids[i]]; ok {
			return fmt.Errorf("%w: %s %s is there already", errRefused, table, ids[i])
		}
		for _, s := range append(texts(r), ids[i]) {
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
				return fmt.Errorf("%w: %s %s holds text that cannot be stored", errRefused, table, ids[i])
			}
		}
		if err := check(r); err != nil {
			return fmt.Errorf("%w: %s %s: %w", errRefused, table, ids[i], err)
		}
		into[ids[i]] = r
	}
	return nil
}

func canonical(j models.JSON) error {
	c, err := models.ParseJSON(j)
	if err == nil && c.String() != j.String() {
		err = fmt.Errorf("JSON is not canonical: %s", j)
	}
	return err
}

func (m *memoryTarget) InsertConversations(_ context.Context, rows []models.Conversation) error {
	return put(m, tableConversations, m.conversations, rows, func(c models.Conversation) string { return c.ConvID },
		func(c models.Conversation) error { return canonical(c.Settings) },
		func(c models.Conversation) []string { return []string{c.Title, c.Settings.String()} })
}

func (m *memoryTarget) InsertMessages(_ context.Context, rows []models.Message) error {
	return put(m, tableMessages, m.messages, rows, func(x models.Message) string { return x.MsgID },
		func(x models.Message) error {
			if _, ok := m.conversations[x.ConversationID]; !ok || !x.Role.Valid() || !x.Status.Valid() {
				return errors.New("no conversation, or a bad role or status")
			}
			return canonical(x.Metadata)
		},
		func(x models.Message) []string { return []string{x.ParentID, x.Content, x.Metadata.String()} })
}

func (m *memoryTarget) InsertAttachments(_ context.Context, rows []models.MessageAttachment) error {
	return put(m, tableMessageAttachments, m.attachments, rows, func(a models.MessageAttachment) string { return a.AttachmentID },
		func(a models.MessageAttachment) error {
			if _, ok := m.messages[a.MessageID]; !ok {
				return errors.New("no message")
			}
			return nil
		},
		func(a models.MessageAttachment) []string { return []string{a.Type, a.Data} })
}

func (m *memoryTarget) InsertBases(_ context.Context, rows []models.KnowledgeBase) error {
	return put(m, tableBases, m.bases, rows, func(b models.KnowledgeBase) string { return b.ID },
		func(b models.KnowledgeBase) error {
			if b.Dimensions < 1 || b.Dimensions > maxDimensions || !b.Metric.Valid() {
				return errors.New("bad dimensions or metric")
			}
			return canonical(b.Settings)
		},
		func(b models.KnowledgeBase) []string {
			return []string{b.Name, b.EmbeddingModel, b.Settings.String()}
		})
}

func (m *memoryTarget) InsertFiles(_ context.Context, rows []models.KnowledgeFile) error {
	return put(m, tableFiles, m.files, rows, func(f models.KnowledgeFile) string { return f.ID },
		func(f models.KnowledgeFile) error {
			if _, ok := m.bases[f.BaseID]; !ok || !f.Status.Valid() {
				return errors.New("no base, or a bad status")
			}
			return canonical(f.Metadata)
		},
		func(f models.KnowledgeFile) []string {
			return []string{f.Name, f.Path, f.MimeType, f.Metadata.String()}
		})
}

func (m *memoryTarget) InsertChunks(_ context.Context, rows []models.KnowledgeChunk) error {
	return put(m, tableChunks, m.chunks, rows, func(c models.KnowledgeChunk) string { return c.ID },
		func(c models.KnowledgeChunk) error {
			if _, ok := m.files[c.FileID]; !ok || !c.Status.Valid() {
				return errors.New("no file, or a bad status")
			}
			return nil
		},
		func(c models.KnowledgeChunk) []string { return []string{c.Content, c.Error} })
}

func (m *memoryTarget) InsertVectors(_ context.Context, rows []models.KnowledgeVector) error {
	return put(m, tableVectors, m.vectors, rows, func(v models.KnowledgeVector) string { return v.ID },
		func(v models.KnowledgeVector) error {
			c, ok := m.chunks[v.ChunkID]
			switch {
			case !ok || c.FileID != v.FileID || m.files[v.FileID].BaseID != v.BaseID:
				return errors.New("no chunk, or another file or base")
			case int64(len(v.Embedding)) != m.bases[v.BaseID].Dimensions:
				return errors.New("wrong dimensions")
			}
			return nil
		},
		func(models.KnowledgeVector) []string { return nil })
}
