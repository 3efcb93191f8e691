package sketch

import (
	"cmp"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
)

// Centres finds the nearest of many centres by their codes first, so that assigning a vector costs
// far less than comparing it with each of them. It is safe for concurrent use; a Finder is not.
type Centres struct {
	padded int
	all    []float32 // one after the other
	mean   []float32
	codes  *Columns // nil where all are compared
}

// NewCentres prepares centres, rotated vectors of padded coordinates one after the other.
func NewCentres(all []float32, padded int) *Centres {
	c := &Centres{padded: padded, all: all, mean: Mean(all, padded)}
	if c.Len() <= 2*shortlist {
		return c
	}
	codes := NewBlock(padded)
	diff := make([]float32, padded)
	for i := range c.Len() {
		Subtract(diff, c.At(i), c.mean)
		if !codes.Append(int64(i), diff) {
			return c
		}
	}
	c.codes = codes.Columns()
	return c
}

// Len is the number of centres.
func (c *Centres) Len() int { return len(c.all) / c.padded }

// At is the i-th centre, padded as the rotation pads.
func (c *Centres) At(i int) []float32 { return c.all[i*c.padded : (i+1)*c.padded] }

// Finder is what one goroutine needs to search Centres.
type Finder struct {
	c      *Centres
	q      Query
	diff   []float32
	scores []float32
	by     []ranked
}

type ranked struct {
	at int
	d  float32
}

// Finder returns a new one.
func (c *Centres) Finder() *Finder {
	return &Finder{c: c, diff: make([]float32, c.padded), scores: make([]float32, c.Len())}
}

// estimate fills in the scores: for each centre, its squared distance from x but for a summand that
// is the same for all.
func (f *Finder) estimate(x []float32) {
	Subtract(f.diff, x, f.c.mean)
	f.q.Set(f.diff)
	f.c.codes.Scores(&f.q, Score{Norm2: 1, Dot: 2}, f.scores)
}

// shortlist is how many centres are compared exactly after their codes were.
const shortlist = 6

// Nearest returns the centre nearest to x, or one about as near.
func (f *Finder) Nearest(x []float32) int {
	c := f.c
	if c.codes == nil {
		best, at := float32(0), -1
		for i := range c.Len() {
			if d := Distance2(x, c.At(i)); at < 0 || d < best {
				best, at = d, i
			}
		}
		return at
	}
	f.estimate(x)
	var top [shortlist]ranked
	n := 0
	for i, d := range f.scores {
		if n == shortlist && d >= top[n-1].d {
			continue
		}
		j := min(n, shortlist-1)
		for ; j > 0 && top[j-1].d > d; j-- {
			top[j] = top[j-1]
		}
		top[j] = ranked{i, d}
		n = min(n+1, shortlist)
	}
	best := ranked{at: -1}
	for _, r := range top[:n] {
		if d := Distance2(x, c.At(r.at)); best.at < 0 || d < best.d {
			best = ranked{r.at, d}
		}
	}
	return best.at
}

// Ranked returns the n centres nearest to x, or some about as near, the nearest first.
func (f *Finder) Ranked(x []float32, n int) []int {
	n = min(n, f.c.Len())
	f.by = f.by[:0]
	exact := n + n/2 + 4*shortlist
	if f.c.codes == nil || exact >= f.c.Len() {
		for i := range f.c.Len() {
			f.by = append(f.by, ranked{i, 0})
		}
	} else {
		f.estimate(x)
		limit := smallest(slices.Clone(f.scores), exact-1)
		for i, d := range f.scores {
			if d <= limit {
				f.by = append(f.by, ranked{i, 0})
			}
		}
	}
	for i := range f.by {
		f.by[i].d = Distance2(x, f.c.At(f.by[i].at))
	}
	slices.SortFunc(f.by, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.d, b.d), cmp.Compare(a.at, b.at)) })
	out := make([]int, n)
	for i := range out {
		out[i] = f.by[i].at
	}
	return out
}

