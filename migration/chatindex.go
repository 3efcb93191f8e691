package migration

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// chatIndex answers the importer's questions about a chat.db as a whole, from the private copy.
// What it has to remember beyond one question lies in a scratch database beside the copy, so that
// memory does not grow with the file. Ids in questions and answers are clean.
type chatIndex struct {
	source  *sqliteSource
	scratch *sql.DB
	// recent holds ids of messages that were seen, to spare most lookups.
	recent *recentIDs
	// level is the schema version as far as it matters for settings.
	level int64
	// ready says that the scratch table of unclean ids is filled.
	ready bool
	// oddConversations are the conversations whose ids are not what they become, by those.
	oddConversations map[string]bool
	smallest         *int64
}

// recentMessages bounds the message ids held in memory.
const recentMessages = 1 << 16

// index prepares the private copy for questions and finds the conversations to renumber.
func (s *sqliteSource) index(ctx context.Context) (*chatIndex, error) {
	if s.chat != nil {
		return s.chat, nil
	}
	scratch, err := openPrivate(filepath.Join(s.dir, "scratch.db"))
	if err != nil {
		return nil, fmt.Errorf("migration: %s: %w", s.path, err)
	}
	c := &chatIndex{source: s, scratch: scratch, recent: newRecentIDs(recentMessages)}
	s.chat = c
	for _, stmt := range []string{
		"PRAGMA journal_mode = OFF",
		"CREATE TABLE message_order (rid INTEGER PRIMARY KEY, seq INTEGER NOT NULL)",
		"CREATE TABLE unclean (id TEXT PRIMARY KEY, rid INTEGER NOT NULL) WITHOUT ROWID",
	} {
		if _, err := scratch.ExecContext(ctx, stmt); err != nil {
			return nil, fmt.Errorf("migration: %s: scratch: %w", s.path, err)
		}
	}
	if err := c.ensureIndexes(ctx); err != nil {
		return nil, s.fault(ctx, err)
	}
	if err := c.readLevel(ctx); err != nil {
		return nil, s.fault(ctx, err)
	}
	if err := c.findOrder(ctx); err != nil {
		return nil, s.fault(ctx, err)
	}
	return c, nil
}

func (c *chatIndex) close() error { return c.scratch.Close() }

// ensureIndexes gives the private copy the indexes that lookups need where another tool dropped
// them.
func (c *chatIndex) ensureIndexes(ctx context.Context) error {
	need := []struct{ table, name, columns string }{
		{tableMessages, "talkbase_msg_id", "msg_id"},
		{tableMessages, "talkbase_order", "conversation_id, order_seq"},
		{tableConversations, "talkbase_conv_id", "conv_id"},
	}
	for _, n := range need {
		columns := newColumnSet(c.source.columns[n.table])
		missing := slices.ContainsFunc(strings.Split(n.columns, ", "), func(col string) bool {
			_, ok := columns[col]
			return !ok
		})
		if missing {
			continue
		}
		first, _, _ := strings.Cut(n.columns, ", ")
		var have int
		err := c.source.db.QueryRowContext(ctx, `SELECT count(*) FROM pragma_index_list(?) l
			WHERE l.partial = 0 AND (SELECT name FROM pragma_index_info(l.name) WHERE seqno = 0) = ?`, n.table, first).Scan(&have)
		if err != nil {
			return err
		}
		if have > 0 {
			continue
		}
		if _, err := c.source.db.ExecContext(ctx, fmt.Sprintf("CREATE INDEX %s ON %s (%s)", n.name, n.table, n.columns)); err != nil {
			return err
		}
	}
	return nil
}

func (c *chatIndex) has(table, column string) bool {
	_, ok := newColumnSet(c.source.columns[table])[column]
	return ok
}

// readLevel finds the version that decides what an empty enabled_mcp_tools means. Columns are
// believed; the table of versions only tells 4 from 5, between which no column changed.
func (c *chatIndex) readLevel(ctx context.Context) error {
	switch {
	case c.has(tableConversations, "reasoning_effort"):
		c.level = 6
		return nil
	case !c.has(tableConversations, "thinking_budget") || !c.has(tableSchemaVersions, "version"):
		return nil
	}
	var v sql.NullInt64
	err := c.source.db.QueryRowContext(ctx, "SELECT max(version) FROM schema_versions WHERE typeof(version) = 'integer'").Scan(&v)
	c.level = min(v.Int64, 5)
	return err
}

// unclean is an SQL condition for ids whose characters may change when they are cleaned.
func uncleanSQL(column string) string {
	return fmt.Sprintf("(typeof(%[1]s) <> 'text' OR %[1]s GLOB '*[^ -~]*' OR instr(%[1]s, char(0)) > 0)", column)
}

// orderRow is what decides a message's place in its conversation.
type orderRow struct {
	rid, created, seq int64
}

