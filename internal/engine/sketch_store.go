package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/sketch"
	"github.com/talkbase/talkbase/memory"
	"github.com/talkbase/talkbase/models"
)

// DefaultSketchCache is how many bytes of sketches are kept in memory unless Options say otherwise.
// A vector of 768 dimensions takes 120 of them.
const DefaultSketchCache = 64 << 20

// sketches is SQLite's index of vectors: blocks of codes in the tables knowledge_sketch*, and a cache
// of them. Versions and the ids of blocks are random numbers of 63 bits, never used twice, neither after a
// rollback nor in another process nor after the schema was made anew. What the transaction at hand
// reads of them is therefore right whatever the cache holds.
type sketches struct {
	tuning sketchTuning
	cache  blockCache
	memory *memory.Manager

	mu    sync.Mutex
	known map[string]*sketchSet // by base, the version that was read last

	// answered counts the queries that sketches answered, compared the vectors that were read for them.
	answered, compared atomic.Int64
}

// sketchTuning are the numbers that decide which way a query goes.
type sketchTuning struct {
	// foldAt is how many vectors are compared one by one before they get codes: the crossover. One
	// vector of 768 dimensions is compared in some 8 µs with its share of the query, a search of few codes costs
	// about 1 ms, most of it for the vectors that are compared after it.
	foldAt int64
	// maxFold bounds how many vectors one writer gives codes, about 20 µs each.
	maxFold int64
	// listsFrom is the number of vectors from which CreateIndex makes lists. Below, reading all codes
	// takes about 1 ms.
	listsFrom int64
	// deviations is how wrong estimates are taken to be at most, in standard deviations of their error.
	deviations float32
	// narrow says which filters let so few vectors pass that these are compared one by one.
	narrow float64
}

var defaultTuning = sketchTuning{foldAt: 256, maxFold: 8192, listsFrom: 20000, deviations: 2.4, narrow: narrowSQLite}

// checkAfter is the number of codes at which they are next compared with the vectors that there are, when
// there are so many now: counting costs little for each vector that is written.
func (t sketchTuning) checkAfter(codes int64) int64 { return codes + codes/8 + 2*t.foldAt }

// newSketches returns sketches whose cache is memory of m, at most so many bytes of it.
func newSketches(cacheBytes int64, m *memory.Manager) *sketches {
	if cacheBytes <= 0 {
		cacheBytes = DefaultSketchCache
	}
	s := &sketches{tuning: defaultTuning, cache: newBlockCache(cacheBytes), memory: m, known: map[string]*sketchSet{}}
	s.cache.memory = m.Cache(s.cache.giveBack)
	return s
}

// close forgets everything, for good.
func (s *sketches) close() {
	s.cache.mu.Lock()
	s.cache.closed = true
	s.cache.mu.Unlock()
	s.clear()
	s.cache.memory.Close()
}

// clear forgets everything.
func (s *sketches) clear() {
	s.mu.Lock()
	s.known = map[string]*sketchSet{}
	s.mu.Unlock()
	s.cache.clear()
}

// sketchSet is one version of a base's sketches.
type sketchSet struct {
	base       string
	version    int64
	dimensions int64
	metric     models.Metric
	// upto is the seq up to which every vector has a code or is pending.
	upto int64
	// codes counts what is in blocks, also of vectors that were deleted or changed since; at nextCheck of
	// them they are compared with the vectors that there are. trained is how many there were when the lists
	// were made.
	codes, nextCheck, trained int64
	// probes10 and probes100 are how many lists hold the 10 and the 100 nearest.
	probes10, probes100 int64

	rotation *sketch.Rotation
	// flat is the centre of list 0, lists are those of the others, from list 1 on.
	flat  []float32
	lists *sketch.Centres
	// blocks are the ids in each list.
	blocks map[int64][]int64
}

// fits reports whether the sketches were made for the base as it is.
func (s *sketchSet) fits(b models.KnowledgeBase) bool {
	return s != nil && s.dimensions == b.Dimensions && s.metric == b.Metric
}

func (s *sketchSet) ids() (ids []int64) {
	for _, list := range s.blocks {
		ids = append(ids, list...)
	}
	return ids
}

func newID() int64 { return 1 + rand.Int64N(1<<63-1) }

// rotationOf is the same for a base in every process.
func rotationOf(base string, dimensions int64) *sketch.Rotation {
	h := fnv.New64a()
	_, _ = h.Write([]byte(base))
	return sketch.NewRotation(int(dimensions), h.Sum64())
}

