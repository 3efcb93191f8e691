package migration

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/internal/sqlitefile"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// PhaseSalvage reads a damaged file.
const PhaseSalvage Phase = "salvage"

// Reasons that only salvaging has.
const (
	// ReasonDamaged: a part of the row cannot be read.
	ReasonDamaged Reason = "damaged"
	// ReasonParentMade: the conversation, knowledge base or file of a row is lost, and another was made
	// under its id, named Recovered.
	ReasonParentMade Reason = "parent_made"
)

// SalvageOptions says how Salvage works.
type SalvageOptions struct {
	// RejectFile is where rows are written that are damaged or that have lost what they belong to, as JSON
	// lines. The file holds contents of chats; it is not made when there is no such row. Without a name
	// for it these rows are only counted.
	RejectFile string
	// Progress is called now and then, from the goroutine that called.
	Progress func(Progress)
}

// SalvageReport says what could be read of a damaged file, and what is lost.
type SalvageReport struct {
	File string `json:"file"`
	// Pages is how many the file has, Unreadable how many of them cannot be read at all or in part, of
	// the trees of any table or index.
	Pages      int `json:"pages"`
	Unreadable int `json:"unreadable"`
	// Tables are the tables of the file, parents before children.
	Tables []*SalvagedTable `json:"tables"`
	// Warnings are sentences about what is wrong with the file as a whole.
	Warnings []string `json:"warnings,omitempty"`
	// RejectFile is where rejected rows are, Rejects lists up to 20 of each table.
	RejectFile string   `json:"reject_file,omitempty"`
	Rejects    []Reject `json:"rejects,omitempty"`
	// Whole says that nothing was lost, rejected or altered.
	Whole        bool  `json:"whole"`
	Milliseconds int64 `json:"milliseconds"`
}

// SalvagedTable counts what became of the rows of one table.
type SalvagedTable struct {
	Table string `json:"table"`
	// Rescued rows are in the new database, Rejected ones in the reject file.
	Rescued  int64 `json:"rescued"`
	Rejected int64 `json:"rejected"`
	// Made counts rows that were made because others belong to them.
	Made int64 `json:"made,omitempty"`
	// Reasons counts why values were altered, or rows rejected.
	Reasons map[Reason]int64 `json:"reasons,omitempty"`
	// Lost counts rows that the table's index of keys names and that are nowhere else; LostIDs are up to 20
	// of them. Where the index is damaged as well, AtLeast says that there may be more.
	Lost    int64    `json:"lost"`
	LostIDs []string `json:"lost_ids,omitempty"`
	AtLeast bool     `json:"at_least,omitempty"`
	// Pages counts the pages of the table that cannot be read at all or in part, Stray those that no other
	// page names any more, and that were known by what is on them.
	Pages int `json:"pages,omitempty"`
	Stray int `json:"stray,omitempty"`
}

func (t *SalvagedTable) count(r Reason) {
	if t.Reasons == nil {
		t.Reasons = map[Reason]int64{}
	}
	t.Reasons[r]++
}

// Salvage reads what can be read of a damaged SQLite file of talkbase's, page by page and without
// SQLite, and stores it in an empty database, on either engine, in one transaction.
//
// It reads the committed part of the file's log, goes around pages that are damaged, and finds pages that no
// other names any more by what is on them. Text that is not valid UTF-8 gets U+FFFD there. Messages whose
// conversation is lost come into one of the same id, named Recovered; so do files whose knowledge base and
// chunks whose file is lost, where a vector still tells which base that was. A row that is damaged, or whose
// message or chunk is lost, goes to the reject file whole. Indexes are made anew. A row that was deleted may
// come back where the damage hides that it was.
//
// The file is only read. It must not be open in this process, whose locks on it would be lost; a file that
// another program writes to is ErrSourceLocked. One that is no SQLite file, or encrypted, is
// repo.ErrNotDatabase, another program's repo.ErrForeignSchema.
func Salvage(ctx context.Context, path string, b *repo.Bulk, opts SalvageOptions) (*SalvageReport, error) {
	start := time.Now()
	s := &salvager{opts: opts, b: b, report: &SalvageReport{File: path}, tables: map[string]*SalvagedTable{}, rejected: map[string]map[string]bool{}, bad: map[string]sqlitefile.Pages{}}
	err := s.run(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("migration: salvaging %s: %w", path, full(err))
	}
	s.report.Milliseconds = time.Since(start).Milliseconds()
	return s.report, nil
}

