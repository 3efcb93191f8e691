package tests_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// The limits of Postgres' tsvector, which hold on both engines: positions a document, and occurrences
// of a word.
const (
	modelPositions   = 16381
	modelOccurrences = 256
)

// modelText is a text as the naive model sees it: the tokens a phrase can use, in order, and all of them.
type modelText struct {
	seq []string
	all map[string]bool
}

// newModelText cuts a text at spaces. Words are taken as they are; Chinese ones give pairs of characters
// and the last alone.
func newModelText(s string) modelText {
	m := modelText{all: map[string]bool{}}
	count := map[string]int{}
	for _, t := range modelTokens(s) {
		m.all[t] = true
		if count[t]++; count[t] > modelOccurrences {
			t = "~"
		}
		if len(m.seq) < modelPositions {
			m.seq = append(m.seq, t)
		}
	}
	return m
}

func modelTokens(s string) (out []string) {
	for _, w := range strings.Fields(s) {
		r := []rune(w)
		if !unicode.Is(unicode.Han, r[0]) {
			out = append(out, w)
			continue
		}
		for i := range r {
			out = append(out, string(r[i:min(i+2, len(r))]))
		}
	}
	return out
}

// has says whether the text has one term of a query: a word, a beginning*, a "phrase", or Chinese.
func (m modelText) has(term string) bool {
	phrase := []string{term}
	switch first := []rune(term)[0]; {
	case strings.HasSuffix(term, "*"), unicode.Is(unicode.Han, first) && len([]rune(term)) == 1:
		for t := range m.all {
			if strings.HasPrefix(t, strings.TrimSuffix(term, "*")) {
				return true
			}
		}
		return false
	case first == '"':
		phrase = strings.Fields(strings.Trim(term, `"`))
	case unicode.Is(unicode.Han, first):
		pairs := modelTokens(term)
		phrase = pairs[:len(pairs)-1]
	}
	if len(phrase) == 1 {
		return m.all[phrase[0]]
	}
	for i := 0; i+len(phrase) <= len(m.seq); i++ {
		if slices.Equal(m.seq[i:i+len(phrase)], phrase) {
			return true
		}
	}
	return false
}

// modelQuery is a query: each group needs one of its terms.
type modelQuery struct {
	groups  [][]string
	exclude []string
}

func (q modelQuery) String() string {
	var parts []string
	for _, g := range q.groups {
		parts = append(parts, strings.Join(g, " OR "))
	}
	for _, t := range q.exclude {
		parts = append(parts, "-"+t)
	}
	return strings.Join(parts, " ")
}

func (q modelQuery) finds(m modelText) bool {
	return !slices.ContainsFunc(q.exclude, m.has) && !slices.ContainsFunc(q.groups, func(g []string) bool { return !slices.ContainsFunc(g, m.has) })
}

// modelWords share no stem.
var modelWords = strings.Fields("zorp quix blatt vum drog 数据库 向量索引 数据 库")

var modelTerms = slices.Concat(modelWords, []string{
	`"zorp quix"`, `"quix blatt"`, `"blatt vum"`, `"vum vum"`, `"drog w16000"`, `"drog w16500"`, "qu*", "bla*", "w165*", "据库", "量索引", "据", "引", "w7", "absent",
})

// longTexts are beyond the limits in words of one kind and in positions.
var longTexts = func() (out []string) {
	var b strings.Builder
	for i := range 17000 {
		fmt.Fprintf(&b, "w%d ", i)
		if i == 15999 || i == 16499 {
			b.WriteString("drog ")
		}
	}
	return []string{
		"zorp quix " + b.String() + "quix blatt 数据库",
		strings.Repeat("vum ", 300) + "vum blatt vum",
		strings.Repeat("blatt ", 255) + "blatt vum vum",
	}
}()

func modelContent(t *rapid.T) string {
	if rapid.IntRange(0, 19).Draw(t, "long") == 0 {
		return rapid.SampledFrom(longTexts).Draw(t, "text")
	}
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(modelWords), 1, 8).Draw(t, "words"), " ")
}

