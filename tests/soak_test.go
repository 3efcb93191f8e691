package tests_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func init() { childTasks["soak"] = taskOf(beSoaking) }

// soakTask says how long to use a database from many goroutines.
type soakTask struct {
	DSN, Schema, Work string
	// Process tells the processes apart, which use the same database.
	Process    string
	Goroutines int
	// Each goroutine does so many things, or goes on for so long.
	Each int
	For  time.Duration
	// Legacy is a folder that is imported and taken out again meanwhile, "" for none.
	Legacy string
}

// ledger is what was acknowledged: what each goroutine has of its own, which nobody else changes.
type ledger struct {
	// Messages are the contents by id, of each conversation, in the order of their insertion.
	Messages map[string][]soakMessage
	// Vectors are the embeddings by vector id, of each base.
	Vectors map[string]map[string][]float32
	// Done counts what was done, by what it is.
	Done map[string]int
}

type soakMessage struct{ ID, Content string }

const (
	soakDimensions = 16
	soakBase       = "shared"
)

func soakConfig(c soakTask) talkbase.Config {
	cfg := talkbase.Config{DSN: c.DSN, Schema: c.Schema}
	cfg.Performance.Synchronous, cfg.Performance.MaxConns = "NORMAL", 8
	// A queue of 64 behind one writer, many times slower under the race detector, or behind several deadlocks,
	// each of which Postgres looks for after a second, takes longer than the default allows.
	cfg.Performance.BusyTimeout = time.Minute
	cfg.Logging.Level = "error"
	return cfg
}

// beSoaking is the second process. It prints its ledger.
func beSoaking(c soakTask) error {
	ctx := context.Background()
	db, err := talkbase.Open(ctx, soakConfig(c))
	if err != nil {
		return err
	}
	l, err := soak(ctx, db, c)
	return errors.Join(err, db.Close(), json.NewEncoder(os.Stdout).Encode(l))
}

