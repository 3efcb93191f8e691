package tests

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func conversationCases() []testCase {
	return []testCase{
		{name: "create fills in what is not given", run: createConversation},
		{name: "update changes the given fields only", run: updateConversation},
		{name: "rename clears is_new and pin leaves updated_at", run: renameAndPin},
		{name: "unknown ids are not found", run: unknownConversations},
		{name: "delete cascades", run: deleteConversation},
		{name: "recent lists pinned first, with counts", run: recentConversations},
		{name: "lists sort, filter, count and page", run: listConversations},
		{name: "with all messages in one call", run: conversationWithMessages},
	}
}

func createConversation(b *bench) {
	before := time.Now().UnixMilli()
	c, err := b.db.CreateConversation(b.ctx, models.NewConversation("hello"))
	wantNil(b.t, "create", err)
	if _, err := uuid.Parse(c.ConvID); err != nil {
		b.t.Errorf("conv_id: got %q, want a UUID", c.ConvID)
	}
	if now := time.Now().UnixMilli(); c.CreatedAt < before || c.CreatedAt > now {
		b.t.Errorf("created_at: got %d, want between %d and %d", c.CreatedAt, before, now)
	}
	equal(b.t, "updated_at", c.UpdatedAt, c.CreatedAt)
	equal(b.t, "is_new", c.IsNew, true)
	equal(b.t, "settings", c.Settings.String(), "{}")
	deepEqual(b.t, "as read", b.getConversation(c.ConvID), c)

	given := models.Conversation{
		ID: 99, MessageCount: 5, ConvID: "given", Title: "given title", CreatedAt: 11, UpdatedAt: 22,
		IsPinned: true, IsNew: true, Settings: models.JSON(`{"model":"m","temperature":0.5}`),
	}
	stored, err := b.db.CreateConversation(b.ctx, given)
	wantNil(b.t, "create given", err)
	if stored.ID == 99 || stored.ID <= c.ID {
		b.t.Errorf("id: got %d, want one that the database assigned, after %d", stored.ID, c.ID)
	}
	given.ID, given.MessageCount = stored.ID, 0
	deepEqual(b.t, "stored", stored, given)
	deepEqual(b.t, "as read", b.getConversation("given"), given)

	_, err = b.db.CreateConversation(b.ctx, models.Conversation{ConvID: "given", Title: "again"})
	wantErr(b.t, "create twice", err, repo.ErrConflict)
	wantTyped(b.t, "create twice", err)
	equal(b.t, "code", repo.ErrorCode(err), "CONFLICT")
	n, err := b.db.CountConversations(b.ctx)
	wantNil(b.t, "count", err)
	equal(b.t, "count", n, 2)
	for _, settings := range []string{`[]`, `"s"`, `null`, `1`, `{`, `{}{}`, `{}]`, `{"a":1}}`, `nonsense`} {
		_, err := b.db.CreateConversation(b.ctx, models.Conversation{Title: "x", Settings: models.JSON(settings)})
		wantErr(b.t, "settings "+settings, err, repo.ErrInvalid, models.ErrNotObject)
	}
}

