package sketch

import (
	"math"
	"math/bits"
)

// BlockSize is how many codes a stored block holds at most.
const BlockSize = 1024

// Block holds codes of vectors relative to one centre, column by column.
type Block struct {
	// Words is how many 64-bit words a code has.
	Words int
	// Seqs are the numbers of the vectors.
	Seqs []int64
	// Bits are the codes, Words for each vector.
	Bits []uint64
	// Factor and Norm2 correct the estimates: with r the rotated vector minus the centre, ‖r‖²/Σ|r_i|
	// and ‖r‖².
	Factor, Norm2 []float32

	ones []float32 // how many bits are set
}

// NewBlock returns an empty block for rotated vectors of this length, a multiple of 64.
func NewBlock(padded int) *Block { return &Block{Words: padded / 64} }

// Len is the number of codes.
func (b *Block) Len() int { return len(b.Seqs) }

// Bytes is about how much memory the block takes.
func (b *Block) Bytes() int64 { return int64(len(b.Seqs))*int64(8*b.Words+20) + 160 }

// tiny is the squared length below which float32 loses what estimates are made of.
const tiny = 1e-30

// Append adds the code of r, a rotated vector minus the centre. It reports false, and adds nothing,
// for a vector that no estimate can be made of: one with NaN or infinity, or too long or too short for
// float32.
func (b *Block) Append(seq int64, r []float32) bool {
	var norm2, sum float64
	for _, x := range r {
		f := float64(x)
		norm2 += f * f
		sum += math.Abs(f)
	}
	if !(norm2 < math.MaxFloat32/16) || norm2 != 0 && norm2 < tiny { // NaN too
		return false
	}
	factor := 0.0
	if sum > 0 {
		factor = norm2 / sum
	}
	ones := 0
	for w := range b.Words {
		var word uint64
		for i, x := range r[64*w : 64*w+64] {
			word |= uint64(^math.Float32bits(x)>>31) << i
		}
		ones += bits.OnesCount64(word)
		b.Bits = append(b.Bits, word)
	}
	b.Seqs = append(b.Seqs, seq)
	b.Factor = append(b.Factor, float32(factor))
	b.Norm2 = append(b.Norm2, float32(norm2))
	b.ones = append(b.ones, float32(ones))
	return true
}

// AppendAll adds the codes of another block with the same centre.
func (b *Block) AppendAll(o *Block) {
	b.Bits = append(b.Bits, o.Bits...)
	b.Seqs = append(b.Seqs, o.Seqs...)
	b.Factor = append(b.Factor, o.Factor...)
	b.Norm2 = append(b.Norm2, o.Norm2...)
	b.ones = append(b.ones, o.ones...)
}

// Slice returns the codes from i to j, which share b's memory.
func (b *Block) Slice(i, j int) *Block {
	return &Block{
		Words: b.Words, Seqs: b.Seqs[i:j], Bits: b.Bits[i*b.Words : j*b.Words],
		Factor: b.Factor[i:j], Norm2: b.Norm2[i:j], ones: b.ones[i:j],
	}
}

// planes is how many bits a coordinate of the query is rounded to. With 4 the rounding adds some 2 %
// to the error that the codes have by themselves.
const planes = 4

// Query is a rotated query minus a centre, rounded to 4 bits a coordinate and cut into planes of bits,
// so that a product with a code is a few ANDs and counts.
type Query struct {
	bits  []uint64 // word by word, planes words each
	low   float32
	step  float32
	sum   float32
	norm2 float32
}

// Norm2 is the squared length of what Set was given.
func (q *Query) Norm2() float32 { return q.norm2 }

// Set makes q the query t, a rotated vector whose length is a multiple of 64.
func (q *Query) Set(t []float32) {
	low, high := t[0], t[0]
	var sum, norm2 float32
	for _, x := range t {
		low, high = min(low, x), max(high, x)
		sum += x
		norm2 += x * x
	}
	q.low, q.sum, q.norm2 = low, sum, norm2
	q.step = (high - low) / (1<<planes - 1)
	inverse := float32(0)
	if q.step > 0 {
		inverse = 1 / q.step
	}
	q.bits = q.bits[:0]
	for w := 0; w < len(t); w += 64 {
		var p0, p1, p2, p3 uint64
		for i, x := range t[w : w+64] {
			u := uint64(int32((x-low)*inverse + 0.5))
			p0 |= (u & 1) << i
			p1 |= (u >> 1 & 1) << i
			p2 |= (u >> 2 & 1) << i
			p3 |= (u >> 3 & 1) << i
		}
		q.bits = append(q.bits, p0, p1, p2, p3)
	}
}

// Estimate is what a code says about a product: its value, and the standard deviation of the error.
type Estimate struct{ Dot, Sigma float32 }

// Estimates writes to out the estimated inner product of q with every vector of the block (each minus
// the centre); out has the block's length.
func (b *Block) Estimates(q *Query, out []Estimate) {
	d := float32(64 * b.Words)
	spread := q.norm2 / (d - 1)
	rounding := q.step * q.step * d / 12
	ps := q.bits[:planes*b.Words]
	for i := range out {
		code := b.Bits[i*b.Words : (i+1)*b.Words]
		var c0, c1, c2, c3 int
		p := ps
		for _, word := range code {
			if len(p) < planes {
				break
			}
			c0 += bits.OnesCount64(word & p[0])
			c1 += bits.OnesCount64(word & p[1])
			c2 += bits.OnesCount64(word & p[2])
			c3 += bits.OnesCount64(word & p[3])
			p = p[planes:]
		}
		// Σ±t = 2·Σ(t where the bit is set) - Σt, and t = low + step·u.
		signed := 2*(q.low*b.ones[i]+q.step*float32(c0+2*c1+4*c2+8*c3)) - q.sum
		f := b.Factor[i]
		variance := max(0, f*f*d-b.Norm2[i])*spread + f*f*rounding
		out[i] = Estimate{f * signed, float32(math.Sqrt(float64(variance)))}
	}
}
