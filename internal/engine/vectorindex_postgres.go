package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sort"
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
	// maxHNSW is how many rows an index is made of by HNSW unless it is asked for. On 6,000 real embeddings
	// of 512 dimensions with nine noisy copies of each, measured side by side, an answer by HNSW takes a tenth
	// of the time that IVFFlat takes at the same recall; on made-up clusters they take as long. HNSW is built
	// at some 1,000 rows a second on two processors while its graph fits maintenance_work_mem, ten times as long
	// as IVFFlat; of millions that is hours instead of minutes.
	maxHNSW = 1_000_000
)

// hnswOptions are pgvector's own m and twice its ef_construction: on the embeddings above, with an
// ef_search of 200, it misses 1 of 100 answers instead of 3.
const hnswOptions = " WITH (m = 16, ef_construction = 128)"

// listsOf is how many lists IVFFlat makes of a number of rows. pgvector's documentation advises a list
// for 1,000 rows up to a million and the square root beyond. On 6,000 real embeddings, for a recall of 0.99,
// of ten lists four fifths have to be read, of 77, the square root, half.
func listsOf(rows int64) int64 { return max(10, int64(math.Sqrt(float64(rows)))) }

// listsMemory is how many bytes of maintenance_work_mem pgvector 0.8 refuses to find the lists with less
// of: what ElkanKmeans in its src/ivfkmeans.c allocates.
func listsMemory(lists, dimensions int64) int64 {
	samples, vector := max(10000, 50*lists), 8+4*dimensions
	return (samples+2*lists)*(vector+8) + 4*lists*(samples+lists) + 8*samples + 12*lists
}

// halfOf writes a vector as the index of a base with more than maxIndexed dimensions holds it. Of the
// cosine only the direction counts, and what has length 1 fits a halfvec.
func halfOf(vector string, base models.KnowledgeBase) string {
	if base.Metric == models.MetricCosine {
		vector = "l2_normalize(" + vector + ")"
	}
	return fmt.Sprintf("(%s)::halfvec(%d)", vector, base.Dimensions)
}

// maxHalf is the largest number of pgvector's type halfvec.
const maxHalf = 65504

// inHalf reports whether the vector of a query can be compared with what the index of a base with more
// than maxIndexed dimensions holds.
func inHalf(q NearestQuery) bool {
	return q.Metric == models.MetricCosine || !slices.ContainsFunc(q.Vector, func(x float32) bool { return x < -maxHalf || x > maxHalf })
}

