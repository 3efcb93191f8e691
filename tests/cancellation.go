package tests

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
	"github.com/talkbase/talkbase/services"
)

func cancellationCases() []testCase {
	return []testCase{
		{name: "a context that has ended ends every call", run: endedBefore},
		{name: "a stream ends with its context", run: endedStream},
		{name: "waiting for the writer ends with the context", run: endedWaiting, configure: patient},
		{name: "a transaction ends with its context", run: endedTransaction},
		{name: "a closed database says so", run: closed},
	}
}

// everyCall calls one method of each kind.
func everyCall(b *bench, ctx context.Context) map[string]error {
	db := b.db
	only := func(_ any, err error) error { return err }
	return map[string]error{
		"create":          b.create(ctx, "new"),
		"get":             only(db.GetConversation(ctx, "c")),
		"update":          only(db.UpdateConversation(ctx, "c", repo.ConversationUpdate{Title: ptr("x")})),
		"rename":          db.RenameConversation(ctx, "c", "x"),
		"delete":          db.DeleteConversation(ctx, "c"),
		"list":            only(db.ListConversations(ctx, repo.ConversationList{WithTotal: true})),
		"recent":          only(db.RecentConversations(ctx, 0)),
		"count":           only(db.CountConversations(ctx)),
		"with messages":   only(db.ConversationWithMessages(ctx, "c")),
		"insert message":  only(db.InsertMessage(ctx, models.Message{ConversationID: "c", Role: models.RoleUser})),
		"insert messages": only(db.InsertMessages(ctx, []models.Message{{ConversationID: "c", Role: models.RoleUser}})),
		"list messages":   only(db.ListMessages(ctx, repo.MessageList{ConversationID: "c"})),
		"query messages":  only(db.QueryMessages(ctx, "c")),
		"delete all":      only(db.DeleteAllMessages(ctx)),
		"attach":          only(db.AddAttachment(ctx, models.MessageAttachment{MessageID: "m"})),
		"create base":     only(db.CreateBase(ctx, models.KnowledgeBase{})),
		"insert file":     only(db.InsertFile(ctx, models.KnowledgeFile{BaseID: "kb"})),
		"update file":     only(db.UpdateFile(ctx, "kb-file", repo.FileUpdate{Name: ptr("x")})),
		"insert chunks":   only(db.InsertChunks(ctx, []models.KnowledgeChunk{{FileID: "kb-file"}})),
		"upsert vectors":  only(db.UpsertVectors(ctx, []models.KnowledgeVector{{FileID: "kb-file", ChunkID: "v", Embedding: []float32{1, 2}}})),
		"similarity":      only(db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 2}})),
		"destroy":         only(db.DestroyKnowledge(ctx)),
		"search":          only(db.SearchText(ctx, repo.TextQuery{Query: "title"})),
		"rebuild":         only(db.RebuildTextIndex(ctx)),
		"transaction":     db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error { return nil }),
		"begin":           only(db.Begin(ctx)),
		"stats":           only(db.GetStatistics(ctx)),
		"integrity":       only(db.ValidateIntegrity(ctx)),
		"repair":          only(db.Repair(ctx, services.RepairOptions{NoBackup: true})),
		"table stats":     only(db.GetTableStatistics(ctx, "messages")),
		"analyze query":   only(db.AnalyzeQuery(ctx, "SELECT 1")),
		"analyze calls":   only(db.AnalyzeCalls(ctx, func(context.Context) error { return nil })),
		"optimize":        only(db.Optimize(ctx, services.OptimizeOptions{})),
		"ready":           db.Ready(ctx),
		"bulk":            db.Bulk().InsertConversations(ctx, []models.Conversation{{ConvID: "x"}}),
		"stream": func() error {
			for _, err := range db.StreamMessages(ctx, "c") {
				return err
			}
			return nil
		}(),
		"schema version": only(db.SchemaVersion(ctx)),
		"migrate":        db.MigrateSchema(ctx, 0),
		"validate":       only(db.ValidateSchema(ctx)),
		"indexes":        only(db.CreateOptimalIndexes(ctx)),
		"reset":          db.Reset(ctx, nil),
	}
}

func everyCallSetup(b *bench) {
	b.conversation("c")
	b.message("c", "m", "words")
	b.base("kb", 2, models.MetricL2)
	b.vectors("kb-file", []string{"v"}, map[string][]float32{"v": {1, 2}})
}

func endedBefore(b *bench) {
	everyCallSetup(b)
	before, err := b.db.GetStatistics(b.ctx)
	wantNil(b.t, "stats", err)
	canceled, cancel := context.WithCancel(b.ctx)
	cancel()
	expired, cancel := context.WithDeadline(b.ctx, time.Unix(1, 0))
	defer cancel()
	withCause, cancelCause := context.WithCancelCause(b.ctx)
	cancelCause(errUndo)
	for _, c := range []struct {
		name string
		ctx  context.Context
		want error
		code string
	}{
		{"canceled", canceled, context.Canceled, "CANCELED"},
		{"expired", expired, context.DeadlineExceeded, "DEADLINE_EXCEEDED"},
		{"canceled for a cause", withCause, context.Canceled, "CANCELED"},
	} {
		for name, err := range everyCall(b, c.ctx) {
			wantErr(b.t, name+" "+c.name, err, c.want)
			wantTyped(b.t, name+" "+c.name, err)
			if code := repo.ErrorCode(err); code != c.code && code != repo.CodeTransaction {
				b.t.Errorf("%s %s: got code %s, want %s", name, c.name, code, c.code)
			}
		}
	}
	after, err := b.db.GetStatistics(b.ctx)
	wantNil(b.t, "stats", err)
	deepEqual(b.t, "rows", after.Rows(), before.Rows())
	v, err := b.db.ValidateSchema(b.ctx)
	wantNil(b.t, "validate", err)
	deepEqual(b.t, "drift", v.Drift, []migration.Drift{})
}

