package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/talkbase/talkbase/models"
)

// recoveredTitle is the title of a conversation made for orphaned messages.
const recoveredTitle = "Recovered"

// nowhere stands for the conversation of messages that name none.
var nowhere = derivedID("recovered", "")

// knownConversations bounds the conversation ids held in memory.
const knownConversations = 1 << 15

// chatJob imports a chat.db.
type chatJob struct {
	job
	index *chatIndex
	// inTarget holds ids of conversations that are known to be stored.
	inTarget *recentIDs
}

// run imports conversations, messages and attachments, in this order. A table that is damaged does
// not keep the next from being read.
func (c *chatJob) run(ctx context.Context) error {
	c.inTarget = newRecentIDs(knownConversations)
	var errs []error
	for _, step := range []struct {
		table string
		run   func(context.Context, SourceTable) error
	}{
		{tableConversations, c.conversations},
		{tableMessages, c.messages},
		{tableMessageAttachments, c.messageAttachments},
		{tableAttachments, c.attachments},
	} {
		t, ok := c.tables[step.table]
		if !ok {
			continue
		}
		if err := step.run(ctx, t); err != nil {
			errs = append(errs, err)
			var fatal *targetError
			if ctx.Err() != nil || errors.As(err, &fatal) {
				return errors.Join(errs...)
			}
		}
	}
	if len(c.list) == 0 {
		c.warn("%s holds no tables: the application was ended before it made any", c.report.Path)
	}
	errs = append(errs, c.placeless(ctx, tableConversations, tableMessages, tableMessageAttachments, tableAttachments, tableSchemaVersions))
	c.remarks()
	return errors.Join(errs...)
}

// remarks turns the counted remarks into sentences.
func (c *chatJob) remarks() {
	messages := c.report.Table(tableMessages)
	if n := messages.Reasons[ReasonDanglingParent]; n > 0 {
		c.warn("%s: %d messages name a parent that does not exist; they were imported with that id", c.report.Path, n)
	}
	if n := messages.Reasons[ReasonOrphan]; n > 0 {
		c.warn("%s: %d messages belong to conversations that no longer exist and were rejected; they can be imported into conversations made for them, on request", c.report.Path, n)
	}
}

func records(t SourceTable, rows []SourceRow) []record {
	columns := newColumnSet(t.Columns)
	out := make([]record, len(rows))
	for i, r := range rows {
		out[i] = record{columns: columns, row: r}
	}
	return out
}

func (c *chatJob) conversations(ctx context.Context, t SourceTable) error {
	rules := conversationRules{emptyToolsMean: c.index.level >= 5}
	known := slices.Clone(conversationColumns)
	for _, s := range settingColumns {
		known = append(known, s.column)
	}
	rules.unknown = unknownColumns(t.Columns, known...)
	s := stream[models.Conversation]{
		job: &c.job, source: t, target: tableConversations,
		existing: c.target.ConversationsByID, insert: c.target.InsertConversations, replace: c.target.ReplaceConversations,
		canonical: (*models.Conversation).AppendCanonical,
		same: func(a, b *models.Conversation) bool {
			return a.Title == b.Title && a.CreatedAt == b.CreatedAt && a.UpdatedAt == b.UpdatedAt &&
				a.IsPinned == b.IsPinned && a.IsNew == b.IsNew && a.Settings.String() == b.Settings.String()
		},
		prepare: func(ctx context.Context, rows []SourceRow) ([]transformed[models.Conversation], error) {
			recs := records(t, rows)
			var ids []string
			for _, r := range recs {
				ids = append(ids, variantIDs(r.get("context_chain"))...)
			}
			exist, err := c.known(ctx, ids)
			if err != nil {
				return nil, err
			}
			rules.hasMessage = func(id string) bool { return exist[id] }
			out := make([]transformed[models.Conversation], len(recs))
			for i, r := range recs {
				out[i] = transformConversation(r, rules)
				if !out[i].timeless {
					continue
				}
				at, err := c.index.smallestTime(ctx)
				if err != nil {
					return nil, err
				}
				out[i].row.CreatedAt, out[i].row.UpdatedAt = at, at
			}
			return out, nil
		},
		done: func(_ context.Context, rows []settled[models.Conversation]) error {
			for _, o := range rows {
				if o.verdict != rejected || o.reject == ReasonConflict {
					c.inTarget.add(o.key)
				}
			}
			return nil
		},
	}
	return s.run(ctx)
}

