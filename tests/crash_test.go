package tests_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func init() {
	childTasks["crash"] = taskOf(beCrashChild)
	childTasks["crash-restore"] = taskOf(beCrashRestoreChild)
}

// crashState is what the rows of one round must be: by id, what they hold.
type crashState struct {
	Conversations, Messages, Chunks, Vectors map[string]string
}

func newCrashState() crashState {
	return crashState{map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}}
}

func (s crashState) clone() crashState {
	return crashState{maps.Clone(s.Conversations), maps.Clone(s.Messages), maps.Clone(s.Chunks), maps.Clone(s.Vectors)}
}

func (s crashState) equal(o crashState) bool {
	return maps.Equal(s.Conversations, o.Conversations) && maps.Equal(s.Messages, o.Messages) && maps.Equal(s.Chunks, o.Chunks) && maps.Equal(s.Vectors, o.Vectors)
}

const crashBase = "crash"

// crashStep is one transaction. Which one it is follows from its number and from what was before, so
// that the parent knows what the child did.
func crashStep(round, n int, s crashState) (after crashState, run func(ctx context.Context, db *talkbase.DB) error) {
	rng := rand.New(rand.NewPCG(uint64(round), uint64(n))) //nolint:gosec // not a secret
	after = s.clone()
	name := fmt.Sprintf("r%d-%d", round, n)
	pick := func(m map[string]string) string {
		keys := slices.Sorted(maps.Keys(m))
		return keys[rng.IntN(len(keys))]
	}
	kind := rng.IntN(8)
	if len(s.Messages) == 0 {
		kind = 0
	} else if len(s.Chunks) == 0 && kind > 4 {
		kind = 4
	}
	switch kind {
	case 0: // a conversation with messages
		c := models.Conversation{ConvID: name, Title: "title " + name}
		after.Conversations[name] = c.Title
		ms := make([]models.Message, 1+rng.IntN(6))
		for i := range ms {
			ms[i] = models.Message{MsgID: fmt.Sprint(name, "-", i), ConversationID: name, Role: models.RoleUser, Content: strings.Repeat(word(round, n)+" ", 1+rng.IntN(200))}
			after.Messages[ms[i].MsgID] = name + " " + ms[i].Content
		}
		return after, func(ctx context.Context, db *talkbase.DB) error {
			return db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error {
				if _, err := db.CreateConversation(ctx, c); err != nil {
					return err
				}
				_, err := db.InsertMessages(ctx, ms)
				return err
			})
		}
	case 1: // a message
		conv := pick(s.Conversations)
		m := models.Message{MsgID: name, ConversationID: conv, Role: models.RoleAssistant, Content: word(round, n)}
		after.Messages[name] = conv + " " + m.Content
		return after, func(ctx context.Context, db *talkbase.DB) error {
			_, err := db.InsertMessage(ctx, m)
			return err
		}
	case 2: // other words
		id := pick(s.Messages)
		conv, _, _ := strings.Cut(s.Messages[id], " ")
		content := word(round, n) + " edited"
		after.Messages[id] = conv + " " + content
		return after, func(ctx context.Context, db *talkbase.DB) error {
			_, err := db.UpdateMessage(ctx, id, repo.MessageUpdate{Content: &content})
			return err
		}
	case 3: // a conversation goes with its messages
		if len(s.Conversations) < 2 {
			id := pick(s.Conversations)
			after.Conversations[id] = "renamed " + name
			return after, func(ctx context.Context, db *talkbase.DB) error {
				return db.RenameConversation(ctx, id, "renamed "+name)
			}
		}
		id := pick(s.Conversations)
		delete(after.Conversations, id)
		maps.DeleteFunc(after.Messages, func(_, v string) bool { return strings.HasPrefix(v, id+" ") })
		return after, func(ctx context.Context, db *talkbase.DB) error { return db.DeleteConversation(ctx, id) }
	case 4, 5: // a file with chunks and vectors
		chunks := make([]models.KnowledgeChunk, 20+rng.IntN(60))
		vectors := make([]models.KnowledgeVector, len(chunks))
		for i := range chunks {
			id := fmt.Sprint(name, "-", i)
			chunks[i] = models.KnowledgeChunk{ID: id, FileID: name, ChunkIndex: int64(i), Content: word(round, n), Status: models.TaskProcessed}
			vectors[i] = models.KnowledgeVector{ID: id, FileID: name, ChunkID: id, Embedding: crashVector(rng)}
			after.Chunks[id] = name + " " + chunks[i].Content
			after.Vectors[id] = vectors[i].Embedding.Text()
		}
		return after, func(ctx context.Context, db *talkbase.DB) error {
			return db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error {
				if _, err := db.InsertFile(ctx, models.KnowledgeFile{ID: name, BaseID: crashBase, Name: name, Path: name, Status: models.TaskProcessed}); err != nil {
					return err
				}
				if _, err := db.InsertChunks(ctx, chunks); err != nil {
					return err
				}
				_, err := db.UpsertVectors(ctx, vectors)
				return err
			})
		}
	case 6: // other vectors
		file, _, _ := strings.Cut(s.Chunks[pick(s.Chunks)], " ")
		var vectors []models.KnowledgeVector
		for _, id := range slices.Sorted(maps.Keys(s.Chunks)) {
			if strings.HasPrefix(s.Chunks[id], file+" ") && rng.IntN(2) == 0 {
				v := crashVector(rng)
				vectors = append(vectors, models.KnowledgeVector{ID: id, FileID: file, ChunkID: id, Embedding: v})
				after.Vectors[id] = v.Text()
			}
		}
		return after, func(ctx context.Context, db *talkbase.DB) error {
			_, err := db.UpsertVectors(ctx, vectors)
			return err
		}
	default: // a file goes with all it has
		file, _, _ := strings.Cut(s.Chunks[pick(s.Chunks)], " ")
		maps.DeleteFunc(after.Chunks, func(id, v string) bool {
			gone := strings.HasPrefix(v, file+" ")
			if gone {
				delete(after.Vectors, id)
			}
			return gone
		})
		return after, func(ctx context.Context, db *talkbase.DB) error { return db.DeleteFile(ctx, file) }
	}
}

