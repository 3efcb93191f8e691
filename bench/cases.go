package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// Sizes says how much is made and measured.
type Sizes struct {
	// Small and Large are numbers of messages.
	Small, Large int
	// Vectors, Dimensions and Import are the rows of the bulk comparisons.
	Vectors, Dimensions, Import int
	// Similar and SimilarDimensions are the vectors that are searched on SQLite, Grown and GrownDimensions
	// those of the largest of three bases; Served are as many of SimilarDimensions on Postgres.
	Similar, SimilarDimensions, Grown, GrownDimensions, Served int
	// PGlite is the folder of its script, Embeddings that of real ones.
	PGlite, Embeddings string
}

// DefaultSizes are those the targets are stated for.
var DefaultSizes = Sizes{
	Small: 10_000, Large: 1_000_000, Vectors: 25_000, Dimensions: 768, Import: 10_000,
	Similar: 100_000, SimilarDimensions: 768, Grown: 1_000_000, GrownDimensions: 256, Served: 20_000,
	PGlite: "pglite", Embeddings: "../../shared/data",
}

// The targets, as ratios.
const (
	sizeTarget   = 1.5
	handTarget   = 1.5
	bulkTarget   = 1.25
	upsertTarget = 2.5
	// On SQLite a new vector's row is stored with its code, at no less than 0.7 of the speed of the row.
	coded = 1 / 0.7
)

// The groups of comparisons.
const (
	GroupSize      = "size"
	GroupPresenter = "presenter"
	GroupVectors   = "vectors"
	GroupImport    = "import"
)

// Groups are all groups, in the order of the report.
var Groups = []string{GroupSize, GroupPresenter, GroupVectors, GroupImport, GroupSearch, GroupSimilarity, GroupMigration, GroupOverhead}

// Group returns the comparisons of a group on an engine. Databases are made as they are needed.
func (e *Env) Group(ctx context.Context, group, engine string, s Sizes) ([]Comparison, error) {
	key := group + " " + engine
	if c, ok := e.groups[key]; ok {
		return c, nil
	}
	c, err := e.group(ctx, group, engine, s)
	if err == nil {
		e.groups[key] = c
	}
	return c, err
}

func (e *Env) group(ctx context.Context, group, engine string, s Sizes) ([]Comparison, error) {
	switch group {
	case GroupSize:
		return e.bySize(ctx, engine, s)
	case GroupPresenter:
		return e.presenter(ctx, engine, s)
	case GroupVectors:
		return e.bulkVectors(ctx, engine, s)
	case GroupImport:
		return e.bulkImport(ctx, engine, s)
	case GroupSearch:
		return e.search(ctx, engine, s)
	case GroupOverhead:
		return e.overhead(ctx, engine, s)
	case GroupSimilarity:
		return e.similarity(ctx, engine, s)
	}
	return nil, fmt.Errorf("no group %q", group)
}

