package tests

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %s, want %s", what, show(got), show(want))
	}
}

func deepEqual[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %s, want %s", what, show(got), show(want))
	}
}

// show prints a value so that a failure of a huge one can still be read.
func show(v any) string {
	s := fmt.Sprintf("%+v", v)
	if str, ok := v.(string); ok {
		s = fmt.Sprintf("%q", str)
	}
	if len(s) > 2000 {
		return s[:2000] + fmt.Sprintf("… (%d bytes)", len(s))
	}
	return s
}

func wantNil(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: got error %v, want none", what, err)
	}
}

// wantErr checks that err is of all the given kinds.
func wantErr(t testing.TB, what string, err error, kinds ...error) {
	t.Helper()
	for _, k := range kinds {
		if !errors.Is(err, k) {
			t.Errorf("%s: got error %v, want one that is %q", what, err, k)
		}
	}
}

// wantTyped checks that err is one of the types that callers are promised.
func wantTyped(t testing.TB, what string, err error) {
	t.Helper()
	var de *repo.DatabaseError
	var te *repo.TransactionError
	if err == nil || !errors.As(err, &de) && !errors.As(err, &te) {
		t.Errorf("%s: got error %T (%v), want a DatabaseError or TransactionError", what, err, err)
	}
}

// must returns v, or ends the test with the error.
func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("got error %v, want none", err)
		}
		return v
	}
}

// flipped returns x with its lowest bit flipped.
func flipped(x float32) float32 { return math.Float32frombits(math.Float32bits(x) ^ 1) }

func ptr[T any](v T) *T { return &v }

func ids[T any](rows []T, id func(T) string) []string {
	out := []string{}
	for _, r := range rows {
		out = append(out, id(r))
	}
	return out
}

func convIDs(cs []models.Conversation) []string {
	return ids(cs, func(c models.Conversation) string { return c.ConvID })
}

func msgIDs(ms []models.Message) []string {
	return ids(ms, func(m models.Message) string { return m.MsgID })
}

func similarIDs(cs []repo.SimilarChunk) []string {
	return ids(cs, func(c repo.SimilarChunk) string { return c.VectorID })
}

// conversation creates a conversation of this id.
func (b *bench) conversation(id string) models.Conversation {
	b.t.Helper()
	c := models.NewConversation("title of " + id)
	c.ConvID = id
	c, err := b.db.CreateConversation(b.ctx, c)
	wantNil(b.t, "create conversation "+id, err)
	return c
}

// message inserts a message of the user.
func (b *bench) message(conv, id, content string) models.Message {
	b.t.Helper()
	m, err := b.db.InsertMessage(b.ctx, models.Message{MsgID: id, ConversationID: conv, Role: models.RoleUser, Content: content})
	wantNil(b.t, "insert message "+id, err)
	return m
}

func (b *bench) getConversation(id string) models.Conversation {
	b.t.Helper()
	c, err := b.db.GetConversation(b.ctx, id)
	wantNil(b.t, "get conversation "+id, err)
	return c
}

func (b *bench) getMessage(id string) models.Message {
	b.t.Helper()
	m, err := b.db.GetMessage(b.ctx, id)
	wantNil(b.t, "get message "+id, err)
	return m
}

// base creates a knowledge base with one file, named like the base with "-file".
func (b *bench) base(id string, dimensions int64, metric models.Metric) {
	b.t.Helper()
	_, err := b.db.CreateBase(b.ctx, models.KnowledgeBase{ID: id, Dimensions: dimensions, Metric: metric})
	wantNil(b.t, "create base "+id, err)
	b.file(id, id+"-file")
}

func (b *bench) file(base, id string) models.KnowledgeFile {
	b.t.Helper()
	f, err := b.db.InsertFile(b.ctx, models.KnowledgeFile{
		ID: id, BaseID: base, Name: id + ".md", Path: "/docs/" + id + ".md", Status: models.TaskProcessed,
	})
	wantNil(b.t, "insert file "+id, err)
	return f
}

// vectors stores one processed chunk and its vector for each id, in the order of vs.
func (b *bench) vectors(file string, order []string, vs map[string][]float32) {
	b.t.Helper()
	chunks := make([]models.KnowledgeChunk, len(order))
	rows := make([]models.KnowledgeVector, len(order))
	for i, id := range order {
		chunks[i] = models.KnowledgeChunk{ID: id, FileID: file, ChunkIndex: int64(i), Content: "content of " + id, Status: models.TaskProcessed}
		rows[i] = models.KnowledgeVector{FileID: file, ChunkID: id, Embedding: vs[id]}
	}
	_, err := b.db.InsertChunks(b.ctx, chunks)
	wantNil(b.t, "insert chunks", err)
	n, err := b.db.UpsertVectors(b.ctx, rows)
	wantNil(b.t, "upsert vectors", err)
	equal(b.t, "vectors stored", n, int64(len(rows)))
}

// exec runs plain SQL as a host may, in a transaction that is committed.
func (b *bench) exec(sql string, args ...any) {
	b.t.Helper()
	wantNil(b.t, sql, b.tryExec(sql, args...))
}

func (b *bench) tryExec(sql string, args ...any) error {
	return b.db.WithTransaction(b.ctx, func(_ context.Context, tx *repo.Tx) error {
		return tx.Gorm().Exec(sql, args...).Error
	})
}

// scan reads one row by plain SQL.
func (b *bench) scan(dest []any, sql string, args ...any) {
	b.t.Helper()
	wantNil(b.t, sql, must[*gorm.DB](b.t)(b.db.Gorm(b.ctx)).Raw(sql, args...).Row().Scan(dest...))
}

func (b *bench) number(sql string, args ...any) int64 {
	b.t.Helper()
	var n int64
	b.scan([]any{&n}, sql, args...)
	return n
}

// postgres reports which dialect plain SQL has to be written in.
func (b *bench) postgres() bool { return b.db.Engine() == "postgres" }

// pick returns the SQL of the engine under test.
func (b *bench) pick(sqlite, postgres string) string {
	if b.postgres() {
		return postgres
	}
	return sqlite
}

// searched returns the ids that a text query finds.
func (b *bench) searched(query string, in ...repo.HitKind) []string {
	b.t.Helper()
	hits, err := b.db.SearchText(b.ctx, repo.TextQuery{Query: query, In: in, Limit: 1000})
	wantNil(b.t, "search "+query, err)
	return ids(hits, func(h repo.TextHit) string { return h.ID })
}

func busySoon(c *talkbase.Config) { c.Performance.BusyTimeout = quick }

// statements runs several statements in one transaction.
func (b *bench) statements(sql string) {
	b.t.Helper()
	wantNil(b.t, sql, b.db.WithTransaction(b.ctx, func(_ context.Context, tx *repo.Tx) error {
		for s := range strings.SplitSeq(sql, "; ") {
			if strings.HasPrefix(sql, "CREATE TRIGGER") {
				s = sql // its body has statements of its own
			}
			if err := tx.Gorm().Exec(s).Error; err != nil {
				return err
			}
			if s == sql {
				break
			}
		}
		return nil
	}))
}