func updateConversation(b *bench) {
	created := models.Conversation{ConvID: "c", Title: "old", CreatedAt: 5, UpdatedAt: 6, IsNew: true, Settings: models.JSON(`{"a":1}`)}
	created, err := b.db.CreateConversation(b.ctx, created)
	wantNil(b.t, "create", err)
	before := time.Now().UnixMilli()
	c, err := b.db.UpdateConversation(b.ctx, "c", repo.ConversationUpdate{})
	wantNil(b.t, "update nothing", err)
	if c.UpdatedAt < before {
		b.t.Errorf("updated_at after an update of nothing: got %d, want at least %d", c.UpdatedAt, before)
	}
	created.UpdatedAt = c.UpdatedAt
	deepEqual(b.t, "after an update of nothing", c, created)
	for _, s := range []struct {
		name   string
		update repo.ConversationUpdate
		change func(*models.Conversation)
	}{
		{"title", repo.ConversationUpdate{Title: ptr("new")}, func(c *models.Conversation) { c.Title = "new" }},
		{"empty title", repo.ConversationUpdate{Title: ptr("")}, func(c *models.Conversation) { c.Title = "" }},
		{"pinned", repo.ConversationUpdate{IsPinned: ptr(true)}, func(c *models.Conversation) { c.IsPinned = true }},
		{"not pinned", repo.ConversationUpdate{IsPinned: ptr(false)}, func(c *models.Conversation) { c.IsPinned = false }},
		{"not new", repo.ConversationUpdate{IsNew: ptr(false)}, func(c *models.Conversation) { c.IsNew = false }},
		{"settings", repo.ConversationUpdate{Settings: ptr(models.JSON(`{"b": 2}`))}, func(c *models.Conversation) { c.Settings = models.JSON(`{"b":2}`) }},
		{"no settings", repo.ConversationUpdate{Settings: ptr(models.JSON(nil))}, func(c *models.Conversation) { c.Settings = models.JSON(`{}`) }},
	} {
		s.update.UpdatedAt = ptr(int64(77))
		want := created
		want.UpdatedAt = 77
		s.change(&want)
		got, err := b.db.UpdateConversation(b.ctx, "c", s.update)
		wantNil(b.t, s.name, err)
		deepEqual(b.t, s.name, got, want)
		deepEqual(b.t, s.name+" as read", b.getConversation("c"), want)
		created = got
	}
	_, err = b.db.UpdateConversation(b.ctx, "c", repo.ConversationUpdate{Settings: ptr(models.JSON("[]"))})
	wantErr(b.t, "settings that are no object", err, repo.ErrInvalid)
	deepEqual(b.t, "after a refused update", b.getConversation("c"), created)
}

func renameAndPin(b *bench) {
	_, err := b.db.CreateConversation(b.ctx, models.Conversation{ConvID: "c", Title: "old", CreatedAt: 5, UpdatedAt: 6, IsNew: true})
	wantNil(b.t, "create", err)
	wantNil(b.t, "pin", b.db.PinConversation(b.ctx, "c", true))
	c := b.getConversation("c")
	equal(b.t, "is_pinned", c.IsPinned, true)
	equal(b.t, "updated_at after pin", c.UpdatedAt, 6)
	equal(b.t, "is_new after pin", c.IsNew, true)
	wantNil(b.t, "unpin", b.db.PinConversation(b.ctx, "c", false))
	equal(b.t, "is_pinned", b.getConversation("c").IsPinned, false)
	before := time.Now().UnixMilli()
	wantNil(b.t, "rename", b.db.RenameConversation(b.ctx, "c", "new"))
	c = b.getConversation("c")
	equal(b.t, "title", c.Title, "new")
	equal(b.t, "is_new after rename", c.IsNew, false)
	if c.UpdatedAt < before {
		b.t.Errorf("updated_at after rename: got %d, want at least %d", c.UpdatedAt, before)
	}
	c.UpdatedAt = 0
	b.exec("UPDATE conversations SET updated_at = 0")
	_, err = b.db.InsertMessage(b.ctx, models.Message{MsgID: "m", ConversationID: "c", Role: models.RoleUser, CreatedAt: 100})
	wantNil(b.t, "insert", err)
	equal(b.t, "updated_at after a message", b.getConversation("c").UpdatedAt, 100)
	_, err = b.db.InsertMessage(b.ctx, models.Message{ConversationID: "c", Role: models.RoleUser, CreatedAt: 50})
	wantNil(b.t, "insert older", err)
	equal(b.t, "updated_at after an older message", b.getConversation("c").UpdatedAt, 100)
	wantNil(b.t, "delete message", b.db.DeleteMessage(b.ctx, "m"))
	equal(b.t, "updated_at after a deletion", b.getConversation("c").UpdatedAt, 100)
}