// word is one that only this step writes.
func word(round, n int) string { return fmt.Sprintf("w%dx%d", round, n) }

func crashVector(rng *rand.Rand) models.Vector {
	v := make(models.Vector, 8)
	for i := range v {
		v[i] = rng.Float32()*2 - 1
	}
	return v
}

type crashTask struct {
	Path  string
	Round int
}

// beCrashChild writes until it is killed and prints the number of each step that was committed.
func beCrashChild(c crashTask) error {
	ctx := context.Background()
	db, err := talkbase.Open(ctx, killedConfig(c.Path, ""))
	if err != nil {
		return err
	}
	_, err = db.OpenBase(ctx, models.KnowledgeBase{ID: crashBase, Dimensions: 8, Metric: models.MetricCosine})
	s := newCrashState()
	for n := 0; err == nil && n < 500; n++ {
		var run func(context.Context, *talkbase.DB) error
		s, run = crashStep(c.Round, n, s)
		if err = run(ctx, db); err == nil {
			_, err = fmt.Println(n)
		}
	}
	if err != nil {
		return err
	}
	select {} // the kill comes
}

// crashed runs a child, kills it so long after its nth step, and returns how many it acknowledged.
func crashed(t *testing.T, name string, task any, nth int, after time.Duration) (acknowledged int) {
	t.Helper()
	cmd := child(t, name, task)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	kill := func() { _ = cmd.Process.Kill() }
	var timer *time.Timer
	if nth == 0 {
		timer = time.AfterFunc(after, kill)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if acknowledged++; acknowledged == nth {
			timer = time.AfterFunc(after, kill)
		}
	}
	err = cmd.Wait()
	if timer != nil {
		timer.Stop()
	}
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != -1) {
		t.Fatalf("the child ended with %v, want a kill", err)
	}
	return acknowledged
}

