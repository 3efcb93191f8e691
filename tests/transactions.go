package tests

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func transactionCases() []testCase {
	return []testCase{
		{name: "a function that fails or panics is undone", run: undone},
		{name: "nested calls are savepoints", run: nested},
		{name: "a failing statement leaves the rest usable", run: failingStatements},
		{name: "handles begin, commit and roll back", run: handles},
		{name: "a handle whose context ends is rolled back", configure: busySoon, run: abandoned},
		{name: "calls inside see what is written, calls outside do not", run: isolation},
		{name: "goroutines take turns in a transaction", run: sharedTransaction},
		{name: "every kind of write takes part", run: everyWrite},
	}
}

var errUndo = errors.New("undo")

// exists reports whether a conversation is there.
func (b *bench) exists(ctx context.Context, id string) bool {
	b.t.Helper()
	_, err := b.db.GetConversation(ctx, id)
	if err != nil {
		wantErr(b.t, "get "+id, err, repo.ErrNotFound)
	}
	return err == nil
}

func (b *bench) create(ctx context.Context, id string) error {
	_, err := b.db.CreateConversation(ctx, models.Conversation{ConvID: id, Title: "title of " + id})
	return err
}

func undone(b *bench) {
	err := b.db.WithTransaction(b.ctx, func(ctx context.Context, tx *repo.Tx) error {
		wantNil(b.t, "create", b.create(ctx, "failed"))
		equal(b.t, "seen inside", b.exists(ctx, "failed"), true)
		if tx.ID() == "" || tx.Context() != ctx {
			b.t.Errorf("transaction: got id %q and another context, want an id and the context given", tx.ID())
		}
		return errUndo
	})
	wantErr(b.t, "a function that fails", err, errUndo)
	equal(b.t, "error of the host as it was", err, errUndo)
	equal(b.t, "created by a function that failed", b.exists(b.ctx, "failed"), false)
	func() {
		defer func() { equal(b.t, "panic", recover(), any("at the disco")) }()
		_ = b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error {
			wantNil(b.t, "create", b.create(ctx, "panicked"))
			panic("at the disco")
		})
	}()
	equal(b.t, "created by a function that panicked", b.exists(b.ctx, "panicked"), false)
	deepEqual(b.t, "found", b.searched("title"), []string{})
	wantNil(b.t, "a transaction afterwards", b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error { return b.create(ctx, "kept") }))
	equal(b.t, "created", b.exists(b.ctx, "kept"), true)
	var leaked context.Context
	wantNil(b.t, "transaction", b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error { leaked = ctx; return nil }))
	wantErr(b.t, "write with the context of a transaction that ended", b.create(leaked, "late"), repo.ErrTxDone)
	_, err = b.db.GetConversation(leaked, "kept")
	wantErr(b.t, "read with the context of a transaction that ended", err, repo.ErrTxDone)
}

func nested(b *bench) {
	wantNil(b.t, "outer", b.db.WithTransaction(b.ctx, func(ctx context.Context, outer *repo.Tx) error {
		wantNil(b.t, "create", b.create(ctx, "outer"))
		err := b.db.WithTransaction(ctx, func(ctx context.Context, inner *repo.Tx) error {
			equal(b.t, "id of the inner", inner.ID(), outer.ID())
			wantNil(b.t, "create", b.create(ctx, "inner failed"))
			wantNil(b.t, "innermost", b.db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error { return b.create(ctx, "innermost") }))
			return errUndo
		})
		equal(b.t, "error of the inner", err, errUndo)
		equal(b.t, "created by the inner that failed", b.exists(ctx, "inner failed"), false)
		equal(b.t, "created by the innermost of one that failed", b.exists(ctx, "innermost"), false)
		equal(b.t, "created by the outer", b.exists(ctx, "outer"), true)
		func() {
			defer func() { equal(b.t, "panic", recover(), any("inside")) }()
			_ = b.db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error {
				wantNil(b.t, "create", b.create(ctx, "inner panicked"))
				panic("inside")
			})
		}()
		equal(b.t, "created by the inner that panicked", b.exists(ctx, "inner panicked"), false)
		return b.db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error { return b.create(ctx, "inner kept") })
	}))
	for id, want := range map[string]bool{"outer": true, "inner kept": true, "inner failed": false, "innermost": false, "inner panicked": false} {
		equal(b.t, "created: "+id, b.exists(b.ctx, id), want)
	}
	err := b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error {
		wantNil(b.t, "inner", b.db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error { return b.create(ctx, "of an outer that failed") }))
		return errUndo
	})
	equal(b.t, "error of the outer", err, errUndo)
	equal(b.t, "created by the inner of an outer that failed", b.exists(b.ctx, "of an outer that failed"), false)
}