func endedStream(b *bench) {
	b.conversation("c")
	var rows []models.Message
	for i := range 2000 {
		rows = append(rows, models.Message{MsgID: fmt.Sprint("m", i), ConversationID: "c", Role: models.RoleUser, Status: models.StatusSent, OrderSeq: int64(i + 1)})
	}
	wantNil(b.t, "load", b.db.Bulk().InsertMessages(b.ctx, rows))
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	n := 0
	var last error
	for _, err := range b.db.StreamMessages(ctx, "c") {
		if err != nil {
			last = err
			continue
		}
		if n++; n == 10 {
			cancel()
		}
	}
	wantErr(b.t, "stream whose context ends", last, context.Canceled)
	wantTyped(b.t, "stream whose context ends", last)
	if n >= 1000 {
		b.t.Errorf("messages after the context ended: got %d, want the rest of a page at most", n)
	}
}

func endedWaiting(b *bench) {
	b.conversation("c")
	holder, err := b.db.Begin(b.ctx)
	wantNil(b.t, "begin", err)
	_, err = b.db.InsertMessage(holder.Context(), models.Message{ConversationID: "c", Role: models.RoleUser})
	wantNil(b.t, "insert", err)
	for name, wait := range map[string]func() (context.Context, context.CancelFunc, error){
		"deadline": func() (context.Context, context.CancelFunc, error) {
			ctx, cancel := context.WithTimeout(b.ctx, quick/3)
			return ctx, cancel, context.DeadlineExceeded
		},
		"cancel": func() (context.Context, context.CancelFunc, error) {
			ctx, cancel := context.WithCancel(b.ctx)
			time.AfterFunc(quick/3, cancel)
			return ctx, cancel, context.Canceled
		},
		"cancel for a cause": func() (context.Context, context.CancelFunc, error) {
			ctx, cancel := context.WithCancelCause(b.ctx)
			time.AfterFunc(quick/3, func() { cancel(errUndo) })
			return ctx, func() { cancel(nil) }, context.Canceled
		},
	} {
		ctx, cancel, want := wait()
		start := time.Now()
		_, err := b.db.InsertMessage(ctx, models.Message{ConversationID: "c", Role: models.RoleUser})
		wantErr(b.t, "waiting until "+name, err, want)
		wantTyped(b.t, "waiting until "+name, err)
		if took := time.Since(start); took > 20*time.Second {
			b.t.Errorf("waiting until %s: got an answer after %s, want one soon", name, took)
		}
		cancel()
	}
	wantNil(b.t, "commit", holder.Commit())
	_, err = b.db.InsertMessage(b.ctx, models.Message{ConversationID: "c", Role: models.RoleUser})
	wantNil(b.t, "insert afterwards", err)
	equal(b.t, "count", b.getConversation("c").MessageCount, 2)
}

func endedTransaction(b *bench) {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	err := b.db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error {
		wantNil(b.t, "create", b.create(ctx, "before"))
		cancel()
		if err := b.create(ctx, "after"); err == nil {
			b.t.Errorf("write after the context ended: got no error, want one")
		}
		return nil
	})
	wantErr(b.t, "commit after the context ended", err, context.Canceled)
	equal(b.t, "created", b.exists(b.ctx, "before") || b.exists(b.ctx, "after"), false)
	wantNil(b.t, "a write afterwards", b.create(b.ctx, "next"))

	caused, cancelCause := context.WithCancelCause(b.ctx)
	err = b.db.WithTransaction(caused, func(ctx context.Context, _ *repo.Tx) error {
		cancelCause(errUndo)
		return nil
	})
	wantErr(b.t, "commit after the context ended for a cause", err, context.Canceled)

	ctx, cancel = context.WithCancel(b.ctx)
	defer cancel()
	attempts := 0
	err = b.db.WithTransaction(ctx, func(context.Context, *repo.Tx) error {
		attempts++
		cancel()
		return fmt.Errorf("made up: %w", repo.ErrSerialization)
	})
	if err == nil || !errors.Is(err, repo.ErrSerialization) && !errors.Is(err, context.Canceled) {
		b.t.Errorf("a collision whose context ends: got error %v, want the collision or the context's end", err)
	}
	equal(b.t, "attempts", attempts, 1)
	attempts = 0
	err = b.db.WithTransaction(b.ctx, func(context.Context, *repo.Tx) error {
		attempts++
		return fmt.Errorf("made up: %w", repo.ErrSerialization)
	})
	wantErr(b.t, "a collision that never ends", err, repo.ErrSerialization, repo.ErrBusy)
	if attempts < 3 || attempts > 100 {
		b.t.Errorf("attempts: got %d, want several, but not for ever", attempts)
	}
}

func closed(b *bench) {
	everyCallSetup(b)
	wantNil(b.t, "close", b.db.Close())
	wantNil(b.t, "close again", b.db.Close())
	for name, err := range everyCall(b, b.ctx) {
		wantErr(b.t, name+" after close", err, repo.ErrClosed)
		wantTyped(b.t, name+" after close", err)
	}
}
