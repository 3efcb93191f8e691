package tests

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// quick is a short wait for what is busy.
const quick = 300 * time.Millisecond

func concurrencyCases() []testCase {
	return []testCase{
		{name: "2 goroutines insert into one conversation", run: func(b *bench) { insertTogether(b, 2, 20) }},
		{name: "16 goroutines insert into one conversation", run: func(b *bench) { insertTogether(b, 16, 5) }, configure: patient},
		{name: "colliding transactions are retried", run: collisions, configure: patient},
		{name: "readers and writers of everything", run: readersAndWriters, configure: patient},
		{name: "the text index is made anew among writers", run: rebuildAmongWriters, configure: patient},
		{name: "indexes are created at once", run: indexesAtOnce, configure: patient},
		{name: "schema calls at once", run: schemaCallsAtOnce},
		{name: "a write inside an open stream", run: writeInStream, configure: busySoon},
		{name: "a write inside a transaction with the outer context", run: writeOutside, configure: busySoon},
	}
}

// patient waits longer than a busy machine makes it wait.
func patient(c *talkbase.Config) { c.Performance.BusyTimeout = time.Minute }

func insertTogether(b *bench, goroutines, each int) {
	b.conversation("c")
	var wg sync.WaitGroup
	start := make(chan struct{})
	errs := make([]error, goroutines)
	for g := range goroutines {
		wg.Go(func() {
			<-start
			for i := range each {
				m := models.Message{MsgID: fmt.Sprint(g, "-", i), ConversationID: "c", Role: models.RoleUser, Content: "walnut"}
				var err error
				if i%2 == 0 {
					_, err = b.db.InsertMessage(b.ctx, m)
				} else {
					_, err = b.db.InsertMessages(b.ctx, []models.Message{m})
				}
				errs[g] = errors.Join(errs[g], err)
			}
		})
	}
	close(start)
	wg.Wait()
	wantNil(b.t, "insert", errors.Join(errs...))
	got, err := b.db.ConversationWithMessages(b.ctx, "c")
	wantNil(b.t, "read", err)
	equal(b.t, "messages", len(got.Messages), goroutines*each)
	for i, m := range got.Messages {
		if m.OrderSeq != int64(i+1) {
			b.t.Fatalf("order_seq at %d: got %d, want %d: no gaps and no repetitions", i, m.OrderSeq, i+1)
		}
	}
	equal(b.t, "count", got.Conversation.MessageCount, int64(goroutines*each))
	equal(b.t, "found", len(b.searched("walnut")), goroutines*each)
}

// collisions makes two transactions lock two rows in opposite order. Where only one can write at a
// time, they cannot collide.
func collisions(b *bench) {
	b.conversation("x")
	b.conversation("y")
	var attempts atomic.Int64
	first := make(chan struct{})
	var once [2]sync.Once
	var reached sync.WaitGroup
	reached.Add(2)
	go func() { reached.Wait(); close(first) }()
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, order := range [][2]string{{"x", "y"}, {"y", "x"}} {
		wg.Go(func() {
			errs[i] = b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error {
				attempts.Add(1)
				for step, id := range order {
					_, err := b.db.InsertMessage(ctx, models.Message{ConversationID: id, Role: models.RoleUser})
					if err != nil {
						return err
					}
					if step == 0 && b.postgres() {
						once[i].Do(reached.Done)
						<-first
					}
				}
				return nil
			})
			once[i].Do(reached.Done)
		})
	}
	wg.Wait()
	wantNil(b.t, "both", errors.Join(errs...))
	for _, id := range []string{"x", "y"} {
		c := b.getConversation(id)
		equal(b.t, "messages of "+id, c.MessageCount, 2)
		max, err := b.db.MaxOrderSeq(b.ctx, id)
		wantNil(b.t, "max", err)
		equal(b.t, "highest order_seq of "+id, max, 2)
	}
	if b.postgres() && attempts.Load() < 3 {
		b.t.Errorf("attempts: got %d, want at least 3, because two deadlocked", attempts.Load())
	}
	serializable(b)
}

