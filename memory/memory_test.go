package memory_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/talkbase/talkbase/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func wantUsage(t *testing.T, m *memory.Manager, used int64) {
	t.Helper()
	if got := m.Usage().Used; got != used {
		t.Errorf("used: got %d, want %d", got, used)
	}
}

func acquire(t *testing.T, m *memory.Manager, n int64) *memory.Reservation {
	t.Helper()
	r, err := m.Acquire(t.Context(), n)
	if err != nil {
		t.Fatalf("acquire %d: got error %v, want none", n, err)
	}
	return r
}

// waiting returns once so many calls wait.
func waiting(m *memory.Manager, n int64) {
	for m.Usage().Waiting != n {
		runtime.Gosched()
	}
}

func TestRequestsAreGrantedByTheRules(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit, ask, granted int64
	}{
		"below the limit":        {100, 40, 40},
		"the limit":              {100, 100, 100},
		"above the limit":        {100, 1 << 40, 100},
		"nothing":                {100, 0, 0},
		"less than nothing":      {100, -5, 0},
		"of the default's limit": {0, 1 << 40, memory.DefaultLimit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := memory.New(c.limit)
			r := acquire(t, m, c.ask)
			if r.Bytes() != c.granted {
				t.Errorf("granted: got %d, want %d", r.Bytes(), c.granted)
			}
			wantUsage(t, m, c.granted)
			r.Release()
			r.Release()
			wantUsage(t, m, 0)
			tried, ok := m.TryAcquire(c.ask)
			if !ok || tried.Bytes() != c.granted {
				t.Errorf("tried: got %d, %t, want %d", tried.Bytes(), ok, c.granted)
			}
			tried.Release()
			if u := m.Usage(); u.Used != 0 || u.Peak != c.granted || u.Waits != 0 {
				t.Errorf("usage: got %+v, want a peak of %d and nothing else", u, c.granted)
			}
		})
	}
}

func TestNoManagerIsNoLimit(t *testing.T) {
	t.Parallel()
	var m *memory.Manager
	r, err := m.Acquire(t.Context(), 1<<60)
	if err != nil || r.Bytes() != 0 {
		t.Errorf("got %d, %v, want nothing set aside", r.Bytes(), err)
	}
	r.Release()
	if c := m.Cache(nil); !c.Grow(1 << 60) {
		t.Error("grow: got false, want true")
	} else {
		c.Shrink(1)
		c.Close()
	}
	if m.Part(10).Limit() != 10 || m.Limit() != 0 || !m.Reserved(m.With(t.Context())) {
		t.Error("got a limit, want none")
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	m := memory.New(10)
	all := acquire(t, m, 10)
	for name, end := range map[string]func(context.Context) (context.Context, error){
		"before": func(ctx context.Context) (context.Context, error) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, context.Canceled
		},
		"while waiting, with its cause": func(ctx context.Context) (context.Context, error) {
			ctx, cancel := context.WithCancelCause(ctx)
			why := errors.New("the window was closed")
			go func() {
				waiting(m, 1)
				cancel(why)
			}()
			return ctx, why
		},
	} {
		ctx, want := end(t.Context())
		r, err := m.Acquire(ctx, 1)
		if r != nil || !errors.Is(err, want) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, %v, want the error %v", name, r, err, want)
		}
	}
	if r, ok := m.TryAcquire(1); ok || r != nil {
		t.Errorf("try: got %v, %t, want false", r, ok)
	}
	wantUsage(t, m, 10)
	all.Release()
	acquire(t, m, 10).Release()
	// A context that has ended gets nothing, even where there is enough.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Acquire(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	wantUsage(t, m, 0)
}

func TestALargeRequestIsNotStarvedBySmallOnes(t *testing.T) {
	t.Parallel()
	m := memory.New(10)
	first := acquire(t, m, 1)
	order := make(chan string, 2)
	var wg sync.WaitGroup
	ask := func(name string, n, after int64) {
		waiting(m, after)
		wg.Go(func() {
			r, err := m.Acquire(t.Context(), n)
			if err == nil {
				order <- name
				r.Release()
			}
		})
	}
	ask("large", 10, 0)
	ask("small", 1, 1)
	waiting(m, 2)
	first.Release()
	wg.Wait()
	if got := <-order; got != "large" {
		t.Errorf("first: got %s, want large", got)
	}
}