const centresList = -1

func scanSet(s Scanner, v *sketchSet) error {
	return s.Scan(&v.version, &v.dimensions, &v.metric, &v.upto, &v.codes, &v.nextCheck, &v.trained, &v.probes10, &v.probes100)
}

// load returns the sketches of a base as the transaction db sees them, nil when there are none.
func (s *sketches) load(ctx context.Context, db *gorm.DB, base string) (*sketchSet, error) {
	row, err := One(ctx, db, scanSet, `SELECT version, dimensions, metric, upto, codes, next_check, trained, probes10, probes100
		FROM knowledge_sketches WHERE base_id = ?`, base)
	if errors.Is(err, ErrNotFound) {
		s.mu.Lock()
		delete(s.known, base)
		s.mu.Unlock()
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	have := s.known[base]
	s.mu.Unlock()
	if have != nil && have.version == row.version {
		return have, nil
	}
	set := &row
	set.base, set.blocks = base, map[int64][]int64{}
	if have != nil && have.dimensions == set.dimensions {
		set.rotation = have.rotation
	} else {
		set.rotation = rotationOf(base, set.dimensions)
	}
	type block struct{ list, id int64 }
	all, err := Collect(ctx, db, func(sc Scanner, b *block) error { return sc.Scan(&b.list, &b.id) },
		"SELECT list, id FROM knowledge_sketch_blocks WHERE base_id = ? ORDER BY list, id", base)
	if err != nil {
		return nil, err
	}
	for _, b := range all {
		set.blocks[b.list] = append(set.blocks[b.list], b.id)
	}
	if have != nil && have.dimensions == set.dimensions && slices.Equal(have.blocks[centresList], set.blocks[centresList]) {
		set.flat, set.lists = have.flat, have.lists // ids are never used twice
	} else if err := set.loadCentres(ctx, db); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.known[base] = set
	s.mu.Unlock()
	return set, nil
}

// loadCentres reads the centres, which are one row.
func (s *sketchSet) loadCentres(ctx context.Context, db *gorm.DB) error {
	data, err := One(ctx, db, Value[[]byte], "SELECT data FROM knowledge_sketch_blocks WHERE base_id = ? AND list = ?", s.base, centresList)
	if errors.Is(err, ErrNotFound) {
		return damagedSketches(s.base, fmt.Errorf("%w: the centres are missing", sketch.ErrDamaged))
	}
	if err != nil {
		return err
	}
	padded := s.rotation.Padded()
	all, err := sketch.DecodeCentres(data, padded)
	if err != nil {
		return damagedSketches(s.base, err)
	}
	if len(all) < padded {
		return damagedSketches(s.base, fmt.Errorf("%w: no centre", sketch.ErrDamaged))
	}
	s.flat = all[:padded]
	s.lists = sketch.NewCentres(all[padded:], padded)
	return nil
}

// centre is the one that the codes of a list are relative to.
func (s *sketchSet) centre(list int64) []float32 {
	if list == 0 {
		return s.flat
	}
	return s.lists.At(int(list - 1))
}

// damagedSketches is ErrCorrupt for sketches, which can be made anew.
func damagedSketches(base string, err error) error {
	return because(ErrCorrupt, fmt.Errorf("sketches of knowledge base %q: run talkbase indexes, or call CreateOptimalIndexes, to make them anew: %w", base, err))
}

// read returns the blocks with these ids, in their order, from the cache or the database.
func (s *sketches) read(ctx context.Context, db *gorm.DB, set *sketchSet, ids []int64) ([]*sketch.Columns, error) {
	out := make([]*sketch.Columns, len(ids))
	at := map[int64]int{}
	var missing []int64
	for i, id := range ids {
		if out[i] = s.cache.get(id); out[i] == nil {
			at[id] = i
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	list, err := json.Marshal(missing)
	if err != nil {
		return nil, err
	}
	rows, err := Query(ctx, db, "SELECT id, data FROM knowledge_sketch_blocks WHERE id IN (SELECT value FROM json_each(?))", string(list))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var data []byte
	var id int64
	for rows.Next() {
		if err := rows.Scan(&id, &data); err != nil {
			return nil, classifySQLite(err)
		}
		b, err := sketch.DecodeBlock(data, set.rotation.Padded())
		if err != nil {
			return nil, damagedSketches(set.base, err)
		}
		c := b.Columns()
		s.cache.put(id, c)
		out[at[id]] = c
	}
	if err := rows.Err(); err != nil {
		return nil, classifySQLite(err)
	}
	for i, b := range out {
		if b == nil {
			return nil, damagedSketches(set.base, fmt.Errorf("%w: block %d is missing", sketch.ErrDamaged, ids[i]))
		}
	}
	return out, nil
}

// writeBlocks stores codes of one list in blocks.
func writeBlocks(ctx context.Context, tx *gorm.DB, base string, list int64, b *sketch.Block) error {
	for from := 0; from < b.Len(); from += sketch.BlockSize {
		part := b.Slice(from, min(from+sketch.BlockSize, b.Len()))
		if err := writeBlock(ctx, tx, base, list, part.Encode()); err != nil {
			return err
		}
	}
	return nil
}

func writeBlock(ctx context.Context, tx *gorm.DB, base string, list int64, data []byte) error {
	_, err := Exec(ctx, tx, "INSERT INTO knowledge_sketch_blocks (id, base_id, list, data) VALUES (?, ?, ?, ?)", newID(), base, list, data)
	return err
}

func deleteBlocks(ctx context.Context, tx *gorm.DB, ids []int64) error {
	list, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	_, err = Exec(ctx, tx, "DELETE FROM knowledge_sketch_blocks WHERE id IN (SELECT value FROM json_each(?))", string(list))
	return err
}

// save stores the row of a set as a new version.
func (s *sketchSet) save(ctx context.Context, tx *gorm.DB) error {
	s.version = newID()
	_, err := Exec(ctx, tx, `INSERT INTO knowledge_sketches (base_id, version, dimensions, metric, upto, codes, next_check, trained, probes10, probes100)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (base_id) DO UPDATE SET version = excluded.version,
		dimensions = excluded.dimensions, metric = excluded.metric, upto = excluded.upto, codes = excluded.codes,
		next_check = excluded.next_check, trained = excluded.trained, probes10 = excluded.probes10, probes100 = excluded.probes100`,
		s.base, s.version, s.dimensions, string(s.metric), s.upto, s.codes, s.nextCheck, s.trained, s.probes10, s.probes100)
	return err
}

// blockCache keeps decoded blocks, those used last, within a number of bytes. The bytes are set aside in
// the memory that all share, and given back when others need them.
type blockCache struct {
	limit  int64
	memory *memory.Cache

	mu     sync.Mutex
	used   int64
	tick   int64
	closed bool
	blocks map[int64]*cachedBlock
}

type cachedBlock struct {
	*sketch.Columns
	last int64
}

func newBlockCache(limit int64) blockCache {
	return blockCache{limit: limit, blocks: map[int64]*cachedBlock{}}
}

func (c *blockCache) get(id int64) *sketch.Columns {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.blocks[id]
	if b == nil {
		return nil
	}
	c.tick++
	b.last = c.tick
	return b.Columns
}

// put keeps a block. Of a full cache about an eighth is dropped at once, what was used longest ago.
func (c *blockCache) put(id int64, b *sketch.Columns) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || b.Bytes() > c.limit || c.blocks[id] != nil {
		return
	}
	if c.used+b.Bytes() > c.limit {
		c.shrink(c.limit - c.limit/8 - b.Bytes())
	}
	if !c.memory.Grow(b.Bytes()) {
		c.shrink(c.used - c.used/8 - b.Bytes())
		if !c.memory.Grow(b.Bytes()) {
			return
		}
	}
	c.tick++
	c.blocks[id] = &cachedBlock{b, c.tick}
	c.used += b.Bytes()
}

// shrink drops what was used longest ago until at most limit bytes are used.
func (c *blockCache) shrink(limit int64) {
	before := c.used
	defer func() { c.memory.Shrink(before - c.used) }()
	byAge := make([]int64, 0, len(c.blocks))
	for id := range c.blocks {
		byAge = append(byAge, id)
	}
	slices.SortFunc(byAge, func(a, b int64) int { return cmp.Compare(c.blocks[a].last, c.blocks[b].last) })
	for _, id := range byAge {
		if c.used <= limit {
			return
		}
		c.used -= c.blocks[id].Bytes()
		delete(c.blocks, id)
	}
}

func (c *blockCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.memory.Shrink(c.used)
	c.blocks, c.used = map[int64]*cachedBlock{}, 0
}

// giveBack drops at least so many bytes, or all.
func (c *blockCache) giveBack(bytes int64) (freed int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.used
	c.shrink(before - bytes)
	return before - c.used
}