// serializable provokes a serialization failure.
func serializable(b *bench) {
	if !b.postgres() {
		return
	}
	b.exec("UPDATE conversations SET created_at = 0")
	var barrier sync.WaitGroup
	barrier.Add(2)
	var once [2]sync.Once
	var attempts atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i := range 2 {
		wg.Go(func() {
			errs[i] = b.db.WithTransaction(b.ctx, func(_ context.Context, tx *repo.Tx) error {
				attempts.Add(1)
				g := tx.Gorm()
				if err := g.Exec("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").Error; err != nil {
					return err
				}
				var sum int64
				if err := g.Raw("SELECT sum(created_at) FROM conversations").Row().Scan(&sum); err != nil {
					return err
				}
				once[i].Do(barrier.Done)
				barrier.Wait()
				return g.Exec("UPDATE conversations SET created_at = ? WHERE conv_id = ?", sum+1, []string{"x", "y"}[i]).Error
			})
		})
	}
	wg.Wait()
	wantNil(b.t, "serializable", errors.Join(errs...))
	equal(b.t, "sum", b.number("SELECT sum(created_at) FROM conversations"), 3)
	if attempts.Load() < 3 {
		b.t.Errorf("attempts of serializable transactions: got %d, want at least 3", attempts.Load())
	}
}

func readersAndWriters(b *bench) {
	b.base("kb", 3, models.MetricCosine)
	const rounds = 6
	jobs := []func(i int) error{
		func(i int) error { return b.create(b.ctx, fmt.Sprint("c", i)) },
		func(i int) error { _, err := b.db.RecentConversations(b.ctx, 0); return err },
		func(i int) error {
			id := fmt.Sprint("k", i)
			_, err := b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: id, FileID: "kb-file", ChunkIndex: int64(i), Content: "chunk", Status: models.TaskProcessed}})
			if err == nil {
				_, err = b.db.UpsertVectors(b.ctx, []models.KnowledgeVector{{FileID: "kb-file", ChunkID: id, Embedding: wave(3, i)}})
			}
			return err
		},
		func(i int) error {
			_, err := b.db.UpsertVectors(b.ctx, []models.KnowledgeVector{{ID: "same", FileID: "kb-file", ChunkID: "k", Embedding: wave(3, i)}})
			return err
		},
		func(i int) error {
			_, err := b.db.UpsertVectors(b.ctx, []models.KnowledgeVector{{ID: "same", FileID: "kb-file", ChunkID: "k", Embedding: wave(3, 2*i)}})
			return err
		},
		func(i int) error {
			_, err := b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: "kb", Vector: wave(3, i)})
			return err
		},
		func(i int) error { _, err := b.db.SearchText(b.ctx, repo.TextQuery{Query: "chunk title"}); return err },
		func(i int) error { _, err := b.db.GetStatistics(b.ctx); return err },
		func(i int) error {
			_, err := b.db.OpenBase(b.ctx, models.KnowledgeBase{ID: "shared", Dimensions: 3})
			return err
		},
		func(i int) error { _, err := b.db.OpenBase(b.ctx, models.KnowledgeBase{ID: "shared"}); return err },
		func(i int) error {
			_, err := b.db.InsertFile(b.ctx, models.KnowledgeFile{Name: "in the default base"})
			return err
		},
		func(i int) error { _, err := b.db.InsertFile(b.ctx, models.KnowledgeFile{Name: "as well"}); return err },
		func(i int) error {
			return b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error { return b.db.Ready(ctx) })
		},
	}
	_, err := b.db.OpenBase(b.ctx, models.KnowledgeBase{ID: "first", Dimensions: 3})
	wantNil(b.t, "open", err)
	_, err = b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: "k", FileID: "kb-file", Content: "chunk"}})
	wantNil(b.t, "insert", err)
	var wg sync.WaitGroup
	errs := make([]error, len(jobs))
	for j, job := range jobs {
		wg.Go(func() {
			for i := range rounds {
				err := job(i)
				if errors.Is(err, repo.ErrConflict) && (j == 8 || j == 9) {
					err = nil // whoever opens first decides the dimensions
				}
				if err != nil {
					err = fmt.Errorf("job %d: %w", j, err)
				}
				errs[j] = errors.Join(errs[j], err)
			}
		})
	}
	wg.Wait()
	wantNil(b.t, "jobs", errors.Join(errs...))
	st, err := b.db.GetStatistics(b.ctx)
	wantNil(b.t, "stats", err)
	deepEqual(b.t, "rows", st.Rows(), map[string]int64{
		"conversations": rounds, "messages": 0, "message_attachments": 0,
		"knowledge_bases": 4, "knowledge_files": 1 + 2*rounds, "knowledge_chunks": rounds + 1, "knowledge_vectors": rounds + 1,
	})
}

