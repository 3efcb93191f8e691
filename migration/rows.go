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
		func(c *models.Conversation) storedRow { return storedRow{entry: conversationEntry(c)} }),
	tableMessages: rowsAccess(Target.MessagesByID, Target.ReplaceMessages, func(m *models.Message) storedRow {
		return storedRow{entry: newEntry(m.MsgID, m.AppendCanonical(nil)), parent: m.ParentID, text: m.Content}
	}),
	tableMessageAttachments: rowsAccess(Target.AttachmentsByID, Target.ReplaceAttachments, func(a *models.MessageAttachment) storedRow {
		return storedRow{entry: newEntry(a.AttachmentID, a.AppendCanonical(nil))}
	}),
	tableBases: rowsAccess(Target.BasesByID, Target.ReplaceBases,
		func(k *models.KnowledgeBase) storedRow {
			return storedRow{entry: newEntry(k.ID, k.AppendCanonical(nil))}
		}),
	tableFiles: rowsAccess(Target.FilesByID, Target.ReplaceFiles,
		func(f *models.KnowledgeFile) storedRow {
			return storedRow{entry: newEntry(f.ID, f.AppendCanonical(nil))}
		}),
	tableChunks: rowsAccess(Target.ChunksByID, Target.ReplaceChunks, func(c *models.KnowledgeChunk) storedRow {
		return storedRow{entry: newEntry(c.ID, c.AppendCanonical(nil)), text: c.Content}
	}),
	tableVectors: rowsAccess(Target.VectorsByID, Target.InsertVectors,
		func(v *models.KnowledgeVector) storedRow {
			return storedRow{entry: newEntry(v.ID, v.AppendCanonical(nil))}
		}),
}

func rowsAccess[T any](byID func(Target, context.Context, []string) (map[string]T, error), replace func(Target, context.Context, []T) error, see func(*T) storedRow) tableRows {
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
			for key, row := range rows {
				out[key] = see(&row)
			}
			return out, nil
		},
		restore: func(ctx context.Context, t Target, b []byte, there map[string]storedRow) error {
			rows, err := decode(b)
			if err != nil {
				return err
			}
			rows = slices.DeleteFunc(rows, func(row T) bool { _, ok := there[see(&row).key]; return !ok })
			return replace(t, ctx, rows)
		},
		keys: func(b []byte) ([]string, error) {
			rows, err := decode(b)
			if err != nil {
				return nil, err
			}
			keys := make([]string, len(rows))
			for i := range rows {
				keys[i] = see(&rows[i]).key
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
