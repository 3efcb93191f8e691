package migration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// saw remembers that a message exists.
func (c *chatIndex) saw(id string) { c.recent.add(id) }

// lookupStep is how many ids one query asks for.
const lookupStep = 500

// messages returns which of the ids are those of messages in the file.
func (c *chatIndex) messages(ctx context.Context, ids []string) (map[string]bool, error) {
	out := make(map[string]bool, len(ids))
	var ask []string
	for _, id := range ids {
		switch {
		case id == "" || out[id]:
		case c.recent.has(id):
			out[id] = true
		default:
			ask = append(ask, id)
		}
	}
	if len(ask) == 0 || !c.has(tableMessages, "msg_id") {
		return out, nil
	}
	slices.Sort(ask)
	ask = slices.Compact(ask)
	if err := c.lookup(ctx, c.source.db, "SELECT +msg_id FROM messages WHERE msg_id IN ", ask, out); err != nil {
		return nil, err
	}
	ask = slices.DeleteFunc(ask, func(id string) bool { return out[id] })
	if len(ask) == 0 {
		return out, nil
	}
	if err := c.fillUnclean(ctx); err != nil {
		return nil, err
	}
	return out, c.lookup(ctx, c.scratch, "SELECT id FROM unclean WHERE id IN ", ask, out)
}

// conversations returns which of the ids are those of conversations in the file.
func (c *chatIndex) conversations(ctx context.Context, ids []string) (map[string]bool, error) {
	out := make(map[string]bool, len(ids))
	if !c.has(tableConversations, "conv_id") {
		return out, nil
	}
	if c.oddConversations == nil {
		c.oddConversations = map[string]bool{}
		err := c.each(ctx, "SELECT rowid, +conv_id, +created_at FROM conversations WHERE conv_id IS NULL OR conv_id = '' OR "+uncleanSQL("conv_id"), nil, func(scan func(...any) error) error {
			var rid int64
			var raw, created any
			if err := scan(&rid, &raw, &created); err != nil {
				return err
			}
			id := plainID(raw)
			if id == "" {
				id = conversationOriginID(rid, plainID(created))
			}
			c.oddConversations[id] = true
			return nil
		})
		if err != nil {
			return nil, c.source.fault(ctx, err)
		}
	}
	for _, id := range ids {
		if c.oddConversations[id] {
			out[id] = true
		}
	}
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return out, c.lookup(ctx, c.source.db, "SELECT +conv_id FROM conversations WHERE conv_id IN ", slices.Compact(ids), out)
}

func (c *chatIndex) lookup(ctx context.Context, db *sql.DB, query string, ids []string, out map[string]bool) error {
	for chunk := range slices.Chunk(ids, lookupStep) {
		args := make([]any, len(chunk))
		for i, id := range chunk {
			args[i] = id
		}
		err := eachRow(ctx, db, query+"("+strings.TrimSuffix(strings.Repeat("?,", len(chunk)), ",")+")", args, func(scan func(...any) error) error {
			var id string
			if err := scan(&id); err != nil {
				return err
			}
			out[id] = true
			return nil
		})
		if err != nil {
			return c.source.fault(ctx, err)
		}
	}
	return nil
}

// fillUnclean collects the messages whose ids are not what they become, with those ids. Files
// that only the application wrote have none.
func (c *chatIndex) fillUnclean(ctx context.Context) error {
	if c.ready {
		return nil
	}
	type found struct {
		id  string
		rid int64
	}
	after := int64(-1 << 63)
	for {
		var page []found
		n := 0
		err := c.each(ctx, "SELECT rowid, +msg_id, +conversation_id FROM messages WHERE rowid > ? AND (msg_id = '' OR "+uncleanSQL("msg_id")+") ORDER BY rowid LIMIT 10000",
			[]any{after}, func(scan func(...any) error) error {
				var raw, conv any
				if err := scan(&after, &raw, &conv); err != nil {
					return err
				}
				n++
				id := plainID(raw)
				if id == "" {
					id = messageOriginID(after, plainID(conv))
				}
				if raw != any(id) {
					page = append(page, found{id, after})
				}
				return nil
			})
		if err != nil {
			return c.source.fault(ctx, err)
		}
		err = c.write(ctx, "INSERT OR IGNORE INTO unclean (id, rid) VALUES (?, ?)", len(page), func(i int) []any { return []any{page[i].id, page[i].rid} })
		if err != nil {
			return c.source.fault(ctx, err)
		}
		if n == 0 {
			c.ready = true
			return nil
		}
	}
}