// salvager salvages one file.
type salvager struct {
	opts   SalvageOptions
	b      *repo.Bulk
	f      *sqlitefile.File
	l      *loader
	report *SalvageReport
	tables map[string]*SalvagedTable
	// roots are the first pages of the tables, keys those of the indexes of their keys.
	roots, keys map[string]int
	// brokenKeys are tables whose index of keys is damaged.
	brokenKeys map[string]bool
	// stray are pages of a table that its tree does not lead to.
	stray map[string][]int
	// rejected are the keys of rejected rows.
	rejected map[string]map[string]bool
	// bad are the pages that cannot be read at all or in part, by what they belong to.
	bad map[string]sqlitefile.Pages

	// What the rows of other tables refer to and is lost.
	lost lostParents
	// dimensions are those of the knowledge bases.
	dimensions map[string]int64
}

// lostParents are parents that rows name and that cannot be read.
type lostParents struct {
	// conversations holds the times of the first and last message of each.
	conversations map[string][2]int64
	// bases holds the dimensions of a vector of each, files the base of a vector of each.
	bases map[string]int64
	files map[string]string
}

func (s *salvager) warn(format string, args ...any) {
	s.report.Warnings = append(s.report.Warnings, fmt.Sprintf(format, args...))
}

func (s *salvager) of(table string) *SalvagedTable {
	if s.tables[table] == nil {
		s.tables[table] = &SalvagedTable{Table: table}
	}
	return s.tables[table]
}

func (s *salvager) run(ctx context.Context, path string) (err error) {
	before, err := stamps(path, []string{"", "-wal"})
	if err != nil {
		return err
	}
	if err := empty(ctx, s.b); err != nil {
		return err
	}
	if s.f, err = sqlitefile.Open(path); err != nil {
		if errors.Is(err, sqlitefile.ErrDamaged) {
			err = fmt.Errorf("%w: %w", repo.ErrNotDatabase, err)
		}
		return err
	}
	defer func() { err = errors.Join(err, s.f.Close()) }()
	if err := s.survey(ctx); err != nil {
		return err
	}
	if s.l, err = newLoader(s.b, PhaseSalvage, RestoreOptions{RejectFile: s.opts.RejectFile, Progress: s.opts.Progress}, nil); err != nil {
		return err
	}
	s.l.onReject, s.l.copies = s.reject, true
	report, err := s.l.run(ctx, func(ctx context.Context) error {
		clear(s.rejected)
		for _, t := range dumpTables { // the transaction may begin anew
			x := s.of(t.table())
			x.Rescued, x.Rejected, x.Made, x.Reasons = 0, 0, 0, nil
		}
		return s.load(ctx)
	})
	if err != nil {
		return err
	}
	after, err := stamps(path, []string{"", "-wal"})
	if err == nil && before != after {
		err = fmt.Errorf("%w: it changed while it was read; close the application that writes to it, and remove what was rescued", ErrSourceLocked)
	}
	if err != nil {
		return err
	}
	s.report.RejectFile, s.report.Rejects = report.RejectFile, report.Rejects
	var rescued int64
	for _, t := range dumpTables {
		s.of(t.table()).Rescued = report.Tables[t.table()].Rows - s.of(t.table()).Made
		rescued += s.of(t.table()).Rescued
	}
	if err := s.findLost(ctx); err != nil {
		return err
	}
	s.finish()
	if rescued == 0 && s.roots[engine.VersionTable] == 0 {
		return fmt.Errorf("%w: no row of a talkbase database can be read of it", repo.ErrNotDatabase)
	}
	return nil
}

// finish completes the report.
func (s *salvager) finish() {
	r := s.report
	r.Pages, r.Whole = s.f.Pages(), true
	for _, pages := range s.bad {
		r.Unreadable += len(pages)
	}
	for _, t := range dumpTables {
		x := s.of(t.table())
		x.Pages = len(s.bad[t.table()])
		r.Tables = append(r.Tables, x)
		if x.Rejected+x.Made+x.Lost > 0 || len(x.Reasons) > 0 || x.AtLeast || x.Pages+x.Stray > 0 {
			r.Whole = false
		}
	}
}