// inIndex is true for the rows that a base's index holds; a query has to say the same. What is out of a
// halfvec's range would be an error to index.
func inIndex(alias string, base models.KnowledgeBase) string {
	where := alias + "base_id = " + quoteLiteral(base.ID) + " AND " + rightSize(alias+"embedding", base.Dimensions)
	if base.Dimensions > maxIndexed && base.Metric != models.MetricCosine {
		where += fmt.Sprintf(" AND CASE WHEN vector_norm(%sembedding) < %d THEN true ELSE false END", alias, maxHalf)
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
	wantType := "vector"
	if base.Dimensions > maxIndexed {
		wantType = "halfvec"
	}
	wantColumn, wantClass := fmt.Sprintf("%s(%d)", wantType, base.Dimensions), wantType+class
	return Collect(ctx, db, func(s Scanner, v *vectorIndex) error {
		var column, class, where, lists, comment string
		if err := s.Scan(&v.name, &v.kind, &v.valid, &v.rows, &column, &class, &where, &lists, &comment); err != nil {
			return err
		}
		v.half = strings.HasPrefix(column, "halfvec")
		v.fits = column == wantColumn && class == wantClass && strings.Contains(where, "vector_dims(embedding)")
		v.lists, _ = strconv.ParseInt(lists, 10, 64)
		if text, ours := strings.CutPrefix(comment, commentPrefix); ours {
			if json.Unmarshal([]byte(text), &v.measured) != nil { // somebody else's words
				v.measured = measured{}
			}
		}
		return nil
	}, `SELECT c.relname, m.amname, i.indisvalid, greatest(c.reltuples, 0)::bigint, format_type(a.atttypid, a.atttypmod), o.opcname,
		coalesce(pg_get_expr(i.indpred, i.indrelid), ''), coalesce((SELECT option_value FROM pg_options_to_table(c.reloptions) WHERE option_name = 'lists'), ''), coalesce(obj_description(c.oid, 'pg_class'), '')
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1 JOIN pg_opclass o ON o.oid = i.indclass[0]
		WHERE n.nspname = current_schema() AND c.relname IN (?, ?) ORDER BY c.relname`, name, name+newSuffix)
}

// settings are those for a query. For more than 100, which are not measured, it takes a little more.
// The order need not be strict, since the answer is sorted: in strict order pgvector drops what it finds
// late.
func (v *vectorIndex) settings(q NearestQuery) (s settings) {
	k := q.K
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
	if v.kind == IndexHNSW {
		s.add("hnsw.ef_search", strconv.Itoa(min(maxEfSearch, int(math.Ceil(n)))))
		s.add("hnsw.iterative_scan", "relaxed_order")
		// What a filter lets pass may lie deeper than the 20,000 that pgvector goes down to; see few.
		if deep := 4 * math.Sqrt(float64(k)*float64(v.rows)); deep > 20000 && !q.Files.IsZero() {
			s.add("hnsw.max_scan_tuples", strconv.Itoa(int(deep)))
		}
	} else {
		s.add("ivfflat.probes", strconv.Itoa(int(math.Ceil(n))))
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
	created, measured, err := e.buildVectorIndex(ctx, ix)
	if err != nil || measured {
		return created, err
	}
	return created, e.measure(ctx, ix)
}

// buildVectorIndex reports whether it has made an index, and whether what the one there is needs is known.
func (e *postgresEngine) buildVectorIndex(ctx context.Context, ix IndexSpec) (created, measured bool, err error) {
	db, err := e.Reader(ctx)
	if err != nil {
		return false, false, err
	}
	all, err := vectorIndexes(ctx, db, ix.Base)
	if err != nil {
		return false, false, err
	}
	err = e.patient(ctx, func(p *patient) { created, measured = p.buildVectorIndex(ix, all) })
	return created, measured, err
}

func (p *patient) buildVectorIndex(ix IndexSpec, all []vectorIndex) (created, measured bool) {
	var old *vectorIndex
	for i := range all {
		v := &all[i]
		switch {
		case !v.valid || v.name != ix.Name && old != nil:
			p.run("DROP INDEX CONCURRENTLY IF EXISTS " + v.name)
			continue
		case v.name != ix.Name: // the one before it was just dropped
			p.run("ALTER INDEX " + v.name + " RENAME TO " + ix.Name)
		}
		old = v
	}
	if p.err != nil {
		return false, false
	}
	if old != nil && old.fits && (old.kind == ix.Method || ix.AnyKind) && !old.unfit(ix.Rows) {
		return false, old.Search10 > 0 && !old.outgrown(ix.Rows)
	}
	name := ix.Name
	if old != nil {
		name += newSuffix
	}
	if lists := listsOf(ix.Rows); ix.Method == IndexIVFFlat {
		need := listsMemory(lists, ix.Base.Dimensions)/1024 + 1024
		var have int64
		err := p.conn.QueryRowContext(p.ctx, "SELECT setting::bigint FROM pg_settings WHERE name = 'maintenance_work_mem'").Scan(&have)
		p.err = withEnd(p.ctx, classifyPostgres(err))
		if p.err == nil && have < need {
			p.run("SET maintenance_work_mem = " + strconv.FormatInt(need, 10))
			defer func() { _, _ = p.conn.ExecContext(context.WithoutCancel(p.ctx), "RESET maintenance_work_mem") }()
		}
	}
	p.run("CREATE INDEX CONCURRENTLY IF NOT EXISTS " + name + " ON " + ix.Table + " USING " + ix.Method + " " + ix.Body)
	if old != nil {
		p.run("DROP INDEX CONCURRENTLY IF EXISTS " + ix.Name)
		p.run("ALTER INDEX " + name + " RENAME TO " + ix.Name)
	}
	return p.err == nil, false
}

// outgrown reports whether there are less than half or more than twice as many rows as were measured.
func (v *vectorIndex) outgrown(rows int64) bool { return apart(rows, v.Rows) }

// unfit reports whether there are less than half or more than twice as many rows as IVFFlat's lists were
// made of. Those of an index that was not measured say how many these were; see listsOf.
func (v *vectorIndex) unfit(rows int64) bool {
	return v.kind == IndexIVFFlat && apart(rows, cmp.Or(v.Rows, v.lists*v.lists))
}

func apart(rows, was int64) bool { return was > 0 && (rows > 2*was || 2*rows < was) }

const (
	// least10 and least100 are the recalls of the 10 and of the 100 nearest to the queries that an index is
	// measured by, so that it finds 0.99 of others': of 640 answers one may be missed, of 6,400 nineteen.
	least10  = 0.998
	least100 = 0.997
	// As many queries are made as there is time for, at least and at most these.
	measureFor   = time.Minute
	measureLeast = 16
	measureMost  = 64
)

// measure finds out with how little effort an index finds what it should, and keeps it as the index's
// comment, from where every process reads it.
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
	samples, err := SampleQueries(ctx, db, ix.Base, measureMost)
	if err != nil {
		return err
	}
	t := trial{e: e, db: db, index: v}
	start := time.Now()
	for _, vector := range samples {
		q := NearestQuery{Base: ix.Base, Metric: ix.Base.Metric, Vector: vector, K: 100, Exact: true}
		if v.half && !inHalf(q) {
			continue
		}
		if len(t.asked) >= measureLeast && time.Since(start) > measureFor {
			break
		}
		found, err := e.Nearest(ctx, db, q)
		if err != nil {
			return err
		}
		t.asked, t.truth = append(t.asked, q), append(t.truth, found)
	}
	m := measured{Rows: ix.Rows}
	if m.Search10, err = t.least(ctx, 10, least10); err != nil {
		return err
	}
	if m.Search100, err = t.least(ctx, 100, least100); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = e.pool.ExecContext(ctx, "COMMENT ON INDEX "+ix.Name+" IS "+quoteLiteral(commentPrefix+string(text)))
	return withEnd(ctx, classifyPostgres(err))
}

// trial asks an index queries whose exact answers are known.
type trial struct {
	e     *postgresEngine
	db    *gorm.DB
	index *vectorIndex
	asked []NearestQuery
	truth [][]Neighbor
}

// least is the least effort with which the index finds as much of the k nearest, or the most there is.
func (t *trial) least(ctx context.Context, k int, wanted float64) (int, error) {
	efforts := t.index.efforts()
	var err error
	at := sort.Search(len(efforts)-1, func(i int) bool {
		if err != nil {
			return true
		}
		var recall float64
		recall, err = t.recall(ctx, k, efforts[i])
		return recall >= wanted
	})
	return efforts[at], err
}

func (t *trial) recall(ctx context.Context, k, effort int) (float64, error) {
	ix := *t.index
	ix.Search10, ix.Search100 = effort, effort
	hits, all := 0, 0
	for i, q := range t.asked {
		q.K = k
		query, args := t.e.indexedSQL(q, ix.half)
		found, err := t.e.neighbors(ctx, t.db, ix.settings(q), query, args)
		if err != nil {
			return 0, err
		}
		want := t.truth[i][:min(k, len(t.truth[i]))]
		hits, all = hits+Hits(want, nearestOf(found, q)), all+len(want)
	}
	return float64(hits) / float64(max(1, all)), nil
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