// soak uses the database as the task says. The error joins all that no caller should see.
func soak(ctx context.Context, db *talkbase.DB, c soakTask) (ledger, error) {
	all := ledger{map[string][]soakMessage{}, map[string]map[string][]float32{}, map[string]int{}}
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	until := time.Now().Add(c.For)
	for g := range c.Goroutines {
		wg.Go(func() {
			s := newSoaker(db, c, g)
			err := s.prepare(ctx)
			for i := 0; err == nil && (i < c.Each || c.For > 0 && time.Now().Before(until)); i++ {
				err = s.something(ctx)
			}
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			all.Messages[s.conversation] = s.messages
			if all.Vectors[s.base] == nil {
				all.Vectors[s.base] = map[string][]float32{}
			}
			maps.Copy(all.Vectors[s.base], s.vectors)
			for what, n := range s.done {
				all.Done[what] += n
			}
		})
	}
	if c.Legacy != "" {
		wg.Go(func() {
			err := importMeanwhile(ctx, db, c)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

// importMeanwhile imports, verifies and takes out again.
func importMeanwhile(ctx context.Context, db *talkbase.DB, c soakTask) error {
	r, err := db.Import(ctx, migration.ImportOptions{Paths: []string{c.Legacy}, BackupDir: filepath.Join(c.Work, "backup"), WorkDir: c.Work, RecoverOrphans: true, BatchRows: 20})
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if v, err := db.VerifyImport(ctx, r.Run, migration.VerifyOptions{WorkDir: c.Work}); err != nil || !v.OK {
		return fmt.Errorf("verify: got %+v, %w, want ok", v, cmp.Or(err, errors.New("damage")))
	}
	if _, err := db.RollbackImport(ctx, r.Run, migration.RollbackOptions{Force: true}); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	return nil
}

// soaker is one goroutine. What it has of its own is in the ledger; the rest it shares.
type soaker struct {
	db   *talkbase.DB
	rng  *rand.Rand
	name string
	n    int
	do   []soakStep
	done map[string]int

	conversation, file, base string
	messages                 []soakMessage
	chunks                   int
	vectors                  map[string][]float32
}

// soakStep is something to do, and how often in comparison.
type soakStep struct {
	what  string
	times int
	do    func(ctx context.Context) error
}

func newSoaker(db *talkbase.DB, c soakTask, g int) *soaker {
	name := fmt.Sprintf("%s%d", c.Process, g)
	s := &soaker{
		db: db, name: name, rng: rand.New(rand.NewPCG(uint64(g), uint64(len(c.Process)))), done: map[string]int{},
		conversation: "of " + name, file: "file of " + name, base: soakBase, vectors: map[string][]float32{},
	}
	if g%4 == 0 {
		s.base = "other"
	}
	for _, step := range s.steps() {
		for range step.times {
			s.do = append(s.do, step)
		}
	}
	return s
}

func (s *soaker) prepare(ctx context.Context) error {
	_, err := s.db.CreateConversation(ctx, models.Conversation{ConvID: s.conversation, Title: "walnut " + s.name})
	if err == nil {
		_, err = s.db.OpenBase(ctx, models.KnowledgeBase{ID: s.base, Dimensions: soakDimensions})
	}
	if err == nil {
		_, err = s.db.InsertFile(ctx, models.KnowledgeFile{ID: s.file, BaseID: s.base, Name: s.name, Status: models.TaskProcessed})
	}
	return err
}

func (s *soaker) something(ctx context.Context) error {
	step := s.do[s.rng.IntN(len(s.do))]
	s.done[step.what]++
	if err := step.do(ctx); err != nil {
		return fmt.Errorf("%s: %s: %w", s.name, step.what, err)
	}
	return nil
}

func (s *soaker) id() string {
	s.n++
	return fmt.Sprintf("%s-%d", s.name, s.n)
}

// common is a conversation that all share.
func (s *soaker) common() string { return fmt.Sprint("common ", s.rng.IntN(4)) }

// gone lets an error pass that says that somebody else was faster.
func gone(err error) error {
	if errors.Is(err, repo.ErrNotFound) || errors.Is(err, repo.ErrConflict) {
		return nil
	}
	return err
}

func ignore(_ any, err error) error { return err }

func (s *soaker) message(conv string) models.Message {
	id := s.id()
	return models.Message{MsgID: id, ConversationID: conv, Role: models.RoleUser, Content: "walnut message " + strings.ReplaceAll(id, "-", "x")}
}

// keep notes messages as acknowledged.
func (s *soaker) keep(ms ...models.Message) {
	for _, m := range ms {
		s.messages = append(s.messages, soakMessage{m.MsgID, m.Content})
	}
}

func (s *soaker) steps() []soakStep {
	db := s.db
	return []soakStep{
		{"insert", 14, func(ctx context.Context) error {
			m, err := db.InsertMessage(ctx, s.message(s.conversation))
			if err == nil {
				s.keep(m)
			}
			return err
		}},
		{"insert several", 4, func(ctx context.Context) error {
			ms, err := db.InsertMessages(ctx, []models.Message{s.message(s.conversation), s.message(s.conversation), s.message(s.conversation)})
			if err == nil {
				s.keep(ms...)
			}
			return err
		}},
		{"insert in common", 12, func(ctx context.Context) error {
			c := s.common()
			return ignore(db.InsertMessages(ctx, []models.Message{s.message(c), s.message(c)}))
		}},
		{"load", 2, func(ctx context.Context) error {
			m := s.message(s.common())
			m.Status, m.OrderSeq = models.StatusSent, 1<<40+s.rng.Int64N(1<<40)
			return db.Bulk().InsertMessages(ctx, []models.Message{m})
		}},
		{"update", 6, func(ctx context.Context) error {
			if len(s.messages) == 0 {
				return nil
			}
			m := &s.messages[s.rng.IntN(len(s.messages))]
			content := m.Content + " edited"
			_, err := db.UpdateMessage(ctx, m.ID, repo.MessageUpdate{Content: &content})
			if err == nil {
				m.Content = content
			}
			return err
		}},
		{"delete", 3, func(ctx context.Context) error {
			if len(s.messages) == 0 {
				return nil
			}
			i := s.rng.IntN(len(s.messages))
			err := db.DeleteMessage(ctx, s.messages[i].ID)
			if err == nil {
				s.messages = slices.Delete(s.messages, i, i+1)
			}
			return err
		}},
		{"delete in common", 1, func(ctx context.Context) error { return ignore(db.DeleteConversationMessages(ctx, s.common())) }},
		{"conversations", 6, func(ctx context.Context) error {
			c := s.common()
			return errors.Join(db.RenameConversation(ctx, c, "walnut "+s.id()), db.PinConversation(ctx, c, s.n%2 == 0), ignore(db.GetConversation(ctx, c)))
		}},
		{"a conversation for a while", 4, func(ctx context.Context) error {
			id := s.id()
			if _, err := db.CreateConversation(ctx, models.Conversation{ConvID: id, Title: "walnut"}); err != nil {
				return err
			}
			m, err := db.InsertMessage(ctx, s.message(id))
			if err == nil {
				_, err = db.AddAttachment(ctx, models.MessageAttachment{MessageID: m.MsgID, Type: "note", Data: "walnut"})
			}
			if err == nil {
				_, err = db.ListAttachments(ctx, m.MsgID, "")
			}
			return errors.Join(err, db.DeleteConversation(ctx, id))
		}},
		{"read", 14, func(ctx context.Context) error {
			c := s.common()
			_, err1 := db.ListMessages(ctx, repo.MessageList{ConversationID: c, Limit: 20, Newest: s.n%2 == 0})
			_, err2 := db.RecentConversations(ctx, 10)
			_, err3 := db.LastUserMessage(ctx, c)
			_, err4 := db.ConversationWithMessages(ctx, s.conversation)
			_, err5 := db.ListConversations(ctx, repo.ConversationList{Limit: 5, WithTotal: true})
			return errors.Join(err1, err2, gone(err3), err4, err5)
		}},
		{"stream", 2, func(ctx context.Context) error {
			for _, err := range db.StreamMessages(ctx, s.common()) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"search", 6, func(ctx context.Context) error {
			_, err1 := db.SearchText(ctx, repo.TextQuery{Query: "walnut edited", Limit: 5})
			_, err2 := db.SearchHybrid(ctx, repo.HybridQuery{Text: "walnut chunk", Vector: s.vector(), BaseID: s.base, Limit: 5})
			return errors.Join(err1, err2)
		}},
		{"add knowledge", 6, s.addKnowledge},
		{"forget knowledge", 1, func(ctx context.Context) error {
			_, err1 := db.DeleteVectorsByFile(ctx, s.file)
			if err1 == nil {
				clear(s.vectors)
			}
			_, err2 := db.DeleteChunksByFile(ctx, s.file)
			return errors.Join(err1, err2)
		}},
		{"a base for a while", 1, func(ctx context.Context) error {
			id := s.id()
			if _, err := db.CreateBase(ctx, models.KnowledgeBase{ID: id, Dimensions: 3}); err != nil {
				return err
			}
			_, err := db.InsertFile(ctx, models.KnowledgeFile{ID: id, BaseID: id, Name: id})
			if err == nil {
				_, err = db.InsertChunks(ctx, []models.KnowledgeChunk{{ID: id, FileID: id, Content: "walnut"}})
			}
			if err == nil {
				_, err = db.UpsertVectors(ctx, []models.KnowledgeVector{{FileID: id, ChunkID: id, Embedding: models.Vector{1, 2, 3}}})
			}
			return errors.Join(err, db.DeleteBase(ctx, id))
		}},
		{"similar", 8, func(ctx context.Context) error {
			return ignore(db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: s.base, Vector: s.vector(), Limit: 5}))
		}},
		{"transaction", 6, s.transaction},
		{"handle", 3, func(ctx context.Context) error {
			tx, err := db.Begin(ctx)
			if err != nil {
				return err
			}
			m, err := db.InsertMessage(tx.Context(), s.message(s.conversation))
			if err != nil || s.rng.IntN(2) == 0 {
				return errors.Join(err, tx.Rollback())
			}
			if err = tx.Commit(); err == nil {
				s.keep(m)
			}
			return err
		}},
		{"give up", 2, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Duration(s.rng.IntN(3000))*time.Microsecond)
			defer cancel()
			_, err1 := db.InsertMessages(ctx, []models.Message{s.message(s.common())})
			_, err2 := db.SearchText(ctx, repo.TextQuery{Query: "walnut"})
			for _, err := range []error{err1, err2} {
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					return err
				}
			}
			return nil
		}},
		{"administer", 1, s.administer},
	}
}

