package tests

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func bulkCases() []testCase {
	return []testCase{
		{name: "rows are stored exactly as given", run: bulkLoad},
		{name: "a refused load leaves its batch usable", run: bulkRefused},
		{name: "what a load drops is made again", run: bulkDropped},
	}
}

func bulkLoad(b *bench) {
	const n = 700 // more than a few statements' worth
	bulk := b.db.Bulk()
	var cs []models.Conversation
	var ms []models.Message
	var as []models.MessageAttachment
	var fs []models.KnowledgeFile
	var ks []models.KnowledgeChunk
	var vs []models.KnowledgeVector
	var keys []string
	for i := range n {
		id := fmt.Sprintf("id%03d", i)
		keys = append(keys, id)
		cs = append(cs, models.Conversation{ConvID: id, Title: "title 标题 " + id, CreatedAt: int64(i), UpdatedAt: int64(2 * i), IsPinned: i%2 == 0, IsNew: i%3 == 0, Settings: models.JSON(`{"i":1}`)})
		ms = append(ms, models.Message{
			MsgID: id, ConversationID: "id000", ParentID: "p", Role: models.Roles()[i%4], Content: "content of " + id, CreatedAt: int64(i), OrderSeq: int64(n - i),
			TokenCount: int64(i), Status: models.StatusError, Metadata: models.JSON(`{"m":[]}`), IsContextEdge: i%2 == 1, IsVariant: i%5 == 0,
		})
		as = append(as, models.MessageAttachment{AttachmentID: id, MessageID: id, Type: "t", Data: "data", CreatedAt: int64(i)})
		fs = append(fs, models.KnowledgeFile{ID: id, BaseID: "kb", Name: "n", Path: "p", MimeType: "t", Status: models.TaskProcessed, UploadedAt: int64(i), Metadata: models.JSON(`{"f":null}`)})
		ks = append(ks, models.KnowledgeChunk{ID: id, FileID: "id000", ChunkIndex: int64(i), Content: "chunk " + id, Status: models.TaskProcessed, Error: "e"})
		vs = append(vs, models.KnowledgeVector{ID: id, BaseID: "kb", FileID: "id000", ChunkID: id, Embedding: wave(5, i), CreatedAt: int64(i)})
	}
	wantNil(b.t, "batch", bulk.Batch(b.ctx, func(ctx context.Context) error {
		return errors.Join(
			bulk.InsertConversations(ctx, cs), bulk.InsertMessages(ctx, ms), bulk.InsertAttachments(ctx, as),
			bulk.InsertBases(ctx, []models.KnowledgeBase{{ID: "kb", Dimensions: 5, Metric: models.MetricL2}}),
			bulk.InsertFiles(ctx, fs), bulk.InsertChunks(ctx, ks), bulk.InsertVectors(ctx, vs),
		)
	}))
	asked := append([]string{"nobody"}, keys...)
	gotC, err := bulk.ConversationsByID(b.ctx, asked)
	wantNil(b.t, "conversations", err)
	gotM, err := bulk.MessagesByID(b.ctx, asked)
	wantNil(b.t, "messages", err)
	gotA, err := bulk.AttachmentsByID(b.ctx, asked)
	wantNil(b.t, "attachments", err)
	gotF, err := bulk.FilesByID(b.ctx, asked)
	wantNil(b.t, "files", err)
	gotK, err := bulk.ChunksByID(b.ctx, asked)
	wantNil(b.t, "chunks", err)
	gotV, err := bulk.VectorsByID(b.ctx, asked)
	wantNil(b.t, "vectors", err)
	equal(b.t, "rows read", fmt.Sprint(len(gotC), len(gotM), len(gotA), len(gotF), len(gotK), len(gotV)), fmt.Sprint(n, n, n, n, n, n))
	for i, id := range keys {
		cs[i].ID, ms[i].ID, as[i].ID, ks[i].Seq = gotC[id].ID, gotM[id].ID, gotA[id].ID, gotK[id].Seq
		if i == 0 {
			cs[i].MessageCount = n
		}
		deepEqual(b.t, "conversation", gotC[id], cs[i])
		deepEqual(b.t, "message", gotM[id], ms[i])
		deepEqual(b.t, "attachment", gotA[id], as[i])
		deepEqual(b.t, "file", gotF[id], fs[i])
		deepEqual(b.t, "chunk", gotK[id], ks[i])
		deepEqual(b.t, "vector", gotV[id], vs[i])
		if i > 0 && gotM[id].ID <= gotM[keys[i-1]].ID {
			b.t.Errorf("id of %s: got %d, want more than %d before it", id, gotM[id].ID, gotM[keys[i-1]].ID)
		}
	}
	deepEqual(b.t, "found", b.searched("id678"), []string{"id678", "id678", "id678"})
	bases, err := bulk.BasesByID(b.ctx, []string{"kb", "nobody"})
	wantNil(b.t, "bases", err)
	equal(b.t, "bases", len(bases), 1)
	has, err := bulk.HasMessages(b.ctx, asked)
	wantNil(b.t, "has", err)
	equal(b.t, "has", fmt.Sprint(len(has), has["id001"], has["nobody"]), fmt.Sprint(n, true, false))
	of, err := bulk.VectorsOfChunks(b.ctx, []string{"id005", "nobody"})
	wantNil(b.t, "vectors of chunks", err)
	deepEqual(b.t, "vectors of chunks", of, map[string]string{"id005": "id005"})
	// Rows that are inserted one by one afterwards go on behind them.
	m := b.message("id000", "", "later")
	equal(b.t, "order_seq", m.OrderSeq, n+1)
	if m.ID <= gotM["id699"].ID {
		b.t.Errorf("id after a load: got %d, want more than %d", m.ID, gotM["id699"].ID)
	}
	wantNil(b.t, "load nothing", bulk.InsertMessages(b.ctx, nil))
}