// smallest returns the number that would be at the k-th place if a were sorted, and mixes a up
// (Hoare's selection).
func smallest(a []float32, k int) float32 {
	for len(a) > 1 {
		pivot := a[len(a)/2]
		i, j := 0, len(a)-1
		for i <= j {
			for a[i] < pivot {
				i++
			}
			for pivot < a[j] {
				j--
			}
			if i <= j {
				a[i], a[j] = a[j], a[i]
				i, j = i+1, j-1
			}
		}
		switch {
		case k <= j:
			a = a[:j+1]
		case k >= i:
			a, k = a[i:], k-i
		default:
			return a[k]
		}
	}
	return a[0]
}

// iterations of k-means: more move the centres little, and any centres give right answers.
const iterations = 6

// KMeans returns k centres of the sample, rotated vectors of padded coordinates one after the other.
// It is the same for the same sample and seed.
func KMeans(sample []float32, padded, k int, seed uint64) *Centres {
	n := len(sample) / padded
	k = min(k, n)
	rng := rand.New(rand.NewPCG(seed, uint64(k)))
	all := make([]float32, 0, k*padded)
	for _, i := range rng.Perm(n)[:k] {
		all = append(all, sample[i*padded:(i+1)*padded]...)
	}
	at := make([]int, n)
	for range iterations {
		c := NewCentres(all, padded)
		Parallel(n, 64, func(from, to int) {
			f := c.Finder()
			for i := from; i < to; i++ {
				at[i] = f.Nearest(sample[i*padded : (i+1)*padded])
			}
		})
		all = means(sample, at, padded, k, rng)
	}
	return NewCentres(all, padded)
}

// means are the new centres; one that nothing is near to starts over somewhere else.
func means(sample []float32, at []int, padded, k int, rng *rand.Rand) []float32 {
	sums, counts := make([]float64, k*padded), make([]int, k)
	for i, c := range at {
		counts[c]++
		sum := sums[c*padded : (c+1)*padded]
		for j, x := range sample[i*padded : (i+1)*padded] {
			sum[j] += float64(x)
		}
	}
	all := make([]float32, k*padded)
	for c, n := range counts {
		to := all[c*padded : (c+1)*padded]
		if n == 0 {
			i := rng.IntN(len(at))
			copy(to, sample[i*padded:(i+1)*padded])
			continue
		}
		for j, s := range sums[c*padded : (c+1)*padded] {
			to[j] = float32(s / float64(n))
		}
	}
	return all
}

// Parallel calls f for a part of 0..n of at least this size on each processor, and returns when all
// are done.
func Parallel(n, least int, f func(from, to int)) {
	workers := max(1, min(runtime.GOMAXPROCS(0), n/least))
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { f(n*w/workers, n*(w+1)/workers) })
	}
	wg.Wait()
}

// Mean is the mean of vectors of padded coordinates, one after the other.
func Mean(all []float32, padded int) []float32 {
	sums := make([]float64, padded)
	n := len(all) / padded
	for i := range n {
		for j, x := range all[i*padded : (i+1)*padded] {
			sums[j] += float64(x)
		}
	}
	out := make([]float32, padded)
	for j, s := range sums {
		out[j] = float32(s / float64(max(n, 1)))
	}
	return out
}

// Subtract writes a-b to dst.
func Subtract(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] - b[i]
	}
}

// Dot is the inner product, Distance2 the squared distance, in four sums that do not wait for each
// other. The lengths are equal and a multiple of 4.
func Dot(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	b = b[:len(a)]
	for ; len(a) >= 4 && len(b) >= 4; a, b = a[4:], b[4:] {
		s0 += a[0] * b[0]
		s1 += a[1] * b[1]
		s2 += a[2] * b[2]
		s3 += a[3] * b[3]
	}
	return s0 + s1 + s2 + s3
}

// Distance2 is the squared distance; see Dot.
func Distance2(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	b = b[:len(a)]
	for ; len(a) >= 4 && len(b) >= 4; a, b = a[4:], b[4:] {
		d0, d1, d2, d3 := a[0]-b[0], a[1]-b[1], a[2]-b[2], a[3]-b[3]
		s0 += d0 * d0
		s1 += d1 * d1
		s2 += d2 * d2
		s3 += d3 * d3
	}
	return s0 + s1 + s2 + s3
}