// times repeats one call.
func times(f func(ctx context.Context) error) func(context.Context, int) error {
	return func(ctx context.Context, n int) error {
		for range n {
			if err := f(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// cursors walks the long conversation to where the middle page and the last one begin.
func cursors(ctx context.Context, d *Database) (half, last string, err error) {
	pages := d.Messages / longShare / pageSize
	q := repo.MessageList{ConversationID: longID, Limit: pageSize}
	for i := range pages - 1 {
		page, err := d.DB.ListMessages(ctx, q)
		if err != nil {
			return "", "", err
		}
		q.After = page.Next
		if i == pages/2 {
			half = page.Next
		}
	}
	return half, q.After, nil
}

// bySize compares a large database with a small one: what a screen of a chat application reads
// must cost the same.
func (e *Env) bySize(ctx context.Context, engine string, s Sizes) ([]Comparison, error) {
	type place struct {
		d          *Database
		half, last string
	}
	var places [2]place
	for i, name := range []string{"large", "small"} {
		d, err := e.Database(ctx, engine, name, []int{s.Large, s.Small}[i])
		if err != nil {
			return nil, err
		}
		places[i].d = d
		if places[i].half, places[i].last, err = cursors(ctx, d); err != nil {
			return nil, err
		}
	}
	page := func(p place, q repo.MessageList) func(context.Context) error {
		q.Limit = pageSize
		return func(ctx context.Context) error {
			got, err := p.d.DB.ListMessages(ctx, q)
			if err == nil && len(got.Messages) != pageSize {
				err = fmt.Errorf("the page has %d messages", len(got.Messages))
			}
			return err
		}
	}
	calls := []struct {
		name string
		call func(p place) func(context.Context) error
	}{
		{"50 recent conversations", func(p place) func(context.Context) error {
			return func(ctx context.Context) error {
				got, err := p.d.DB.RecentConversations(ctx, 50)
				if err == nil && len(got) != 50 {
					err = fmt.Errorf("there are %d conversations", len(got))
				}
				return err
			}
		}},
		{"first page of 50 messages", func(p place) func(context.Context) error { return page(p, repo.MessageList{ConversationID: longID}) }},
		{"middle page", func(p place) func(context.Context) error {
			return page(p, repo.MessageList{ConversationID: longID, After: p.half})
		}},
		{"last page", func(p place) func(context.Context) error {
			return page(p, repo.MessageList{ConversationID: longID, After: p.last})
		}},
		{"newest page", func(p place) func(context.Context) error {
			return page(p, repo.MessageList{ConversationID: longID, Newest: true})
		}},
	}
	var out []Comparison
	for _, c := range calls {
		out = append(out, Comparison{
			Group: GroupSize, Name: c.name, Engine: engine, Target: sizeTarget,
			A: Side{Label: count(s.Large), Run: times(c.call(places[0]))},
			B: Side{Label: count(s.Small), Run: times(c.call(places[1]))},
		})
	}
	return out, nil
}

// presenter compares calls with the same statements written by hand on the same database.
func (e *Env) presenter(ctx context.Context, engine string, s Sizes) ([]Comparison, error) {
	d, err := e.Database(ctx, engine, "work", s.Small)
	if err != nil {
		return nil, err
	}
	var after struct {
		cursor  string
		seq, id int64
	}
	first, err := d.DB.ListMessages(ctx, repo.MessageList{ConversationID: longID, Limit: pageSize})
	if err != nil {
		return nil, err
	}
	end := first.Messages[len(first.Messages)-1]
	after.cursor, after.seq, after.id = first.Next, end.OrderSeq, end.ID

	pick := func() string { return id('m', rand.IntN(s.Small)) } //nolint:gosec // no secret
	out := []Comparison{
		{
			Name: "get a message",
			A: Side{Run: times(func(ctx context.Context) error {
				_, err := d.DB.GetMessage(ctx, pick())
				return err
			})},
			B: Side{Run: times(func(ctx context.Context) error { return d.Raw.Message(ctx, pick()) })},
		},
		{
			Name: "read a page of 50 messages",
			A: Side{Run: times(func(ctx context.Context) error {
				_, err := d.DB.ListMessages(ctx, repo.MessageList{ConversationID: longID, Limit: pageSize, After: after.cursor})
				return err
			})},
			B: Side{Run: times(func(ctx context.Context) error { return d.Raw.Page(ctx, longID, after.seq, after.id) })},
		},
	}
	inserts := []struct {
		name string
		d    *Database
	}{{"insert a message", d}}
	if engine == SQLite {
		relaxed, err := e.Relaxed(ctx, d)
		if err != nil {
			return nil, err
		}
		inserts[0].name += ", synchronous=FULL"
		inserts = append(inserts, struct {
			name string
			d    *Database
		}{"insert a message, synchronous=NORMAL", relaxed})
	}
	for _, in := range inserts {
		c, err := insertComparison(ctx, in.d, in.name)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	for i := range out {
		c := &out[i]
		c.Group, c.Engine, c.Target = GroupPresenter, engine, handTarget
		c.A.Label, c.B.Label = "talkbase", "by hand"
	}
	return out, nil
}

// insertComparison inserts the same messages on both sides, each into a conversation of its own.
func insertComparison(ctx context.Context, d *Database, name string) (Comparison, error) {
	side := func(insert func(ctx context.Context, m models.Message) error) (Side, error) {
		c, err := d.DB.CreateConversation(ctx, models.Conversation{Title: name, CreatedAt: epoch})
		if err != nil {
			return Side{}, err
		}
		r := rand.New(rand.NewPCG(7, 8)) //nolint:gosec // no secret
		n := 0
		return Side{Run: times(func(ctx context.Context) error {
			n++
			m := message(r, n, c.ConvID, int64(n))
			m.MsgID, m.OrderSeq = "", 0
			return insert(ctx, m)
		})}, nil
	}
	a, err := side(func(ctx context.Context, m models.Message) error {
		_, err := d.DB.InsertMessage(ctx, m)
		return err
	})
	if err != nil {
		return Comparison{}, err
	}
	b, err := side(func(ctx context.Context, m models.Message) error { return d.Raw.Insert(ctx, m, "") })
	return Comparison{Name: name, A: a, B: b}, err
}

// bulkVectors compares loads of vectors with a COPY, or prepared inserts, of the same rows into
// the same table, emptied before each turn.
func (e *Env) bulkVectors(ctx context.Context, engine string, s Sizes) ([]Comparison, error) {
	d, err := e.Database(ctx, engine, "work", s.Small)
	if err != nil {
		return nil, err
	}
	n := s.Vectors
	if err := knowledge(ctx, d.DB, n, s.Dimensions); err != nil {
		return nil, err
	}
	fresh, changed := vectors(n, s.Dimensions, 1), vectors(n, s.Dimensions, 2)
	upsert := func(rows []models.KnowledgeVector, perCall int) func(context.Context, int) error {
		return times(func(ctx context.Context) error {
			for from := 0; from < n; from += perCall {
				if _, err := d.DB.UpsertVectors(ctx, rows[from:min(from+perCall, n)]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	// Each side empties the table on its own connection, which then knows the file's pages.
	empty := func(ctx context.Context) error {
		return d.DB.WithTransaction(ctx, func(_ context.Context, tx *repo.Tx) error {
			statements := []string{"TRUNCATE knowledge_vectors"}
			if engine == SQLite { // the codes would be kept for the next turn, and replaced in it
				statements = []string{"DELETE FROM knowledge_vectors", "DELETE FROM knowledge_sketch_blocks", "DELETE FROM knowledge_sketch_pending", "DELETE FROM knowledge_sketches"}
			}
			for _, s := range statements {
				if err := tx.Gorm().Exec(s).Error; err != nil {
					return err
				}
			}
			return nil
		})
	}
	filled := func(ctx context.Context) error {
		if err := empty(ctx); err != nil {
			return err
		}
		return upsert(fresh, n)(ctx, 1)
	}
	newTarget, knownTarget := bulkTarget, upsertTarget
	if engine == SQLite {
		newTarget, knownTarget = coded, 0
	}
	name := func(what string, perCall int) string {
		return fmt.Sprintf("%s, %s x %d, %s a call", what, count(n), s.Dimensions, count(perCall))
	}
	var out []Comparison
	for _, perCall := range []int{1000, 5000} {
		plain := Side{Label: "one COPY", Prepare: d.Raw.ClearVectors, Run: times(func(ctx context.Context) error { return d.Raw.Vectors(ctx, fresh) })}
		if engine == SQLite {
			plain.Label = "prepared insert"
			plain.Run = times(func(ctx context.Context) error { // like talkbase, a transaction for each call
				for from := 0; from < n; from += perCall {
					if err := d.Raw.Vectors(ctx, fresh[from:min(from+perCall, n)]); err != nil {
						return err
					}
				}
				return nil
			})
		}
		out = append(out, Comparison{
			Name: name("new vectors", perCall), Target: newTarget,
			A: Side{Label: "talkbase", Prepare: empty, Run: upsert(fresh, perCall)}, B: plain,
		}, Comparison{
			Name: name("known vectors", perCall), Target: knownTarget,
			A: Side{Label: "talkbase", Prepare: filled, Run: upsert(changed, perCall)}, B: plain,
		})
	}
	for i := range out {
		out[i].Group, out[i].Engine, out[i].Rows, out[i].Slow = GroupVectors, engine, n, true
	}
	return out, nil
}

// bulkImport compares loads of messages, 1,000 a call.
func (e *Env) bulkImport(ctx context.Context, engine string, s Sizes) ([]Comparison, error) {
	d, err := e.Database(ctx, engine, "work", s.Small)
	if err != nil {
		return nil, err
	}
	const perCall = 1000
	if err := d.DB.Bulk().InsertConversations(ctx, []models.Conversation{{ConvID: "imported", Title: "Imported", CreatedAt: epoch, UpdatedAt: epoch}}); err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(9, 10)) //nolint:gosec // no secret
	made, batches := s.Small, make([][]models.Message, s.Import/perCall)
	prepare := func(context.Context) error { //nolint:unparam // it is a Side's Prepare
		for b := range batches {
			batches[b] = make([]models.Message, perCall)
			for i := range batches[b] {
				made++
				batches[b][i] = message(r, made, "imported", int64(made))
			}
		}
		return nil
	}
	side := func(label string, f func(ctx context.Context, ms []models.Message) error) Side {
		return Side{Label: label, Prepare: prepare, Run: times(func(ctx context.Context) error {
			for _, ms := range batches {
				if err := f(ctx, ms); err != nil {
					return err
				}
			}
			return nil
		})}
	}
	plain := map[string]string{SQLite: "prepared insert", Postgres: "COPY"}[engine]
	talkbase := side("talkbase", d.DB.Bulk().InsertMessages)
	indexed := side(plain+" and index", func(ctx context.Context, ms []models.Message) error { return d.Raw.Import(ctx, ms, true) })
	bare := side(plain+", no text index", func(ctx context.Context, ms []models.Message) error { return d.Raw.Import(ctx, ms, false) })
	analysis := side("the analyser alone", func(_ context.Context, ms []models.Message) error {
		for i := range ms {
			runtime.KeepAlive(d.Raw.Terms(ms[i].Content))
		}
		return nil
	})
	out := []Comparison{
		{Name: "import messages", A: talkbase, B: indexed},
		{Name: "import messages", A: talkbase, B: bare},
		{Name: "share of the text index, by hand", A: indexed, B: bare},
		{Name: "share of the analyser", A: analysis, B: talkbase},
	}
	for i := range out {
		out[i].Group, out[i].Engine, out[i].Rows, out[i].Slow = GroupImport, engine, s.Import, true
	}
	return out, nil
}

// count writes a number with separators.
func count(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