func failingStatements(b *bench) {
	b.conversation("c")
	b.message("c", "m", "")
	b.base("kb", 2, models.MetricL2)
	wantNil(b.t, "transaction", b.db.WithTransaction(b.ctx, func(ctx context.Context, tx *repo.Tx) error {
		for i, step := range []struct {
			name string
			err  error
			want error
		}{
			{"known conversation", b.create(ctx, "c"), repo.ErrConflict},
			{"known message", func() error {
				_, err := b.db.InsertMessage(ctx, models.Message{MsgID: "m", ConversationID: "c", Role: models.RoleUser})
				return err
			}(), repo.ErrConflict},
			{"half a batch", func() error {
				_, err := b.db.InsertMessages(ctx, []models.Message{{MsgID: "half", ConversationID: "c", Role: models.RoleUser}, {MsgID: "m", ConversationID: "c", Role: models.RoleUser}})
				return err
			}(), repo.ErrConflict},
			{"unknown message", func() error {
				_, err := b.db.AddAttachment(ctx, models.MessageAttachment{MessageID: "nobody"})
				return err
			}(), repo.ErrReference},
			{"unknown chunk", func() error {
				_, err := b.db.UpsertVectors(ctx, []models.KnowledgeVector{{FileID: "kb-file", ChunkID: "nobody", Embedding: []float32{1, 2}}})
				return err
			}(), repo.ErrReference},
			{"unknown file", func() error {
				_, err := b.db.InsertChunks(ctx, []models.KnowledgeChunk{{FileID: "nobody"}})
				return err
			}(), repo.ErrReference},
			{"delete of nobody", b.db.DeleteMessage(ctx, "nobody"), repo.ErrNotFound},
			{"read of nobody", func() error { _, err := b.db.GetMessage(ctx, "nobody"); return err }(), repo.ErrNotFound},
		} {
			wantErr(b.t, step.name, step.err, step.want)
			wantNil(b.t, "after "+step.name, b.create(ctx, fmt.Sprint("after", i)))
		}
		// A statement of the host's own is its own savepoint's business.
		return b.db.WithTransaction(ctx, func(ctx context.Context, tx *repo.Tx) error {
			err := b.db.WithTransaction(ctx, func(_ context.Context, tx *repo.Tx) error {
				return tx.Gorm().Exec("SELECT * FROM nothing_like_this").Error
			})
			if err == nil {
				b.t.Errorf("plain SQL on a missing table: got no error, want one")
			}
			return b.create(ctx, "after plain SQL")
		})
	}))
	equal(b.t, "messages", b.getConversation("c").MessageCount, 1)
	n, err := b.db.CountConversations(b.ctx)
	wantNil(b.t, "count", err)
	equal(b.t, "conversations", n, 1+8+1)
}

// wantTxError checks that err is a TransactionError of the code that hosts look for.
func wantTxError(b *bench, what string, err error, kind error) {
	b.t.Helper()
	var te *repo.TransactionError
	if !errors.As(err, &te) {
		b.t.Errorf("%s: got error %T (%v), want a TransactionError", what, err, err)
		return
	}
	equal(b.t, what+": code", repo.ErrorCode(err), repo.CodeTransaction)
	wantErr(b.t, what, err, kind)
}

