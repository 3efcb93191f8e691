package tests

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/memory"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func budgetCases() []testCase {
	small := func(c *talkbase.Config) { c.Performance.MemoryBudget = "4MB" }
	return []testCase{
		{name: "many rows wait for memory", run: waitForMemory, configure: small},
		{name: "a transaction does not wait for memory", run: noWaitInTransaction, configure: small},
		{name: "more rows than the memory budget holds", run: moreThanMemory, configure: small},
		{name: "a budget that databases share", run: sharedBudget},
	}
}

// manyVectors are so many that storing them needs more than is done without asking.
func (b *bench) manyVectors(n int) []models.KnowledgeVector {
	b.t.Helper()
	b.base("kb", 64, models.MetricCosine)
	_, err := b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: "k", FileID: "kb-file", Content: "walnut", Status: models.TaskProcessed}})
	wantNil(b.t, "insert chunk", err)
	vs := make([]models.KnowledgeVector, n)
	for i := range vs {
		vs[i] = models.KnowledgeVector{ID: fmt.Sprint("v", i), FileID: "kb-file", ChunkID: "k", Embedding: wave(64, i)}
	}
	return vs
}

func manyMessages(n int) []models.Message {
	ms := make([]models.Message, n)
	for i := range ms {
		ms[i] = models.Message{MsgID: fmt.Sprint("m", i), ConversationID: "c", Role: models.RoleUser, Status: models.StatusSent, Content: "walnut", OrderSeq: int64(i + 1)}
	}
	return ms
}

// takeAll sets all memory aside.
func (b *bench) takeAll() *memory.Reservation {
	b.t.Helper()
	r, err := b.db.Memory().Acquire(b.ctx, 1<<40)
	wantNil(b.t, "take all memory", err)
	return r
}

func waitForMemory(b *bench) {
	b.conversation("c")
	vs, ms := b.manyVectors(1000), manyMessages(1200)
	all := b.takeAll()
	for name, call := range map[string]func(ctx context.Context) error{
		"vectors":  func(ctx context.Context) error { _, err := b.db.UpsertVectors(ctx, vs); return err },
		"messages": func(ctx context.Context) error { return b.db.Bulk().InsertMessages(ctx, ms) },
	} {
		ctx, cancel := context.WithTimeout(b.ctx, 20*time.Millisecond)
		err := call(ctx)
		cancel()
		wantErr(b.t, name+" without memory", err, context.DeadlineExceeded)
		wantTyped(b.t, name+" without memory", err)
		done := make(chan error, 1)
		go func() { done <- call(b.ctx) }()
		for b.db.Memory().Usage().Waiting == 0 {
			runtime.Gosched()
		}
		all.Release()
		wantNil(b.t, name+" with memory", <-done)
		all = b.takeAll()
	}
	all.Release()
	equal(b.t, "messages", b.getConversation("c").MessageCount, int64(len(ms)))
	if u := b.db.Memory().Usage(); u.Used != u.Cached || u.Peak > u.Limit || u.Waits < 2 {
		b.t.Errorf("usage: got %+v, want all given back but what is cached, and waits", u)
	}
}

func noWaitInTransaction(b *bench) {
	b.conversation("c")
	vs := b.manyVectors(1000)
	all := b.takeAll()
	defer all.Release()
	wantNil(b.t, "a transaction without memory", promptly(b, "a transaction", func() error {
		return b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error {
			_, err := b.db.UpsertVectors(ctx, vs)
			return errors.Join(err, b.db.Bulk().InsertMessages(ctx, manyMessages(1200)))
		})
	}))
	equal(b.t, "messages", b.getConversation("c").MessageCount, 1200)
	equal(b.t, "found", len(b.searched("walnut", repo.HitMessage)), 1000) // as many as are asked for
	equal(b.t, "vectors", b.number("SELECT count(*) FROM knowledge_vectors"), 1000)
}

// moreThanMemory stores rows that as a whole need more than there is.
func moreThanMemory(b *bench) {
	b.conversation("c")
	vs := b.manyVectors(3000)
	n, err := b.db.UpsertVectors(b.ctx, vs)
	wantNil(b.t, "vectors", err)
	equal(b.t, "vectors", n, 3000)
	wantNil(b.t, "messages", b.db.Bulk().InsertMessages(b.ctx, manyMessages(4200)))
	equal(b.t, "messages", b.getConversation("c").MessageCount, 4200)
	if u := b.db.Memory().Usage(); u.Peak > u.Limit || u.Peak < u.Limit/2 {
		b.t.Errorf("usage: got %+v, want most of it at once and no more", u)
	}
}

func sharedBudget(b *bench) {
	m := memory.New(1 << 20)
	db, err := talkbase.Open(b.ctx, talkbase.Config{DSN: "sqlite::memory:", Memory: m})
	wantNil(b.t, "open", err)
	defer func() { wantNil(b.t, "close", db.Close()) }()
	if db.Memory() != m || b.db.Memory() == m {
		b.t.Error("got another manager, want the one that was given")
	}
	_, err = talkbase.Open(b.ctx, talkbase.Config{DSN: "sqlite::memory:", Memory: m, Performance: talkbase.PerformanceConfig{MemoryBudget: "1MB"}})
	wantErr(b.t, "two budgets", err, repo.ErrInvalid)
}
