package repo

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
)

// Search finds words in conversation titles, messages and knowledge chunks.
type Search struct{ s *Store }

// NewSearch returns the full-text search of s.
func NewSearch(s *Store) *Search { return &Search{s} }

// HitKind says what a search found.
type HitKind string

// What a search looks in.
const (
	HitConversation HitKind = "conversation"
	HitMessage      HitKind = "message"
	HitChunk        HitKind = "chunk"
)

// TextQuery asks for rows by their words.
type TextQuery struct {
	// Query is what a person types: words that must all be there, "exact phrases", prefixes*,
	// -exclusions, and OR between alternatives. English words are found in every form; letter case and
	// accents do not matter; Chinese, Japanese and Korean are found by any part. No input is a syntax error.
	Query string
	// In is where to look; everywhere when empty.
	In []HitKind
	// AnyWord finds rows with any of the words, best those with the most, instead of rows with all of
	// them. Then frequent English words (the, how, is …) count only where there are no others, and a run
	// of Chinese, Japanese or Korean is found by its pairs of characters. Phrases in quotes and exclusions
	// stay what they are. It is for questions in whole sentences.
	AnyWord bool
	// ConversationID limits the search to one conversation's messages.
	ConversationID string
	// Role limits messages to one role.
	Role models.Role
	// BaseIDs limits the search to the chunks of some knowledge bases.
	BaseIDs []string
	// Files limits the search to chunks of some files.
	Files FileFilter
	// Processed limits the search to chunks that are processed, which are those a similarity query finds.
	Processed bool
	// CreatedFrom and CreatedBefore limit the search to what was created at or after the one and before
	// the other, in milliseconds since the Unix epoch; 0 is no limit. Of chunks, their file's upload counts.
	CreatedFrom, CreatedBefore int64
	// Limit is how many to return of each kind, 20 when 0, at most 1,000.
	Limit int
}

// TextHit is one row that a text query found.
type TextHit struct {
	Kind HitKind `json:"kind"`
	// ID is the conv_id, msg_id or chunk id.
	ID string `json:"id"`
	// ConversationID is set for conversations and messages, FileID and BaseID for chunks.
	ConversationID string `json:"conversation_id,omitempty"`
	FileID         string `json:"file_id,omitempty"`
	BaseID         string `json:"base_id,omitempty"`
	// Title is that of the conversation, or the file's name.
	Title string      `json:"title"`
	Role  models.Role `json:"role,omitempty"`
	// CreatedAt is in milliseconds since the Unix epoch; 0 for chunks.
	CreatedAt int64 `json:"created_at,omitempty"`
	// Snippet is a part of the text around the words found; Highlights are byte offsets into it.
	Snippet    string   `json:"snippet"`
	Highlights [][2]int `json:"highlights,omitempty"`
	// Score is larger for better hits. It compares hits of one kind on one engine only.
	Score float64 `json:"score"`
}

type hitRow struct {
	TextHit
	content string
}

func scanHit(kind HitKind) func(engine.Scanner, *hitRow) error {
	return func(s engine.Scanner, h *hitRow) error {
		h.Kind = kind
		var rank float64
		err := s.Scan(&h.ID, &h.ConversationID, &h.FileID, &h.BaseID, &h.Title, &h.Role, &h.CreatedAt, &h.content, &rank)
		h.Score = -rank
		return err
	}
}

// hitSQL is how each kind is read: its columns as scanHit wants them, without the rank; the joins to
// them, whose first is on the terms table's key; and the column that says when it was created.
var hitSQL = map[HitKind]struct{ terms, columns, key, join, created string }{
	HitConversation: {
		termsOfTitles, "c.conv_id, c.conv_id, '', '', c.title, '', c.created_at, c.title",
		"JOIN conversations c ON c.id", "", "c.created_at",
	},
	HitMessage: {
		termsOfMessages, "m.msg_id, m.conversation_id, '', '', c.title, m.role, m.created_at, m.content",
		"JOIN messages m ON m.id", "JOIN conversations c ON c.conv_id = m.conversation_id", "m.created_at",
	},
	HitChunk: {
		termsOfChunks, "k.id, '', k.file_id, f.base_id, f.name, '', 0, k.content",
		"JOIN knowledge_chunks k ON k.seq", "JOIN knowledge_files f ON f.id = k.file_id", "f.uploaded_at",
	},
}

// SearchText returns what q finds: titles, then messages, then chunks, each best first, ties by id.
// Both engines find the same rows; their order by score may differ. A query without a word to look for is
// ErrInvalid.
func (r *Search) SearchText(ctx context.Context, q TextQuery) ([]TextHit, error) {
	hits, err := r.search(ctx, q)
	return hits, wrap("search text", err)
}

