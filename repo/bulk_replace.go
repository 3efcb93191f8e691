package repo

import (
	"context"
	"strings"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
)

// WithoutText returns a loader that leaves the text index alone. IndexText makes it up.
func (b *Bulk) WithoutText() *Bulk { return &Bulk{s: b.s, noText: true, asGiven: b.asGiven} }

// replace overwrites rows that exist, found by the first of their columns, exactly as given.
func replace[T any](ctx context.Context, b *Bulk, op string, t loadSpec[T], in []T) error {
	set := strings.Join(t.columns[1:], " = ?, ") + " = ?"
	return b.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		var docs []engine.TermDoc
		for i := range in {
			row := in[i]
			if err := t.check(&row); err != nil {
				return err
			}
			values := t.values(&row)
			if t.key != "" {
				values = values[1:]
			}
			key := values[0]
			n, err := engine.Exec(ctx, db, "UPDATE "+t.table+" SET "+set+" WHERE "+t.columns[0]+" = ?", append(values[1:], key)...)
			if err == nil && n == 0 {
				err = ErrNotFound
			}
			if err != nil {
				return err
			}
			if t.terms == "" || b.noText {
				continue
			}
			id, err := engine.One(ctx, db, engine.Value[int64], "SELECT "+t.key+" FROM "+t.table+" WHERE "+t.columns[0]+" = ?", key)
			if err != nil {
				return err
			}
			t.setID(&row, id)
			docs = append(docs, t.doc(&row))
		}
		if len(docs) == 0 {
			return nil
		}
		return b.s.addTerms(ctx, db, t.terms, docs...)
	})
}

// ReplaceConversations overwrites conversations that exist.
func (b *Bulk) ReplaceConversations(ctx context.Context, rows []models.Conversation) error {
	return replace(ctx, b, "replace conversations", loadConversations, rows)
}

// ReplaceMessages overwrites messages that exist.
func (b *Bulk) ReplaceMessages(ctx context.Context, rows []models.Message) error {
	return replace(ctx, b, "replace messages", loadMessages, rows)
}

// ReplaceAttachments overwrites attachments that exist.
func (b *Bulk) ReplaceAttachments(ctx context.Context, rows []models.MessageAttachment) error {
	return replace(ctx, b, "replace attachments", loadAttachments, rows)
}

// ReplaceFiles overwrites files that exist.
func (b *Bulk) ReplaceFiles(ctx context.Context, rows []models.KnowledgeFile) error {
	return replace(ctx, b, "replace files", loadFiles, rows)
}

// ReplaceChunks overwrites chunks that exist.
func (b *Bulk) ReplaceChunks(ctx context.Context, rows []models.KnowledgeChunk) error {
	return replace(ctx, b, "replace chunks", loadChunks, rows)
}

