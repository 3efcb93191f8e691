package sketch

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func gauss(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

func dot64(a, b []float32) (s float64) {
	for i := range a {
		s += float64(a[i]) * float64(b[i])
	}
	return s
}

func TestRotationKeepsProducts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.IntRange(1, 1600).Draw(t, "dims")
		seed := rapid.Uint64().Draw(t, "seed")
		rng := rand.New(rand.NewPCG(seed, 1))
		a, b := gauss(rng, dims), gauss(rng, dims)
		r := NewRotation(dims, seed)
		ra, rb := make([]float32, r.Padded()), make([]float32, r.Padded())
		r.Rotate(ra, a)
		NewRotation(dims, seed).Rotate(rb, b)
		if got, want := dot64(ra, rb), dot64(a, b); math.Abs(got-want) > 1e-3*math.Sqrt(dot64(a, a)*dot64(b, b)) {
			t.Fatalf("product of the rotated: got %g, want %g", got, want)
		}
	})
}

type estimate struct{ dot, sigma float32 }

// estimates are the estimated products of the query and every code, and the deviations of their errors.
func estimates(c *Columns, q *Query) []estimate {
	out := make([]estimate, c.Len())
	c.Search(q, Score{Dot: 1}, 1, float32(math.Inf(1)), func(i int, value, wrong float32) float32 {
		out[i] = estimate{-value, wrong}
		return float32(math.Inf(1))
	})
	return out
}

// TestEstimatesAreUnbiasedAndBounded draws many pairs: the mean error in units of the stated deviation
// is about 0, its square about at most 1.
func TestEstimatesAreUnbiasedAndBounded(t *testing.T) {
	for _, dims := range []int{3, 64, 100, 256, 384, 512, 768, 960, 1536} {
		rng := rand.New(rand.NewPCG(uint64(dims), 2))
		var sum, sum2 float64
		n, beyond := 0, 0
		for seed := range 40 {
			r := NewRotation(dims, uint64(seed))
			b := NewBlock(r.Padded())
			q := gauss(rng, dims)
			rq := make([]float32, r.Padded())
			r.Rotate(rq, q)
			var query Query
			query.Set(rq)
			var want []float64
			for range 50 {
				v := gauss(rng, dims)
				for i := range v { // near the query, as what is looked for is, and sparse
					v[i] = 0.3*q[i] + v[i]*float32(i%3)
				}
				rv := make([]float32, r.Padded())
				r.Rotate(rv, v)
				if !b.Append(int64(len(want)), rv) {
					t.Fatalf("dims %d: a vector was refused", dims)
				}
				want = append(want, dot64(v, q))
			}
			for i, e := range estimates(b.Columns(), &query) {
				z := (float64(e.dot) - want[i]) / (float64(e.sigma) + 1e-6)
				sum += z
				sum2 += z * z
				if math.Abs(z) > 3.5 {
					beyond++
				}
				n++
			}
		}
		mean, deviation := sum/float64(n), math.Sqrt(sum2/float64(n))
		if math.Abs(mean) > 0.2 || deviation > 1.3 || beyond > n/100 {
			t.Errorf("dims %d: error in deviations: mean %.3f, deviation %.3f, %d of %d beyond 3.5; want about 0, about 1, few", dims, mean, deviation, beyond, n)
		}
	}
}

func TestAppendRefusesWhatCannotBeEstimated(t *testing.T) {
	for name, x := range map[string]float32{"NaN": float32(math.NaN()), "infinity": float32(math.Inf(1)), "huge": math.MaxFloat32} {
		r := make([]float32, 64)
		r[7] = x
		b := NewBlock(64)
		if b.Append(1, r) || b.Len() != 0 || len(b.Bits) != 0 {
			t.Errorf("%s: got %d codes, want it refused", name, b.Len())
		}
	}
}

func TestBlockRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		padded := 64 * rapid.IntRange(1, 8).Draw(t, "words")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		b := NewBlock(padded)
		for range rapid.IntRange(0, 40).Draw(t, "count") {
			b.Append(rng.Int64(), gauss(rng, padded))
		}
		data := b.Encode()
		got, err := DecodeBlock(data, padded)
		if err != nil {
			t.Fatalf("decode: got error %v, want none", err)
		}
		var q Query
		q.Set(gauss(rng, padded))
		a, c := estimates(b.Columns(), &q), estimates(got.Columns().Block().Columns(), &q)
		for i := range a {
			if a[i] != c[i] || b.Seqs[i] != got.Seqs[i] {
				t.Fatalf("code %d: got %v of %d, want %v of %d", i, c[i], got.Seqs[i], a[i], b.Seqs[i])
			}
		}
		if i := rapid.IntRange(0, len(data)-1).Draw(t, "at"); true {
			data[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			if _, err := DecodeBlock(data, padded); err == nil {
				t.Fatalf("a bit of byte %d turned: got no error, want ErrDamaged", i)
			}
		}
	})
}

func TestKMeansFindsClusters(t *testing.T) {
	const padded, k = 64, 20
	rng := rand.New(rand.NewPCG(1, 1))
	centres := gauss(rng, k*padded)
	var sample []float32
	for i := range 4000 {
		v := gauss(rng, padded)
		for j := range v {
			v[j] = centres[i%k*padded+j] + 0.1*v[j]
		}
		sample = append(sample, v...)
	}
	c := KMeans(sample, padded, 2*k, 7)
	f := c.Finder()
	var far float64
	for i := range 4000 {
		x := sample[i*padded : (i+1)*padded]
		far += float64(Distance2(x, c.At(f.Nearest(x)))) / 4000
	}
	// Within its cluster a vector is at 64·0.01 from the centre, two clusters are at 128.
	if far > 20 {
		t.Errorf("mean squared distance to the nearest centre: got %.2f, want less than 20", far)
	}
}

func FuzzDecodeBlock(f *testing.F) {
	b := NewBlock(128)
	b.Append(5, gauss(rand.New(rand.NewPCG(1, 1)), 128))
	f.Add(b.Encode(), 2)
	f.Add(EncodeCentres(make([]float32, 128), 128), 2)
	f.Add(seal(head(blockMagic, 2, 1<<31, 0)), 2)
	f.Fuzz(func(t *testing.T, data []byte, words int) {
		padded := 64 * (1 + words&31)
		for _, d := range [][]byte{data, seal(data[:len(data):len(data)])} { // with a checksum that holds as well
			if b, err := DecodeBlock(d, padded); err == nil {
				var q Query
				q.Set(make([]float32, padded))
				estimates(b.Columns(), &q)
				if string(b.Columns().Block().Encode()) != string(d) {
					t.Errorf("encoded again: got other bytes")
				}
			}
			if c, err := DecodeCentres(d, padded); err == nil && len(c)%padded != 0 {
				t.Errorf("centres: got %d numbers, want a multiple of %d", len(c), padded)
			}
		}
	})
}

func BenchmarkEncode768(b *testing.B) {
	r := NewRotation(768, 1)
	v, x := gauss(rand.New(rand.NewPCG(1, 1)), 768), make([]float32, 768)
	blk := NewBlock(768)
	for b.Loop() {
		r.Rotate(x, v)
		blk.Append(1, x)
		if blk.Len() == BlockSize {
			blk = NewBlock(768)
		}
	}
}

func BenchmarkSearch(b *testing.B) {
	for _, dims := range []int{256, 768} {
		b.Run(fmt.Sprint(dims), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 1))
			blk := NewBlock(dims)
			for range BlockSize {
				blk.Append(1, gauss(rng, dims))
			}
			c := blk.Columns()
			var q Query
			q.Set(gauss(rng, dims))
			for b.Loop() {
				c.Search(&q, Score{Dot: 1}, 2, -1e9, func(int, float32, float32) float32 { return -1e9 })
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/BlockSize, "ns/code")
		})
	}
}

func BenchmarkQuery768(b *testing.B) {
	v := gauss(rand.New(rand.NewPCG(1, 1)), 768)
	var q Query
	for b.Loop() {
		q.Set(v)
	}
}
