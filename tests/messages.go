package tests

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func messageCases() []testCase {
	return []testCase{
		{name: "insert fills in what is not given", run: insertMessage},
		{name: "insert refuses what cannot be stored", run: refuseMessages},
		{name: "a batch is stored as a whole or not at all", run: insertMessages},
		{name: "update changes the given fields only", run: updateMessage},
		{name: "unknown ids are not found", run: unknownMessages},
		{name: "deletions cascade and count", run: deleteMessages},
		{name: "variants belong to their main message", run: variants},
		{name: "last user message and highest order_seq", run: lastAndMax},
	}
}

func insertMessage(b *bench) {
	b.conversation("c")
	before := time.Now().UnixMilli()
	m, err := b.db.InsertMessage(b.ctx, models.Message{ConversationID: "c", Role: models.RoleUser, Content: "hi"})
	wantNil(b.t, "insert", err)
	if _, err := uuid.Parse(m.MsgID); err != nil {
		b.t.Errorf("msg_id: got %q, want a UUID", m.MsgID)
	}
	if now := time.Now().UnixMilli(); m.CreatedAt < before || m.CreatedAt > now {
		b.t.Errorf("created_at: got %d, want between %d and %d", m.CreatedAt, before, now)
	}
	equal(b.t, "status", m.Status, models.StatusSent)
	equal(b.t, "order_seq", m.OrderSeq, 1)
	equal(b.t, "metadata", m.Metadata.String(), "{}")
	deepEqual(b.t, "as read", b.getMessage(m.MsgID), m)
	given := models.Message{
		ID: 500, MsgID: "given", ConversationID: "c", ParentID: "no such parent", Role: models.RoleFunction, Content: "text",
		CreatedAt: 3, OrderSeq: 40, TokenCount: 7, Status: models.StatusError, Metadata: models.JSON(`{"k":[1,2]}`), IsContextEdge: true, IsVariant: true,
	}
	stored, err := b.db.InsertMessage(b.ctx, given)
	wantNil(b.t, "insert given", err)
	given.ID = stored.ID
	deepEqual(b.t, "stored", stored, given)
	deepEqual(b.t, "as read", b.getMessage("given"), given)
	equal(b.t, "next order_seq", b.message("c", "next", "").OrderSeq, 41)
	equal(b.t, "count", b.getConversation("c").MessageCount, 3)
	b.conversation("d")
	equal(b.t, "order_seq in another conversation", b.message("d", "first", "").OrderSeq, 1)
	for _, role := range models.Roles() {
		for _, status := range []models.MessageStatus{models.StatusSent, models.StatusPending, models.StatusError} {
			m, err := b.db.InsertMessage(b.ctx, models.Message{ConversationID: "d", Role: role, Status: status})
			wantNil(b.t, string(role+" "+models.Role(status)), err)
			got := b.getMessage(m.MsgID)
			equal(b.t, "role", got.Role, role)
			equal(b.t, "status", got.Status, status)
		}
	}
}

func refuseMessages(b *bench) {
	b.conversation("c")
	b.message("c", "known", "")
	ok := models.Message{ConversationID: "c", Role: models.RoleUser}
	for name, c := range map[string]struct {
		change func(*models.Message)
		want   error
	}{
		"unknown conversation": {func(m *models.Message) { m.ConversationID = "nobody" }, repo.ErrReference},
		"no conversation":      {func(m *models.Message) { m.ConversationID = "" }, repo.ErrInvalid},
		"known id":             {func(m *models.Message) { m.MsgID = "known" }, repo.ErrConflict},
		"unknown role":         {func(m *models.Message) { m.Role = "admin" }, repo.ErrInvalid},
		"no role":              {func(m *models.Message) { m.Role = "" }, repo.ErrInvalid},
		"unknown status":       {func(m *models.Message) { m.Status = "lost" }, repo.ErrInvalid},
		"array as metadata":    {func(m *models.Message) { m.Metadata = models.JSON("[1]") }, models.ErrNotObject},
		"id too long":          {func(m *models.Message) { m.MsgID = strings.Repeat("x", 600) }, repo.ErrInvalid},
	} {
		m := ok
		c.change(&m)
		_, err := b.db.InsertMessage(b.ctx, m)
		wantErr(b.t, name, err, c.want)
		wantTyped(b.t, name, err)
		_, err = b.db.InsertMessages(b.ctx, []models.Message{ok, m})
		wantErr(b.t, name+" in a batch", err, c.want)
	}
	_, err := b.db.InsertMessage(b.ctx, models.Message{ConversationID: "nobody", Role: models.RoleUser})
	wantErr(b.t, "a missing parent", err, repo.ErrNotFound)
	equal(b.t, "messages", b.number("SELECT count(*) FROM messages"), 1)
	equal(b.t, "count", b.getConversation("c").MessageCount, 1)
}