func drawQuery(t *rapid.T) (q modelQuery) {
	term := rapid.SampledFrom(modelTerms)
	for range rapid.IntRange(1, 3).Draw(t, "groups") {
		q.groups = append(q.groups, rapid.SliceOfN(term, 1, 2).Draw(t, "group"))
	}
	q.exclude = rapid.SliceOfN(term, 0, 1).Draw(t, "exclude")
	return q
}

// modelChunk is a chunk of the naive model, with its vector.
type modelChunk struct {
	file, base string
	processed  bool
	text       modelText
	vector     []float32
}

// searchModel is a naive database: everything is in maps, every query looks at everything.
type searchModel struct {
	messages map[string]modelText
	chunks   map[string]modelChunk
}

const modelDimensions = 5

// modelBases are the bases by their metric, each with two files.
var modelBases = []string{"cosine", "l2", "ip"}

func drawVector(t *rapid.T) []float32 {
	v := make([]float32, modelDimensions)
	for i := range v {
		v[i] = float32(rapid.IntRange(-1000, 1000).Draw(t, "element")) / 317
	}
	v[0] += 0.5 / 317 // never zero
	return v
}

// modelDistance is what the documentation says, in float64.
func modelDistance(metric string, a, b []float32) float64 {
	var dot, aa, bb, dd float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		dot, aa, bb, dd = dot+x*y, aa+x*x, bb+y*y, dd+(x-y)*(x-y)
	}
	switch metric {
	case "cosine":
		return 1 - dot/math.Sqrt(aa*bb)
	case "l2":
		return math.Sqrt(dd)
	}
	return -dot
}

// checkNearest compares an exact answer with the model. Order is free between distances closer than
// 1e-6, relative to their size where that is more than 1: engines may compute in float32.
func (m *searchModel) checkNearest(base string, q []float32, k int, got []repo.SimilarChunk) error {
	type neighbor struct {
		id       string
		distance float64
	}
	var want []neighbor
	at := map[string]float64{}
	for id, c := range m.chunks {
		if c.base == base && c.processed && c.vector != nil {
			d := modelDistance(base, q, c.vector)
			want, at[id] = append(want, neighbor{id, d}), d
		}
	}
	slices.SortFunc(want, func(a, b neighbor) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.id, b.id))
	})
	want = want[:min(k, len(want))]
	if len(got) != len(want) {
		return fmt.Errorf("got %d, want %d", len(got), len(want))
	}
	seen := map[string]bool{}
	for i, g := range got {
		d, known := at[g.ChunkID]
		if !known || seen[g.ChunkID] {
			return fmt.Errorf("place %d: got %q, which is not there or comes twice", i+1, g.ChunkID)
		}
		seen[g.ChunkID] = true
		near := 1e-6 * max(1, math.Abs(d))
		if math.Abs(d-want[i].distance) > near {
			return fmt.Errorf("place %d: got %q at %v, want %q at %v", i+1, g.ChunkID, d, want[i].id, want[i].distance)
		}
		if math.Abs(d-g.Distance) > 10*near {
			return fmt.Errorf("distance of %q: got %v, want %v", g.ChunkID, g.Distance, d)
		}
	}
	return nil
}

// modelRun makes the same calls on every database and on the model.
type modelRun struct {
	searchModel
	t   *rapid.T
	dbs []*talkbase.DB
}

func (r *modelRun) each(what string, f func(db *talkbase.DB) error) {
	for _, db := range r.dbs {
		if err := f(db); err != nil {
			r.t.Fatalf("%s on %s: %v", what, db.Engine(), err)
		}
	}
}