func (c *chatJob) messages(ctx context.Context, t SourceTable) error {
	rules := messageRules{unknown: unknownColumns(t.Columns, messageColumns...), pendingAsError: c.opts.MarkPendingAsError}
	var err error
	if rules.emptyConversation, err = c.index.emptyConversation(ctx); err != nil {
		return err
	}
	if rules.emptyConversation == "" {
		rules.emptyConversation = nowhere
	}
	var made []models.Conversation // by the batch that is running
	s := stream[models.Message]{
		job: &c.job, source: t, target: tableMessages, existing: c.target.MessagesByID, replace: c.target.ReplaceMessages,
		canonical: (*models.Message).AppendCanonical,
		same: func(have, row *models.Message) bool {
			as := *row
			c.keepOrder(have, &as)
			return sameMessage(have, &as)
		},
		fits: func(have, row *models.Message) bool {
			c.keepOrder(have, row)
			return have.ConversationID == row.ConversationID
		},
		begin: func() { made = nil },
		made:  func() []models.Conversation { return made },
		prepare: func(ctx context.Context, rows []SourceRow) ([]transformed[models.Message], error) {
			var err error
			if rules.order, err = c.index.order(ctx, rows[0].RowID, rows[len(rows)-1].RowID); err != nil {
				return nil, err
			}
			out := make([]transformed[models.Message], len(rows))
			for i, r := range records(t, rows) {
				out[i] = transformMessage(r, rules)
				c.index.saw(out[i].key)
			}
			if err := c.messageTimes(ctx, out); err != nil {
				return nil, err
			}
			return out, c.parents(ctx, out)
		},
		link: func(ctx context.Context, rows []*transformed[models.Message]) (err error) {
			made, err = c.homes(ctx, rows)
			return err
		},
		insert: func(ctx context.Context, rows []models.Message) error {
			if len(made) > 0 {
				if err := c.target.InsertConversations(ctx, made); err != nil {
					return err
				}
			}
			return c.target.InsertMessages(ctx, rows)
		},
		done: func(_ context.Context, rows []settled[models.Message]) error {
			for _, o := range rows {
				if o.verdict == written {
					c.inTarget.add(o.row.ConversationID)
				}
			}
			return nil
		},
	}
	return s.run(ctx)
}

// keepOrder leaves a message that is replayed in its place: a reject file holds some rows of a
// conversation, which do not tell its order.
func (c *chatJob) keepOrder(have, row *models.Message) {
	if c.opts.Replay != "" {
		row.OrderSeq = have.OrderSeq
	}
}

func sameMessage(a, b *models.Message) bool {
	return a.ConversationID == b.ConversationID && a.ParentID == b.ParentID && a.Role == b.Role && a.Content == b.Content &&
		a.CreatedAt == b.CreatedAt && a.OrderSeq == b.OrderSeq && a.TokenCount == b.TokenCount && a.Status == b.Status &&
		a.IsContextEdge == b.IsContextEdge && a.IsVariant == b.IsVariant && a.Metadata.String() == b.Metadata.String()
}

// messageTimes gives messages without a usable time that of their conversation, or else the
// smallest in the file.
func (c *chatJob) messageTimes(ctx context.Context, rows []transformed[models.Message]) error {
	for i := range rows {
		if !rows[i].timeless {
			continue
		}
		at, err := c.index.conversationTime(ctx, rows[i].row.ConversationID)
		if err == nil && at == 0 {
			at, err = c.index.smallestTime(ctx)
		}
		if err != nil {
			return err
		}
		rows[i].row.CreatedAt = at
	}
	return nil
}

// known returns which of the ids are those of messages in the file. A reject file has those only that were
// rejected: what it does not hold may be in the target.
func (c *chatJob) known(ctx context.Context, ids []string) (map[string]bool, error) {
	out, err := c.index.messages(ctx, ids)
	if err != nil || c.opts.Replay == "" {
		return out, err
	}
	var ask []string
	for _, id := range ids {
		if id != "" && !out[id] {
			ask = append(ask, id)
		}
	}
	there, err := c.target.MessagesByID(ctx, ask)
	if err != nil {
		return nil, &targetError{fmt.Errorf("migration: %s: reading %s: %w", c.report.Path, tableMessages, err)}
	}
	for id := range there {
		out[id] = true
	}
	return out, nil
}

// parents remarks on messages whose parent is not in the file.
func (c *chatJob) parents(ctx context.Context, rows []transformed[models.Message]) error {
	ids := make([]string, 0, len(rows))
	for _, r := range rows {
		if r.row.ParentID != "" {
			ids = append(ids, r.row.ParentID)
		}
	}
	exist, err := c.known(ctx, ids)
	if err != nil {
		return err
	}
	for i := range rows {
		if p := rows[i].row.ParentID; p != "" && !exist[p] {
			rows[i].notes.add(ReasonDanglingParent)
		}
	}
	return nil
}

