package tests

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func pagingCases() []testCase {
	return []testCase{
		{name: "pages stay right while rows come and go", run: movingPages},
		{name: "hostile sorts, limits and cursors are refused", run: hostilePaging},
	}
}

func movingPages(b *bench) {
	b.conversation("c")
	for i := range 10 {
		_, err := b.db.InsertMessage(b.ctx, models.Message{MsgID: fmt.Sprint("m", i), ConversationID: "c", Role: models.RoleUser, OrderSeq: int64(10 * (i + 1))})
		wantNil(b.t, "insert", err)
	}
	page, err := b.db.ListMessages(b.ctx, repo.MessageList{ConversationID: "c", Limit: 4})
	wantNil(b.t, "first page", err)
	// The last row of the page and an earlier one go, one comes in before and one behind.
	for _, id := range []string{"m1", "m3"} {
		wantNil(b.t, "delete", b.db.DeleteMessage(b.ctx, id))
	}
	for id, seq := range map[string]int64{"before": 5, "behind": 45} {
		_, err := b.db.InsertMessage(b.ctx, models.Message{MsgID: id, ConversationID: "c", Role: models.RoleUser, OrderSeq: seq})
		wantNil(b.t, "insert", err)
	}
	page, err = b.db.ListMessages(b.ctx, repo.MessageList{ConversationID: "c", Limit: 4, After: page.Next})
	wantNil(b.t, "second page", err)
	deepEqual(b.t, "second page", msgIDs(page.Messages), []string{"behind", "m4", "m5", "m6"})

	// A stream sees what is inserted behind the place it has reached.
	var got []string
	for m, err := range b.db.StreamMessages(b.ctx, "c") {
		wantNil(b.t, "stream", err)
		got = append(got, m.MsgID)
	}
	deepEqual(b.t, "stream", got, []string{"before", "m0", "m2", "behind", "m4", "m5", "m6", "m7", "m8", "m9"})
}

// injections are values that would do harm if they were ever part of a statement.
var injections = []string{
	"title; DROP TABLE conversations",
	"updated_at, (SELECT 1/0)",
	"id) OR 1=1 --",
	"'; DELETE FROM messages; --",
	`"conv_id"`,
	"updated_at ASC",
	"UPDATED_AT",
	"1",
	"$1",
	"?",
	"@x",
	"%",
	"conv_id\x00",
}

func hostilePaging(b *bench) {
	for i := range 4 {
		b.conversation(fmt.Sprint("c", i))
		b.message("c0", fmt.Sprint("m", i), "text")
	}
	for _, s := range injections {
		_, err := b.db.ListConversations(b.ctx, repo.ConversationList{Sort: repo.ConversationSort(s)})
		wantErr(b.t, "sort "+s, err, repo.ErrInvalid)
		_, err = b.db.SearchText(b.ctx, repo.TextQuery{Query: "text", Role: models.Role(s)})
		wantErr(b.t, "role "+s, err, repo.ErrInvalid)
		_, err = b.db.SearchText(b.ctx, repo.TextQuery{Query: "text", In: []repo.HitKind{repo.HitKind(s)}})
		wantErr(b.t, "kind "+s, err, repo.ErrInvalid)
		if strings.Contains(s, "\x00") {
			continue
		}
		_, err = b.db.SearchText(b.ctx, repo.TextQuery{Query: s})
		if err != nil {
			wantErr(b.t, "query "+s, err, repo.ErrInvalid)
		}
		page, err := b.db.ListMessages(b.ctx, repo.MessageList{ConversationID: s})
		wantNil(b.t, "messages of "+s, err)
		equal(b.t, "messages of "+s, len(page.Messages), 0)
		n, err := b.db.DeleteConversationMessages(b.ctx, s)
		wantNil(b.t, "delete messages of "+s, err)
		equal(b.t, "deleted of "+s, n, 0)
	}
	hostileCursors(b)
	page, err := b.db.ListMessages(b.ctx, repo.MessageList{ConversationID: "c0", Limit: 1 << 40})
	wantNil(b.t, "a huge limit", err)
	equal(b.t, "rows under a huge limit", len(page.Messages), 4)
	for _, limit := range []int{-1, -1000} {
		_, err := b.db.ListConversations(b.ctx, repo.ConversationList{Limit: limit})
		wantErr(b.t, "limit of conversations", err, repo.ErrInvalid)
		_, err = b.db.ListMessages(b.ctx, repo.MessageList{ConversationID: "c0", Limit: limit})
		wantErr(b.t, "limit of messages", err, repo.ErrInvalid)
		_, err = b.db.SearchText(b.ctx, repo.TextQuery{Query: "text", Limit: limit})
		wantErr(b.t, "limit of a search", err, repo.ErrInvalid)
	}
	equal(b.t, "conversations left", b.number("SELECT count(*) FROM conversations"), 4)
	equal(b.t, "messages left", b.number("SELECT count(*) FROM messages"), 4)
}