func unknownConversations(b *bench) {
	b.conversation("other")
	for name, call := range map[string]func() error{
		"get": func() error { _, err := b.db.GetConversation(b.ctx, "nobody"); return err },
		"update": func() error {
			_, err := b.db.UpdateConversation(b.ctx, "nobody", repo.ConversationUpdate{})
			return err
		},
		"rename":        func() error { return b.db.RenameConversation(b.ctx, "nobody", "x") },
		"pin":           func() error { return b.db.PinConversation(b.ctx, "nobody", true) },
		"delete":        func() error { return b.db.DeleteConversation(b.ctx, "nobody") },
		"with messages": func() error { _, err := b.db.ConversationWithMessages(b.ctx, "nobody"); return err },
		"empty id":      func() error { _, err := b.db.GetConversation(b.ctx, ""); return err },
		"other case":    func() error { _, err := b.db.GetConversation(b.ctx, "OTHER"); return err },
		"space behind":  func() error { _, err := b.db.GetConversation(b.ctx, "other "); return err },
	} {
		err := call()
		wantErr(b.t, name, err, repo.ErrNotFound)
		wantTyped(b.t, name, err)
		equal(b.t, name+" code", repo.ErrorCode(err), "NOT_FOUND")
	}
}

func deleteConversation(b *bench) {
	for _, id := range []string{"gone", "stays"} {
		b.conversation(id)
		b.message(id, id+"-m", "words of "+id)
		_, err := b.db.AddAttachment(b.ctx, models.MessageAttachment{MessageID: id + "-m", Type: "file", Data: "x"})
		wantNil(b.t, "attach", err)
	}
	wantNil(b.t, "delete", b.db.DeleteConversation(b.ctx, "gone"))
	_, err := b.db.GetMessage(b.ctx, "gone-m")
	wantErr(b.t, "message of a deleted conversation", err, repo.ErrNotFound)
	equal(b.t, "attachments left", b.number("SELECT count(*) FROM message_attachments"), 1)
	deepEqual(b.t, "found", b.searched("words"), []string{"stays-m"})
	deepEqual(b.t, "titles found", b.searched("title"), []string{"stays"})
	wantErr(b.t, "delete again", b.db.DeleteConversation(b.ctx, "gone"), repo.ErrNotFound)
	b.conversation("gone")
	equal(b.t, "count of a conversation made anew", b.getConversation("gone").MessageCount, 0)
}

func recentConversations(b *bench) {
	for i := range 5 {
		_, err := b.db.CreateConversation(b.ctx, models.Conversation{
			ConvID: fmt.Sprint("c", i), Title: "t", CreatedAt: 1, UpdatedAt: int64(10 + i%3), IsPinned: i == 2 || i == 0,
		})
		wantNil(b.t, "create", err)
		for range i {
			_, err := b.db.InsertMessage(b.ctx, models.Message{ConversationID: fmt.Sprint("c", i), Role: models.RoleUser, CreatedAt: 1})
			wantNil(b.t, "insert", err)
		}
	}
	recent, err := b.db.RecentConversations(b.ctx, 0)
	wantNil(b.t, "recent", err)
	// Pinned c2 (12) and c0 (10), then c4 (11) before c1 (11), whose id is lower, then c3 (10).
	deepEqual(b.t, "recent", convIDs(recent), []string{"c2", "c0", "c4", "c1", "c3"})
	for _, c := range recent {
		equal(b.t, "count of "+c.ConvID, fmt.Sprint("c", c.MessageCount), c.ConvID)
	}
	recent, err = b.db.RecentConversations(b.ctx, 2)
	wantNil(b.t, "recent", err)
	deepEqual(b.t, "first two", convIDs(recent), []string{"c2", "c0"})
	_, err = b.db.RecentConversations(b.ctx, -1)
	wantErr(b.t, "negative limit", err, repo.ErrInvalid)
}