// TestManyUsersStayWithinTheLimit counts for itself what is in use.
func TestManyUsersStayWithinTheLimit(t *testing.T) {
	t.Parallel()
	const limit = 1000
	m := memory.New(limit)
	parts := []*memory.Manager{m, m.Part(600), m.Part(300)}
	var inUse, most atomic.Int64
	hold := func(n int64) {
		now := inUse.Add(n)
		for {
			old := most.Load()
			if now <= old || most.CompareAndSwap(old, now) {
				break
			}
		}
		if now > limit {
			t.Errorf("in use: got %d, want at most %d", now, limit)
		}
		runtime.Gosched()
		inUse.Add(-n)
	}
	c := newTestCache(m)
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 5))
			for range 300 {
				part, n := parts[rng.IntN(len(parts))], 1+rng.Int64N(400)
				switch rng.IntN(5) {
				case 0: // two reservations of one caller: the first is for both
					err := part.Do(t.Context(), n, func(ctx context.Context) error {
						return m.Do(ctx, limit, func(context.Context) error { hold(min(n, part.Limit())); return nil })
					})
					if err != nil {
						t.Errorf("got error %v, want none", err)
					}
				case 1:
					if r, ok := part.TryAcquire(n); ok {
						hold(r.Bytes())
						r.Release()
					}
				case 2:
					ctx, cancel := context.WithCancel(t.Context())
					if rng.IntN(2) == 0 {
						cancel()
					}
					if r, err := part.Acquire(ctx, n); err == nil {
						hold(r.Bytes())
						r.Release()
					}
					cancel()
				case 3:
					c.put(rng.Int64N(50))
				default:
					r, err := part.Acquire(t.Context(), n)
					if err != nil {
						t.Errorf("got error %v, want none", err)
						return
					}
					hold(r.Bytes())
					r.Release()
				}
			}
		})
	}
	wg.Wait()
	c.close()
	u := m.Usage()
	if u.Used != 0 || u.Cached != 0 || u.Waiting != 0 || u.Peak > limit || u.Waits == 0 || u.Evicted == 0 {
		t.Errorf("got %+v (%d in use at most), want everything given back, waits and evictions", u, most.Load())
	}
	for _, p := range parts {
		wantUsage(t, p, 0)
	}
}

// testCache keeps things of a few bytes.
type testCache struct {
	mu     sync.Mutex
	cache  *memory.Cache
	things []int64
}

func newTestCache(m *memory.Manager) *testCache {
	c := &testCache{}
	c.cache = m.Cache(func(bytes int64) (freed int64) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for freed < bytes && len(c.things) > 0 {
			n := c.things[0]
			c.things = c.things[1:]
			c.cache.Shrink(n)
			freed += n
		}
		return freed
	})
	return c
}

func (c *testCache) put(n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.cache.Grow(n) {
		return false
	}
	c.things = append(c.things, n)
	return true
}

func (c *testCache) close() {
	c.mu.Lock()
	c.things = nil
	c.mu.Unlock()
	c.cache.Close()
}

func TestCachesGiveBackWhatOthersNeed(t *testing.T) {
	t.Parallel()
	m := memory.New(100)
	c := newTestCache(m)
	for range 10 {
		if !c.put(10) {
			t.Fatal("put: got false, want room")
		}
	}
	if c.put(1) {
		t.Error("put into a full manager: got true, want false")
	}
	r := acquire(t, m, 35)
	if u := m.Usage(); u.Cached > 65 || u.Cached < 60 || u.Evicted != 100-u.Cached {
		t.Errorf("got %+v, want about 35 evicted", u)
	}
	more, ok := m.Part(50).TryAcquire(45)
	if !ok {
		t.Error("try: got false, want what the cache holds")
	}
	if !c.put(10) || c.put(20) {
		t.Error("put: want room for 10 and no more")
	}
	// While somebody waits, a cache takes nothing, also of what is free.
	done := make(chan struct{})
	go func() {
		defer close(done)
		acquire(t, m, 100).Release()
	}()
	waiting(m, 1)
	if c.put(1) {
		t.Error("put while somebody waits: got true, want false")
	}
	r.Release()
	more.Release()
	<-done
	if u := m.Usage(); u.Cached != 0 || u.Used != 0 || u.Peak != 100 {
		t.Errorf("got %+v, want an empty cache", u)
	}
	c.close()
}

func TestAReservationEndsWithAPanic(t *testing.T) {
	t.Parallel()
	m := memory.New(10)
	func() {
		defer func() { _ = recover() }()
		_ = m.Do(t.Context(), 5, func(context.Context) error { panic("no") })
	}()
	wantUsage(t, m, 0)
}

// TestAnySequenceAddsUp compares with plain arithmetic.
func TestAnySequenceAddsUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 200).Draw(t, "limit")
		m := memory.New(limit)
		part := m.Part(rapid.Int64Range(0, 250).Draw(t, "part"))
		type held struct {
			r    *memory.Reservation
			part bool
		}
		var all []held
		var used, ofPart, peak int64
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if len(all) > 0 && rapid.Bool().Draw(t, "release") {
				i := rapid.IntRange(0, len(all)-1).Draw(t, "which")
				n := all[i].r.Bytes()
				used -= n
				if all[i].part {
					ofPart -= n
				}
				all[i].r.Release()
				all = append(all[:i], all[i+1:]...)
				continue
			}
			n := rapid.Int64Range(-1, 300).Draw(t, "bytes")
			from, isPart := m, false
			if rapid.Bool().Draw(t, "of the part") {
				from, isPart = part, true
			}
			want := min(max(n, 0), from.Limit())
			fits := used+want <= limit && (!isPart || ofPart+want <= part.Limit())
			r, ok := from.TryAcquire(n)
			if ok != fits {
				t.Fatalf("try %d of %d, %d used: got %t, want %t", n, from.Limit(), used, ok, fits)
			}
			if !ok {
				continue
			}
			all = append(all, held{r, isPart})
			used += want
			if isPart {
				ofPart += want
			}
			peak = max(peak, used)
			if m.Usage().Used != used || part.Usage().Used != ofPart || m.Usage().Peak < peak {
				t.Fatalf("got %+v and %+v, want %d and %d used", m.Usage(), part.Usage(), used, ofPart)
			}
		}
	})
}