// numbered returns the ids of messages by their number, as the table attachments refers to them.
func (c *chatIndex) numbered(ctx context.Context, numbers []int64) (map[int64]string, error) {
	out := make(map[int64]string, len(numbers))
	if !c.has(tableMessages, "id") {
		return out, nil
	}
	for chunk := range slices.Chunk(numbers, lookupStep) {
		args := make([]any, len(chunk))
		for i, n := range chunk {
			args[i] = n
		}
		query := "SELECT rowid, id, +msg_id, +conversation_id FROM messages WHERE id IN (" + strings.TrimSuffix(strings.Repeat("?,", len(chunk)), ",") + ")"
		err := c.each(ctx, query, args, func(scan func(...any) error) error {
			var rid, number int64
			var raw, conv any
			if err := scan(&rid, &number, &raw, &conv); err != nil {
				return err
			}
			id := plainID(raw)
			if id == "" {
				id = messageOriginID(rid, plainID(conv))
			}
			out[number] = id
			return nil
		})
		if err != nil {
			return nil, c.source.fault(ctx, err)
		}
	}
	return out, nil
}

// emptyMessage returns the id that was made for a message without one, "" when there is none or
// more than one.
func (c *chatIndex) emptyMessage(ctx context.Context) (string, error) {
	return c.only(ctx, tableMessages, "msg_id", "conversation_id", messageOriginID)
}

// emptyConversation is emptyMessage for conversations.
func (c *chatIndex) emptyConversation(ctx context.Context) (string, error) {
	return c.only(ctx, tableConversations, "conv_id", "created_at", func(rid int64, created string) string {
		return conversationOriginID(rid, created)
	})
}

func (c *chatIndex) only(ctx context.Context, table, key, origin string, derive func(int64, string) string) (string, error) {
	if !c.has(table, key) || !c.has(table, origin) {
		return "", nil
	}
	id, n := "", 0
	err := c.each(ctx, fmt.Sprintf("SELECT rowid, +%s FROM %s WHERE %s = '' OR %[3]s IS NULL LIMIT 2", origin, table, key), nil, func(scan func(...any) error) error {
		var rid int64
		var from any
		if err := scan(&rid, &from); err != nil {
			return err
		}
		id, n = derive(rid, plainID(from)), n+1
		return nil
	})
	if err != nil {
		return "", c.source.fault(ctx, err)
	}
	if n != 1 {
		id = ""
	}
	return id, nil
}

// span returns the earliest and latest good time of a conversation's messages.
func (c *chatIndex) span(ctx context.Context, conversation string) (first, last int64, err error) {
	err = c.each(ctx, "SELECT +created_at FROM messages WHERE conversation_id = ?", []any{conversation}, func(scan func(...any) error) error {
		var v any
		if err := scan(&v); err != nil {
			return err
		}
		if ms, _, ok := coerceTime(v); ok {
			if first == 0 || ms < first {
				first = ms
			}
			last = max(last, ms)
		}
		return nil
	})
	if err != nil {
		return 0, 0, c.source.fault(ctx, err)
	}
	return first, last, nil
}

// conversationTime returns when a conversation of the file began, 0 when that is unknown.
func (c *chatIndex) conversationTime(ctx context.Context, id string) (int64, error) {
	if !c.has(tableConversations, "conv_id") || !c.has(tableConversations, "created_at") {
		return 0, nil
	}
	var v any
	err := c.source.db.QueryRowContext(ctx, "SELECT +created_at FROM conversations WHERE conv_id = ?", id).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, c.source.fault(ctx, err)
	}
	ms, _, _ := coerceTime(v)
	return ms, nil
}

// messageTime returns when a message of the file was made, 0 when that is unknown.
func (c *chatIndex) messageTime(ctx context.Context, id string) (int64, error) {
	if !c.has(tableMessages, "msg_id") || !c.has(tableMessages, "created_at") {
		return 0, nil
	}
	var v any
	err := c.source.db.QueryRowContext(ctx, "SELECT +created_at FROM messages WHERE msg_id = ?", id).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, c.source.fault(ctx, err)
	}
	ms, _, _ := coerceTime(v)
	return ms, nil
}

// smallestTime returns the smallest good time in the file, 0 when there is none.
func (c *chatIndex) smallestTime(ctx context.Context) (int64, error) {
	if c.smallest != nil {
		return *c.smallest, nil
	}
	smallest := int64(0)
	for _, at := range []struct{ table, column string }{
		{tableConversations, "created_at"}, {tableConversations, "updated_at"}, {tableMessages, "created_at"},
	} {
		if !c.has(at.table, at.column) {
			continue
		}
		good := fmt.Sprintf("typeof(%[1]s) = 'integer' AND %[1]s BETWEEN %d AND %d", at.column, int64(minMillis), int64(maxMillis))
		for _, query := range []string{
			fmt.Sprintf("SELECT min(%s) FROM %s WHERE %s", at.column, at.table, good),
			fmt.Sprintf("SELECT +%s FROM %s WHERE NOT (%s)", at.column, at.table, good),
		} {
			err := c.each(ctx, query, nil, func(scan func(...any) error) error {
				var v any
				if err := scan(&v); err != nil {
					return err
				}
				if ms, _, ok := coerceTime(v); ok && (smallest == 0 || ms < smallest) {
					smallest = ms
				}
				return nil
			})
			if err != nil {
				return 0, c.source.fault(ctx, err)
			}
		}
	}
	c.smallest = &smallest
	return smallest, nil
}