func (s *soaker) vector() []float32 {
	v := make([]float32, soakDimensions)
	for i := range v {
		v[i] = float32(s.rng.NormFloat64())
	}
	return v
}

func (s *soaker) addKnowledge(ctx context.Context) error {
	const n = 8
	chunks, rows := make([]models.KnowledgeChunk, n), make([]models.KnowledgeVector, n)
	for i := range chunks {
		id := s.id()
		chunks[i] = models.KnowledgeChunk{ID: id, FileID: s.file, ChunkIndex: int64(s.chunks + i), Content: "walnut chunk", Status: models.TaskProcessed}
		rows[i] = models.KnowledgeVector{ID: id, FileID: s.file, ChunkID: id, Embedding: s.vector()}
	}
	s.chunks += n
	if _, err := s.db.InsertChunks(ctx, chunks); err != nil {
		return err
	}
	if _, err := s.db.UpsertVectors(ctx, rows); err != nil {
		return err
	}
	for _, r := range rows {
		s.vectors[r.ID] = r.Embedding
	}
	rows[0].Embedding = s.vector()
	if _, err := s.db.UpsertVectors(ctx, rows[:1]); err != nil {
		return err
	}
	s.vectors[rows[0].ID] = rows[0].Embedding
	return nil
}

// transaction writes to two conversations in any order, which deadlocks where two can write at once,
// and undoes a part.
func (s *soaker) transaction(ctx context.Context) error {
	mine, one, other := s.message(s.conversation), s.common(), s.common()
	if one > other && s.rng.IntN(6) > 0 {
		one, other = other, one
	}
	undone := errors.New("undone")
	err := s.db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error {
		for _, m := range []models.Message{s.message(one), s.message(other), mine} {
			if _, err := s.db.InsertMessage(ctx, m); err != nil {
				return err
			}
		}
		err := s.db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error {
			_, err := s.db.InsertMessage(ctx, s.message(s.conversation))
			return errors.Join(err, undone)
		})
		if !errors.Is(err, undone) || errors.Is(err, repo.ErrSerialization) {
			return err
		}
		return nil
	})
	if err == nil {
		s.keep(mine)
	}
	return err
}

