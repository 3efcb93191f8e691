package migration

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/talkbase/talkbase/models"
)

// storedRow is a row of the target as verification and rollback see it.
type storedRow struct {
	entry
	// parent is the message it answers; words is what a search for it may look for.
	parent, text string
}

// tableRows is how the rows of one table of the target are read and put back.
type tableRows struct {
	read func(ctx context.Context, t Target, keys []string) (map[string]storedRow, error)
	// restore puts rows in their JSON form back, those whose ids are there.
	restore func(ctx context.Context, t Target, rows []byte, there map[string]storedRow) error
	// keys are the ids of rows in their JSON form.
	keys func(rows []byte) ([]string, error)
}

// tables are in an order in which parents come before children.
var tableOrder = []string{tableConversations, tableMessages, tableMessageAttachments, tableBases, tableFiles, tableChunks, tableVectors}

var rowsOf = map[string]tableRows{
	tableConversations: rowsAccess(Target.ConversationsByID, Target.ReplaceConversations,
		func(c *models.Conversation, _ *[]byte) storedRow { return storedRow{entry: conversationEntry(c)} }),
	tableMessages: rowsAccess(Target.MessagesByID, Target.ReplaceMessages, func(m *models.Message, buf *[]byte) storedRow {
		return storedRow{entry: entryOf(m.MsgID, m, buf), parent: m.ParentID, text: m.Content}
	}),
	tableMessageAttachments: rowsAccess(Target.AttachmentsByID, Target.ReplaceAttachments, func(a *models.MessageAttachment, buf *[]byte) storedRow {
		return storedRow{entry: entryOf(a.AttachmentID, a, buf)}
	}),
	tableBases: rowsAccess(Target.BasesByID, Target.ReplaceBases, func(k *models.KnowledgeBase, buf *[]byte) storedRow {
		return storedRow{entry: entryOf(k.ID, k, buf)}
	}),
	tableFiles: rowsAccess(Target.FilesByID, Target.ReplaceFiles, func(f *models.KnowledgeFile, buf *[]byte) storedRow {
		return storedRow{entry: entryOf(f.ID, f, buf)}
	}),
	tableChunks: rowsAccess(Target.ChunksByID, Target.ReplaceChunks, func(c *models.KnowledgeChunk, buf *[]byte) storedRow {
		return storedRow{entry: entryOf(c.ID, c, buf), text: c.Content}
	}),
	tableVectors: rowsAccess(Target.VectorsByID, Target.InsertVectors, func(v *models.KnowledgeVector, buf *[]byte) storedRow {
		return storedRow{entry: entryOf(v.ID, v, buf)}
	}),
}

// entryOf is newEntry for a row, whose canonical form is put into buf.
func entryOf(key string, row interface{ AppendCanonical(b []byte) []byte }, buf *[]byte) entry {
	*buf = row.AppendCanonical((*buf)[:0])
	return newEntry(key, *buf)
}

func rowsAccess[T any](byID func(Target, context.Context, []string) (map[string]T, error), replace func(Target, context.Context, []T) error, see func(row *T, buf *[]byte) storedRow) tableRows {
	decode := func(b []byte) ([]T, error) {
		var rows []T
		if err := json.Unmarshal(b, &rows); err != nil {
			return nil, fmt.Errorf("migration: the journal's replaced rows are damaged; restore the database from a backup: %w", err)
		}
		return rows, nil
	}
	return tableRows{
		read: func(ctx context.Context, t Target, keys []string) (map[string]storedRow, error) {
			rows, err := byID(t, ctx, keys)
			if err != nil {
				return nil, err
			}
			out := make(map[string]storedRow, len(rows))
			var buf []byte
			for key, row := range rows {
				out[key] = see(&row, &buf)
			}
			return out, nil
		},
		restore: func(ctx context.Context, t Target, b []byte, there map[string]storedRow) error {
			rows, err := decode(b)
			if err != nil {
				return err
			}
			var buf []byte
			rows = slices.DeleteFunc(rows, func(row T) bool { _, ok := there[see(&row, &buf).key]; return !ok })
			return replace(t, ctx, rows)
		},
		keys: func(b []byte) ([]string, error) {
			rows, err := decode(b)
			if err != nil {
				return nil, err
			}
			keys := make([]string, len(rows))
			var buf []byte
			for i := range rows {
				keys[i] = see(&rows[i], &buf).key
			}
			return keys, nil
		},
	}
}

// eachBatch calls f for every batch of a run's journal, in its order or backward.
func eachBatch(ctx context.Context, t Target, run string, backward bool, f func(models.ImportBatch, []entry) error) error {
	from := int64(-1)
	if backward {
		from = 1 << 62
	}
	for {
		page, err := t.ImportBatches(ctx, run, from, backward, 16)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, b := range page {
			from = b.Seq
			entries, err := unpackEntries(b)
			if err != nil {
				return err
			}
			if _, ok := rowsOf[b.Table]; !ok {
				return fmt.Errorf("migration: the journal of run %s names a table %q that this version does not know", run, b.Table)
			}
			if err := f(b, entries); err != nil {
				return err
			}
		}
	}
}

func keysOfEntries(entries []entry) []string {
	keys := make([]string, len(entries))
	for i, e := range entries {
		keys[i] = e.key
	}
	return keys
}
