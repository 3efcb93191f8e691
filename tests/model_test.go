package tests_test

import (
	"cmp"
	"encoding/json"
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

// modelFile is what is known of a file. Value is what its metadata hold under the key "k", as JSON; "" is
// nothing.
type modelFile struct {
	status     models.TaskStatus
	mime       string
	uploadedAt int64
	value      string
}

// modelValues are JSON values with those that a filter has to name to let them pass: equal numbers are one.
var modelValues = map[string]any{
	"1": 1, "1.0": json.Number("1"), "1.5": 1.5, "-0.0": 0, "true": true, "false": false, "null": nil, `"1"`: "1", `"é\u0022 '"`: "é\" '", `""`: "",
	"9007199254740993": int64(9007199254740993), "9007199254740992.000": uint64(9007199254740992), "1e30": json.Number("1e+30"),
	"": nil, "[1]": nil, `{"k":1}`: nil,
}

// filterable reports whether a filter can name a value.
func filterable(value string) bool { return value != "" && value[0] != '[' && value[0] != '{' }

// equal compares a file's value with one that a filter names, which is another key of modelValues.
func modelEqual(value, named string) bool {
	return filterable(value) && (value == named || strings.TrimRight(value, ".0") == "1" && strings.TrimRight(named, ".0") == "1")
}

// modelFilter is a filter, with the keys of modelValues that it names.
type modelFilter struct {
	repo.FileFilter
	values []string
}

func (f modelFilter) passes(id string, file modelFile) bool {
	in := func(n int, has bool) bool { return n == 0 || has }
	return in(len(f.IDs), slices.Contains(f.IDs, id)) && in(len(f.Status), slices.Contains(f.Status, file.status)) &&
		in(len(f.MimeTypes), slices.Contains(f.MimeTypes, file.mime)) &&
		(f.UploadedFrom == 0 || file.uploadedAt >= f.UploadedFrom) && (f.UploadedBefore == 0 || file.uploadedAt < f.UploadedBefore) &&
		in(len(f.values), slices.ContainsFunc(f.values, func(v string) bool { return modelEqual(file.value, v) }))
}

var modelMimes = []string{"", "text/plain", "Text/plain"}

// drawFilter draws a filter that lets some files pass; half of the time all.
func drawFilter(t *rapid.T) (f modelFilter) {
	coin := func(what string) bool { return rapid.IntRange(0, 5).Draw(t, what) == 0 }
	if coin("ids") {
		f.IDs = rapid.SliceOfN(rapid.SampledFrom([]string{"cosine-1", "l2-1", "l2-2", "ip-2", "nobody"}), 1, 3).Draw(t, "ids")
	}
	if coin("status") {
		f.Status = rapid.SliceOfN(rapid.SampledFrom([]models.TaskStatus{models.TaskProcessed, models.TaskError}), 1, 2).Draw(t, "status")
	}
	if coin("mime") {
		f.MimeTypes = rapid.SliceOfN(rapid.SampledFrom(modelMimes), 1, 2).Draw(t, "mime")
	}
	if coin("from") {
		f.UploadedFrom = rapid.Int64Range(1, 4).Draw(t, "from")
	}
	if coin("before") {
		f.UploadedBefore = rapid.Int64Range(1, 5).Draw(t, "before")
	}
	if coin("metadata") {
		names := slices.DeleteFunc(sortedKeys(modelValues), func(v string) bool { return !filterable(v) })
		f.values = rapid.SliceOfN(rapid.SampledFrom(names), 1, 3).Draw(t, "values")
		f.Metadata = map[string][]any{}
		for _, v := range f.values {
			f.Metadata["k"] = append(f.Metadata["k"], modelValues[v])
		}
	}
	return f
}

// searchModel is a naive database: everything is in maps, every query looks at everything.
type searchModel struct {
	messages map[string]modelText
	chunks   map[string]modelChunk
	files    map[string]modelFile
}

// modelBases are the bases by their metric, each with two files, and modelDimensions those of each.
var (
	modelBases      = []string{"cosine", "l2", "ip"}
	modelDimensions = map[string]int{"cosine": 5, "l2": 3, "ip": 7}
)

func drawVector(t *rapid.T, base string) []float32 {
	v := make([]float32, modelDimensions[base])
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

// modelSimilarity is what the documentation says of a distance.
func modelSimilarity(metric string, distance float64) float64 {
	switch metric {
	case "cosine":
		return 1 - distance
	case "l2":
		return 1 / (1 + distance)
	}
	return -distance
}

// neighbor is an answer of the model, and how far behind the best it is.
type neighbor struct {
	id, base string
	distance float64
	behind   float64
}

// near finds what a query should find, the best first. It reports ok false where a similarity is so close to
// the threshold that an engine may compute it on either side.
func (m *searchModel) near(q repo.SimilarityQuery, filter modelFilter) (out []neighbor, ok bool) {
	metric := cmp.Or(string(q.Metric), q.BaseID)
	for id, c := range m.chunks {
		if c.base != q.BaseID || !c.processed || c.vector == nil || !filter.passes(c.file, m.files[c.file]) {
			continue
		}
		d := modelDistance(metric, q.Vector, c.vector)
		n := neighbor{id, c.base, d, d}
		if q.Threshold != nil {
			over := modelSimilarity(metric, d) - *q.Threshold
			if math.Abs(over) < 1e-4 {
				return nil, false
			}
			if over < 0 {
				continue
			}
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b neighbor) int {
		return cmp.Or(cmp.Compare(a.behind, b.behind), strings.Compare(a.id, b.id))
	})
	return out[:min(q.Limit, len(out))], true
}

// checkNearest compares an exact answer with the model. Order is free between those closer than 1e-6,
// relative to their size where that is more than 1: engines may compute in float32.
func checkNearest(want []neighbor, all map[string]neighbor, got []repo.SimilarChunk) error {
	if len(got) != len(want) {
		return fmt.Errorf("got %d, want %d", len(got), len(want))
	}
	seen := map[string]bool{}
	for i, g := range got {
		n, known := all[g.ChunkID]
		if !known || seen[g.ChunkID] || g.BaseID != n.base {
			return fmt.Errorf("place %d: got %q of %q, which should not be there, or comes twice", i+1, g.ChunkID, g.BaseID)
		}
		seen[g.ChunkID] = true
		near := 1e-6 * max(1, math.Abs(n.distance))
		if math.Abs(n.behind-want[i].behind) > near {
			return fmt.Errorf("place %d: got %q at %v, want %q at %v", i+1, g.ChunkID, n.distance, want[i].id, want[i].distance)
		}
		if math.Abs(n.distance-g.Distance) > 10*near {
			return fmt.Errorf("distance of %q: got %v, want %v", g.ChunkID, g.Distance, n.distance)
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
	r.messages, r.chunks, r.files = map[string]modelText{}, map[string]modelChunk{}, map[string]modelFile{}
	r.each("clear", func(db *talkbase.DB) error {
		if err := db.DeleteConversation(ctx, "c"); err != nil && !errors.Is(err, repo.ErrNotFound) {
			return err
		}
		_, err := db.DestroyKnowledge(ctx)
		_, cerr := db.CreateConversation(ctx, models.Conversation{ConvID: "c", Title: "none"})
		err = errors.Join(err, cerr)
		for _, base := range modelBases {
			_, berr := db.CreateBase(ctx, models.KnowledgeBase{ID: base, Dimensions: int64(modelDimensions[base]), Metric: models.Metric(base)})
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
	f := modelFile{
		status: rapid.SampledFrom([]models.TaskStatus{models.TaskProcessed, models.TaskError, models.TaskPending}).Draw(r.t, "file status"),
		mime:   rapid.SampledFrom(modelMimes).Draw(r.t, "mime"), uploadedAt: rapid.Int64Range(1, 4).Draw(r.t, "uploaded"),
		value: rapid.SampledFrom(sortedKeys(modelValues)).Draw(r.t, "value"),
	}
	r.files[file] = f
	metadata := models.JSON("{}")
	if f.value != "" {
		metadata = models.JSON(`{"k":` + f.value + `,"other":1}`)
	}
	var chunks []models.KnowledgeChunk
	var vectors []models.KnowledgeVector
	for i := range rapid.IntRange(1, 6).Draw(r.t, "chunks") {
		id, content, status := fmt.Sprintf("%s/%d", file, i), modelContent(r.t), models.TaskProcessed
		if rapid.IntRange(0, 4).Draw(r.t, "status") == 0 {
			status = models.TaskPending
		}
		c := modelChunk{file: file, base: base, processed: status == models.TaskProcessed, text: newModelText(content)}
		if rapid.IntRange(0, 5).Draw(r.t, "embedded") > 0 {
			c.vector = drawVector(r.t, base)
			vectors = append(vectors, models.KnowledgeVector{FileID: file, ChunkID: id, Embedding: c.vector})
		}
		r.chunks[id] = c
		chunks = append(chunks, models.KnowledgeChunk{ID: id, FileID: file, ChunkIndex: int64(i), Content: content, Status: status})
	}
	r.each("put file", func(db *talkbase.DB) error {
		_, err := db.InsertFile(ctx, models.KnowledgeFile{ID: file, BaseID: base, Name: file, Path: file, Status: f.status, MimeType: f.mime, UploadedAt: f.uploadedAt, Metadata: metadata})
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
		c.vector = drawVector(r.t, c.base)
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
	var bases []string
	if base != "" {
		bases = []string{base}
	}
	want := []string{}
	for id, m := range r.messages {
		if base == "" && q.finds(m) {
			want = append(want, id)
		}
	}
	filter := drawFilter(r.t)
	if filtered := len(filter.IDs)+len(filter.Status)+len(filter.MimeTypes)+len(filter.Metadata) > 0 || filter.UploadedFrom > 0 || filter.UploadedBefore > 0; filtered {
		want = want[:0] // messages are of no file
	}
	for id, c := range r.chunks {
		if (base == "" || base == c.base) && q.finds(c.text) && filter.passes(c.file, r.files[c.file]) {
			want = append(want, id)
		}
	}
	slices.Sort(want)
	r.each(fmt.Sprintf("search %s %+v", q, filter), func(db *talkbase.DB) error {
		hits, err := db.SearchText(t.Context(), repo.TextQuery{Query: q.String(), BaseIDs: bases, Files: filter.FileFilter, Limit: 1000})
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

// drawSimilar draws a query of a base.
func drawSimilar(t *rapid.T, base string) (repo.SimilarityQuery, modelFilter) {
	q := repo.SimilarityQuery{BaseID: base, Vector: drawVector(t, base), Limit: rapid.IntRange(1, 8).Draw(t, "k"), Exact: rapid.Bool().Draw(t, "exact")}
	filter := drawFilter(t)
	q.Files = filter.FileFilter
	if rapid.IntRange(0, 3).Draw(t, "threshold") == 0 {
		least := float64(rapid.IntRange(-4, 8).Draw(t, "least")) / 8
		q.Threshold = &least
	}
	if rapid.IntRange(0, 3).Draw(t, "other metric") == 0 {
		q.Metric = models.Metric(rapid.SampledFrom(modelBases).Draw(t, "metric"))
	}
	return q, filter
}

func byID(all []neighbor) map[string]neighbor {
	out := make(map[string]neighbor, len(all))
	for _, n := range all {
		out[n.id] = n
	}
	return out
}

func (r *modelRun) searchVectors(t *testing.T) {
	q, filter := drawSimilar(r.t, rapid.SampledFrom(modelBases).Draw(r.t, "base"))
	want, ok := r.near(q, filter)
	if !ok {
		return
	}
	k := q.Limit
	q.Limit = 1000
	all, _ := r.near(q, filter)
	q.Limit = k
	r.each(fmt.Sprintf("similarity %+v", q), func(db *talkbase.DB) error {
		got, err := db.SimilarityQuery(t.Context(), q)
		return errors.Join(err, checkNearest(want, byID(all), got))
	})
}

// searchBases asks several bases at once.
func (r *modelRun) searchBases(t *testing.T) {
	var qs []repo.SimilarityQuery
	var all []neighbor
	for _, base := range rapid.SliceOfNDistinct(rapid.SampledFrom(modelBases), 2, 3, rapid.ID).Draw(r.t, "bases") {
		q, filter := drawSimilar(r.t, base)
		q.Limit = 1000 // at places where an engine may choose, what one base gives up another may not
		found, ok := r.near(q, filter)
		if !ok {
			return
		}
		for _, n := range found {
			n.behind = -modelSimilarity(cmp.Or(string(q.Metric), base), n.distance)
			all = append(all, n)
		}
		qs = append(qs, q)
	}
	slices.SortFunc(all, func(a, b neighbor) int {
		return cmp.Or(cmp.Compare(a.behind, b.behind), strings.Compare(a.id, b.id))
	})
	k := rapid.IntRange(1, 12).Draw(r.t, "limit")
	r.each(fmt.Sprintf("similarity of several %+v", qs), func(db *talkbase.DB) error {
		got, err := db.SimilarityQueryAll(t.Context(), qs, k)
		return errors.Join(err, checkNearest(all[:min(k, len(all))], byID(all), got))
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
			r.searchBases(t)
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