func (s *soaker) administer(ctx context.Context) error {
	db := s.db
	switch s.rng.IntN(8) {
	case 0:
		return ignore(db.RebuildTextIndex(ctx))
	case 1:
		return ignore(db.CreateOptimalIndexes(ctx))
	case 2:
		return ignore(db.ValidateSchema(ctx))
	case 3:
		_, err1 := db.PauseRunningTasks(ctx)
		_, err2 := db.ResumePausedTasks(ctx)
		return errors.Join(err1, err2)
	case 4:
		return gone(ignore(db.UpdateBase(ctx, s.base, repo.BaseUpdate{Name: new(s.id())})))
	case 5:
		return ignore(db.Digests(ctx))
	case 6:
		if err := db.Ready(ctx); err != nil {
			return err
		}
		db.SlowQueries(5)
		return nil
	default:
		return ignore(db.GetStatistics(ctx))
	}
}

// testSoak uses one database from 64 goroutines, and from a second process, and looks at what is left.
func testSoak(t *testing.T, place func(t *testing.T) (dsn, schema string)) {
	ctx := t.Context()
	dsn, schema := place(t)
	c := soakTask{DSN: dsn, Schema: schema, Work: t.TempDir(), Process: "p", Goroutines: 64, Each: 4, For: 15 * time.Second, Legacy: t.TempDir()}
	if s := os.Getenv("TALKBASE_SOAK"); s != "" {
		var err error
		if c.For, err = time.ParseDuration(s); err != nil {
			t.Fatalf("TALKBASE_SOAK: got %v, want a duration", err)
		}
	}
	chat := fixtures.LegacyChat{Seed: 5, Version: 9, Conversations: 4, MessagesPer: 6}
	if _, err := chat.Write(ctx, filepath.Join(c.Legacy, "chat.db")); err != nil {
		t.Fatal(err)
	}
	db := open(t, soakConfig(c))
	for i := range 4 {
		if _, err := db.CreateConversation(ctx, models.Conversation{ConvID: fmt.Sprint("common ", i), Title: "walnut"}); err != nil {
			t.Fatal(err)
		}
	}
	seed := newSoaker(db, soakTask{Process: "seed"}, 1)
	if err := seed.prepare(ctx); err != nil {
		t.Fatal(err)
	}
	for range 40 { // enough for codes of vectors
		if err := seed.addKnowledge(ctx); err != nil {
			t.Fatal(err)
		}
	}

	other := c
	other.Process, other.Goroutines, other.Legacy = "other", 16, ""
	type ended struct {
		ledger ledger
		err    error
	}
	second := make(chan ended, 1)
	go func() {
		l, err := runSoakChild(t, other)
		second <- ended{l, err}
	}()
	first, err := soak(ctx, db, c)
	if err != nil {
		t.Errorf("first process: got error %v, want none", err)
	}
	e := <-second
	if e.err != nil {
		t.Errorf("second process: got error %v, want none", e.err)
	}
	t.Logf("done: %v and %v", first.Done, e.ledger.Done)
	for _, q := range db.SlowQueries(5) {
		t.Logf("slow: %+v", q)
	}
	whole := ledger{map[string][]soakMessage{}, map[string]map[string][]float32{soakBase: maps.Clone(seed.vectors), "other": {}}, nil}
	for _, l := range []ledger{first, e.ledger} {
		maps.Copy(whole.Messages, l.Messages)
		for base, vs := range l.Vectors {
			maps.Copy(whole.Vectors[base], vs)
		}
	}
	checkSoaked(t, db, whole)
}

