package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/models"
)

// How many dimensions pgvector indexes of the types vector and halfvec.
const (
	maxIndexed     = 2000
	maxHalfIndexed = 4000
)

const (
	// minIndexed is how many rows a base needs before an index beats reading all of them.
	minIndexed = 1000
	// maxHNSW is how many rows an index is made of by HNSW unless it is asked for. Measured side by side
	// on 60,000 real embeddings of 512 dimensions, an answer by HNSW takes a tenth of the time that IVFFlat
	// takes at the same recall, and building it ten times as long, some 1,000 rows a second on two
	// processors, while the graph fits maintenance_work_mem; beyond it takes hours, where IVFFlat takes minutes.
	maxHNSW = 1_000_000
)

// hnswOptions are pgvector's own m and twice its ef_construction, which costs a quarter more time and
// on 60,000 real embeddings halves the answers that are missed.
const hnswOptions = " WITH (m = 16, ef_construction = 128)"

// listsOf is how many lists IVFFlat makes of a number of rows. pgvector's documentation advises a list
// for 1,000 rows up to a million and the square root beyond; at the same recall, fewer rows are compared
// with the square root throughout.
func listsOf(rows int64) int64 { return max(10, int64(math.Sqrt(float64(rows)))) }

// halfOf writes a vector as the index of a base with more than maxIndexed dimensions holds it. Of the
// cosine only the direction counts, and what has length 1 fits a halfvec.
func halfOf(vector string, base models.KnowledgeBase) string {
	if base.Metric == models.MetricCosine {
		vector = "l2_normalize(" + vector + ")"
	}
	return fmt.Sprintf("(%s)::halfvec(%d)", vector, base.Dimensions)
}

// inIndex is true for the rows that a base's index holds; a query has to say the same. What is out of a
// halfvec's range would be an error to index.
func inIndex(alias string, base models.KnowledgeBase) string {
	where := alias + "base_id = " + quoteLiteral(base.ID) + " AND " + rightSize(alias+"embedding", base.Dimensions)
	if base.Dimensions > maxIndexed && base.Metric != models.MetricCosine {
		where += fmt.Sprintf(" AND CASE WHEN vector_norm(%sembedding) < 65504 THEN true ELSE false END", alias)
	}
	return where
}

func vectorIndexName(base string) string {
	sum := sha256.Sum256([]byte(base))
	return "idx_knowledge_vectors_base_" + hex.EncodeToString(sum[:6])
}

// newSuffix is of an index that takes the place of another.
const newSuffix = "_new"

// VectorIndex describes a base's partial expression index.
func (e *postgresEngine) VectorIndex(base models.KnowledgeBase, kind string, rows int64) (IndexSpec, string) {
	if base.Dimensions > maxHalfIndexed {
		return IndexSpec{}, fmt.Sprintf("pgvector indexes up to %d dimensions, it has %d: its %d vectors are compared one by one", maxHalfIndexed, base.Dimensions, rows)
	}
	if rows < minIndexed {
		return IndexSpec{}, fmt.Sprintf("comparing its %d vectors one by one is fast; an index is made from %d on", rows, minIndexed)
	}
	anyKind := kind == ""
	if anyKind {
		kind = IndexHNSW
		if rows > maxHNSW {
			kind = IndexIVFFlat
		}
	}
	_, class := operator(base.Metric)
	body := fmt.Sprintf("((embedding::vector(%d)) vector%s)", base.Dimensions, class)
	if base.Dimensions > maxIndexed {
		body = fmt.Sprintf("((%s) halfvec%s)", halfOf("embedding", base), class)
	}
	if kind == IndexIVFFlat {
		body += fmt.Sprintf(" WITH (lists = %d)", listsOf(rows))
	} else {
		body += hnswOptions
	}
	return IndexSpec{
		Name: vectorIndexName(base.ID), Table: "knowledge_vectors", Method: kind, Body: body + " WHERE " + inIndex("", base),
		Base: base, Rows: rows, AnyKind: anyKind,
	}, ""
}

// vectorIndex is a base's index as the catalogue has it.
type vectorIndex struct {
	name  string
	kind  string
	valid bool
	half  bool
	// fits says that it is of the base's dimensions and metric.
	fits  bool
	rows  int64
	lists int64
	measured
}

// measured is what an index was found to need, as its comment in the catalogue.
type measured struct {
	// Rows is how many there were.
	Rows int64 `json:"rows,omitempty"`
	// Search10 and Search100 are the ef_search or the probes with which the 10 and the 100 nearest are found.
	Search10  int `json:"search10,omitempty"`
	Search100 int `json:"search100,omitempty"`
}

const commentPrefix = "talkbase: "

