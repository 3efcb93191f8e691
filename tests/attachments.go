package tests

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func attachmentCases() []testCase {
	return []testCase{
		{name: "add, list by type, delete", run: attachments},
		{name: "refuses what cannot be stored", run: refuseAttachments},
	}
}

func attachments(b *bench) {
	b.conversation("c")
	b.message("c", "m", "")
	b.message("c", "n", "")
	before := time.Now().UnixMilli()
	first, err := b.db.AddAttachment(b.ctx, models.MessageAttachment{ID: 70, MessageID: "m", Type: "search_result", Data: `{"url":"u"}`})
	wantNil(b.t, "add", err)
	if _, err := uuid.Parse(first.AttachmentID); err != nil {
		b.t.Errorf("attachment_id: got %q, want a UUID", first.AttachmentID)
	}
	if now := time.Now().UnixMilli(); first.CreatedAt < before || first.CreatedAt > now {
		b.t.Errorf("created_at: got %d, want between %d and %d", first.CreatedAt, before, now)
	}
	var want []models.MessageAttachment
	for _, a := range []models.MessageAttachment{
		{AttachmentID: "z", MessageID: "m", Type: "file", Data: "plain", CreatedAt: 9},
		{AttachmentID: "y", MessageID: "m", Type: "", Data: "", CreatedAt: 8},
		{AttachmentID: "x", MessageID: "m", Type: "file", Data: "图片 🖼️", CreatedAt: 7},
	} {
		stored, err := b.db.AddAttachment(b.ctx, a)
		wantNil(b.t, "add "+a.AttachmentID, err)
		a.ID = stored.ID
		deepEqual(b.t, "stored", stored, a)
		want = append(want, a)
	}
	_, err = b.db.AddAttachment(b.ctx, models.MessageAttachment{MessageID: "n", Type: "file", Data: "another message's"})
	wantNil(b.t, "add", err)
	all, err := b.db.ListAttachments(b.ctx, "m", "")
	wantNil(b.t, "list", err)
	deepEqual(b.t, "all", all, append([]models.MessageAttachment{first}, want...))
	files, err := b.db.ListAttachments(b.ctx, "m", "file")
	wantNil(b.t, "list files", err)
	deepEqual(b.t, "files", files, []models.MessageAttachment{want[0], want[2]})
	wantNil(b.t, "delete", b.db.DeleteAttachment(b.ctx, "z"))
	wantErr(b.t, "delete again", b.db.DeleteAttachment(b.ctx, "z"), repo.ErrNotFound)
	files, err = b.db.ListAttachments(b.ctx, "m", "file")
	wantNil(b.t, "list files", err)
	deepEqual(b.t, "files after a deletion", files, want[2:])
	none, err := b.db.ListAttachments(b.ctx, "nobody", "")
	wantNil(b.t, "list of nobody", err)
	equal(b.t, "attachments of nobody", len(none), 0)
}

func refuseAttachments(b *bench) {
	b.conversation("c")
	b.message("c", "m", "")
	_, err := b.db.AddAttachment(b.ctx, models.MessageAttachment{AttachmentID: "a", MessageID: "m", Type: "t"})
	wantNil(b.t, "add", err)
	for name, c := range map[string]struct {
		a    models.MessageAttachment
		want error
	}{
		"known id":        {models.MessageAttachment{AttachmentID: "a", MessageID: "m", Type: "t"}, repo.ErrConflict},
		"unknown message": {models.MessageAttachment{MessageID: "nobody", Type: "t"}, repo.ErrReference},
		"missing parent":  {models.MessageAttachment{MessageID: "nobody", Type: "t"}, repo.ErrNotFound},
		"no message":      {models.MessageAttachment{Type: "t"}, repo.ErrInvalid},
		"type too long":   {models.MessageAttachment{MessageID: "m", Type: strings.Repeat("x", 600)}, repo.ErrInvalid},
	} {
		_, err := b.db.AddAttachment(b.ctx, c.a)
		wantErr(b.t, name, err, c.want)
		wantTyped(b.t, name, err)
	}
	equal(b.t, "attachments", b.number("SELECT count(*) FROM message_attachments"), 1)
}