func insertMessages(b *bench) {
	b.conversation("a")
	b.conversation("b")
	stored, err := b.db.InsertMessages(b.ctx, []models.Message{
		{MsgID: "a1", ConversationID: "a", Role: models.RoleUser, Content: "apples"},
		{MsgID: "b1", ConversationID: "b", Role: models.RoleUser, OrderSeq: 9},
		{MsgID: "a2", ConversationID: "a", Role: models.RoleAssistant},
		{MsgID: "b2", ConversationID: "b", Role: models.RoleAssistant, ParentID: "b1"},
	})
	wantNil(b.t, "insert", err)
	for i, want := range []int64{1, 9, 2, 10} {
		equal(b.t, "order_seq of "+stored[i].MsgID, stored[i].OrderSeq, want)
		deepEqual(b.t, "as read", b.getMessage(stored[i].MsgID), stored[i])
	}
	deepEqual(b.t, "found", b.searched("apple"), []string{"a1"})
	_, err = b.db.InsertMessages(b.ctx, []models.Message{
		{MsgID: "a3", ConversationID: "a", Role: models.RoleUser, Content: "pears"},
		{MsgID: "a1", ConversationID: "a", Role: models.RoleUser},
	})
	wantErr(b.t, "a batch with a known id", err, repo.ErrConflict)
	_, err = b.db.InsertMessages(b.ctx, []models.Message{
		{MsgID: "same", ConversationID: "a", Role: models.RoleUser}, {MsgID: "same", ConversationID: "a", Role: models.RoleUser},
	})
	wantErr(b.t, "a batch with an id twice", err, repo.ErrConflict)
	equal(b.t, "count", b.getConversation("a").MessageCount, 2)
	deepEqual(b.t, "found after a refused batch", b.searched("pears"), []string{})
	none, err := b.db.InsertMessages(b.ctx, nil)
	wantNil(b.t, "an empty batch", err)
	equal(b.t, "rows of an empty batch", len(none), 0)
}

func updateMessage(b *bench) {
	b.conversation("c")
	m, err := b.db.InsertMessage(b.ctx, models.Message{
		MsgID: "m", ConversationID: "c", ParentID: "p", Role: models.RoleAssistant, Content: "old", CreatedAt: 4, TokenCount: 5,
		Status: models.StatusPending, Metadata: models.JSON(`{"a":1}`), IsContextEdge: true, IsVariant: true,
	})
	wantNil(b.t, "insert", err)
	for _, s := range []struct {
		name   string
		update repo.MessageUpdate
		change func(*models.Message)
	}{
		{"nothing", repo.MessageUpdate{}, func(*models.Message) {}},
		{"content", repo.MessageUpdate{Content: ptr("new")}, func(m *models.Message) { m.Content = "new" }},
		{"status", repo.MessageUpdate{Status: ptr(models.StatusError)}, func(m *models.Message) { m.Status = models.StatusError }},
		{"metadata", repo.MessageUpdate{Metadata: ptr(models.JSON(`{"b" : {}}`))}, func(m *models.Message) { m.Metadata = models.JSON(`{"b":{}}`) }},
		{"context edge", repo.MessageUpdate{IsContextEdge: ptr(false)}, func(m *models.Message) { m.IsContextEdge = false }},
		{"token count", repo.MessageUpdate{TokenCount: ptr(int64(0))}, func(m *models.Message) { m.TokenCount = 0 }},
		{"all at once", repo.MessageUpdate{
			Content: ptr(""), Status: ptr(models.StatusSent), Metadata: ptr(models.JSON("")), IsContextEdge: ptr(true), TokenCount: ptr(int64(1 << 40)),
		}, func(m *models.Message) {
			m.Content, m.Status, m.Metadata, m.IsContextEdge, m.TokenCount = "", models.StatusSent, models.JSON("{}"), true, 1<<40
		}},
	} {
		s.change(&m)
		got, err := b.db.UpdateMessage(b.ctx, "m", s.update)
		wantNil(b.t, s.name, err)
		deepEqual(b.t, s.name, got, m)
		deepEqual(b.t, s.name+" as read", b.getMessage("m"), m)
	}
	for name, u := range map[string]repo.MessageUpdate{
		"unknown status": {Status: ptr(models.MessageStatus("lost"))},
		"array":          {Metadata: ptr(models.JSON("[]"))},
	} {
		_, err := b.db.UpdateMessage(b.ctx, "m", u)
		wantErr(b.t, name, err, repo.ErrInvalid)
	}
	wantNil(b.t, "parent", b.db.UpdateMessageParent(b.ctx, "m", "q"))
	equal(b.t, "parent", b.getMessage("m").ParentID, "q")
	wantNil(b.t, "no parent", b.db.UpdateMessageParent(b.ctx, "m", ""))
	equal(b.t, "parent", b.getMessage("m").ParentID, "")
}