func handles(b *bench) {
	tx, err := b.db.Begin(b.ctx)
	wantNil(b.t, "begin", err)
	wantNil(b.t, "create", b.create(tx.Context(), "kept"))
	_, err = b.db.Begin(tx.Context())
	wantTxError(b, "begin inside", err, repo.ErrInvalid)
	wantNil(b.t, "nested", b.db.WithTransaction(tx.Context(), func(ctx context.Context, _ *repo.Tx) error { return b.create(ctx, "nested") }))
	wantNil(b.t, "commit", tx.Commit())
	wantTxError(b, "commit again", tx.Commit(), repo.ErrTxDone)
	wantTxError(b, "rollback after commit", tx.Rollback(), repo.ErrTxDone)
	wantTxError(b, "write after commit", b.create(tx.Context(), "late"), repo.ErrTxDone)
	_, err = b.db.GetConversation(tx.Context(), "kept")
	wantTxError(b, "read after commit", err, repo.ErrTxDone)
	_, err = b.db.GetStatistics(tx.Context())
	wantTxError(b, "snapshot after commit", err, repo.ErrTxDone)
	wantTxError(b, "nested after commit", b.db.WithTransaction(tx.Context(), func(context.Context, *repo.Tx) error {
		b.t.Error("nested after commit: got a call, want none")
		return nil
	}), repo.ErrTxDone)
	if err := tx.Gorm().Exec("DELETE FROM conversations").Error; err == nil {
		b.t.Errorf("plain SQL after commit: got no error, want one")
	}
	equal(b.t, "created", b.exists(b.ctx, "kept") && b.exists(b.ctx, "nested"), true)

	undo, err := b.db.Begin(b.ctx)
	wantNil(b.t, "begin", err)
	if undo.ID() == tx.ID() || undo.ID() == "" {
		b.t.Errorf("id: got %q, want one that is not %q", undo.ID(), tx.ID())
	}
	wantNil(b.t, "create", b.create(undo.Context(), "undone"))
	wantNil(b.t, "rollback", undo.Rollback())
	wantTxError(b, "rollback again", undo.Rollback(), repo.ErrTxDone)
	wantTxError(b, "commit after rollback", undo.Commit(), repo.ErrTxDone)
	equal(b.t, "created by what was undone", b.exists(b.ctx, "undone"), false)

	// A function may end its transaction itself.
	err = b.db.WithTransaction(b.ctx, func(ctx context.Context, tx *repo.Tx) error {
		wantNil(b.t, "create", b.create(ctx, "early"))
		return tx.Rollback()
	})
	wantTxError(b, "commit of what its function rolled back", err, repo.ErrTxDone)
	equal(b.t, "created by what its function rolled back", b.exists(b.ctx, "early"), false)
	_, err = b.db.JoinGorm(b.ctx, must[*gorm.DB](b.t)(b.db.Gorm(b.ctx)))
	wantTxError(b, "joining what is no transaction", err, repo.ErrInvalid)
}

func abandoned(b *bench) {
	ctx, cancel := context.WithCancel(b.ctx)
	tx, err := b.db.Begin(ctx)
	wantNil(b.t, "begin", err)
	wantNil(b.t, "create", b.create(tx.Context(), "abandoned"))
	cancel()
	// Nobody rolls it back, and still the next writer gets its turn.
	wantNil(b.t, "create by the next", b.create(b.ctx, "next"))
	equal(b.t, "created by what was abandoned", b.exists(b.ctx, "abandoned"), false)
	if err := tx.Commit(); err == nil {
		b.t.Errorf("commit of what was abandoned: got no error, want one")
	}
	if err := b.create(tx.Context(), "late"); err == nil {
		b.t.Errorf("write in what was abandoned: got no error, want one")
	}
	equal(b.t, "created late", b.exists(b.ctx, "late"), false)
}

func isolation(b *bench) {
	b.conversation("c")
	tx, err := b.db.Begin(b.ctx)
	wantNil(b.t, "begin", err)
	_, err = b.db.InsertMessage(tx.Context(), models.Message{MsgID: "m", ConversationID: "c", Role: models.RoleUser, Content: "secret"})
	wantNil(b.t, "insert", err)
	_, err = b.db.GetMessage(tx.Context(), "m")
	wantNil(b.t, "read inside", err)
	inside, err := b.db.ConversationWithMessages(tx.Context(), "c")
	wantNil(b.t, "read inside", err)
	equal(b.t, "count inside", inside.Conversation.MessageCount, 1)
	n := 0
	for _, err := range b.db.StreamMessages(tx.Context(), "c") {
		wantNil(b.t, "stream inside", err)
		n++
	}
	equal(b.t, "streamed inside", n, 1)
	hits, err := b.db.SearchText(tx.Context(), repo.TextQuery{Query: "secret"})
	wantNil(b.t, "search inside", err)
	equal(b.t, "found inside", len(hits), 1)

	_, err = b.db.GetMessage(b.ctx, "m")
	wantErr(b.t, "read outside", err, repo.ErrNotFound)
	equal(b.t, "count outside", b.getConversation("c").MessageCount, 0)
	deepEqual(b.t, "found outside", b.searched("secret"), []string{})
	wantNil(b.t, "commit", tx.Commit())
	equal(b.t, "read afterwards", b.getMessage("m").Content, "secret")
}