func (r *Search) search(ctx context.Context, q TextQuery) ([]TextHit, error) {
	limit, err := limitOf(q.Limit, 20)
	if err != nil {
		return nil, err
	}
	if err := checkText(field{"query", q.Query}); err != nil {
		return nil, err
	}
	parsed, err := text.ParseQuery(q.Query)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if q.AnyWord {
		parsed = parsed.Any()
	}
	if q.Role != "" && !q.Role.Valid() {
		return nil, engine.Invalidf("role %.40q: use user, assistant, system or function", string(q.Role))
	}
	files, err := q.Files.check()
	if err != nil {
		return nil, err
	}
	checked := checkedTextQuery{q, files}
	kinds, err := r.kinds(checked)
	if err != nil {
		return nil, err
	}
	var out []TextHit
	for _, kind := range kinds {
		hits, err := r.searchKind(ctx, kind, parsed, checked, limit)
		if err != nil {
			return nil, err
		}
		out = append(out, hits...)
	}
	return out, nil
}

// checkedTextQuery is a query with its filter as the engines take it.
type checkedTextQuery struct {
	TextQuery
	files engine.FileFilter
}

func (r *Search) kinds(q checkedTextQuery) ([]HitKind, error) {
	all := []HitKind{HitConversation, HitMessage, HitChunk}
	only := func(k HitKind) {
		all = slices.DeleteFunc(all, func(have HitKind) bool { return have != k })
	}
	if q.ConversationID != "" || q.Role != "" {
		only(HitMessage)
	}
	if !q.files.IsZero() || len(q.BaseIDs) > 0 || q.Processed {
		only(HitChunk)
	}
	if len(q.In) == 0 {
		return all, nil
	}
	for _, k := range q.In {
		if _, ok := hitSQL[k]; !ok {
			return nil, engine.Invalidf("cannot search in %.40q: use conversation, message or chunk", string(k))
		}
	}
	return slices.DeleteFunc(all, func(k HitKind) bool { return !slices.Contains(q.In, k) }), nil
}

func (r *Search) searchKind(ctx context.Context, kind HitKind, parsed text.Query, q checkedTextQuery, limit int) ([]TextHit, error) {
	rows, err := r.find(ctx, kind, parsed, q, limit)
	if err != nil {
		return nil, err
	}
	out := make([]TextHit, len(rows))
	for i := range rows {
		body := rows[i].content
		if kind == HitMessage {
			body = text.Words(body)
		}
		snip := parsed.Snippet(body, text.SnippetOptions{})
		rows[i].Snippet, rows[i].Highlights = snip.Text, snip.Highlights
		out[i] = rows[i].TextHit
	}
	return out, nil
}

// find returns the hits of one kind, best first, without snippets.
func (r *Search) find(ctx context.Context, kind HitKind, parsed text.Query, q checkedTextQuery, limit int) ([]hitRow, error) {
	db, err := r.s.reader(ctx)
	if err != nil {
		return nil, err
	}
	h := hitSQL[kind]
	m := r.s.eng().MatchTerms(h.terms, parsed)
	w := where{conds: []string{m.Where}, args: slices.Concat(m.RankArgs, m.Args)}
	r.limitTo(&w, q, h.created)
	sql := "SELECT " + h.columns + ", " + m.Rank + " AS score FROM " + h.terms + " t " + h.key + " = t." + m.Key + " " + h.join +
		w.sql() + " ORDER BY score, 1" + w.limit(limit)
	return engine.Collect(ctx, db, scanHit(kind), sql, w.args...)
}

// limitTo adds q's filters. Those of other kinds of hits are not set here.
func (r *Search) limitTo(w *where, q checkedTextQuery, created string) {
	w.eq("m.conversation_id", q.ConversationID)
	w.eq("m.role", string(q.Role))
	if len(q.BaseIDs) > 0 {
		w.conds = append(w.conds, "f.base_id IN (?"+strings.Repeat(",?", len(q.BaseIDs)-1)+")")
		for _, id := range q.BaseIDs {
			w.args = append(w.args, id)
		}
	}
	filter := r.s.eng().FilterFiles(q.files, func(v any) string {
		w.args = append(w.args, v)
		return "?"
	})
	if filter != "" {
		w.conds = append(w.conds, strings.TrimPrefix(filter, " AND "))
	}
	if q.Processed {
		w.eq("k.status", string(models.TaskProcessed))
	}
	if q.CreatedFrom != 0 {
		w.conds, w.args = append(w.conds, created+" >= ?"), append(w.args, q.CreatedFrom)
	}
	if q.CreatedBefore != 0 {
		w.conds, w.args = append(w.conds, created+" < ?"), append(w.args, q.CreatedBefore)
	}
}