func unknownMessages(b *bench) {
	b.conversation("c")
	for name, call := range map[string]func() error{
		"get": func() error { _, err := b.db.GetMessage(b.ctx, "nobody"); return err },
		"update": func() error {
			_, err := b.db.UpdateMessage(b.ctx, "nobody", repo.MessageUpdate{Content: ptr("x")})
			return err
		},
		"update none":   func() error { _, err := b.db.UpdateMessage(b.ctx, "nobody", repo.MessageUpdate{}); return err },
		"update parent": func() error { return b.db.UpdateMessageParent(b.ctx, "nobody", "x") },
		"delete":        func() error { return b.db.DeleteMessage(b.ctx, "nobody") },
		"variants":      func() error { _, err := b.db.MessageVariants(b.ctx, "nobody"); return err },
		"main message":  func() error { _, err := b.db.MainMessage(b.ctx, "c", "nobody"); return err },
		"last of user":  func() error { _, err := b.db.LastUserMessage(b.ctx, "c"); return err },
	} {
		err := call()
		wantErr(b.t, name, err, repo.ErrNotFound)
		wantTyped(b.t, name, err)
	}
	// A conversation that is not there has no messages.
	n, err := b.db.DeleteConversationMessages(b.ctx, "nobody")
	wantNil(b.t, "delete of nobody", err)
	equal(b.t, "deleted", n, 0)
	n, err = b.db.MaxOrderSeq(b.ctx, "nobody")
	wantNil(b.t, "max of nobody", err)
	equal(b.t, "max", n, 0)
	threads, err := b.db.QueryMessages(b.ctx, "nobody")
	wantNil(b.t, "query of nobody", err)
	equal(b.t, "threads", len(threads), 0)
	page, err := b.db.ListMessages(b.ctx, repo.MessageList{ConversationID: "nobody", WithTotal: true})
	wantNil(b.t, "list of nobody", err)
	equal(b.t, "listed", len(page.Messages), 0)
	equal(b.t, "total", *page.Total, 0)
	for m, err := range b.db.StreamMessages(b.ctx, "nobody") {
		b.t.Errorf("stream of nobody: got message %q, error %v, want none", m.MsgID, err)
	}
}

func deleteMessages(b *bench) {
	for _, c := range []string{"a", "b", "c"} {
		b.conversation(c)
		for i := range 3 {
			id := fmt.Sprint(c, i)
			b.message(c, id, "plums")
			_, err := b.db.AddAttachment(b.ctx, models.MessageAttachment{AttachmentID: "att-" + id, MessageID: id, Type: "file", Data: "d"})
			wantNil(b.t, "attach", err)
		}
	}
	wantNil(b.t, "parent", b.db.UpdateMessageParent(b.ctx, "a2", "a0"))
	wantNil(b.t, "delete", b.db.DeleteMessage(b.ctx, "a0"))
	equal(b.t, "parent of an answer to a deleted message", b.getMessage("a2").ParentID, "a0")
	wantErr(b.t, "its attachment", b.db.DeleteAttachment(b.ctx, "att-a0"), repo.ErrNotFound)
	equal(b.t, "count", b.getConversation("a").MessageCount, 2)
	equal(b.t, "found", len(b.searched("plum")), 8)
	n, err := b.db.DeleteConversationMessages(b.ctx, "b")
	wantNil(b.t, "delete all of b", err)
	equal(b.t, "deleted of b", n, 3)
	equal(b.t, "count of b", b.getConversation("b").MessageCount, 0)
	equal(b.t, "order_seq begins anew", b.message("b", "b-new", "").OrderSeq, 1)
	n, err = b.db.DeleteAllMessages(b.ctx)
	wantNil(b.t, "delete all", err)
	equal(b.t, "deleted", n, 6)
	for _, c := range []string{"a", "b", "c"} {
		equal(b.t, "count of "+c, b.getConversation(c).MessageCount, 0)
	}
	equal(b.t, "attachments", b.number("SELECT count(*) FROM message_attachments"), 0)
	deepEqual(b.t, "found", b.searched("plum"), []string{})
}

