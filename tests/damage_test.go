package tests_test

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// outcome is what came of opening and using a damaged database.
type outcome string

const (
	refused   outcome = "typed error when opened"
	failed    outcome = "typed error when used"
	integrity outcome = "found by the integrity check"
	compared  outcome = "found by comparing with a backup"
	earlier   outcome = "the state of an earlier commit"
	same      outcome = "no row differs"
)

// tally counts outcomes by what was damaged.
type tally struct {
	mu    sync.Mutex
	kinds []string
	count map[string]map[outcome]int
}

func (y *tally) add(kind string, o outcome) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.count == nil {
		y.count = map[string]map[outcome]int{}
	}
	if y.count[kind] == nil {
		y.count[kind] = map[outcome]int{}
		y.kinds = append(y.kinds, kind)
	}
	y.count[kind][o]++
}

// table prints the tally as docs/damage.md has it.
func (y *tally) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', tabwriter.Debug)
	all := []outcome{refused, failed, integrity, compared, earlier, same}
	_, _ = fmt.Fprint(w, "damage\ttried")
	for _, o := range all {
		_, _ = fmt.Fprint(w, "\t", o)
	}
	_, _ = fmt.Fprintln(w)
	slices.Sort(y.kinds)
	for _, kind := range y.kinds {
		n := 0
		for _, c := range y.count[kind] {
			n += c
		}
		_, _ = fmt.Fprint(w, kind, "\t", n)
		for _, o := range all {
			_, _ = fmt.Fprint(w, "\t", y.count[kind][o])
		}
		_, _ = fmt.Fprintln(w)
	}
	_ = w.Flush()
	return b.String()
}

// victim is a small database that copies of are damaged.
type victim struct {
	dir string
	// main and wal are its files.
	main, wal []byte
	// states are the digests after each commit, the last one those of the whole.
	states []map[string]migration.Digest
	// pages are the kinds of the pages, by number.
	pages map[int]string
	// rows are all of them: by table and key, their canonical forms.
	rows map[string]map[string]string
}

const victimPage = 4096

// victims are made once: nothing but copies of them is damaged.
var victims = map[bool]*struct {
	once   sync.Once
	victim *victim
	rows   map[string]map[string]string
}{false: {}, true: {}}

// newVictim returns a database with every kind of page. Logged leaves its last commits in the log.
func newVictim(t *testing.T, logged bool) *victim {
	t.Helper()
	made := victims[logged]
	made.once.Do(func() {
		if v := makeVictim(t, logged); !t.Failed() {
			made.victim, made.rows = v, v.all(t)
		}
	})
	if made.victim == nil {
		t.Fatal("the database to damage could not be made")
	}
	v := *made.victim
	v.dir, v.rows = memoryDir(t), made.rows
	return &v
}

func makeVictim(t *testing.T, logged bool) *victim {
	t.Helper()
	ctx := t.Context()
	v := &victim{dir: t.TempDir()}
	path := filepath.Join(v.dir, "talk.db")
	db := fresh(t, talkbase.Config{DSN: path}, nil)
	if logged { // what follows is in the log, and the schema is not
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = fresh(t, talkbase.Config{DSN: path}, nil)
	}
	note := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if logged {
			v.states = append(v.states, digestsOf(t, db))
		}
	}
	v.states = append(v.states, digestsOf(t, db))
	for _, name := range []string{"chats", "branches", "knowledge"} {
		note(fixtures.Load(ctx, db, name))
	}
	if logged {
		note(db.DeleteConversation(ctx, "chat-en"))
		note(db.RenameConversation(ctx, "chat-zh", "迁移"))
		v.read(t, path)
		return v
	}
	// A value on overflow pages, rows for pages inside the trees, vectors with codes, and free pages.
	var ms []models.Message
	for i := range 150 {
		ms = append(ms, models.Message{MsgID: fmt.Sprint("victim-", i), ConversationID: "chat-en", Role: models.RoleUser, Content: strings.Repeat(fmt.Sprint("word", i, " "), 60)})
	}
	ms = append(ms, models.Message{MsgID: "overflow", ConversationID: "chat-en", Role: models.RoleUser, Content: strings.Repeat("overflowing ", 1500)})
	_, err := db.InsertMessages(ctx, ms)
	note(err)
	var chunks []models.KnowledgeChunk
	var vectors []models.KnowledgeVector
	for i := range 260 {
		id := fmt.Sprint("victim-", i)
		chunks = append(chunks, models.KnowledgeChunk{ID: id, FileID: "notes-file-1", Content: id, Status: models.TaskProcessed})
		vectors = append(vectors, models.KnowledgeVector{ID: id, FileID: "notes-file-1", ChunkID: id, Embedding: []float32{float32(i), 1, 2, 3, 4, 5, 6, 7}})
	}
	_, err = db.InsertChunks(ctx, chunks)
	note(err)
	_, err = db.UpsertVectors(ctx, vectors)
	note(err)
	if _, err = db.CreateConversation(ctx, models.Conversation{ConvID: "gone"}); err == nil {
		note(nil)
		_, err = db.InsertMessage(ctx, models.Message{ConversationID: "gone", Role: models.RoleUser, Content: strings.Repeat("gone ", 5000)})
	}
	note(err)
	note(db.DeleteConversation(ctx, "gone"))
	v.states = []map[string]migration.Digest{digestsOf(t, db)}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	v.read(t, path)
	v.name(t, path)
	return v
}

