// Package memory keeps what a program holds in memory at once within a limit. Whoever is about to need
// much sets it aside first, and waits until others have given back enough.
//
// The bytes are what callers say they need: estimates of what is live at once. Go's collector
// frees memory later than it is given back, by default when the heap has doubled.
package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// DefaultLimit is the limit of a Manager that is made without one, in bytes.
const DefaultLimit = 256 << 20

// Manager is a number of bytes that its users share. It is safe for concurrent use. A nil *Manager has
// no limit.
//
// The rules that keep users from waiting for each other for ever:
//
//   - Reserve once. A call that has a reservation and makes another call of the same Manager passes on the
//     ctx of Do or With; what it calls then reserves nothing of its own. The first reservation must
//     be large enough for all of it.
//   - Reserve first. Who holds something that others wait for, such as a transaction that writes, does not
//     wait for memory: it uses TryAcquire, and works in smaller pieces when that fails.
//
// Waiting is first come, first served, so a large request is not starved by small ones.
type Manager struct {
	limit  int64
	parent *Manager
	sem    *semaphore.Weighted

	used, peak, waits atomic.Int64
	waiters           atomic.Int64
	// wanted is how many bytes those who wait want in all.
	wanted  atomic.Int64
	cached  atomic.Int64
	evicted atomic.Int64

	mu     sync.Mutex // of what follows; also held while caches give back
	caches []*Cache
}

// New returns a Manager of so many bytes, DefaultLimit when limit is not positive.
func New(limit int64) *Manager {
	if limit <= 0 {
		limit = DefaultLimit
	}
	return &Manager{limit: limit, sem: semaphore.NewWeighted(limit)}
}

// Part returns a Manager that is a part of m: what is reserved of it is reserved of m as well, and it
// gives out at most limit bytes. A limit of 0 or above that of m is that of m. The part of a nil Manager
// is a Manager of its own.
func (m *Manager) Part(limit int64) *Manager {
	if m == nil {
		return New(limit)
	}
	if limit <= 0 || limit > m.limit {
		limit = m.limit
	}
	p := New(limit)
	p.parent = m
	return p
}

// Limit is how many bytes there are, 0 for no limit.
func (m *Manager) Limit() int64 {
	if m == nil {
		return 0
	}
	return m.limit
}

// Acquire sets bytes aside and waits until it can. A request above the limit is taken for the whole
// limit: it runs alone. A request that is not positive, or whose ctx carries a reservation, is
// granted at once and takes nothing. The error is ctx's, with its cause; then nothing is set aside.
func (m *Manager) Acquire(ctx context.Context, bytes int64) (*Reservation, error) {
	if m == nil || bytes <= 0 || m.Reserved(ctx) {
		return &Reservation{}, nil
	}
	bytes = min(bytes, m.limit)
	if err := m.take(ctx, bytes); err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return nil, fmt.Errorf("waiting for %d bytes of memory: %w", bytes, err)
	}
	r := &Reservation{m: m}
	r.bytes.Store(bytes)
	return r, nil
}

// TryAcquire is Acquire for a caller that cannot wait: ok is false where it would have to.
func (m *Manager) TryAcquire(bytes int64) (r *Reservation, ok bool) {
	if m == nil || bytes <= 0 {
		return &Reservation{}, true
	}
	bytes = min(bytes, m.limit)
	if !m.tryTake(bytes) {
		for p := m; p != nil; p = p.parent { // what caches hold is not in use
			p.wanted.Add(bytes)
			p.reclaim()
			p.wanted.Add(-bytes)
		}
		if !m.tryTake(bytes) {
			return nil, false
		}
	}
	r = &Reservation{m: m}
	r.bytes.Store(bytes)
	return r, true
}

// Do runs f with bytes set aside, which it waits for as Acquire does. The ctx that f receives carries
// the reservation. It is given back when f returns or panics.
func (m *Manager) Do(ctx context.Context, bytes int64, f func(ctx context.Context) error) error {
	r, err := m.Acquire(ctx, bytes)
	if err != nil {
		return err
	}
	defer r.Release()
	return f(m.With(ctx))
}

type reservedKey struct{ root *Manager }

func (m *Manager) root() *Manager {
	for m.parent != nil {
		m = m.parent
	}
	return m
}

// With returns a ctx for the calls that a reservation of m covers.
func (m *Manager) With(ctx context.Context) context.Context {
	if m == nil {
		return ctx
	}
	return context.WithValue(ctx, reservedKey{m.root()}, true)
}

// Reserved reports whether ctx carries a reservation of m, or of another part of the same whole.
func (m *Manager) Reserved(ctx context.Context) bool {
	return m == nil || ctx.Value(reservedKey{m.root()}) != nil
}

func (m *Manager) take(ctx context.Context, n int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !m.sem.TryAcquire(n) {
		m.waits.Add(1)
		m.waiters.Add(1)
		m.wanted.Add(n)
		m.reclaim()
		err := m.sem.Acquire(ctx, n)
		m.wanted.Add(-n)
		m.waiters.Add(-1)
		if err != nil {
			return err
		}
	}
	m.count(n)
	if m.parent == nil {
		return nil
	}
	// The parent is never held while waiting for a part, so that the two cannot be taken crosswise.
	if err := m.parent.take(ctx, n); err != nil {
		m.release(n)
		return err
	}
	return nil
}