// vectorIndexes reads a base's indexes.
func vectorIndexes(ctx context.Context, db *gorm.DB, base models.KnowledgeBase) ([]vectorIndex, error) {
	_, class := operator(base.Metric)
	name := vectorIndexName(base.ID)
	return Collect(ctx, db, func(s Scanner, v *vectorIndex) error {
		var def, comment, lists string
		if err := s.Scan(&v.name, &v.kind, &v.valid, &v.rows, &def, &lists, &comment); err != nil {
			return err
		}
		v.half = strings.Contains(def, "halfvec(")
		v.fits = strings.Contains(def, fmt.Sprintf("vec(%d)", base.Dimensions)) && v.half || strings.Contains(def, fmt.Sprintf("vector(%d)", base.Dimensions)) && !v.half
		v.fits = v.fits && v.half == (base.Dimensions > maxIndexed) && strings.Contains(def, class+")") && strings.Contains(def, "vector_dims(embedding)")
		v.lists, _ = strconv.ParseInt(lists, 10, 64)
		if text, ours := strings.CutPrefix(comment, commentPrefix); ours {
			if json.Unmarshal([]byte(text), &v.measured) != nil { // somebody else's words
				v.measured = measured{}
			}
		}
		return nil
	}, `SELECT c.relname, a.amname, i.indisvalid, greatest(c.reltuples, 0)::bigint, pg_get_indexdef(c.oid),
		coalesce((SELECT option_value FROM pg_options_to_table(c.reloptions) WHERE option_name = 'lists'), ''), coalesce(obj_description(c.oid, 'pg_class'), '')
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = current_schema() AND c.relname IN (?, ?) ORDER BY c.relname`, name, name+newSuffix)
}

// settings are those for a query for k. Of more than 100, which are not measured, it takes a little more.
// The order need not be strict, since the answer is sorted: in strict order pgvector drops what it finds
// late.
func (v *vectorIndex) settings(k int) (s settings) {
	n10, n100 := float64(v.Search10), float64(v.Search100)
	if v.Search10 == 0 || v.Search100 == 0 { // made without being measured, as after a dump was loaded
		n10, n100 = 400, 400
		if v.kind == IndexIVFFlat {
			n10, n100 = float64(v.lists)*2/3, float64(v.lists)*2/3
		}
	}
	n := n10
	switch {
	case k > 100:
		n = n100 * (1 + math.Log10(float64(k)/100)/4)
	case k > 10:
		n += (n100 - n10) * math.Log10(float64(k)/10)
	}
	value := strconv.Itoa(int(math.Ceil(n)))
	if v.kind == IndexHNSW {
		s.add("hnsw.ef_search", strconv.Itoa(min(maxEfSearch, int(math.Ceil(n)))))
		s.add("hnsw.iterative_scan", "relaxed_order")
		// What filters let pass may lie as deep as this; see few.
		s.add("hnsw.max_scan_tuples", strconv.Itoa(max(20000, int(4*math.Sqrt(float64(k)*float64(v.rows))))))
	} else {
		s.add("ivfflat.probes", value)
		s.add("ivfflat.iterative_scan", "relaxed_order")
	}
	// Compiling a plan takes longer than running it.
	s.add("jit", "off")
	return s
}

// maxEfSearch is pgvector's limit.
const maxEfSearch = 1000

// knownIndexes remembers for a short time what index each base has. An index that was dropped since
// makes answers slow, not wrong.
type knownIndexes struct {
	mu   sync.Mutex
	base map[string]knownIndex
}

type knownIndex struct {
	*vectorIndex
	dimensions int64
	metric     models.Metric
	until      time.Time
}

const indexKnownFor = 10 * time.Second

