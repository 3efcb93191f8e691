package sketch

import (
	"math"
	"math/bits"
	"slices"
)

// BlockSize is how many codes a stored block holds at most.
const BlockSize = 1024

// Block holds codes of vectors relative to one centre, as they are made and stored.
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
}

// NewBlock returns an empty block for rotated vectors of this length, a multiple of 64.
func NewBlock(padded int) *Block { return &Block{Words: padded / 64} }

// Len is the number of codes.
func (b *Block) Len() int { return len(b.Seqs) }

// tiny is the squared length below which float32 loses what estimates are made of.
const tiny = 1e-30

// Append adds the code of r, a rotated vector minus the centre. It reports false, and adds nothing,
// for a vector that no estimate can be made of: one with NaN or infinity, or too long or too short for
// float32.
func (b *Block) Append(seq int64, r []float32) bool {
	var n0, n1, s0, s1 float64
	for v := r; len(v) >= 2; v = v[2:] {
		a, b := float64(v[0]), float64(v[1])
		n0, n1 = n0+a*a, n1+b*b
		s0, s1 = s0+math.Abs(a), s1+math.Abs(b)
	}
	norm2, sum := n0+n1, s0+s1
	if !(norm2 < math.MaxFloat32/16) || norm2 != 0 && norm2 < tiny { // NaN too
		return false
	}
	factor := 0.0
	if sum > 0 {
		factor = norm2 / sum
	}
	for w := range b.Words {
		var word uint64
		for i, x := range r[64*w : 64*w+64] {
			word |= uint64(^math.Float32bits(x)>>31) << i
		}
		b.Bits = append(b.Bits, word)
	}
	b.Seqs = append(b.Seqs, seq)
	b.Factor = append(b.Factor, float32(factor))
	b.Norm2 = append(b.Norm2, float32(norm2))
	return true
}

// AppendAll adds the codes of another block with the same centre.
func (b *Block) AppendAll(o *Block) {
	b.Bits = append(b.Bits, o.Bits...)
	b.Seqs = append(b.Seqs, o.Seqs...)
	b.Factor = append(b.Factor, o.Factor...)
	b.Norm2 = append(b.Norm2, o.Norm2...)
}

// Slice returns the codes from i to j, which share b's memory.
func (b *Block) Slice(i, j int) *Block {
	return &Block{Words: b.Words, Seqs: b.Seqs[i:j], Bits: b.Bits[i*b.Words : j*b.Words], Factor: b.Factor[i:j], Norm2: b.Norm2[i:j]}
}

// Columns are the codes of a block as they are searched: first the first word of each, then the
// second of each, and so on, so that the loop over them needs few registers. They do not change.
type Columns struct {
	// Seqs are the numbers of the vectors.
	Seqs []int64

	words         int
	bits          []uint64
	factor, norm2 []float32
	// ones is how many bits of a code are set; noise what is left of its estimates' error when the
	// query's part is taken out.
	ones, noise []float32
}

// Columns returns the codes ready to be searched. They share no bits with b, but the other columns.
func (b *Block) Columns() *Columns {
	n := b.Len()
	c := &Columns{words: b.Words, Seqs: b.Seqs, factor: b.Factor, norm2: b.Norm2, bits: make([]uint64, n*b.Words)}
	c.ones, c.noise = make([]float32, n), make([]float32, n)
	d := float32(64 * b.Words)
	for i := range n {
		ones := 0
		for w, word := range b.Bits[i*b.Words : (i+1)*b.Words] {
			c.bits[w*n+i] = word
			ones += bits.OnesCount64(word)
		}
		f := c.factor[i]
		c.ones[i] = float32(ones)
		c.noise[i] = float32(math.Sqrt(float64(max(0, f*f*d-c.norm2[i]))))
	}
	return c
}

// Block returns the codes as they are stored. They share no bits with c, but the other columns.
func (c *Columns) Block() *Block {
	n := c.Len()
	b := &Block{Words: c.words, Seqs: c.Seqs, Factor: c.factor, Norm2: c.norm2, Bits: make([]uint64, n*c.words)}
	for w := range c.words {
		for i, word := range c.bits[w*n : (w+1)*n] {
			b.Bits[i*c.words+w] = word
		}
	}
	return b
}

// Len is the number of codes.
func (c *Columns) Len() int { return len(c.Seqs) }

// Bytes is about how much memory the codes take.
func (c *Columns) Bytes() int64 { return int64(c.Len())*int64(8*c.words+24) + 240 }

// planes is how many bits a coordinate of the query is rounded to. With 4 the rounding adds some 2 %
// to the error that the codes have by themselves.
const planes = 4

// Query is a rotated query minus a centre, rounded to 4 bits a coordinate and cut into planes of bits,
// so that a product with a code is a few ANDs and counts. It serves one goroutine.
type Query struct {
	bits   [][planes]uint64 // of each word
	low    float32
	step   float32
	sum    float32
	norm2  float32
	counts []int32
}

// Norm2 is the squared length of what Set was given.
func (q *Query) Norm2() float32 { return q.norm2 }