// ReplaceBases overwrites the names, models and settings of knowledge bases that exist. Dimensions
// and metric belong to the vectors and stay.
func (b *Bulk) ReplaceBases(ctx context.Context, rows []models.KnowledgeBase) error {
	return b.s.write(ctx, "replace knowledge bases", func(ctx context.Context, db *gorm.DB) error {
		for i := range rows {
			r := rows[i]
			n, err := engine.Exec(ctx, db, "UPDATE knowledge_bases SET name = ?, embedding_model = ?, settings = ? WHERE id = ?",
				r.Name, r.EmbeddingModel, r.Settings.String(), r.ID)
			if err == nil && n == 0 {
				err = ErrNotFound
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// textSources are the tables whose text is indexed: the terms table, and how rows after an integer
// key are read.
var textSources = []struct{ table, terms, query string }{
	{"conversations", termsOfTitles, "SELECT id, title FROM conversations WHERE id > ? ORDER BY id LIMIT ?"},
	{"messages", termsOfMessages, "SELECT id, content FROM messages WHERE id > ? ORDER BY id LIMIT ?"},
	{"knowledge_chunks", termsOfChunks, "SELECT seq, content FROM knowledge_chunks WHERE seq > ? ORDER BY seq LIMIT ?"},
}

// IndexText indexes the text of the next rows of conversations, messages or knowledge_chunks after an
// integer key, anew where they were indexed already. It returns the last key, and how many rows there
// were: none at the end.
func (b *Bulk) IndexText(ctx context.Context, table string, after int64) (last int64, n int, err error) {
	for _, t := range textSources {
		if t.table != table {
			continue
		}
		err = b.s.write(ctx, "index text", func(ctx context.Context, db *gorm.DB) error {
			last, n, err = b.s.indexText(ctx, db, t.terms, t.query, after)
			return err
		})
	}
	return last, n, err
}

// TextMissing counts, by table, the rows whose text is not indexed.
func (b *Bulk) TextMissing(ctx context.Context) (map[string]int64, error) {
	const op = "check text index"
	db, err := b.s.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	out := map[string]int64{}
	for _, t := range textSources {
		n, err := engine.One(ctx, db, engine.Value[int64], "SELECT count(*) FROM "+t.table+" r WHERE NOT EXISTS (SELECT 1 FROM "+t.terms+" t WHERE t."+b.s.eng().MatchTerms(t.terms, text.Query{}).Key+" = r."+keysOf[t.table].number+")")
		if err != nil {
			return nil, wrap(op, err)
		}
		if n > 0 {
			out[t.table] = n
		}
	}
	return out, nil
}

// Dropped is an index, a foreign key or a trigger that was dropped for the time of a load, with the SQL
// that makes it.
type Dropped = engine.Dropped

// DropForLoad drops what slows a load into empty tables down and can be made up at once: indexes, apart
// from those that keep keys unique, and, where the rows are known to have their parents, foreign keys, as far
// as the engine can. It returns what it dropped, in an order in which Restore can make it again.
func (b *Bulk) DropForLoad(ctx context.Context, parentsKnown bool) (dropped []Dropped, err error) {
	err = b.s.write(ctx, "drop indexes", func(ctx context.Context, db *gorm.DB) error {
		dropped, err = b.s.eng().DropForLoad(ctx, db, parentsKnown)
		return err
	})
	return dropped, err
}

// Restore makes something again that DropForLoad dropped, unless it is there. Rows whose parents were
// deleted meanwhile go with them, as a foreign key would have had it.
func (b *Bulk) Restore(ctx context.Context, d Dropped) error {
	return b.s.write(ctx, "restore "+d.Name, func(ctx context.Context, db *gorm.DB) error {
		return b.s.eng().Restore(ctx, db, d)
	})
}

// Snapshot writes a consistent copy of an SQLite database to path; elsewhere it is ErrUnsupported.
func (b *Bulk) Snapshot(ctx context.Context, path string) error {
	return wrap("snapshot", b.s.eng().Snapshot(ctx, path))
}

// File is the database's file, "" when it is not one.
func (b *Bulk) File(ctx context.Context) (string, error) {
	st, err := b.s.eng().State(ctx)
	return st.Path, wrap("the database's file", err)
}

// Finds reports whether a search for words finds a conversation, message or chunk, by its id.
func (b *Bulk) Finds(ctx context.Context, table, id, words string) (bool, error) {
	const op = "search for a row"
	parsed, err := text.ParseQuery(words)
	if err != nil {
		return false, wrap(op, err)
	}
	db, err := b.s.reader(ctx)
	if err != nil {
		return false, wrap(op, err)
	}
	for _, t := range textSources {
		if t.table != table {
			continue
		}
		k := keysOf[table]
		m := b.s.eng().MatchTerms(t.terms, parsed)
		n, err := engine.One(ctx, db, engine.Value[int64], "SELECT count(*) FROM "+t.terms+" t JOIN "+table+" r ON r."+k.number+" = t."+m.Key+" WHERE "+m.Where+" AND r."+k.key+" = ?",
			append(m.Args, id)...)
		return n > 0, wrap(op, err)
	}
	return true, nil
}