func (s *salvager) reject(r Reject) {
	if s.rejected[r.Table] == nil {
		s.rejected[r.Table] = map[string]bool{}
	}
	s.rejected[r.Table][r.ID] = true
	s.of(r.Table).Rejected++
	s.of(r.Table).count(r.Reason)
}

// survey reads the schema and every tree, and finds the pages that no tree leads to.
func (s *salvager) survey(ctx context.Context) error {
	if s.f.Header != nil {
		s.warn("The header: %v.", s.f.Header)
	}
	if s.f.Log != nil {
		s.warn("%v: what lies behind is lost, or was never committed.", s.f.Log)
	}
	seen := sqlitefile.Pages{}
	broken := false
	objects := s.f.Schema(seen, func(page int, err error) {
		broken = true
		s.isBad("", page)
		s.warn("The schema: %v.", err)
	})
	s.roots, s.keys, s.brokenKeys, s.stray = map[string]int{}, map[string]int{}, map[string]bool{}, map[string][]int{}
	for _, o := range objects {
		switch {
		case o.Kind == "table" && o.Root > 0:
			s.roots[o.Name] = o.Root
		case o.Kind == "index" && o.Root > 0 && o.Name == "sqlite_autoindex_"+o.Table+"_1":
			s.keys[o.Table] = o.Root
		}
	}
	if !broken && s.f.Header == nil && len(objects) > 0 && !slices.ContainsFunc(objects, func(o sqlitefile.Object) bool { return isOurs(o.Name) }) {
		return engine.Foreign(objects[0].Table)
	}
	for _, o := range objects {
		if o.Root == 0 || seen[o.Root] {
			continue
		}
		if err := engine.Ended(ctx); err != nil {
			return err
		}
		index := o.Kind == "index" || s.f.IsIndex(o.Root)
		_ = s.f.Walk(o.Root, index, seen, sqlitefile.Visitor{
			Row: func(sqlitefile.Row) error { return nil },
			Bad: func(page int, _ error) {
				s.isBad(o.Name, page)
				s.brokenKeys[o.Table] = s.brokenKeys[o.Table] || o.Kind == "index" && o.Root == s.keys[o.Table]
			},
		})
	}
	if err := s.f.Free(seen); err != nil {
		s.warn("The list of free pages: %v: rows that were deleted may have come back.", err)
	}
	return s.strays(seen)
}

// isOurs reports whether no other program's table would have this name.
func isOurs(table string) bool {
	return strings.HasPrefix(table, "talkbase_") || strings.HasPrefix(table, "knowledge_") || strings.HasSuffix(table, "_terms")
}

func (s *salvager) isBad(object string, page int) {
	if s.bad[object] == nil {
		s.bad[object] = sqlitefile.Pages{}
	}
	s.bad[object][page] = true
}

// strays finds out which tables the pages belong to that no tree leads to.
func (s *salvager) strays(seen sqlitefile.Pages) error {
	votes := map[int]map[string]int{}
	err := s.f.Stray(seen, func(page int) sqlitefile.Visitor {
		votes[page] = map[string]int{}
		return sqlitefile.Visitor{Bad: func(int, error) {}, Row: func(r sqlitefile.Row) error {
			for _, t := range dumpTables {
				if t.fits(r) {
					votes[page][t.table()]++
				}
			}
			return nil
		}}
	})
	for page, n := range votes {
		best := ""
		for table := range n {
			if best == "" || n[table] > n[best] {
				best = table
			}
		}
		if best != "" {
			s.stray[best] = append(s.stray[best], page)
			s.of(best).Stray++
		}
	}
	for table := range s.stray {
		slices.Sort(s.stray[table])
	}
	return err
}

// rows calls f for every row of a table: those of its tree, then those of stray pages.
func (s *salvager) rows(ctx context.Context, table string, f func(r sqlitefile.Row, stray bool) error) error {
	seen := sqlitefile.Pages{}
	n := 0
	visit := func(stray bool) sqlitefile.Visitor {
		return sqlitefile.Visitor{Bad: func(int, error) {}, Row: func(r sqlitefile.Row) error {
			if n++; n%1000 == 0 {
				if err := engine.Ended(ctx); err != nil {
					return err
				}
			}
			return f(r, stray)
		}}
	}
	if root := s.roots[table]; root > 0 {
		if err := s.f.Walk(root, false, seen, visit(false)); err != nil {
			return err
		}
	}
	for _, page := range s.stray[table] {
		if err := s.f.Leaf(page, seen, visit(true)); err != nil {
			return err
		}
	}
	return nil
}