func runSoakChild(t *testing.T, c soakTask) (l ledger, err error) {
	cmd := child(t, "soak", c)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return l, fmt.Errorf("%w: %s", err, said.Bytes())
	}
	return l, json.Unmarshal(out, &l)
}

// checkSoaked compares the database with what was acknowledged, and with itself.
func checkSoaked(t *testing.T, db *talkbase.DB, l ledger) {
	t.Helper()
	ctx := t.Context()
	for conv, want := range l.Messages {
		var got []soakMessage
		for m, err := range db.StreamMessages(ctx, conv) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, soakMessage{m.MsgID, m.Content})
		}
		if !slices.Equal(got, want) {
			t.Errorf("messages of %s: got %v, want %v", conv, got, want)
		}
	}
	g, err := db.Gorm(ctx)
	if err != nil {
		t.Fatal(err)
	}
	postgres := db.Engine() == "postgres"
	key := "rowid"
	if postgres {
		key = "id"
	}
	for what, query := range map[string]string{
		"conversations with another number of messages": "SELECT count(*) FROM conversations c WHERE message_count <> (SELECT count(*) FROM messages WHERE conversation_id = c.conv_id)",
		"places in the order that are taken twice":      "SELECT count(*) FROM (SELECT 1 AS n FROM messages GROUP BY conversation_id, order_seq HAVING count(*) > 1) x",
		"indexed messages that are gone":                "SELECT count(*) FROM message_terms t LEFT JOIN messages m ON m.id = t." + key + " WHERE m.id IS NULL",
		"indexed titles that are gone":                  "SELECT count(*) FROM conversation_terms t LEFT JOIN conversations m ON m.id = t." + key + " WHERE m.id IS NULL",
		"indexed chunks that are gone":                  "SELECT count(*) FROM chunk_terms t LEFT JOIN knowledge_chunks m ON m.seq = t." + key + " WHERE m.seq IS NULL",
	} {
		var n int64
		if err := g.Raw(query).Row().Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: got %d (%v), want none", what, n, err)
		}
	}
	missing, err := db.Bulk().TextMissing(ctx)
	if err != nil || len(missing) > 0 {
		t.Errorf("rows without text index: got %v (%v), want none", missing, err)
	}
	broken, err := db.Bulk().BrokenReferences(ctx, 5)
	if err != nil || len(broken) > 0 {
		t.Errorf("references: got %v (%v), want all whole", broken, err)
	}
	if v, err := db.ValidateSchema(ctx); err != nil || !v.OK {
		t.Errorf("schema: got %+v (%v), want it whole", v, err)
	}
	if !postgres {
		var said string
		if err := g.Raw("PRAGMA integrity_check").Row().Scan(&said); err != nil || said != "ok" {
			t.Errorf("integrity: got %s (%v), want ok", said, err)
		}
	}
	checkVectors(t, db, l)
}