func hostileCursors(b *bench) {
	next := func(q repo.ConversationList) string {
		q.Limit = 1
		page, err := b.db.ListConversations(b.ctx, q)
		wantNil(b.t, "list", err)
		return page.Next
	}
	messages, err := b.db.ListMessages(b.ctx, repo.MessageList{ConversationID: "c0", Limit: 1})
	wantNil(b.t, "list", err)
	byTitle := next(repo.ConversationList{Sort: repo.SortTitle})
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	cursors := append([]string{
		"garbage", "!!!!", "e30", "====", encode("{}"), encode("null"), encode(`{"s":"updated_at desc"}`),
		encode(`{"s":"updated_at desc","k":"1; DROP TABLE messages","i":1}`),
		encode(`{"s":"updated_at desc","k":1,"i":"1) OR 1=1"}`),
		encode(`{"s":"updated_at desc","k":1e99,"i":1}`),
		encode(`{"s":"updated_at desc","k":null,"i":1}`),
		encode(`{"s":"title; DROP TABLE messages","k":1,"i":1}`),
		next(repo.ConversationList{Sort: repo.SortCreated}), next(repo.ConversationList{Ascending: true}), byTitle, messages.Next,
		byTitle[:len(byTitle)-1] + "=", strings.Repeat("A", 1<<16),
	}, injections...)
	for _, c := range cursors {
		_, err := b.db.ListConversations(b.ctx, repo.ConversationList{After: c})
		wantErr(b.t, "cursor "+show(c), err, repo.ErrInvalid)
		_, err = b.db.ListMessages(b.ctx, repo.MessageList{ConversationID: "c0", Newest: true, After: c})
		wantErr(b.t, "cursor of messages "+show(c), err, repo.ErrInvalid)
	}
	// A forged cursor of the right shape is only a place in the list.
	for _, key := range []string{`\u0000`, `';--`, `\ud800`, `\uffff`} {
		page, err := b.db.ListConversations(b.ctx, repo.ConversationList{Sort: repo.SortTitle, Ascending: true, After: encode(`{"s":"title asc","k":"` + key + `","i":1}`)})
		if err != nil {
			wantErr(b.t, "forged key "+key, err, repo.ErrInvalid)
		} else if len(page.Conversations) > 4 {
			b.t.Errorf("forged key %s: got %d conversations, want at most 4", key, len(page.Conversations))
		}
		if strings.Contains(key, "0000") {
			wantErr(b.t, "forged key "+key, err, repo.ErrText)
		}
	}
	page, err := b.db.ListConversations(b.ctx, repo.ConversationList{After: encode(`{"s":"updated_at desc","k":-9223372036854775808,"i":-9223372036854775808}`)})
	wantNil(b.t, "a cursor before everything", err)
	equal(b.t, "rows behind the end", len(page.Conversations), 0)
}