// stored reads the rows of a round.
func stored(t *testing.T, db *talkbase.DB, round int) crashState {
	t.Helper()
	s := newCrashState()
	g, err := db.Gorm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	read := func(to map[string]string, query string) {
		t.Helper()
		rows, err := g.Raw(query, fmt.Sprintf("r%d-", round), fmt.Sprintf("r%d.", round)).Rows()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id, value string
			var v models.Vector
			if strings.Contains(query, "embedding") {
				err = rows.Scan(&id, &v)
				value = v.Text()
			} else {
				err = rows.Scan(&id, &value)
			}
			if err != nil {
				t.Fatal(err)
			}
			to[id] = value
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	read(s.Conversations, "SELECT conv_id, title FROM conversations WHERE conv_id >= ? AND conv_id < ?")
	read(s.Messages, "SELECT msg_id, conversation_id || ' ' || content FROM messages WHERE msg_id >= ? AND msg_id < ?")
	read(s.Chunks, "SELECT id, file_id || ' ' || content FROM knowledge_chunks WHERE id >= ? AND id < ?")
	read(s.Vectors, "SELECT id, embedding FROM knowledge_vectors WHERE id >= ? AND id < ?")
	return s
}

// whole checks that the database is sound, and its indexes in step with the rows.
func whole(t *testing.T, db *talkbase.DB, when string, s crashState) {
	t.Helper()
	ctx := t.Context()
	g, err := db.Gorm(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"PRAGMA integrity_check":                        "ok",
		"SELECT count(*) FROM pragma_foreign_key_check": "0",
		"SELECT count(*) FROM conversations c WHERE message_count <> (SELECT count(*) FROM messages m WHERE m.conversation_id = c.conv_id)": "0",
		"SELECT (SELECT count(*) FROM messages) - (SELECT count(*) FROM message_terms_docsize)":                                             "0",
		"SELECT (SELECT count(*) FROM conversations) - (SELECT count(*) FROM conversation_terms_docsize)":                                   "0",
		"SELECT (SELECT count(*) FROM knowledge_chunks) - (SELECT count(*) FROM chunk_terms_docsize)":                                       "0",
		"SELECT (SELECT count(*) FROM knowledge_chunks) - (SELECT count(*) FROM knowledge_vectors)":                                         "0",
		"SELECT count(*) FROM knowledge_sketch_pending p WHERE NOT EXISTS (SELECT 1 FROM knowledge_bases b WHERE b.id = p.base_id)":         "0",
	} {
		var got string
		if err := g.Raw(query).Row().Scan(&got); err != nil || got != want {
			t.Errorf("%s, %s: got %s (%v), want %s", when, query, got, err, want)
		}
	}
	if missing, err := db.Bulk().TextMissing(ctx); err != nil || len(missing) > 0 {
		t.Errorf("%s, text that is not indexed: got %v (%v), want none", when, missing, err)
	}
	// A search for a row's words finds the row, and a query of a vector itself finds the vector.
	for id, v := range some(s.Messages, 5) {
		_, content, _ := strings.Cut(v, " ")
		w, _, _ := strings.Cut(content, " ")
		if found, err := db.Bulk().Finds(ctx, "messages", id, w); err != nil || !found {
			t.Errorf("%s, search %s: got %t (%v), want message %s", when, w, found, err, id)
		}
	}
	for id, v := range some(s.Vectors, 10) {
		var q models.Vector
		if err := q.Scan(v); err != nil {
			t.Fatal(err)
		}
		hits, err := db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: crashBase, Vector: q, Limit: 1})
		if err != nil || len(hits) != 1 || hits[0].VectorID != id {
			t.Errorf("%s, similar to vector %s: got %+v (%v), want itself", when, id, hits, err)
		}
	}
}

func some(m map[string]string, n int) map[string]string {
	out := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if len(out) < n {
			out[k] = m[k]
		}
	}
	return out
}

// roundsPerFile is how many rounds reuse one database.
const roundsPerFile = 25

// A process that writes is killed at random. Every commit that it acknowledged is there, and of the one
// under way all or nothing.
func TestSQLiteCrashes(t *testing.T) {
	t.Parallel()
	total := number(t, "TALKBASE_CRASHES", inShort(5, 50))
	var left, steps, halves atomic.Int64
	left.Store(int64(total))
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(w))) //nolint:gosec // not a secret
			for left.Load() > 0 && !t.Failed() {
				crashFile(t, rng, &left, &steps, &halves)
			}
		})
	}
	wg.Wait()
	t.Logf("%d kills, %d commits acknowledged, %d committed and not acknowledged", total-int(max(left.Load(), 0)), steps.Load(), halves.Load())
}