func (r *modelRun) clear(t *testing.T) {
	ctx := t.Context()
	r.messages, r.chunks = map[string]modelText{}, map[string]modelChunk{}
	r.each("clear", func(db *talkbase.DB) error {
		if err := db.DeleteConversation(ctx, "c"); err != nil && !errors.Is(err, repo.ErrNotFound) {
			return err
		}
		_, err := db.DestroyKnowledge(ctx)
		_, cerr := db.CreateConversation(ctx, models.Conversation{ConvID: "c", Title: "none"})
		err = errors.Join(err, cerr)
		for _, base := range modelBases {
			_, berr := db.CreateBase(ctx, models.KnowledgeBase{ID: base, Dimensions: modelDimensions, Metric: models.Metric(base)})
			err = errors.Join(err, berr)
		}
		return err
	})
}

func (r *modelRun) putMessage(t *testing.T) {
	ctx := t.Context()
	id, content := rapid.SampledFrom([]string{"m1", "m2", "m3", "m4", "m5", "m6"}).Draw(r.t, "message"), modelContent(r.t)
	_, known := r.messages[id]
	r.each("put message", func(db *talkbase.DB) error {
		if known {
			_, err := db.UpdateMessage(ctx, id, repo.MessageUpdate{Content: &content})
			return err
		}
		_, err := db.InsertMessage(ctx, models.Message{MsgID: id, ConversationID: "c", Role: models.RoleUser, Content: content})
		return err
	})
	r.messages[id] = newModelText(content)
}

func (r *modelRun) deleteMessage(t *testing.T) {
	if len(r.messages) == 0 {
		return
	}
	id := rapid.SampledFrom(sortedKeys(r.messages)).Draw(r.t, "message")
	r.each("delete message", func(db *talkbase.DB) error { return db.DeleteMessage(t.Context(), id) })
	delete(r.messages, id)
}

// putFile inserts or replaces a file with some chunks and vectors.
func (r *modelRun) putFile(t *testing.T) {
	ctx := t.Context()
	base := rapid.SampledFrom(modelBases).Draw(r.t, "base")
	file := base + rapid.SampledFrom([]string{"-1", "-2"}).Draw(r.t, "file")
	r.dropFile(t, file)
	var chunks []models.KnowledgeChunk
	var vectors []models.KnowledgeVector
	for i := range rapid.IntRange(1, 6).Draw(r.t, "chunks") {
		id, content, status := fmt.Sprintf("%s/%d", file, i), modelContent(r.t), models.TaskProcessed
		if rapid.IntRange(0, 4).Draw(r.t, "status") == 0 {
			status = models.TaskPending
		}
		c := modelChunk{file: file, base: base, processed: status == models.TaskProcessed, text: newModelText(content)}
		if rapid.IntRange(0, 5).Draw(r.t, "embedded") > 0 {
			c.vector = drawVector(r.t)
			vectors = append(vectors, models.KnowledgeVector{FileID: file, ChunkID: id, Embedding: c.vector})
		}
		r.chunks[id] = c
		chunks = append(chunks, models.KnowledgeChunk{ID: id, FileID: file, ChunkIndex: int64(i), Content: content, Status: status})
	}
	r.each("put file", func(db *talkbase.DB) error {
		_, err := db.InsertFile(ctx, models.KnowledgeFile{ID: file, BaseID: base, Name: file, Path: file, Status: models.TaskProcessed})
		_, cerr := db.InsertChunks(ctx, chunks)
		_, verr := db.UpsertVectors(ctx, vectors)
		return errors.Join(err, cerr, verr)
	})
}

func (r *modelRun) dropFile(t *testing.T, file string) {
	r.each("delete file", func(db *talkbase.DB) error {
		if err := db.DeleteFile(t.Context(), file); !errors.Is(err, repo.ErrNotFound) {
			return err
		}
		return nil
	})
	for id, c := range r.chunks {
		if c.file == file {
			delete(r.chunks, id)
		}
	}
}