// load stores the rows of all tables.
func (s *salvager) load(ctx context.Context) error {
	if err := s.parents(ctx); err != nil {
		return err
	}
	for _, t := range dumpTables {
		if err := t.salvage(ctx, s); err != nil {
			return err
		}
		if err := s.make(ctx, t.table()); err != nil {
			return err
		}
	}
	return nil
}

// parents finds out which parents rows name that cannot be read.
func (s *salvager) parents(ctx context.Context) error {
	s.lost = lostParents{map[string][2]int64{}, map[string]int64{}, map[string]string{}}
	s.dimensions = map[string]int64{}
	have := map[string]map[string]bool{}
	for table, take := range map[string]func(sqlitefile.Row) string{
		tableConversations: func(r sqlitefile.Row) string { c, _, _ := dumpConversations.read1(r); return c.ConvID },
		tableFiles:         func(r sqlitefile.Row) string { f, _, _ := dumpFiles.read1(r); return f.ID },
		tableBases: func(r sqlitefile.Row) string {
			k, _, err := dumpBases.read1(r)
			if err == nil {
				s.dimensions[k.ID] = k.Dimensions
			}
			return k.ID
		},
	} {
		have[table] = map[string]bool{}
		if err := s.rows(ctx, table, func(r sqlitefile.Row, _ bool) error {
			if r.Cut == nil {
				have[table][take(r)] = true
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if err := s.rows(ctx, tableMessages, func(r sqlitefile.Row, _ bool) error {
		m, _, err := dumpMessages.read1(r)
		if err != nil || r.Cut != nil || have[tableConversations][m.ConversationID] {
			return nil //nolint:nilerr // it is rejected when its turn comes
		}
		span, ok := s.lost.conversations[m.ConversationID]
		if !ok {
			span = [2]int64{m.CreatedAt, m.CreatedAt}
		}
		s.lost.conversations[m.ConversationID] = [2]int64{min(span[0], m.CreatedAt), max(span[1], m.CreatedAt)}
		return nil
	}); err != nil {
		return err
	}
	if err := s.rows(ctx, tableFiles, func(r sqlitefile.Row, _ bool) error {
		if f, _, err := dumpFiles.read1(r); err == nil && r.Cut == nil && !have[tableBases][f.BaseID] {
			if _, ok := s.lost.bases[f.BaseID]; !ok {
				s.lost.bases[f.BaseID] = 0
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return s.rows(ctx, tableVectors, func(r sqlitefile.Row, _ bool) error {
		v, _, err := dumpVectors.read1(r)
		if err != nil || r.Cut != nil {
			return nil //nolint:nilerr // as above
		}
		if !have[tableBases][v.BaseID] {
			s.lost.bases[v.BaseID] = int64(len(v.Embedding))
		}
		if !have[tableFiles][v.FileID] {
			s.lost.files[v.FileID] = v.BaseID
		}
		return nil
	})
}

// make makes lost parents once the rows of their table are stored.
func (s *salvager) make(ctx context.Context, table string) error {
	switch table {
	case tableConversations:
		b := newLoadBatch(&dumpConversations, s.l)
		for id, span := range s.lost.conversations {
			if id == "" {
				continue
			}
			c := models.Conversation{ConvID: id, Title: recoveredTitle, CreatedAt: span[0], UpdatedAt: span[1], Settings: models.JSON("{}")}
			if err := s.made(ctx, table, id, func(n int64) error { c.ID = n; return b.add(ctx, &c) }); err != nil {
				return err
			}
		}
		return b.flush(ctx)
	case tableBases:
		b := newLoadBatch(&dumpBases, s.l)
		for id, dimensions := range s.lost.bases {
			if dimensions == 0 {
				continue // nothing tells what its vectors are like
			}
			k := models.KnowledgeBase{ID: id, Name: recoveredTitle, Dimensions: dimensions, Metric: models.MetricCosine, Settings: models.JSON("{}")}
			s.dimensions[id] = dimensions
			s.warn("The knowledge base %q was made anew with %d dimensions, as its vectors have, and the metric cosine; its name, model and metric are lost.", id, dimensions)
			if err := s.made(ctx, table, id, func(int64) error { return b.add(ctx, &k) }); err != nil {
				return err
			}
		}
		return b.flush(ctx)
	case tableFiles:
		b := newLoadBatch(&dumpFiles, s.l)
		for id, base := range s.lost.files {
			f := models.KnowledgeFile{ID: id, BaseID: base, Name: recoveredTitle, Status: models.TaskProcessed, Metadata: models.JSON("{}")}
			if err := s.made(ctx, table, id, func(int64) error { return b.add(ctx, &f) }); err != nil {
				return err
			}
		}
		return b.flush(ctx)
	}
	return nil
}

// made counts a row that is made, and gives it an integer key behind all that were read.
func (s *salvager) made(ctx context.Context, table, id string, store func(number int64) error) error {
	there, err := s.b.Existing(ctx, table, []string{id})
	if err != nil || there[id] {
		return err
	}
	t := s.of(table)
	t.Made++
	t.count(ReasonParentMade)
	return store(madeFrom + t.Made)
}

// madeFrom is above the integer keys of rows that were read.
const madeFrom = 1 << 40

// findLost names the rows that the index of a table's keys has and that are nowhere.
func (s *salvager) findLost(ctx context.Context) error {
	for _, table := range tableOrder {
		t := s.of(table)
		root := s.keys[table]
		if t.AtLeast = root == 0 && (s.f.Header != nil || len(s.report.Warnings) > 0 || len(s.bad) > 0) || s.brokenKeys[table]; root == 0 {
			continue
		}
		var page []string
		flush := func() error {
			there, err := s.b.Existing(ctx, table, page)
			if err != nil {
				return err
			}
			for _, key := range page {
				if there[key] || s.rejected[table][key] {
					continue
				}
				if t.Lost++; t.Lost <= maxFindings {
					t.LostIDs = append(t.LostIDs, key)
				}
			}
			page = page[:0]
			return nil
		}
		err := s.f.Walk(root, true, sqlitefile.Pages{}, sqlitefile.Visitor{Bad: func(int, error) {}, Row: func(r sqlitefile.Row) error {
			if len(r.Values) == 0 || r.Cut != nil {
				return nil
			}
			key, ok := r.Values[0].(string)
			if !ok || engine.CheckText("", key) != nil {
				return nil
			}
			if page = append(page, key); len(page) < lookupStep {
				return nil
			}
			return flush()
		}})
		if err == nil {
			err = flush()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inKeys returns which of the keys the index of a table's keys has; ok is false where it cannot tell.
func (s *salvager) inKeys(table string, keys map[string]bool) (found map[string]bool, ok bool) {
	root := s.keys[table]
	if root == 0 || s.brokenKeys[table] {
		return nil, false
	}
	found = map[string]bool{}
	_ = s.f.Walk(root, true, sqlitefile.Pages{}, sqlitefile.Visitor{Bad: func(int, error) {}, Row: func(r sqlitefile.Row) error {
		if len(r.Values) > 0 {
			if key, is := r.Values[0].(string); is && keys[key] {
				found[key] = true
			}
		}
		return nil
	}})
	return found, true
}

// order are the columns as SQLite stores them.
func (t *dumpTable[T]) order() []string {
	if t.stored != nil {
		return t.stored
	}
	out := make([]string, len(t.columns))
	for i, c := range t.columns {
		out[i] = c.name
	}
	return out
}

// read1 makes a row of T of a row of a file, and notes what was altered for that.
func (t *dumpTable[T]) read1(r sqlitefile.Row) (row T, n notes, err error) {
	order := t.order()
	if len(r.Values) > len(order) {
		return row, n, fmt.Errorf("it has %d values, and the table %d columns", len(r.Values), len(order))
	}
	for i, v := range r.Values {
		at := slices.IndexFunc(t.columns, func(c dumpColumn[T]) bool { return c.name == order[i] })
		if at < 0 || v == nil && i == 0 { // the integer key is the row's number
			continue
		}
		if err := t.columns[at].set(&row, v, &n); err != nil {
			return row, n, err
		}
	}
	if t.number != nil {
		*t.number(&row) = r.RowID
	}
	if len(r.Values) < len(order) && r.Cut == nil {
		return row, n, fmt.Errorf("it has %d values, and the table %d columns", len(r.Values), len(order))
	}
	return row, n, nil
}

// fits is strict: a row of another table must not pass.
func (t *dumpTable[T]) fits(r sqlitefile.Row) bool {
	order := t.order()
	if len(r.Values) != len(order) && (r.Cut == nil || len(r.Values) < 2) {
		return false
	}
	for i, v := range r.Values {
		if i >= len(order) {
			return false
		}
		at := slices.IndexFunc(t.columns, func(c dumpColumn[T]) bool { return c.name == order[i] })
		ok := false
		switch x := v.(type) {
		case nil:
			ok = i == 0 && (t.number != nil || at < 0)
		case int64:
			ok = at < 0 || t.columns[at].kind == kindInteger || t.columns[at].kind == kindFlag && (x == 0 || x == 1)
		case string:
			ok = at >= 0 && (t.columns[at].kind == kindText || t.columns[at].kind == kindJSON && strings.HasPrefix(x, "{"))
		case []byte:
			ok = at >= 0 && (t.columns[at].kind == kindBytes || t.columns[at].kind == kindVector && len(x) > 0 && len(x)%4 == 0)
		}
		if !ok {
			return false
		}
	}
	row, _, err := t.read1(r)
	return r.Cut != nil || err == nil && (t.likely == nil || t.likely(&row))
}

func (t *dumpTable[T]) salvage(ctx context.Context, s *salvager) error {
	b := newLoadBatch(t, s.l)
	add := func(r sqlitefile.Row) error {
		if !t.fits(r) && s.another(t, r) {
			return nil // a page of another table stands in the place of one of this
		}
		row, n, err := t.read1(r)
		if err == nil && r.Cut != nil {
			err = r.Cut
		}
		reason := ReasonDamaged
		if v, ok := any(&row).(*models.KnowledgeVector); ok && err == nil {
			reason, err = s.checkVector(v)
		}
		if err != nil {
			x := b.reject(&row, err)
			x.Reason = reason
			x.Columns, x.Values = t.order()[:min(len(r.Values), len(t.order()))], r.Values[:min(len(r.Values), len(t.order()))]
			return s.l.refused(x, err)
		}
		for _, why := range n {
			s.of(t.name).count(why)
		}
		return b.add(ctx, &row)
	}
	var strays []sqlitefile.Row
	keys := map[string]bool{}
	err := s.rows(ctx, t.name, func(r sqlitefile.Row, stray bool) error {
		if !stray {
			return add(r)
		}
		if !t.fits(r) {
			return nil // another table's, or nobody's
		}
		row, _, _ := t.read1(r)
		keys[t.key(&row)] = true
		strays = append(strays, r)
		return nil
	})
	if err == nil {
		err = b.flush(ctx)
	}
	if err != nil || len(strays) == 0 {
		return err
	}
	// Of those, a row whose key the index does not have was deleted, and one that is there is a copy.
	found, known := s.inKeys(t.name, keys)
	for part := range slices.Chunk(strays, lookupStep) {
		ids := make([]string, len(part))
		for i, r := range part {
			row, _, _ := t.read1(r)
			ids[i] = t.key(&row)
		}
		there := map[string]bool{}
		if _, ok := rowsOf[t.name]; ok {
			if there, err = s.b.Existing(ctx, t.name, storableKeys(ids)); err != nil {
				return err
			}
		}
		for i, r := range part {
			if there[ids[i]] || known && !found[ids[i]] {
				continue
			}
			if err := add(r); err != nil {
				return err
			}
		}
	}
	return b.flush(ctx)
}

// another reports whether a row is of another table than t.
func (s *salvager) another(t anyTable, r sqlitefile.Row) bool {
	return slices.ContainsFunc(dumpTables, func(o anyTable) bool { return o != t && o.fits(r) })
}

func storableKeys(ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return engine.CheckText("", id) != nil })
}

// checkVector refuses what its knowledge base cannot hold.
func (s *salvager) checkVector(v *models.KnowledgeVector) (Reason, error) {
	if want, ok := s.dimensions[v.BaseID]; ok && want != int64(len(v.Embedding)) {
		return ReasonVectorLength, fmt.Errorf("it has %d dimensions, and its knowledge base %d", len(v.Embedding), want)
	}
	for _, x := range v.Embedding {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return ReasonVectorNotFinite, fmt.Errorf("it holds %v", f)
		}
	}
	return "", nil
}
