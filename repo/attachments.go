package repo

import (
	"context"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

// Attachments reads and writes what belongs to messages.
type Attachments struct{ s *Store }

// NewAttachments returns the repository of attachments in s.
func NewAttachments(s *Store) *Attachments { return &Attachments{s} }

const attachmentColumns = "id, attachment_id, message_id, attachment_type, attachment_data, created_at"

func scanAttachment(s engine.Scanner, a *models.MessageAttachment) error {
	return s.Scan(&a.ID, &a.AttachmentID, &a.MessageID, &a.Type, &a.Data, &a.CreatedAt)
}

func checkAttachment(a *models.MessageAttachment) error {
	if err := checkText(field{"attachment_type", a.Type}, field{"attachment_data", a.Data}); err != nil {
		return err
	}
	return checkBulkAttachment(a)
}

// checkBulkAttachment is checkAttachment but for the text, which a bulk insert leaves to the engine.
func checkBulkAttachment(a *models.MessageAttachment) error {
	if err := checkKey("attachment_id", a.AttachmentID); err != nil {
		return err
	}
	if err := checkKey("message_id", a.MessageID); err != nil {
		return err
	}
	if len(a.Type) > maxKey {
		return engine.Invalidf("attachment_type is %d bytes long; at most %d can be indexed", len(a.Type), maxKey)
	}
	return nil
}

// AddAttachment stores a and returns it as stored. An empty AttachmentID becomes a new UUIDv7, a
// CreatedAt of 0 the present. An unknown message is ErrReference, a known AttachmentID ErrConflict.
func (r *Attachments) AddAttachment(ctx context.Context, a models.MessageAttachment) (models.MessageAttachment, error) {
	const op = "add attachment"
	if a.AttachmentID == "" {
		a.AttachmentID = newID()
	}
	if a.CreatedAt == 0 {
		a.CreatedAt = r.s.nowMS()
	}
	a.ID, a.Message = 0, nil
	if err := checkAttachment(&a); err != nil {
		return models.MessageAttachment{}, wrap(op, err)
	}
	err := r.s.write(ctx, op, func(_ context.Context, db *gorm.DB) error {
		if err := db.Create(&a).Error; err != nil {
			return named(err, "attachment", a.AttachmentID)
		}
		return nil
	})
	if err != nil {
		return models.MessageAttachment{}, err
	}
	return a, nil
}

// ListAttachments returns a message's attachments of one type, or all of them when attachmentType is
// "", in the order they were added.
func (r *Attachments) ListAttachments(ctx context.Context, msgID, attachmentType string) ([]models.MessageAttachment, error) {
	const op = "list attachments"
	db, err := r.s.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	where, args := "message_id = ?", []any{msgID}
	if attachmentType != "" {
		where += " AND attachment_type = ?"
		args = append(args, attachmentType)
	}
	out, err := engine.Collect(ctx, db, scanAttachment, "SELECT "+attachmentColumns+" FROM message_attachments WHERE "+where+" ORDER BY id", args...)
	return out, wrap(op, err)
}

// DeleteAttachment deletes one attachment.
func (r *Attachments) DeleteAttachment(ctx context.Context, attachmentID string) error {
	return r.s.deleteOne(ctx, "delete attachment", "attachment", attachmentID, "message_attachments")
}