func (r *modelRun) changeChunk(t *testing.T) {
	ctx := t.Context()
	if len(r.chunks) == 0 {
		return
	}
	id := rapid.SampledFrom(sortedKeys(r.chunks)).Draw(r.t, "chunk")
	c := r.chunks[id]
	switch rapid.SampledFrom([]string{"vector", "status", "file", "vectors"}).Draw(r.t, "change") {
	case "vector":
		c.vector = drawVector(r.t)
		r.each("change vector", func(db *talkbase.DB) error {
			_, err := db.UpsertVectors(ctx, []models.KnowledgeVector{{FileID: c.file, ChunkID: id, Embedding: c.vector}})
			return err
		})
		r.chunks[id] = c
	case "status":
		c.processed = !c.processed
		status := map[bool]models.TaskStatus{true: models.TaskProcessed, false: models.TaskPaused}[c.processed]
		r.each("change status", func(db *talkbase.DB) error { return db.UpdateChunkStatus(ctx, id, status, "") })
		r.chunks[id] = c
	case "file":
		r.dropFile(t, c.file)
	case "vectors":
		r.each("delete vectors", func(db *talkbase.DB) error {
			_, err := db.DeleteVectorsByFile(ctx, c.file)
			return err
		})
		for id, o := range r.chunks {
			if o.file == c.file {
				o.vector = nil
				r.chunks[id] = o
			}
		}
	}
}

func (r *modelRun) searchWords(t *testing.T) {
	q := drawQuery(r.t)
	base := rapid.SampledFrom(append([]string{""}, modelBases...)).Draw(r.t, "base")
	want := []string{}
	for id, m := range r.messages {
		if base == "" && q.finds(m) {
			want = append(want, id)
		}
	}
	for id, c := range r.chunks {
		if (base == "" || base == c.base) && q.finds(c.text) {
			want = append(want, id)
		}
	}
	slices.Sort(want)
	r.each("search "+q.String(), func(db *talkbase.DB) error {
		hits, err := db.SearchText(t.Context(), repo.TextQuery{Query: q.String(), BaseID: base, Limit: 1000})
		got := []string{}
		for _, h := range hits {
			got = append(got, h.ID)
		}
		slices.Sort(got)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("got %q, want %q", got, want)
		}
		return err
	})
}

func (r *modelRun) searchVectors(t *testing.T) {
	base, v, k := rapid.SampledFrom(modelBases).Draw(r.t, "base"), drawVector(r.t), rapid.IntRange(1, 8).Draw(r.t, "k")
	r.each("similarity", func(db *talkbase.DB) error {
		got, err := db.SimilarityQuery(t.Context(), repo.SimilarityQuery{BaseID: base, Vector: v, Limit: k})
		return errors.Join(err, r.checkNearest(base, v, k, got))
	})
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

// compareWithModel makes random changes and asks random questions after them.
func compareWithModel(t *testing.T, dbs ...*talkbase.DB) {
	steps := []func(*modelRun, *testing.T){
		(*modelRun).putMessage, (*modelRun).putMessage, (*modelRun).deleteMessage, (*modelRun).putFile, (*modelRun).putFile, (*modelRun).changeChunk, (*modelRun).changeChunk,
	}
	rapid.Check(t, func(rt *rapid.T) {
		r := &modelRun{t: rt, dbs: dbs}
		r.clear(t)
		for range rapid.IntRange(1, 6).Draw(rt, "rounds") {
			for range rapid.IntRange(1, 4).Draw(rt, "changes") {
				steps[rapid.IntRange(0, len(steps)-1).Draw(rt, "step")](r, t)
			}
			r.searchWords(t)
			r.searchWords(t)
			r.searchVectors(t)
		}
	})
	for _, db := range dbs {
		wantSound(t, db)
	}
}

func TestSQLiteSearchAgreesWithAModel(t *testing.T) {
	t.Parallel()
	compareWithModel(t, fresh(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")}, nil))
}

func TestPostgresSearchAgreesWithSQLiteAndAModel(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	compareWithModel(t,
		fresh(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")}, nil),
		fresh(t, talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn)}, nil),
	)
}