// checkVectors compares the vectors that are there with the acknowledged, and the answers of the index
// with those of comparing all.
func checkVectors(t *testing.T, db *talkbase.DB, l ledger) {
	t.Helper()
	ctx := t.Context()
	g, err := db.Gorm(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for base, want := range l.Vectors {
		var rows []models.KnowledgeVector
		if err := g.Where("base_id = ?", base).Find(&rows).Error; err != nil {
			t.Fatal(err)
		}
		got := map[string][]float32{}
		for _, r := range rows {
			got[r.ID] = r.Embedding
		}
		if !maps.EqualFunc(got, want, slices.Equal[[]float32]) {
			t.Errorf("vectors of %s: got %d, want the %d that were acknowledged", base, len(got), len(want))
		}
		asked, missed := 0, 0
		for id, v := range want {
			if asked++; asked > 50 {
				break
			}
			for _, exact := range []bool{true, false} {
				near, err := db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: base, Vector: v, Limit: 5, Exact: exact})
				if err != nil || len(near) == 0 || near[0].VectorID != id {
					t.Errorf("nearest to %s of %s: got %+v (%v), want itself first", id, base, near, err)
					continue
				}
				for i, d := range nearestOf(v, want, 5) {
					if i < len(near) && math.Abs(near[i].Distance-d) <= 1e-5 {
						continue
					}
					if missed++; exact {
						t.Errorf("nearest to %s of %s: got %+v, want %v at %d", id, base, near, d, i)
					}
					break
				}
			}
		}
		if missed > 3 { // codes may miss one in a hundred
			t.Errorf("nearest in %s: %d answers miss a vector, want at most 3 of 50", base, missed)
		}
	}
}

// nearestOf are the distances to the nearest by cosine.
func nearestOf(q []float32, all map[string][]float32, k int) []float64 {
	cosine := func(a, b []float32) float64 {
		var dot, na, nb float64
		for i := range a {
			dot, na, nb = dot+float64(a[i])*float64(b[i]), na+float64(a[i])*float64(a[i]), nb+float64(b[i])*float64(b[i])
		}
		return 1 - dot/math.Sqrt(na*nb)
	}
	var ds []float64
	for _, v := range all {
		ds = append(ds, cosine(q, v))
	}
	slices.Sort(ds)
	return ds[:min(k, len(ds))]
}

func TestSQLiteSoak(t *testing.T) {
	t.Parallel()
	testSoak(t, func(t *testing.T) (string, string) { return filepath.Join(t.TempDir(), "talk.db"), "" })
}

func TestPostgresSoak(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	testSoak(t, func(t *testing.T) (string, string) { return dsn, schemaName(t, dsn) })
}