// findOrder renumbers the conversations in which an order_seq is there twice or is no integer, by
// (created_at, order_seq, rowid), into the scratch table.
func (c *chatIndex) findOrder(ctx context.Context) error {
	if !c.has(tableMessages, "order_seq") || !c.has(tableMessages, "conversation_id") || !c.has(tableMessages, "created_at") {
		return nil
	}
	// Spellings of one conversation id that differ only in what is cleaned away belong together.
	spellings := map[string][]any{}
	err := c.each(ctx, "SELECT DISTINCT +conversation_id FROM messages WHERE "+uncleanSQL("conversation_id"), nil, func(scan func(...any) error) error {
		var raw any
		if err := scan(&raw); err != nil {
			return err
		}
		if id := plainID(raw); raw != any(id) {
			spellings[id] = append(spellings[id], raw)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id, raws := range spellings {
		if err := c.renumber(ctx, append(raws, id)); err != nil {
			return err
		}
	}
	after := any(nil)
	for {
		ambiguous, err := c.ambiguous(ctx, after)
		if err != nil || len(ambiguous) == 0 {
			return err
		}
		for _, raw := range ambiguous {
			after = raw
			if _, done := spellings[plainID(raw)]; done {
				continue
			}
			if err := c.renumber(ctx, []any{raw}); err != nil {
				return err
			}
		}
	}
}

// ambiguous returns the next conversation ids after one in which order_seq does not decide.
func (c *chatIndex) ambiguous(ctx context.Context, after any) (out []any, err error) {
	where, args := "", []any(nil)
	if after != nil {
		where, args = "WHERE conversation_id > ?", []any{after}
	}
	err = c.each(ctx, `SELECT +conversation_id FROM messages `+where+` GROUP BY conversation_id
		HAVING count(*) <> count(DISTINCT order_seq) OR max(typeof(order_seq) <> 'integer') = 1
		ORDER BY conversation_id LIMIT 1000`, args, func(scan func(...any) error) error {
		var raw any
		if err := scan(&raw); err != nil {
			return err
		}
		if raw != nil { // NULL has no order among conversations: such messages are orphans
			out = append(out, raw)
		}
		return nil
	})
	return out, err
}

// renumber orders the messages of one conversation, whose id is spelled in these ways. It holds 24
// bytes of each message.
func (c *chatIndex) renumber(ctx context.Context, raws []any) error {
	var rows []orderRow
	seqs := map[int64]bool{}
	good := true
	for _, raw := range raws {
		err := c.each(ctx, "SELECT rowid, +created_at, +order_seq FROM messages WHERE conversation_id IS ?", []any{raw}, func(scan func(...any) error) error {
			var r orderRow
			var created, seq any
			if err := scan(&r.rid, &created, &seq); err != nil {
				return err
			}
			r.created, _, _ = coerceTime(created)
			var exact, ok bool
			if r.seq, exact, ok = coerceInt(seq); !exact || !ok || seqs[r.seq] {
				good = false
			}
			seqs[r.seq] = true
			rows = append(rows, r)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if good {
		return nil
	}
	slices.SortFunc(rows, func(a, b orderRow) int {
		return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.seq, b.seq), cmp.Compare(a.rid, b.rid))
	})
	return c.write(ctx, "INSERT OR REPLACE INTO message_order (rid, seq) VALUES (?, ?)", len(rows), func(i int) []any {
		return []any{rows[i].rid, int64(i + 1)}
	})
}

// write runs one statement n times in one transaction of the scratch database.
func (c *chatIndex) write(ctx context.Context, query string, n int, args func(i int) []any) error {
	return writeScratch(ctx, c.scratch, query, n, args)
}

func writeScratch(ctx context.Context, db *sql.DB, query string, n int, args func(i int) []any) (err error) {
	if n == 0 {
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
		}
	}()
	stmt, err := tx.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }()
	for i := range n {
		if _, err := stmt.ExecContext(ctx, args(i)...); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// each calls f for every row of a query on the private copy.
func (c *chatIndex) each(ctx context.Context, query string, args []any, f func(scan func(...any) error) error) error {
	return eachRow(ctx, c.source.db, query, args, f)
}

func eachRow(ctx context.Context, db *sql.DB, query string, args []any, f func(scan func(...any) error) error) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// order returns the new order_seq of the renumbered messages among rows first to last.
func (c *chatIndex) order(ctx context.Context, first, last int64) (map[int64]int64, error) {
	out := map[int64]int64{}
	err := eachRow(ctx, c.scratch, "SELECT rid, seq FROM message_order WHERE rid BETWEEN ? AND ?", []any{first, last}, func(scan func(...any) error) error {
		var rid, seq int64
		if err := scan(&rid, &seq); err != nil {
			return err
		}
		out[rid] = seq
		return nil
	})
	if err != nil {
		return nil, c.source.fault(ctx, err)
	}
	return out, nil
}

// recentIDs is a bounded set that forgets the ids added longest ago, half of it at a time.
type recentIDs struct {
	limit    int
	new, old map[string]struct{}
}

func newRecentIDs(limit int) *recentIDs {
	return &recentIDs{limit: limit / 2, new: map[string]struct{}{}}
}

func (r *recentIDs) add(id string) {
	if len(r.new) >= r.limit {
		r.old, r.new = r.new, make(map[string]struct{}, r.limit)
	}
	r.new[id] = struct{}{}
}

func (r *recentIDs) has(id string) bool {
	if _, ok := r.new[id]; ok {
		return true
	}
	_, ok := r.old[id]
	return ok
}