func listConversations(b *bench) {
	titles := []string{"b", "a", "B", "é", "中文", "", "a", "z", "👩‍🚀", "_"}
	var all []models.Conversation
	for i, title := range titles {
		c, err := b.db.CreateConversation(b.ctx, models.Conversation{
			ConvID: fmt.Sprint("c", i), Title: title, CreatedAt: int64(100 - i%4), UpdatedAt: int64(10 + i%3), IsPinned: i%2 == 0,
		})
		wantNil(b.t, "create", err)
		all = append(all, c)
	}
	keys := map[repo.ConversationSort]func(x, y models.Conversation) int{
		repo.SortUpdated: func(x, y models.Conversation) int { return cmp.Compare(x.UpdatedAt, y.UpdatedAt) },
		repo.SortCreated: func(x, y models.Conversation) int { return cmp.Compare(x.CreatedAt, y.CreatedAt) },
		repo.SortTitle:   func(x, y models.Conversation) int { return cmp.Compare(x.Title, y.Title) },
	}
	for sort, compare := range keys {
		for _, ascending := range []bool{false, true} {
			for _, pinned := range []*bool{nil, ptr(true), ptr(false)} {
				want := slices.Clone(all)
				if pinned != nil {
					want = slices.DeleteFunc(want, func(c models.Conversation) bool { return bool(c.IsPinned) != *pinned })
				}
				slices.SortFunc(want, func(x, y models.Conversation) int {
					n := cmp.Or(compare(x, y), cmp.Compare(x.ID, y.ID))
					if !ascending {
						n = -n
					}
					return n
				})
				name := fmt.Sprintf("by %s ascending %t pinned %s", sort, ascending, show(pinned))
				var got []models.Conversation
				q := repo.ConversationList{Sort: sort, Ascending: ascending, Pinned: pinned, Limit: 3, WithTotal: true}
				for pages := 0; ; pages++ {
					page, err := b.db.ListConversations(b.ctx, q)
					wantNil(b.t, name, err)
					if page.Total == nil || *page.Total != int64(len(want)) {
						b.t.Fatalf("%s: got total %s, want %d", name, show(page.Total), len(want))
					}
					got = append(got, page.Conversations...)
					if page.Next == "" {
						equal(b.t, name+": pages before the last", pages, (len(want)-1)/3)
						break
					}
					equal(b.t, name+": rows of a full page", len(page.Conversations), 3)
					q.After = page.Next
				}
				deepEqual(b.t, name, convIDs(got), convIDs(want))
			}
		}
	}
	page, err := b.db.ListConversations(b.ctx, repo.ConversationList{})
	wantNil(b.t, "list", err)
	equal(b.t, "rows", len(page.Conversations), len(titles))
	equal(b.t, "next of the only page", page.Next, "")
	if page.Total != nil {
		b.t.Errorf("total: got %d, want none because it was not asked for", *page.Total)
	}
}

func conversationWithMessages(b *bench) {
	c := b.conversation("c")
	got, err := b.db.ConversationWithMessages(b.ctx, "c")
	wantNil(b.t, "empty", err)
	deepEqual(b.t, "conversation", got.Conversation, c)
	equal(b.t, "messages", len(got.Messages), 0)
	for i, seq := range []int64{30, 10, 20, 20} {
		_, err := b.db.InsertMessage(b.ctx, models.Message{MsgID: fmt.Sprint("m", i), ConversationID: "c", Role: models.RoleUser, OrderSeq: seq})
		wantNil(b.t, "insert", err)
	}
	got, err = b.db.ConversationWithMessages(b.ctx, "c")
	wantNil(b.t, "with messages", err)
	deepEqual(b.t, "messages", msgIDs(got.Messages), []string{"m1", "m2", "m3", "m0"})
	equal(b.t, "count", got.Conversation.MessageCount, 4)
	deepEqual(b.t, "conversation", got.Conversation, b.getConversation("c"))
}