// homes finds the conversations of new messages in the target. Messages without one are rejected,
// or conversations are returned that are to be made for them.
func (c *chatJob) homes(ctx context.Context, rows []*transformed[models.Message]) ([]models.Conversation, error) {
	ids := make([]string, 0, len(rows))
	var ask []string
	for _, r := range rows {
		ids = append(ids, r.row.ConversationID)
		if !c.inTarget.has(r.row.ConversationID) {
			ask = append(ask, r.row.ConversationID)
		}
	}
	there := map[string]models.Conversation{}
	if len(ask) > 0 {
		slices.Sort(ask)
		var err error
		if there, err = c.target.ConversationsByID(ctx, slices.Compact(ask)); err != nil {
			return nil, err
		}
	}
	inFile := map[string]bool{}
	if c.opts.RecoverOrphans {
		var err error
		if inFile, err = c.index.conversations(ctx, ids); err != nil {
			return nil, err
		}
	}
	var made []models.Conversation
	for _, r := range rows {
		id := r.row.ConversationID
		_, known := there[id]
		known = known || c.inTarget.has(id)
		switch {
		case r.reject != "":
			continue
		case !known && !c.opts.RecoverOrphans:
			r.reject, r.detail = ReasonOrphan, "its conversation is gone"
			continue
		case c.opts.RecoverOrphans && !inFile[id]:
			r.notes.add(ReasonRecovered)
		}
		if known || slices.ContainsFunc(made, func(m models.Conversation) bool { return m.ConvID == id }) {
			continue
		}
		conv, err := c.recover(ctx, id, r.row.CreatedAt)
		if err != nil {
			return nil, err
		}
		made = append(made, conv)
	}
	return made, nil
}

// recover returns a conversation for the messages of one that is gone, under its id.
func (c *chatJob) recover(ctx context.Context, id string, at int64) (models.Conversation, error) {
	lost := id
	if id == nowhere {
		lost = ""
	}
	first, last, err := c.index.span(ctx, lost)
	if err != nil {
		return models.Conversation{}, err
	}
	if first == 0 {
		first, last = at, at
	}
	return models.Conversation{ConvID: id, Title: recoveredTitle, CreatedAt: first, UpdatedAt: last, Settings: models.JSON("{}")}, nil
}

func (c *chatJob) messageAttachments(ctx context.Context, t SourceTable) error {
	rules := attachmentRules{columns: t.Columns, unknown: unknownColumns(t.Columns, attachmentColumns...)}
	var err error
	if rules.emptyMessage, err = c.index.emptyMessage(ctx); err != nil {
		return err
	}
	s := c.attachmentStream(t, func(_ context.Context, rows []SourceRow) ([]transformed[models.MessageAttachment], error) {
		out := make([]transformed[models.MessageAttachment], len(rows))
		for i, r := range records(t, rows) {
			out[i] = transformMessageAttachment(r, rules)
		}
		return out, nil
	})
	return s.run(ctx)
}

func (c *chatJob) attachments(ctx context.Context, t SourceTable) error {
	rules := attachmentRules{columns: t.Columns}
	s := c.attachmentStream(t, func(ctx context.Context, rows []SourceRow) ([]transformed[models.MessageAttachment], error) {
		recs := records(t, rows)
		var numbers []int64
		for _, r := range recs {
			if n, err := strconv.ParseInt(messageRef(r.get("message_id")), 10, 64); err == nil {
				numbers = append(numbers, n)
			}
		}
		ids, err := c.index.numbered(ctx, numbers)
		if err != nil {
			return nil, err
		}
		rules.messageOf = func(ref string) (string, bool) {
			n, err := strconv.ParseInt(ref, 10, 64)
			id, ok := ids[n]
			return id, ok && err == nil
		}
		out := make([]transformed[models.MessageAttachment], len(recs))
		for i, r := range recs {
			out[i] = transformAttachment(r, rules)
		}
		return out, nil
	})
	return s.run(ctx)
}

// attachmentStream is what both tables of attachments have in common.
func (c *chatJob) attachmentStream(t SourceTable, prepare func(context.Context, []SourceRow) ([]transformed[models.MessageAttachment], error)) *stream[models.MessageAttachment] {
	return &stream[models.MessageAttachment]{
		job: &c.job, source: t, target: tableMessageAttachments,
		existing: c.target.AttachmentsByID, insert: c.target.InsertAttachments, replace: c.target.ReplaceAttachments,
		fits:      func(have, row *models.MessageAttachment) bool { return have.MessageID == row.MessageID },
		canonical: (*models.MessageAttachment).AppendCanonical,
		same: func(a, b *models.MessageAttachment) bool {
			return a.MessageID == b.MessageID && a.Type == b.Type && a.Data == b.Data && a.CreatedAt == b.CreatedAt
		},
		prepare: func(ctx context.Context, rows []SourceRow) ([]transformed[models.MessageAttachment], error) {
			out, err := prepare(ctx, rows)
			if err != nil {
				return nil, err
			}
			for i := range out {
				if !out[i].timeless {
					continue
				}
				at, err := c.index.messageTime(ctx, out[i].row.MessageID)
				if err == nil && at == 0 {
					at, err = c.index.smallestTime(ctx)
				}
				if err != nil {
					return nil, err
				}
				out[i].row.CreatedAt = at
			}
			return out, nil
		},
		link: func(ctx context.Context, rows []*transformed[models.MessageAttachment]) error {
			ids := make([]string, 0, len(rows))
			for _, r := range rows {
				ids = append(ids, r.row.MessageID)
			}
			slices.Sort(ids)
			there, err := c.target.HasMessages(ctx, slices.Compact(ids))
			if err != nil {
				return err
			}
			for _, r := range rows {
				if !there[r.row.MessageID] {
					r.reject, r.detail = ReasonOrphan, "its message is gone"
				}
			}
			return nil
		},
	}
}
