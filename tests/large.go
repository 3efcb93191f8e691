package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func largeCases() []testCase {
	return []testCase{
		{name: "many messages forward, backward, streamed and at once", run: longConversation},
		{name: "16 MiB of content", run: largeContent},
	}
}

func longConversation(b *bench) {
	long := 10_000
	if testing.Short() {
		long = 2_500
	}
	b.conversation("c")
	b.conversation("other")
	b.message("other", "unseen", "")
	rows := make([]models.Message, long)
	want := make([]string, long)
	for i := range rows {
		want[i] = fmt.Sprintf("m%05d", i)
		// Two messages share each order_seq, so that ties by id are at the edges of pages.
		rows[i] = models.Message{
			MsgID: want[i], ConversationID: "c", Role: models.Roles()[i%4], Content: fmt.Sprintf("message number%d", i),
			CreatedAt: int64(i + 1), OrderSeq: int64(i/2 + 1), Status: models.StatusSent,
		}
	}
	for part := range slices.Chunk(rows, 2500) {
		wantNil(b.t, "load", b.db.Bulk().InsertMessages(b.ctx, part))
	}
	equal(b.t, "count", b.getConversation("c").MessageCount, int64(long))

	all, err := b.db.ConversationWithMessages(b.ctx, "c")
	wantNil(b.t, "with messages", err)
	sameIDs(b, "at once", msgIDs(all.Messages), want)
	for i := range rows {
		rows[i].ID, rows[i].Metadata = all.Messages[i].ID, models.JSON("{}")
	}
	deepEqual(b.t, "messages", all.Messages, rows)

	for _, c := range []struct {
		name   string
		newest bool
		limit  int
	}{{"forward", false, 999}, {"backward", true, 1000}} {
		var got []string
		pages := 0
		q := repo.MessageList{ConversationID: "c", Limit: c.limit, Newest: c.newest, WithTotal: true}
		for {
			page, err := b.db.ListMessages(b.ctx, q)
			wantNil(b.t, c.name, err)
			equal(b.t, c.name+": total", *page.Total, int64(long))
			got = append(got, msgIDs(page.Messages)...)
			pages++
			if page.Next == "" {
				break
			}
			q.After = page.Next
		}
		if c.newest {
			slices.Reverse(got)
		}
		sameIDs(b, c.name, got, want)
		most := min(c.limit, 1000)
		equal(b.t, c.name+": pages", pages, (long+most-1)/most)
	}

	var streamed []string
	for m, err := range b.db.StreamMessages(b.ctx, "c") {
		wantNil(b.t, "stream", err)
		streamed = append(streamed, m.MsgID)
	}
	sameIDs(b, "streamed", streamed, want)
	n := 0
	for _, err := range b.db.StreamMessages(b.ctx, "c") {
		wantNil(b.t, "stream", err)
		if n++; n == 300 {
			break
		}
	}
	equal(b.t, "taken from a stream that is left", n, 300)
	threads, err := b.db.QueryMessages(b.ctx, "c")
	wantNil(b.t, "query", err)
	equal(b.t, "threads", len(threads), long)
	max, err := b.db.MaxOrderSeq(b.ctx, "c")
	wantNil(b.t, "max", err)
	equal(b.t, "max", max, int64(long)/2)
	deepEqual(b.t, "found", b.searched("number1876"), []string{"m01876"})
	deleted, err := b.db.DeleteConversationMessages(b.ctx, "c")
	wantNil(b.t, "delete", err)
	equal(b.t, "deleted", deleted, int64(long))
	equal(b.t, "count", b.getConversation("c").MessageCount, 0)
	deepEqual(b.t, "found", b.searched("number1876"), []string{})
	equal(b.t, "count of the other", b.getConversation("other").MessageCount, 1)
}

// sameIDs compares long lists without printing them.
func sameIDs(b *bench, what string, got, want []string) {
	b.t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			b.t.Errorf("%s: got %q at %d of %d, want %q", what, got[i], i, len(got), want[i])
			return
		}
	}
	b.t.Errorf("%s: got %d rows, want %d", what, len(got), len(want))
}

func largeContent(b *bench) {
	const size = 16 << 20
	b.conversation("c")
	content := "needlehead " + strings.Repeat("lorem ipsum 数据 ", size/20)
	content += strings.Repeat("x", size-len(content)-11) + " needletail"
	equal(b.t, "size", len(content), size)
	m := b.message("c", "big", content)
	check := func(what, got string) {
		b.t.Helper()
		if got != content {
			b.t.Errorf("%s: got %d bytes that differ, want the %d written", what, len(got), len(content))
		}
	}
	check("as returned", m.Content)
	check("as read", b.getMessage("big").Content)
	b.message("c", "small", "after")
	n := 0
	for m, err := range b.db.StreamMessages(b.ctx, "c") {
		wantNil(b.t, "stream", err)
		if n++; n == 1 {
			check("as streamed", m.Content)
		}
	}
	equal(b.t, "messages streamed", n, 2)
	page, err := b.db.ListMessages(b.ctx, repo.MessageList{ConversationID: "c"})
	wantNil(b.t, "list", err)
	check("as listed", page.Messages[0].Content)
	deepEqual(b.t, "found by its first word", b.searched("needlehead"), []string{"big"})
	deepEqual(b.t, "found by a word in the middle", b.searched("ipsum 数据"), []string{"big"})
	hits, err := b.db.SearchText(b.ctx, repo.TextQuery{Query: "needlehead"})
	wantNil(b.t, "search", err)
	if n := len(hits[0].Snippet); n > 4096 {
		b.t.Errorf("snippet: got %d bytes, want a part", n)
	}
	updated := strings.ToUpper(content[:size-4]) + "done"
	got, err := b.db.UpdateMessage(b.ctx, "big", repo.MessageUpdate{Content: &updated})
	wantNil(b.t, "update", err)
	content = updated
	check("as updated", got.Content)
	check("as read after the update", b.getMessage("big").Content)
	deepEqual(b.t, "found after the update", b.searched("NEEDLEHEAD"), []string{"big"})

	settings := models.JSON(`{"k":"` + strings.Repeat("é", 1<<20) + `"}`)
	_, err = b.db.UpdateConversation(b.ctx, "c", repo.ConversationUpdate{Settings: &settings})
	wantNil(b.t, "update settings", err)
	equal(b.t, "large settings", b.getConversation("c").Settings.String() == settings.String(), true)
	a, err := b.db.AddAttachment(b.ctx, models.MessageAttachment{MessageID: "big", Type: "image", Data: content})
	wantNil(b.t, "attach", err)
	check("attachment", a.Data)
	as, err := b.db.ListAttachments(b.ctx, "big", "image")
	wantNil(b.t, "list", err)
	check("attachment as read", as[0].Data)
}