func bulkRefused(b *bench) {
	b.conversation("c")
	b.message("c", "known", "")
	b.base("kb", 2, models.MetricL2)
	ok := models.Message{MsgID: "ok", ConversationID: "c", Role: models.RoleUser, Status: models.StatusSent}
	bulk := b.db.Bulk()
	wantNil(b.t, "batch", bulk.Batch(b.ctx, func(ctx context.Context) error {
		for name, c := range map[string]struct {
			change func(*models.Message)
			want   error
		}{
			"known id":             {func(m *models.Message) { m.MsgID = "known" }, repo.ErrConflict},
			"unknown conversation": {func(m *models.Message) { m.ConversationID = "nobody" }, repo.ErrReference},
			"unknown role":         {func(m *models.Message) { m.Role = "admin" }, repo.ErrInvalid},
			"no status":            {func(m *models.Message) { m.Status = "" }, repo.ErrInvalid},
		} {
			bad := ok
			bad.MsgID = "bad"
			c.change(&bad)
			err := bulk.InsertMessages(ctx, []models.Message{ok, bad})
			wantErr(b.t, name, err, c.want)
			equal(b.t, name+" is the rows' fault", bulk.Refused(err), true)
		}
		wantErr(b.t, "known conversation", bulk.InsertConversations(ctx, []models.Conversation{{ConvID: "c"}}), repo.ErrConflict)
		wantErr(b.t, "known base", bulk.InsertBases(ctx, []models.KnowledgeBase{{ID: "kb", Dimensions: 2, Metric: models.MetricL2}}), repo.ErrConflict)
		wantErr(b.t, "unknown base", bulk.InsertFiles(ctx, []models.KnowledgeFile{{ID: "f", BaseID: "nobody", Status: models.TaskError}}), repo.ErrReference)
		wantErr(b.t, "unknown file", bulk.InsertChunks(ctx, []models.KnowledgeChunk{{ID: "k", FileID: "nobody", Status: models.TaskError}}), repo.ErrReference)
		wantErr(b.t, "unknown message", bulk.InsertAttachments(ctx, []models.MessageAttachment{{AttachmentID: "a", MessageID: "nobody"}}), repo.ErrReference)
		wantErr(b.t, "unknown chunk", bulk.InsertVectors(ctx, []models.KnowledgeVector{{FileID: "kb-file", ChunkID: "nobody", Embedding: []float32{1, 2}}}), repo.ErrReference)
		return bulk.InsertMessages(ctx, []models.Message{ok})
	}))
	equal(b.t, "messages", b.getConversation("c").MessageCount, 2)
	undo := errors.New("undo")
	err := bulk.Batch(b.ctx, func(ctx context.Context) error {
		m := ok
		m.MsgID = "undone"
		return errors.Join(bulk.InsertMessages(ctx, []models.Message{m}), undo)
	})
	wantErr(b.t, "batch that fails", err, undo)
	equal(b.t, "the host's own error is the rows' fault", bulk.Refused(err), false)
	_, err = b.db.GetMessage(b.ctx, "undone")
	wantErr(b.t, "message of a batch that failed", err, repo.ErrNotFound)
}

func bulkDropped(b *bench) {
	bulk := b.db.Bulk()
	var dropped []repo.Dropped
	wantNil(b.t, "drop", bulk.Batch(b.ctx, func(ctx context.Context) (err error) {
		dropped, err = bulk.DropForLoad(ctx, true)
		return err
	}))
	if r, err := b.db.ValidateSchema(b.ctx); err != nil || r.OK || len(dropped) == 0 {
		b.t.Errorf("after dropping: got %d things, ok %t, error %v; want a schema that is not whole", len(dropped), r.OK, err)
	}
	var cs []models.Conversation
	var ms []models.Message
	var as []models.MessageAttachment
	for _, conv := range []string{"stays", "goes"} {
		cs = append(cs, models.Conversation{ConvID: conv, Title: "title"})
		for i := range 3 {
			id := fmt.Sprint(conv, i)
			ms = append(ms, models.Message{MsgID: id, ConversationID: conv, Role: models.RoleUser, Status: models.StatusSent, Content: "quince"})
			as = append(as, models.MessageAttachment{AttachmentID: id, MessageID: id})
		}
	}
	wantNil(b.t, "load", bulk.Batch(b.ctx, func(ctx context.Context) error {
		return errors.Join(bulk.InsertConversations(ctx, cs), bulk.InsertMessages(ctx, ms), bulk.InsertAttachments(ctx, as))
	}))
	// Somebody else works meanwhile.
	b.message("stays", "added", "quince")
	wantNil(b.t, "delete", b.db.DeleteConversation(b.ctx, "goes"))
	wantNil(b.t, "delete", b.db.DeleteMessage(b.ctx, "stays1"))
	for range 2 { // what is there again is left alone
		for _, d := range dropped {
			wantNil(b.t, "restore "+d.Name, bulk.Batch(b.ctx, func(ctx context.Context) error { return bulk.Restore(ctx, d) }))
		}
	}
	b.valid("after a load")
	equal(b.t, "messages counted", b.getConversation("stays").MessageCount, 3)
	equal(b.t, "messages", b.number("SELECT count(*) FROM messages"), 3)
	equal(b.t, "attachments", b.number("SELECT count(*) FROM message_attachments"), 2)
	found := b.searched("quince")
	slices.Sort(found)
	deepEqual(b.t, "found", found, []string{"added", "stays0", "stays2"})
	b.works("after a load")
}
