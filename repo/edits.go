package repo

import (
	"context"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
)

// tableKeys says how the rows of a table are named and what goes with them when they go.
type tableKeys struct {
	key string
	// number is the integer key, "" where there is none.
	number   string
	children []childTable
}

// childTable is a table whose rows are deleted with those that their column names.
type childTable struct{ table, column string }

var keysOf = map[string]tableKeys{
	"conversations":       {"conv_id", "id", []childTable{{"messages", "conversation_id"}}},
	"messages":            {"msg_id", "id", []childTable{{"message_attachments", "message_id"}}},
	"message_attachments": {"attachment_id", "id", nil},
	"knowledge_bases":     {"id", "", []childTable{{"knowledge_files", "base_id"}}},
	"knowledge_files":     {"id", "", []childTable{{"knowledge_chunks", "file_id"}, {"knowledge_vectors", "file_id"}}},
	"knowledge_chunks":    {"id", "seq", []childTable{{"knowledge_vectors", "chunk_id"}}},
	"knowledge_vectors":   {"id", "seq", nil},
}

// noteEdit notes that talkbase itself is about to change the rows of a table that a condition
// selects, so that a later verification of an import can tell an edit from damage. Rows that no import
// reached are not noted, and a database that never imported holds no notes.
func (s *Store) noteEdit(ctx context.Context, db *gorm.DB, table, where string, args ...any) error {
	return s.note(ctx, db, table, where, args, noting{})
}

// noteDelete is noteEdit for rows that are about to be deleted with all that belongs to them.
func (s *Store) noteDelete(ctx context.Context, db *gorm.DB, table, where string, args ...any) error {
	return s.note(ctx, db, table, where, args, noting{tree: true})
}

// noting says which rows are noted.
type noting struct {
	// tree has those noted that belong to the rows; all those, too, that the marks do not reach.
	tree, all bool
}

func (s *Store) note(ctx context.Context, db *gorm.DB, table, where string, args []any, n noting) error {
	marks, err := engine.One(ctx, db, engine.Value[int64], "SELECT count(*) FROM talkbase_import_marks")
	if err != nil || marks == 0 {
		return err
	}
	return s.noteTree(ctx, db, table, where, args, n)
}

func (s *Store) noteTree(ctx context.Context, db *gorm.DB, table, where string, args []any, n noting) error {
	k := keysOf[table]
	bind := append([]any{table, s.nowMS()}, args...)
	reached := "1 = 1"
	switch {
	case n.all:
	case k.number != "":
		reached, bind = k.number+" <= (SELECT last_id FROM talkbase_import_marks WHERE table_name = ?)", append(bind, table)
	default:
		reached, bind = "EXISTS (SELECT 1 FROM talkbase_import_marks WHERE table_name = ?)", append(bind, table)
	}
	_, err := engine.Exec(ctx, db, "INSERT INTO talkbase_import_edits (table_name, row_key, edited_at) SELECT ?, "+k.key+", ? FROM "+table+
		" WHERE "+where+" AND "+reached+" ON CONFLICT (table_name, row_key) DO UPDATE SET edited_at = excluded.edited_at", bind...)
	if err != nil || !n.tree {
		return err
	}
	for _, c := range k.children {
		if c.table == "knowledge_vectors" && s.eng().Vectors() != nil {
			continue // it may not be there
		}
		if err := s.noteTree(ctx, db, c.table, c.column+" IN (SELECT "+k.key+" FROM "+table+" WHERE "+where+")", args, n); err != nil {
			return err
		}
	}
	return nil
}