func (m *Manager) tryTake(n int64) bool {
	if !m.sem.TryAcquire(n) {
		return false
	}
	m.count(n)
	if m.parent != nil && !m.parent.tryTake(n) {
		m.release(n)
		return false
	}
	return true
}

// count notes what was taken of the semaphore. It comes after taking, and before giving back, so
// that used never exceeds what is taken.
func (m *Manager) count(n int64) {
	used := m.used.Add(n)
	for {
		peak := m.peak.Load()
		if used <= peak || m.peak.CompareAndSwap(peak, used) {
			return
		}
	}
}

func (m *Manager) release(n int64) {
	m.used.Add(-n)
	m.sem.Release(n)
}

func (m *Manager) give(n int64) {
	for ; m != nil; m = m.parent {
		m.release(n)
	}
}

// Usage is a reading of a Manager, in bytes unless it says otherwise.
type Usage struct {
	Limit int64 `json:"limit"`
	// Used is what is set aside, Peak the most that ever was.
	Used int64 `json:"used"`
	Peak int64 `json:"peak"`
	// Cached is the part of Used that caches hold and give back on demand, Evicted what they gave back so
	// far.
	Cached  int64 `json:"cached"`
	Evicted int64 `json:"evicted"`
	// Waiting is the number of calls that wait at this moment, Waits of those that ever did.
	Waiting int64 `json:"waiting"`
	Waits   int64 `json:"waits"`
}

// Usage returns the reading of this moment.
func (m *Manager) Usage() Usage {
	if m == nil {
		return Usage{}
	}
	return Usage{
		Limit: m.limit, Used: m.used.Load(), Peak: m.peak.Load(), Cached: m.cached.Load(), Evicted: m.evicted.Load(),
		Waiting: m.waiters.Load(), Waits: m.waits.Load(),
	}
}

// Reservation is memory that was set aside.
type Reservation struct {
	m     *Manager
	bytes atomic.Int64
}

// Bytes is what is set aside, less than was asked for where that was above the limit.
func (r *Reservation) Bytes() int64 {
	if r == nil {
		return 0
	}
	return r.bytes.Load()
}

// Release gives the memory back. It may be called more than once.
func (r *Reservation) Release() {
	if r == nil {
		return
	}
	if n := r.bytes.Swap(0); n > 0 {
		r.m.give(n)
	}
}

// Cache is memory of a Manager that is given back when others need it.
type Cache struct {
	m     *Manager
	evict func(bytes int64) int64
	held  atomic.Int64
}

// Cache registers a cache. When others wait, evict is called to have it drop at least so many bytes, or
// all it has; it reports them with Shrink and returns how many there were. Evict takes the lock that
// callers of Grow hold, and waits for nobody else. A nil Manager's cache grows without limit.
func (m *Manager) Cache(evict func(bytes int64) int64) *Cache {
	c := &Cache{m: m, evict: evict}
	if m != nil {
		m.mu.Lock()
		m.caches = append(m.caches, c)
		m.mu.Unlock()
	}
	return c
}

// Grow takes bytes for something to keep. It returns false, and takes nothing, where there is no room
// or somebody waits. The caller holds the lock that evict takes, until what it keeps can be evicted.
func (c *Cache) Grow(bytes int64) bool {
	if c.m == nil {
		return true
	}
	// Who waits is counted before evict is called, and evict needs the lock that the caller holds. So what
	// is kept in spite of this question is evicted afterwards.
	if c.m.wanted.Load() > 0 || bytes > c.m.limit || !c.m.tryTake(bytes) {
		return false
	}
	c.held.Add(bytes)
	c.m.cached.Add(bytes)
	return true
}

// Shrink gives bytes back that Grow took.
func (c *Cache) Shrink(bytes int64) {
	if c.m == nil || bytes <= 0 {
		return
	}
	c.held.Add(-bytes)
	c.m.cached.Add(-bytes)
	c.m.give(bytes)
}

// Close ends the cache and gives back what it holds. No call may follow. The lock that evict takes must
// not be held.
func (c *Cache) Close() {
	if c.m == nil {
		return
	}
	c.m.mu.Lock()
	if i := slices.Index(c.m.caches, c); i >= 0 {
		c.m.caches = slices.Delete(c.m.caches, i, i+1)
	}
	c.m.mu.Unlock()
	c.Shrink(c.held.Load())
}

// reclaim has the caches give back what is wanted. What is free already is not reckoned with: a cache
// may be taking it at this moment, and would keep it while everybody waits.
func (m *Manager) reclaim() {
	m.mu.Lock()
	defer m.mu.Unlock()
	missing := m.wanted.Load()
	for _, c := range m.caches {
		if missing <= 0 {
			return
		}
		n := c.evict(missing)
		missing -= n
		m.evicted.Add(n)
	}
}