func schemaCallsAtOnce(b *bench) {
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			v, err := b.db.SchemaVersion(b.ctx)
			if err == nil && v != b.db.LatestSchemaVersion() {
				err = fmt.Errorf("got version %d", v)
			}
			_, verr := b.db.ValidateSchema(b.ctx)
			errs[i] = errors.Join(err, verr, b.db.MigrateSchema(b.ctx, b.db.LatestSchemaVersion()))
		})
	}
	wg.Wait()
	wantNil(b.t, "schema calls", errors.Join(errs...))
}

// promptly runs f and fails when it takes much longer than the wait for what is busy.
func promptly(b *bench, what string, f func() error) error {
	b.t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		b.t.Fatalf("%s: got no answer within 30 s, want an error or success", what)
		return nil
	}
}

// wantBusyOrNil checks that a call either worked or says that the database is busy.
func wantBusyOrNil(b *bench, what string, err error) {
	b.t.Helper()
	if err != nil {
		wantErr(b.t, what, err, repo.ErrBusy)
	}
}

func writeInStream(b *bench) {
	b.conversation("c")
	var rows []models.Message
	for i := range 600 { // more than two pages of a stream
		rows = append(rows, models.Message{MsgID: fmt.Sprint("m", i), ConversationID: "c", Role: models.RoleUser, Status: models.StatusSent, OrderSeq: int64(i + 1)})
	}
	wantNil(b.t, "load", b.db.Bulk().InsertMessages(b.ctx, rows))
	n := 0
	wantNil(b.t, "stream", promptly(b, "stream", func() error {
		for m, err := range b.db.StreamMessages(b.ctx, "c") {
			if err != nil {
				return err
			}
			if n++; n%150 == 0 {
				if _, err := b.db.UpdateMessage(b.ctx, m.MsgID, repo.MessageUpdate{Content: ptr("seen")}); err != nil {
					return fmt.Errorf("write inside a stream: %w", err)
				}
				for _, err := range b.db.StreamMessages(b.ctx, "c") {
					if err != nil {
						return err
					}
					break // a stream inside a stream
				}
			}
		}
		return nil
	}))
	equal(b.t, "streamed", n, 600)
	equal(b.t, "written", len(b.searched("seen")), 4)
	wantNil(b.t, "stream in a transaction", promptly(b, "stream in a transaction", func() error {
		return b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error {
			for m, err := range b.db.StreamMessages(ctx, "c") {
				if err != nil {
					return err
				}
				if m.OrderSeq%200 != 0 {
					continue
				}
				if err := b.db.DeleteMessage(ctx, m.MsgID); err != nil {
					return err
				}
			}
			return nil
		})
	}))
	equal(b.t, "count", b.getConversation("c").MessageCount, 597)
}

func writeOutside(b *bench) {
	b.conversation("c")
	b.base("kb", 2, models.MetricL2)
	only := func(_ any, err error) error { return err }
	wantNil(b.t, "transaction", promptly(b, "transaction", func() error {
		return b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error {
			if _, err := b.db.InsertMessage(ctx, models.Message{MsgID: "inside", ConversationID: "c", Role: models.RoleUser}); err != nil {
				return err
			}
			for name, err := range map[string]error{
				"message in the same conversation": only(b.db.InsertMessage(b.ctx, models.Message{ConversationID: "c", Role: models.RoleUser})),
				"another conversation":             b.create(b.ctx, "outside"),
				"transaction":                      b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error { return b.create(ctx, "other") }),
				"handle": func() error {
					tx, err := b.db.Begin(b.ctx)
					if err == nil {
						err = tx.Rollback()
					}
					return err
				}(),
			} {
				wantBusyOrNil(b, name, err)
			}
			for name, err := range map[string]error{
				"read":     only(b.db.GetConversation(b.ctx, "c")),
				"snapshot": only(b.db.ConversationWithMessages(b.ctx, "c")),
				"search":   only(b.db.SearchText(b.ctx, repo.TextQuery{Query: "title"})),
			} {
				wantNil(b.t, name, err)
			}
			return nil
		})
	}))
	equal(b.t, "written inside", b.getMessage("inside").MsgID, "inside")
	wantNil(b.t, "a write afterwards", b.create(b.ctx, "afterwards"))
}