// Set makes q the query t, a rotated vector whose length is a multiple of 64.
func (q *Query) Set(t []float32) {
	low, high := t[0], t[0]
	var s0, s1, s2, s3, n0, n1, n2, n3 float32
	for r := t; len(r) >= 4; r = r[4:] {
		a, b, c, d := r[0], r[1], r[2], r[3]
		s0, s1, s2, s3 = s0+a, s1+b, s2+c, s3+d
		n0, n1, n2, n3 = n0+a*a, n1+b*b, n2+c*c, n3+d*d
		if a > b { // min and max of floats cost more: they mind NaN and -0
			a, b = b, a
		}
		if c > d {
			c, d = d, c
		}
		if a < low {
			low = a
		}
		if c < low {
			low = c
		}
		if b > high {
			high = b
		}
		if d > high {
			high = d
		}
	}
	q.low, q.sum, q.norm2 = low, s0+s1+s2+s3, n0+n1+n2+n3
	q.step = (high - low) / (1<<planes - 1)
	inverse := float32(0)
	if q.step > 0 {
		inverse = 1 / q.step
	}
	q.bits = q.bits[:0]
	for ; len(t) >= 64; t = t[64:] {
		var p [planes]uint64
		for i := 0; i < 64; i += 8 {
			x := (*[8]float32)(t[i:])
			u := uint64(int32((x[0]-low)*inverse + 0.5)) // a byte for each of the 8
			u |= uint64(int32((x[1]-low)*inverse+0.5)) << 8
			u |= uint64(int32((x[2]-low)*inverse+0.5)) << 16
			u |= uint64(int32((x[3]-low)*inverse+0.5)) << 24
			u |= uint64(int32((x[4]-low)*inverse+0.5)) << 32
			u |= uint64(int32((x[5]-low)*inverse+0.5)) << 40
			u |= uint64(int32((x[6]-low)*inverse+0.5)) << 48
			u |= uint64(int32((x[7]-low)*inverse+0.5)) << 56
			p[0] |= gather(u) << (i & 63)
			p[1] |= gather(u>>1) << (i & 63)
			p[2] |= gather(u>>2) << (i & 63)
			p[3] |= gather(u>>3) << (i & 63)
		}
		q.bits = append(q.bits, p)
	}
}

// gather returns the lowest bit of each byte of u, as the product has them in its highest byte.
func gather(u uint64) uint64 { return (u & 0x0101010101010101) * 0x0102040810204080 >> 56 }

// count returns, for every code, the sum of the query's rounded coordinates where its bit is set.
func (c *Columns) count(q *Query) []int32 {
	n := c.Len()
	q.counts = slices.Grow(q.counts[:0], n)[:n]
	out := q.counts
	clear(out)
	for w, p := range q.bits[:c.words] {
		p0, p1, p2, p3 := p[0], p[1], p[2], p[3]
		for i, word := range c.bits[w*n:][:len(out)] {
			out[i] += int32(bits.OnesCount64(word&p0) + 2*bits.OnesCount64(word&p1) + 4*bits.OnesCount64(word&p2) + 8*bits.OnesCount64(word&p3))
		}
	}
	return out
}

// Score turns estimated products into scores, of which smaller ones are better: Base, plus Norm2
// times the squared length of the vector minus the centre, minus Dot times the product of that and the
// query.
type Score struct{ Base, Norm2, Dot float32 }

// Search calls found for the codes whose score may be at most limit: its estimate is value, and so many
// standard deviations of the estimate's error are wrong. Found returns the limit from there on.
func (c *Columns) Search(q *Query, s Score, deviations, limit float32, found func(i int, value, wrong float32) float32) {
	d := float32(64 * c.words)
	spread := q.norm2 / (d - 1)          // the error of the code, for each unit of noise²
	rounding := q.step * q.step * d / 12 // that of the query's rounding, for each unit of factor²
	deviations *= s.Dot
	// A sum of the two is at least their root mean square, and needs no root for each code.
	wide, wider := deviations*float32(math.Sqrt(float64(spread))), deviations*float32(math.Sqrt(float64(rounding)))
	low, step := 2*q.low, 2*q.step
	counts := c.count(q)
	n := len(counts)
	ones, factor, norm2, noise := c.ones[:n], c.factor[:n], c.norm2[:n], c.noise[:n]
	for i, count := range counts {
		// Σ±t = 2·Σ(t where the bit is set) - Σt, and t = low + step·u.
		f := factor[i]
		value := s.Base + s.Norm2*norm2[i] - s.Dot*f*(low*ones[i]+step*float32(count)-q.sum)
		if value-wide*noise[i]-wider*f > limit {
			continue
		}
		if wrong := deviations * float32(math.Sqrt(float64(noise[i]*noise[i]*spread+f*f*rounding))); !(value-wrong > limit) {
			limit = found(i, value, wrong)
		}
	}
}

// Scores writes to out the estimated score of every code; out has their number.
func (c *Columns) Scores(q *Query, s Score, out []float32) {
	low, step := 2*q.low, 2*q.step
	for i, count := range c.count(q) {
		out[i] = s.Base + s.Norm2*c.norm2[i] - s.Dot*c.factor[i]*(low*c.ones[i]+step*float32(count)-q.sum)
	}
}