// crashFile crashes processes on one file.
func crashFile(t *testing.T, rng *rand.Rand, left, steps, halves *atomic.Int64) {
	dir := memoryDir(t)
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "talk.db")
	kept := map[int]crashState{}
	for range roundsPerFile {
		if left.Add(-1) < 0 || t.Failed() {
			break
		}
		round := rng.IntN(1 << 30)
		nth, after := rng.IntN(25), time.Duration(rng.IntN(4000))*time.Microsecond
		if nth == 0 { // while it opens
			after = time.Duration(rng.IntN(80)) * time.Millisecond
		}
		acknowledged := crashed(t, "crash", crashTask{path, round}, nth, after)
		steps.Add(int64(acknowledged))
		want := newCrashState()
		for n := range acknowledged {
			want, _ = crashStep(round, n, want)
		}
		next, _ := crashStep(round, acknowledged, want)
		db, err := talkbase.Open(t.Context(), killedConfig(path, ""))
		if err != nil {
			t.Errorf("open after a kill: got error %v, want none", err)
			return
		}
		got := stored(t, db, round)
		switch {
		case got.equal(want):
		case got.equal(next):
			halves.Add(1)
			want = next
		default:
			t.Errorf("round %d, killed after %d steps: got other rows than after that many or one more", round, acknowledged)
		}
		whole(t, db, fmt.Sprint("round ", round), want)
		kept[round] = want
		if err := db.Close(); err != nil {
			t.Errorf("close: got error %v, want none", err)
		}
	}
	db, err := talkbase.Open(t.Context(), killedConfig(path, ""))
	if err != nil {
		t.Errorf("open at the end: got error %v, want none", err)
		return
	}
	for round, want := range kept {
		if !stored(t, db, round).equal(want) {
			t.Errorf("round %d: got other rows at the end than after it", round)
		}
	}
	if err := db.Close(); err != nil {
		t.Errorf("close: got error %v, want none", err)
	}
}

// crashRestoreTask is a restore that is killed.
type crashRestoreTask struct{ DSN, Schema, Dump string }

// beCrashRestoreChild prints a line for each report of progress.
func beCrashRestoreChild(c crashRestoreTask) error {
	ctx := context.Background()
	db, err := talkbase.Open(ctx, killedConfig(c.DSN, c.Schema))
	if err != nil {
		return err
	}
	_, err = db.Restore(ctx, c.Dump, migration.RestoreOptions{Progress: func(p migration.Progress) { fmt.Println(p.Phase, p.Table, p.Done) }})
	return errors.Join(err, db.Close())
}

// testKilledRestores kills restores at random. The database is empty then, or has everything.
func testKilledRestores(t *testing.T, place func(t *testing.T) (dsn, schema string)) {
	ctx := t.Context()
	source := fresh(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")}, nil)
	loadSets(t, source)
	dump := filepath.Join(t.TempDir(), "talk.dump")
	if _, err := source.Backup(ctx, dump, migration.DumpOptions{}); err != nil {
		t.Fatal(err)
	}
	want := digestsOf(t, source)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3)) //nolint:gosec // not a secret
	dsn, schema := place(t)
	db := fresh(t, talkbase.Config{DSN: dsn, Schema: schema}, nil)
	empty := digestsOf(t, db)
	n := 0
	for range inShort(3, 12) {
		crashed(t, "crash-restore", crashRestoreTask{dsn, schema, dump}, 1+rng.IntN(30), time.Duration(rng.IntN(6000))*time.Microsecond)
		got := digestsOf(t, db)
		if maps.Equal(got, want) {
			dsn, schema = place(t)
			db = fresh(t, talkbase.Config{DSN: dsn, Schema: schema}, nil)
			continue
		}
		if n++; !maps.Equal(got, empty) {
			t.Errorf("after a kill: got %v, want nothing, or everything", got)
		}
		if v, err := db.ValidateSchema(ctx); err != nil || !v.OK {
			t.Errorf("schema after a kill: got %+v (%v), want it whole", v, err)
		}
	}
	t.Logf("%d were cut off", n)
	for deadline := time.Now().Add(time.Minute); ; { // a server needs a moment to see that its client is gone
		_, err := db.Restore(ctx, dump, migration.RestoreOptions{})
		if errors.Is(err, migration.ErrNotEmpty) && maps.Equal(digestsOf(t, db), want) {
			break
		}
		if err != nil && (!errors.Is(err, repo.ErrBusy) || time.Now().After(deadline)) {
			t.Fatalf("restore after kills: got error %v, want none", err)
		}
		if err == nil {
			break
		}
	}
	wantSame(t, "digests after a restore", digestsOf(t, db), want)
}

func TestSQLiteKilledRestores(t *testing.T) {
	t.Parallel()
	testKilledRestores(t, func(t *testing.T) (string, string) { return filepath.Join(t.TempDir(), "talk.db"), "" })
}

func TestPostgresKilledRestores(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	testKilledRestores(t, func(t *testing.T) (string, string) { return dsn, schemaName(t, dsn) })
}