func variants(b *bench) {
	b.conversation("c")
	b.conversation("other")
	insert := func(conv, id, parent string, role models.Role, variant bool) {
		b.t.Helper()
		_, err := b.db.InsertMessage(b.ctx, models.Message{MsgID: id, ConversationID: conv, ParentID: parent, Role: role, IsVariant: models.Flag(variant)})
		wantNil(b.t, "insert "+id, err)
	}
	insert("c", "q1", "", models.RoleUser, false)
	insert("c", "early", "q1", models.RoleAssistant, true)
	insert("c", "a1", "q1", models.RoleAssistant, false)
	insert("c", "v1", "q1", models.RoleAssistant, true)
	insert("c", "second", "q1", models.RoleAssistant, false)
	insert("c", "q2", "a1", models.RoleUser, false)
	insert("c", "orphan", "gone", models.RoleAssistant, true)
	insert("c", "root", "", models.RoleAssistant, true)
	insert("c", "v2", "q1", models.RoleAssistant, true)
	insert("other", "elsewhere", "q1", models.RoleAssistant, true)

	threads, err := b.db.QueryMessages(b.ctx, "c")
	wantNil(b.t, "query", err)
	got := []string{}
	for _, th := range threads {
		got = append(got, fmt.Sprint(th.MsgID, msgIDs(th.Variants)))
	}
	deepEqual(b.t, "threads", got, []string{"q1[]", "a1[early v1 v2]", "second[]", "q2[]", "orphan[]", "root[]"})

	for id, want := range map[string][]string{
		"a1": {"early", "v1", "v2"}, "second": {"early", "v1", "v2"}, "v1": {"early", "v2"}, "q1": {"early", "v1", "v2"}, "q2": {}, "orphan": {},
	} {
		vs, err := b.db.MessageVariants(b.ctx, id)
		wantNil(b.t, "variants of "+id, err)
		deepEqual(b.t, "variants of "+id, msgIDs(vs), want)
	}
	m, err := b.db.MainMessage(b.ctx, "c", "q1")
	wantNil(b.t, "main", err)
	equal(b.t, "main answer to q1", m.MsgID, "a1")
	_, err = b.db.MainMessage(b.ctx, "c", "gone")
	wantErr(b.t, "main answer where there are only variants", err, repo.ErrNotFound)
	_, err = b.db.MainMessage(b.ctx, "other", "q1")
	wantErr(b.t, "main answer in another conversation", err, repo.ErrNotFound)
}

func lastAndMax(b *bench) {
	b.conversation("c")
	for _, m := range []models.Message{
		{MsgID: "u1", Role: models.RoleUser, OrderSeq: 5},
		{MsgID: "u2", Role: models.RoleUser, OrderSeq: 8},
		{MsgID: "u3", Role: models.RoleUser, OrderSeq: 8},
		{MsgID: "u4", Role: models.RoleUser, OrderSeq: 2},
		{MsgID: "a1", Role: models.RoleAssistant, OrderSeq: 12},
	} {
		m.ConversationID = "c"
		_, err := b.db.InsertMessage(b.ctx, m)
		wantNil(b.t, "insert", err)
	}
	last, err := b.db.LastUserMessage(b.ctx, "c")
	wantNil(b.t, "last", err)
	equal(b.t, "last of the user", last.MsgID, "u3")
	n, err := b.db.MaxOrderSeq(b.ctx, "c")
	wantNil(b.t, "max", err)
	equal(b.t, "max", n, 12)
}