// of returns the index that answers a base's queries, or nil.
func (k *knownIndexes) of(ctx context.Context, db *gorm.DB, base models.KnowledgeBase) (*vectorIndex, error) {
	now := time.Now()
	k.mu.Lock()
	have, ok := k.base[base.ID]
	k.mu.Unlock()
	if ok && have.until.After(now) && have.dimensions == base.Dimensions && have.metric == base.Metric {
		return have.vectorIndex, nil
	}
	all, err := vectorIndexes(ctx, db, base)
	if err != nil {
		return nil, err
	}
	have = knownIndex{dimensions: base.Dimensions, metric: base.Metric, until: now.Add(indexKnownFor)}
	for i := range all {
		if all[i].valid && all[i].fits {
			have.vectorIndex = &all[i]
			break
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.base == nil || len(k.base) >= 10000 {
		k.base = map[string]knownIndex{}
	}
	k.base[base.ID] = have
	return have.vectorIndex, nil
}

func (k *knownIndexes) forget(base string) {
	k.mu.Lock()
	delete(k.base, base)
	k.mu.Unlock()
}

// createVectorIndex makes a base's index, or makes it anew where it is of another kind than was asked for,
// of other dimensions or another metric, was cut off, or is IVFFlat's and the rows that its lists were made
// of are less than half or more than twice as many by now. Queries use the old one until the new one is there.
func (e *postgresEngine) createVectorIndex(ctx context.Context, ix IndexSpec) (created bool, err error) {
	defer e.indexes.forget(ix.Base.ID)
	db, err := e.Reader(ctx)
	if err != nil {
		return false, err
	}
	all, err := vectorIndexes(ctx, db, ix.Base)
	if err != nil {
		return false, err
	}
	run := func(statement string) error {
		_, err := e.pool.ExecContext(ctx, statement)
		return withEnd(ctx, classifyPostgres(err))
	}
	var old *vectorIndex
	for i := range all {
		v := &all[i]
		switch {
		case !v.valid || v.name != ix.Name && old != nil:
			err = run("DROP INDEX CONCURRENTLY IF EXISTS " + v.name)
		case v.name != ix.Name: // its place is empty: the one before it was just dropped
			err = run("ALTER INDEX " + v.name + " RENAME TO " + ix.Name)
			fallthrough
		default:
			old = v
		}
		if err != nil {
			return false, err
		}
	}
	if old != nil && old.fits && (old.kind == ix.Method || ix.AnyKind) && !(old.kind == IndexIVFFlat && old.outgrown(ix.Rows)) {
		if old.Search10 == 0 || old.outgrown(ix.Rows) {
			return false, e.measure(ctx, ix)
		}
		return false, nil
	}
	name := ix.Name
	if old != nil {
		name += newSuffix
	}
	if err := run("CREATE INDEX CONCURRENTLY IF NOT EXISTS " + name + " ON " + ix.Table + " USING " + ix.Method + " " + ix.Body); err != nil {
		return false, err
	}
	if old != nil {
		if err := run("DROP INDEX CONCURRENTLY IF EXISTS " + ix.Name); err != nil {
			return false, err
		}
		if err := run("ALTER INDEX " + name + " RENAME TO " + ix.Name); err != nil {
			return false, err
		}
	}
	return true, e.measure(ctx, ix)
}

// outgrown reports whether there are less than half or more than twice as many rows as were measured.
func (v *vectorIndex) outgrown(rows int64) bool {
	return v.Rows > 0 && (rows > 2*v.Rows || 2*rows < v.Rows)
}

// What measure tries, and until when. The recall is of the 10 and the 100 nearest.
const (
	wantedRecall   = 0.99
	measureQueries = 32
	measureLeast   = 8
	measureFor     = 30 * time.Second
)

// measure finds out with how little effort an index finds what it should, and keeps it as the index's
// comment, from where every process reads it. It asks for places between two vectors of the base, which
// are about as hard to find as the vectors of questions.
func (e *postgresEngine) measure(ctx context.Context, ix IndexSpec) error {
	db, err := e.Reader(ctx)
	if err != nil {
		return err
	}
	e.indexes.forget(ix.Base.ID)
	v, err := e.indexes.of(ctx, db, ix.Base)
	if err != nil || v == nil {
		return err
	}
	samples, err := SampleQueries(ctx, db, ix.Base, measureQueries)
	if err != nil {
		return err
	}
	var asked []NearestQuery
	var truth [][]Neighbor
	start := time.Now()
	for _, vector := range samples {
		if len(asked) >= measureLeast && time.Since(start) > measureFor {
			break
		}
		q := NearestQuery{Base: ix.Base, Metric: ix.Base.Metric, Vector: vector, K: 100, Exact: true}
		found, err := e.Nearest(ctx, db, q)
		if err != nil {
			return err
		}
		asked, truth = append(asked, q), append(truth, found)
	}
	m := measured{Rows: ix.Rows}
	for _, effort := range v.efforts() {
		trial := *v
		trial.Search10, trial.Search100 = effort, effort
		r10, r100, err := e.recallOf(ctx, db, &trial, asked, truth)
		if err != nil {
			return err
		}
		if m.Search10 == 0 && r10 >= wantedRecall {
			m.Search10 = effort
		}
		m.Search100 = effort
		if r10 >= wantedRecall && r100 >= wantedRecall {
			break
		}
	}
	m.Search10 = cmp.Or(m.Search10, m.Search100)
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = e.pool.ExecContext(ctx, "COMMENT ON INDEX "+ix.Name+" IS "+quoteLiteral(commentPrefix+string(text)))
	return withEnd(ctx, classifyPostgres(err))
}

// efforts are the ef_search or probes that are tried, the least first.
func (v *vectorIndex) efforts() []int {
	if v.kind == IndexHNSW {
		return []int{100, 150, 200, 300, 400, 600, 800, maxEfSearch}
	}
	var out []int
	for n := max(1, float64(v.lists)/32); n < float64(v.lists); n *= 1.3 {
		out = append(out, int(math.Ceil(n)))
	}
	return append(out, int(v.lists))
}

// recallOf asks an index with its settings for the 100 nearest and compares.
func (e *postgresEngine) recallOf(ctx context.Context, db *gorm.DB, v *vectorIndex, asked []NearestQuery, truth [][]Neighbor) (r10, r100 float64, err error) {
	var all10, found10, all100, found100 float64
	for i, q := range asked {
		for _, k := range []int{10, 100} {
			q.K = k
			query, args := e.indexedSQL(q, v.half)
			found, err := e.neighbors(ctx, db, v.settings(k), query, args)
			if err != nil {
				return 0, 0, err
			}
			want := truth[i][:min(k, len(truth[i]))]
			hits := float64(Hits(want, nearestOf(found, q)))
			if k == 10 {
				all10, found10 = all10+float64(len(want)), found10+hits
			} else {
				all100, found100 = all100+float64(len(want)), found100+hits
			}
		}
	}
	if all10 == 0 {
		return 1, 1, nil
	}
	return found10 / all10, found100 / all100, nil
}