func (v *victim) read(t *testing.T, path string) {
	t.Helper()
	var err error
	if v.main, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if v.wal, err = os.ReadFile(path + "-wal"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// memoryDir is a folder in memory, where there is one: thousands of databases are made in it.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "talkbase-") //nolint:usetesting // it is to be in memory
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// name asks SQLite what each page is.
func (v *victim) name(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(t.Context(), "SELECT d.pageno, d.pagetype, coalesce(m.type, 'schema'), d.name FROM dbstat d LEFT JOIN sqlite_master m ON m.name = d.name")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	v.pages = map[int]string{}
	for rows.Next() {
		var n int
		var page, kind, name string
		if err := rows.Scan(&n, &page, &kind, &name); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(name, "_terms_") {
			kind = "text index"
		}
		v.pages[n] = kind + ", " + page
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= len(v.main)/victimPage; n++ {
		if v.pages[n] == "" {
			v.pages[n] = "free page"
		}
	}
	if v.pages[1] = "header"; len(v.pages) != len(v.main)/victimPage {
		t.Fatalf("pages: got %d, want %d", len(v.pages), len(v.main)/victimPage)
	}
}

// try opens and uses a database of these files, and says what came of it. Every error must be typed, and
// no database may be empty.
func (v *victim) try(t *testing.T, what string, main, wal []byte) outcome {
	t.Helper()
	dir, err := os.MkdirTemp(v.dir, "try-") //nolint:usetesting // in memory, and removed at once
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "talk.db")
	write(t, path, main)
	if wal != nil {
		write(t, path+"-wal", wal)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	typed := func(when string, err error) {
		t.Helper()
		var de *repo.DatabaseError
		var te *repo.TransactionError
		if !errors.As(err, &de) && !errors.As(err, &te) || repo.ErrorCode(err) == "DATABASE" || ctx.Err() != nil {
			t.Errorf("%s, %s: got error %T (%s) %v, want a typed one", what, when, err, repo.ErrorCode(err), err)
		}
	}
	db, err := talkbase.Open(ctx, talkbase.Config{DSN: path, Logger: slog.New(slog.DiscardHandler), Performance: talkbase.PerformanceConfig{Synchronous: "NORMAL", MaxConns: 2}})
	if err != nil {
		typed("opened", err)
		if !strings.Contains(err.Error(), path) {
			t.Errorf("%s, opened: got error %v, want it to name the file", what, err)
		}
		return refused
	}
	defer func() {
		if err := db.Close(); err != nil {
			typed("closed", err)
		}
	}()
	got, err := use(ctx, db)
	if err != nil {
		typed("used", err)
		return failed
	}
	switch {
	case maps.Equal(got, v.states[len(v.states)-1]):
	case slices.ContainsFunc(v.states, func(s map[string]migration.Digest) bool { return maps.Equal(s, got) }):
		return earlier
	case wal != nil:
		t.Errorf("%s: got rows that no commit left, want those of one", what)
		return compared
	default:
		if got["messages"].Rows == 0 && got["conversations"].Rows == 0 {
			t.Errorf("%s: got an empty database, want an error", what)
		}
		return compared
	}
	if found, err := integrityOf(ctx, db); err != nil {
		typed("checked", err)
		return integrity
	} else if found != "ok" {
		return integrity
	}
	if _, err := db.InsertMessage(ctx, models.Message{ConversationID: "chat-en", Role: models.RoleUser, Content: "after the damage"}); err != nil {
		typed("written", err)
		return failed
	}
	return same
}

// use reads every row and searches.
func use(ctx context.Context, db *talkbase.DB) (map[string]migration.Digest, error) {
	got, err := db.Digests(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := db.SearchText(ctx, repo.TextQuery{Query: "word7 OR overflowing OR backups", AnyWord: true}); err != nil {
		return nil, err
	}
	if _, err := db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: "notes", Vector: []float32{5, 1, 2, 3, 4, 5, 6, 7}}); err != nil && !errors.Is(err, repo.ErrNotFound) {
		return nil, err
	}
	_, err = db.ListConversations(ctx, repo.ConversationList{})
	return got, err
}

func integrityOf(ctx context.Context, db *talkbase.DB) (string, error) {
	g, err := db.Gorm(ctx)
	if err != nil {
		return "", err
	}
	var s string
	err = g.Raw("PRAGMA integrity_check(1)").Row().Scan(&s)
	if err != nil {
		return "damaged", nil //nolint:nilerr // it says so itself
	}
	return s, nil
}

// each runs f for each of n trials on all processors. A short run takes a sample.
func each(n, sample int, f func(i int)) {
	step := 1
	if testing.Short() {
		step = max(1, n/sample)
	}
	next := make(chan int)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := 0; i < n; i += step {
		next <- i
	}
	close(next)
	wg.Wait()
}

// Every kind of page is damaged in its head, its pointers and its content.
func TestSQLiteFlippedBytes(t *testing.T) {
	t.Parallel()
	v := newVictim(t, false)
	type flip struct {
		page, at int
		kind     string
	}
	var flips []flip
	for _, page := range slices.Sorted(maps.Keys(v.pages)) {
		kind := v.pages[page]
		places := []struct {
			at   int
			what string
		}{{0, "head"}, {4, "head"}, {6, "head"}, {9, "pointers"}, {victimPage - 300, "content"}, {victimPage - 7, "content"}}
		if page == 1 {
			places = places[:0]
			for _, at := range []int{0, 8, 16, 17, 18, 19, 20, 21, 24, 28, 31, 33, 35, 39, 43, 47, 52, 56, 59, 63, 67, 70, 92, 96, 100, 104, 106, 109, 3000} {
				places = append(places, struct {
					at   int
					what string
				}{at, "fields"})
			}
		}
		if kind == "free page" || strings.HasSuffix(kind, "overflow") {
			places[0].what, places[1].what, places[2].what, places[3].what = "pointers", "content", "content", "content"
		}
		for _, p := range places {
			flips = append(flips, flip{page, p.at, kind + ", " + p.what})
		}
	}
	slices.SortStableFunc(flips, func(a, b flip) int { return cmp.Compare(a.kind, b.kind) })
	var y tally
	each(len(flips), 25, func(i int) {
		f := flips[i]
		main := bytes.Clone(v.main)
		main[(f.page-1)*victimPage+f.at] ^= 0x41
		y.add(f.kind, v.try(t, fmt.Sprintf("byte %d of page %d (%s)", f.at, f.page, f.kind), main, nil))
	})
	t.Logf("%d pages\n%s", len(v.pages), y.table())
	for kind, counts := range y.count {
		// What a flip inside of values does, SQLite cannot see; it must be found by comparing.
		if strings.HasPrefix(kind, "table") && strings.Contains(kind, "leaf, content") && counts[compared] == 0 && !testing.Short() {
			t.Errorf("%s: got %v, want some found by comparing", kind, counts)
		}
	}
}

func TestSQLiteTruncations(t *testing.T) {
	t.Parallel()
	v := newVictim(t, false)
	var y tally
	each(len(v.main)/512, 15, func(i int) {
		if i == 0 {
			return // an empty file is an empty database
		}
		y.add("file cut off", v.try(t, fmt.Sprint("cut at ", i*512), v.main[:i*512], nil))
	})
	t.Logf("%d bytes\n%s", len(v.main), y.table())
	if n := y.count["file cut off"]; n[refused] == 0 || len(n) > 1 {
		t.Errorf("outcomes: got %v, want an error when the file is opened, always", n)
	}
}

// Of a log, what comes behind the damage is as if it had not been committed; SQLite cannot tell that
// from a crash. What comes before it is whole.
func TestSQLiteDamagedLogs(t *testing.T) {
	t.Parallel()
	v := newVictim(t, true)
	var y tally
	each(len(v.wal)/512+1, 12, func(i int) {
		y.add("log cut off", v.try(t, fmt.Sprint("log cut at ", i*512), v.main, v.wal[:i*512]))
		wal := bytes.Clone(v.wal)
		wal[min(i*512+i%512, len(wal)-1)] ^= 0x10
		y.add("log, a byte flipped", v.try(t, fmt.Sprint("a flip in the log near ", i*512), v.main, wal))
	})
	t.Logf("%d bytes\n%s", len(v.wal), y.table())
	if y.count["log cut off"][earlier] == 0 {
		t.Errorf("outcomes: got %v, want some of earlier commits", y.count)
	}
}

// The main file is cut off or gone while its log is there.
func TestSQLiteLogsWithoutTheirFile(t *testing.T) {
	t.Parallel()
	v := newVictim(t, true)
	var y tally
	for size := 0; size < len(v.main); size += inShort(13, 1)*4096 - 512*(size/4096%8) {
		y.add("file cut off, log whole", v.try(t, fmt.Sprint("cut at ", size, " with a log"), v.main[:size], v.wal))
	}
	t.Logf("\n%s", y.table())
	path := filepath.Join(t.TempDir(), "talk.db")
	write(t, path+"-wal", v.wal)
	before := folder(t, filepath.Dir(path))
	_, err := talkbase.Open(t.Context(), talkbase.Config{DSN: path})
	if !errors.Is(err, repo.ErrCorrupt) || !strings.Contains(err.Error(), path) {
		t.Errorf("open without the file: got error %v, want ErrCorrupt that names it", err)
	}
	if after := folder(t, filepath.Dir(path)); !maps.Equal(before, after) {
		t.Errorf("folder: got %d files, want it as it was", len(after))
	}
}
