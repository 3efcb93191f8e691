// Package sketch turns vectors into codes of one bit per dimension that tell, without reading the
// vectors, about how far they are from a query and how wrong that may be. The codes, their unbiased
// estimate and its error bound are RaBitQ's (Gao and Long, "RaBitQ: Quantizing High-Dimensional
// Vectors with a Theoretical Error Bound for Approximate Nearest Neighbor Search", SIGMOD 2024). The
// package knows no database.
package sketch

import (
	"math"
	"math/rand/v2"
)

// Rotation is a random rotation of vectors of one length, the same for the same seed. It spreads a
// vector evenly over its coordinates, so that their signs say the most about it. It is made of random
// signs and fast Walsh-Hadamard transforms, which cost D log D instead of a matrix's D². It is safe for
// concurrent use.
type Rotation struct {
	dims, padded, block int
	steps               []step
}

// step flips signs from an offset on and transforms that part.
type step struct {
	from  int
	signs []float32 // ±1/√block: the transform then keeps lengths
}

// NewRotation returns the rotation of vectors of dims dimensions that belongs to seed.
func NewRotation(dims int, seed uint64) *Rotation {
	r := &Rotation{dims: dims, padded: (dims + 63) &^ 63, block: 64}
	for 2*r.block <= r.padded {
		r.block *= 2
	}
	// Three transforms of the whole, or two pairs that overlap where the length is no power of two.
	starts := []int{0, 0, 0}
	if r.block < r.padded {
		starts = []int{0, r.padded - r.block, 0, r.padded - r.block}
	}
	rng := rand.New(rand.NewPCG(seed, uint64(dims)))
	scale := float32(1 / math.Sqrt(float64(r.block)))
	for _, from := range starts {
		s := step{from: from, signs: make([]float32, r.block)}
		for i := range s.signs {
			s.signs[i] = scale
			if rng.Uint64()&1 == 1 {
				s.signs[i] = -scale
			}
		}
		r.steps = append(r.steps, s)
	}
	return r
}

// Padded is the length of a rotated vector: the dimensions rounded up to a multiple of 64.
func (r *Rotation) Padded() int { return r.padded }

// Rotate writes the rotated src to dst, which has the length Padded. Src may be shorter; what lacks
// counts as zero.
func (r *Rotation) Rotate(dst, src []float32) {
	n := copy(dst[:r.padded], src)
	clear(dst[n:r.padded])
	for i, s := range r.steps {
		part := dst[s.from : s.from+r.block]
		for j, f := range s.signs {
			part[j] *= f
		}
		hadamard(part)
		if r.block < r.padded && i%2 == 1 {
			halves(dst[:r.padded])
		}
	}
}

// halves mixes the first half with the second, which overlapping transforms alone do badly.
func halves(x []float32) {
	const scale = 1 / math.Sqrt2
	a, b := x[:len(x)/2], x[len(x)/2:]
	b = b[:len(a)]
	for i, u := range a {
		v := b[i]
		a[i], b[i] = scale*(u+v), scale*(u-v)
	}
}

// hadamard is the fast Walsh-Hadamard transform in place, two levels at a time; the length is a power
// of two and at least 4.
func hadamard(x []float32) {
	for y := x; len(y) >= 4; y = y[4:] {
		p, q, r, s := y[0], y[1], y[2], y[3]
		p, q, r, s = p+q, p-q, r+s, r-s
		y[0], y[1], y[2], y[3] = p+r, q+s, p-r, q-s
	}
	h := 4
	for ; 4*h <= len(x); h *= 4 {
		for i := 0; i < len(x); i += 4 * h {
			a := x[i : i+h]
			b := x[i+h : i+2*h][:len(a)]
			c := x[i+2*h : i+3*h][:len(a)]
			d := x[i+3*h : i+4*h][:len(a)]
			for j, p := range a {
				q, r, s := b[j], c[j], d[j]
				p, q, r, s = p+q, p-q, r+s, r-s
				a[j], b[j], c[j], d[j] = p+r, q+s, p-r, q-s
			}
		}
	}
	if h < len(x) {
		a := x[:h]
		b := x[h:][:len(a)]
		for j, p := range a {
			q := b[j]
			a[j], b[j] = p+q, p-q
		}
	}
}