// RebuildTextIndex makes the text index anew from the rows, in transactions of bounded size. It is
// for rows that plain SQL inserted, and for an index that another version of the analyser made, which
// opening the database warns of. It returns how many rows it indexed.
func (r *Search) RebuildTextIndex(ctx context.Context) (int64, error) {
	var total int64
	for _, t := range textSources {
		n, err := r.s.indexAll(ctx, "rebuild text index", t.terms, t.query)
		if total += n; err != nil {
			return total, err
		}
	}
	return total, r.s.write(ctx, "rebuild text index", func(ctx context.Context, db *gorm.DB) error {
		_, err := engine.Exec(ctx, db, "INSERT INTO talkbase_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
			models.MetaTextAnalyser, strconv.Itoa(text.Version))
		return err
	})
}

// indexAll indexes all rows of a query, in transactions of bounded size, and returns how many there were.
func (s *Store) indexAll(ctx context.Context, op, terms, query string) (total int64, err error) {
	for after := int64(0); ; {
		var last int64
		var n int
		err := s.write(ctx, op, func(ctx context.Context, db *gorm.DB) (err error) {
			last, n, err = s.indexText(ctx, db, terms, query, after)
			return err
		})
		if err != nil || n == 0 {
			return total, err
		}
		after, total = last, total+int64(n)
	}
}

// Bounds of what indexText does at once: a page ends after the row that reaches one of the first two.
const (
	textRows  = 500
	textBytes = 1 << 20
	textPages = 8
)

// textPage is some rows' text, and what is indexed of it.
type textPage struct {
	rows  []textRow
	docs  []engine.TermDoc
	ready chan struct{}
}

type textRow struct {
	id   int64
	text string
}

// indexText indexes the next rows after an integer key anew and returns the last key and how many
// there were. The rows are locked, so that nobody changes or deletes one between its reading and its
// indexing. Rows that were deleted while this waited for them are left out, also when all were: then
// it looks again.
func (s *Store) indexText(ctx context.Context, db *gorm.DB, terms, query string, after int64) (last int64, n int, err error) {
	lock := s.eng().LockSuffix()
	for {
		last, n, err = s.indexPages(ctx, db, terms, query+lock, after)
		if err != nil || n > 0 || lock == "" {
			return last, n, err
		}
		left, err := engine.Collect(ctx, db, func(s engine.Scanner, id *int64) error { return s.Scan(id, new(string)) }, query, after, 1)
		if err != nil || len(left) == 0 {
			return after, 0, err
		}
	}
}

// indexPages indexes some pages of rows. While one is written the next is analysed.
func (s *Store) indexPages(ctx context.Context, db *gorm.DB, terms, query string, after int64) (last int64, n int, err error) {
	var work sync.WaitGroup
	defer work.Wait()
	last = after
	page, err := readText(ctx, db, query, last)
	if err != nil {
		return after, 0, err
	}
	page.analyse(terms, &work)
	for pages := 1; len(page.rows) > 0; pages++ {
		ids := make([]int64, len(page.rows))
		for i, r := range page.rows {
			ids[i] = r.id
		}
		end := ids[len(ids)-1]
		next := &textPage{}
		if pages < textPages {
			if next, err = readText(ctx, db, query, end); err != nil {
				return after, 0, err
			}
			next.analyse(terms, &work)
		}
		<-page.ready
		if err := s.eng().DeleteTerms(ctx, db, terms, ids); err != nil {
			return after, 0, err
		}
		if err := s.addTerms(ctx, db, terms, page.docs...); err != nil {
			return after, 0, err
		}
		last, n, page = end, n+len(page.rows), next
	}
	return last, n, nil
}

func readText(ctx context.Context, db *gorm.DB, query string, after int64) (*textPage, error) {
	p, size := &textPage{}, 0
	err := engine.Each(ctx, db, func(s engine.Scanner, r *textRow) error { return s.Scan(&r.id, &r.text) }, func(r *textRow) bool {
		p.rows = append(p.rows, *r)
		size += len(r.text)
		return size < textBytes
	}, query, after, textRows)
	return p, err
}

// analyse makes the page's documents, on every processor. They are ready when ready is closed.
func (p *textPage) analyse(terms string, work *sync.WaitGroup) {
	p.docs, p.ready = make([]engine.TermDoc, len(p.rows)), make(chan struct{})
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(p.rows)) {
		all.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(p.rows); i = next.Add(1) - 1 {
				words := p.rows[i].text
				if terms == termsOfMessages {
					words = text.Words(words)
				}
				p.docs[i] = engine.TermDoc{ID: p.rows[i].id, Doc: text.Doc(words)}
			}
		})
	}
	work.Go(func() {
		all.Wait()
		close(p.ready)
	})
}