func sharedTransaction(b *bench) {
	b.conversation("c")
	const goroutines = 8
	wantNil(b.t, "transaction", b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error {
		var wg sync.WaitGroup
		var turn sync.Mutex
		errs := make([]error, goroutines)
		for i := range goroutines {
			wg.Go(func() {
				turn.Lock()
				defer turn.Unlock()
				_, err := b.db.InsertMessage(ctx, models.Message{MsgID: fmt.Sprint("m", i), ConversationID: "c", Role: models.RoleUser})
				_, rerr := b.db.GetConversation(ctx, "c")
				errs[i] = errors.Join(err, rerr)
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	}))
	got, err := b.db.ConversationWithMessages(b.ctx, "c")
	wantNil(b.t, "read", err)
	for i, m := range got.Messages {
		equal(b.t, "order_seq", m.OrderSeq, int64(i+1))
	}
	equal(b.t, "messages", len(got.Messages), goroutines)
}

func everyWrite(b *bench) {
	b.conversation("c")
	b.message("c", "m", "words")
	b.base("kb", 2, models.MetricL2)
	b.vectors("kb-file", []string{"v"}, map[string][]float32{"v": {1, 2}})
	_, err := b.db.AddAttachment(b.ctx, models.MessageAttachment{AttachmentID: "a", MessageID: "m"})
	wantNil(b.t, "attach", err)
	before, err := b.db.GetStatistics(b.ctx)
	wantNil(b.t, "stats", err)
	only := func(_ any, err error) error { return err }
	err = b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error {
		for name, err := range map[string]error{
			"1 create":       b.create(ctx, "new"),
			"2 update":       only(b.db.UpdateConversation(ctx, "c", repo.ConversationUpdate{Title: ptr("changed")})),
			"3 insert":       only(b.db.InsertMessage(ctx, models.Message{ConversationID: "c", Role: models.RoleUser, Content: "words"})),
			"4 update":       only(b.db.UpdateMessage(ctx, "m", repo.MessageUpdate{Content: ptr("changed")})),
			"5 attach":       only(b.db.AddAttachment(ctx, models.MessageAttachment{MessageID: "m"})),
			"6 base":         only(b.db.CreateBase(ctx, models.KnowledgeBase{})),
			"7 update base":  only(b.db.UpdateBase(ctx, "kb", repo.BaseUpdate{Name: ptr("changed")})),
			"8 file":         only(b.db.InsertFile(ctx, models.KnowledgeFile{BaseID: "kb"})),
			"9 update file":  only(b.db.UpdateFile(ctx, "kb-file", repo.FileUpdate{Name: ptr("changed")})),
			"10 chunks":      only(b.db.InsertChunks(ctx, []models.KnowledgeChunk{{FileID: "kb-file", Content: "words"}})),
			"11 new vector":  only(b.db.UpsertVectors(ctx, []models.KnowledgeVector{{ID: "w", FileID: "kb-file", ChunkID: "v", Embedding: []float32{3, 4}}})),
			"12 old vector":  only(b.db.UpsertVectors(ctx, []models.KnowledgeVector{{ID: "v", FileID: "kb-file", ChunkID: "v", Embedding: []float32{5, 6}}})),
			"13 both":        only(b.db.UpsertVectors(ctx, []models.KnowledgeVector{{ID: "v", FileID: "kb-file", ChunkID: "v", Embedding: []float32{7, 8}}, {ID: "x", FileID: "kb-file", ChunkID: "v", Embedding: []float32{7, 8}}})),
			"14 pause":       only(b.db.PauseRunningTasks(ctx)),
			"15 rebuild":     only(b.db.RebuildTextIndex(ctx)),
			"16 destroy":     only(b.db.DestroyKnowledge(ctx)),
			"17 delete":      b.db.DeleteAttachment(ctx, "a"),
			"18 delete all":  only(b.db.DeleteAllMessages(ctx)),
			"19 delete conv": b.db.DeleteConversation(ctx, "c"),
		} {
			wantNil(b.t, name, err)
		}
		return errUndo
	})
	equal(b.t, "error", err, errUndo)
	after, err := b.db.GetStatistics(b.ctx)
	wantNil(b.t, "stats", err)
	deepEqual(b.t, "rows", after.Rows(), before.Rows())
	equal(b.t, "content", b.getMessage("m").Content, "words")
	deepEqual(b.t, "found", b.searched("words"), []string{"m"})
	deepEqual(b.t, "changes found", b.searched("changed"), []string{})
	deepEqual(b.t, "nearest", b.similar(repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 2}})[0].Distance, 0)
}
