package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// GroupSearch is text search against a scan, and its cost to an insert.
const GroupSearch = "search"

const (
	triggerTarget = 1.3
	scanTarget    = 1.0 / 20
	// rareWord is in rareMessages messages of a database.
	rareWord     = "quokkazebra"
	rareMessages = 5
	// hanWord is looked for in hanMessages messages of Chinese.
	hanWord     = "数据"
	hanMessages = 3000
)

func (e *Env) search(ctx context.Context, engine string, s Sizes) ([]Comparison, error) {
	large, err := e.Database(ctx, engine, "large", s.Large)
	if err != nil {
		return nil, err
	}
	if err := addSearched(ctx, large); err != nil {
		return nil, err
	}
	var out []Comparison
	for _, c := range []struct{ name, word string }{{"a rare word", rareWord}, {"a Chinese word of two characters", hanWord}} {
		if err := sameAsScan(ctx, large, c.word); err != nil {
			return nil, err
		}
		out = append(out, Comparison{
			Group: GroupSearch, Name: fmt.Sprintf("search %s in %s messages", c.name, count(s.Large)), Engine: engine, Target: scanTarget, Slow: true,
			A: Side{Label: "talkbase", Run: times(func(ctx context.Context) error { _, err := found(ctx, large, c.word, 20); return err })},
			B: Side{Label: "LIKE", Run: times(func(ctx context.Context) error { _, err := scanned(ctx, large, c.word, 20); return err })},
		})
	}
	if engine != SQLite {
		return out, nil
	}
	c, err := e.triggerComparison(ctx, s)
	return append(out, c), err
}

// addSearched adds the messages that are looked for, once.
func addSearched(ctx context.Context, d *Database) error {
	if _, err := d.DB.CreateConversation(ctx, models.Conversation{ConvID: "searched", Title: "Searched", CreatedAt: epoch}); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(11, 12)) //nolint:gosec // no secret
	han := []rune("数据库向量搜索我们的用户消息对话模型知识文件连接")
	ms := make([]models.Message, 0, hanMessages+rareMessages)
	for i := range hanMessages {
		text := make([]rune, 10+r.IntN(40))
		for j := range text {
			text[j] = han[r.IntN(len(han))]
		}
		ms = append(ms, models.Message{MsgID: id('h', i), ConversationID: "searched", Role: models.RoleUser, Content: string(text), OrderSeq: int64(i + 1), CreatedAt: epoch})
	}
	for i := range rareMessages {
		ms = append(ms, models.Message{
			MsgID: id('r', i), ConversationID: "searched", Role: models.RoleUser, Content: sentence(r, 8) + " " + rareWord + " " + sentence(r, 8),
			OrderSeq: int64(hanMessages + i + 1), CreatedAt: epoch,
		})
	}
	for part := range slices.Chunk(ms, 500) {
		if _, err := d.DB.InsertMessages(ctx, part); err != nil {
			return err
		}
	}
	return d.Raw.Settle(ctx)
}

func found(ctx context.Context, d *Database, word string, limit int) ([]string, error) {
	hits, err := d.DB.SearchText(ctx, repo.TextQuery{Query: word, In: []repo.HitKind{repo.HitMessage}, Limit: limit})
	out := make([]string, len(hits))
	for i := range hits {
		out[i] = hits[i].ID
	}
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%q is not found", word)
	}
	return out, err
}

// scanned is what one writes without an index.
func scanned(ctx context.Context, d *Database, word string, limit int) (out []string, err error) {
	g, err := d.DB.Gorm(ctx)
	if err != nil {
		return nil, err
	}
	err = g.Raw("SELECT msg_id FROM messages WHERE content LIKE ? ORDER BY created_at DESC, id DESC LIMIT ?", "%"+word+"%", limit).Scan(&out).Error
	return out, err
}

// sameAsScan checks that a search finds what a scan finds.
func sameAsScan(ctx context.Context, d *Database, word string) error {
	a, err := found(ctx, d, word, 1000)
	b, serr := scanned(ctx, d, word, 1001)
	if err := errors.Join(err, serr); err != nil {
		return err
	}
	slices.Sort(a)
	slices.Sort(b)
	if !slices.Equal(a, b) || len(a) == 1000 {
		return fmt.Errorf("%q: the search finds %d messages, the scan %d", word, len(a), len(b))
	}
	return nil
}

// triggerComparison inserts messages of plain words, on one side into a file whose text index is
// FTS5's own over the messages, kept by a trigger as its documentation shows.
func (e *Env) triggerComparison(ctx context.Context, s Sizes) (Comparison, error) {
	ours, err := e.Database(ctx, SQLite, "work", s.Small)
	if err != nil {
		return Comparison{}, err
	}
	hand, err := e.Database(ctx, SQLite, "trigger", s.Small)
	if err != nil {
		return Comparison{}, err
	}
	// Waiting for the disk would hide the difference.
	if ours, err = e.Relaxed(ctx, ours); err != nil {
		return Comparison{}, err
	}
	if hand, err = e.Relaxed(ctx, hand); err != nil {
		return Comparison{}, err
	}
	raw, ok := hand.Raw.(*rawSQLite)
	if !ok {
		return Comparison{}, fmt.Errorf("the hand-written side is %T", hand.Raw)
	}
	for _, stmt := range []string{
		"CREATE VIRTUAL TABLE words USING fts5(content, content='messages', content_rowid='id')",
		"INSERT INTO words(words) VALUES ('rebuild')",
		"DROP TABLE message_terms",
		"DROP TRIGGER trg_messages_delete", "DROP TRIGGER trg_messages_content",
		"CREATE TRIGGER words_insert AFTER INSERT ON messages BEGIN INSERT INTO words(rowid, content) VALUES (new.id, new.content); END",
	} {
		if _, err := raw.write.ExecContext(ctx, stmt); err != nil {
			return Comparison{}, fmt.Errorf("%s: %w", stmt, err)
		}
	}
	side := func(label string, d *Database, insert func(ctx context.Context, m models.Message) error) (Side, error) {
		c, err := d.DB.CreateConversation(ctx, models.Conversation{Title: label, CreatedAt: epoch})
		r := rand.New(rand.NewPCG(13, 14)) //nolint:gosec // no secret
		return Side{Label: label, Run: times(func(ctx context.Context) error {
			return insert(ctx, models.Message{
				ConversationID: c.ConvID, Role: models.RoleUser, Status: models.StatusSent, CreatedAt: epoch, Metadata: models.JSON("{}"),
				Content: strings.TrimSpace(sentence(r, 10+r.IntN(30))),
			})
		})}, err
	}
	a, err := side("talkbase", ours, func(ctx context.Context, m models.Message) error {
		_, err := ours.DB.InsertMessage(ctx, m)
		return err
	})
	if err != nil {
		return Comparison{}, err
	}
	b, err := side("FTS5 by a trigger", hand, raw.insertPlain)
	return Comparison{Group: GroupSearch, Name: "insert a message of plain words, synchronous=NORMAL", Engine: SQLite, Target: triggerTarget, A: a, B: b}, err
}

// insertPlain stores a message and leaves its words to a trigger.
func (r *rawSQLite) insertPlain(ctx context.Context, m models.Message) error {
	return r.in(ctx, func(tx *sql.Tx) error {
		none := func(context.Context, ...any) (sql.Result, error) { return nil, nil }
		return insertMessage(ctx, &m, func() string { return "" }, tx.StmtContext(ctx, r.touch).ExecContext, tx.StmtContext(ctx, r.insert).QueryRowContext, none)
	})
}
