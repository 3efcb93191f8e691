package sketch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// ErrDamaged is wrapped by every error of decoding: the bytes are not what was encoded.
var ErrDamaged = errors.New("damaged sketches")

// Both kinds begin with a magic number of 4 bytes, the length in words of a code or in dimensions of a
// centre, and the number of entries, each a little-endian uint32; a CRC-32C of all before it ends them.
const (
	blockMagic   = 0x316b5354 // "TSk1"
	centresMagic = 0x31635354 // "TSc1"
	headSize     = 12
	crcSize      = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func head(magic uint32, width, count, room int) []byte {
	out := make([]byte, headSize, headSize+room+crcSize)
	binary.LittleEndian.PutUint32(out, magic)
	binary.LittleEndian.PutUint32(out[4:], uint32(width))
	binary.LittleEndian.PutUint32(out[8:], uint32(count))
	return out
}

func seal(data []byte) []byte {
	return binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
}

// open checks everything but the entries, which are entry(width) bytes each.
func open(data []byte, magic uint32, width int, entry int) (count int, body []byte, err error) {
	if len(data) < headSize+crcSize {
		return 0, nil, fmt.Errorf("%w: %d bytes", ErrDamaged, len(data))
	}
	end := len(data) - crcSize
	switch {
	case binary.LittleEndian.Uint32(data[end:]) != crc32.Checksum(data[:end], castagnoli):
		return 0, nil, fmt.Errorf("%w: the checksum differs", ErrDamaged)
	case binary.LittleEndian.Uint32(data) != magic:
		return 0, nil, fmt.Errorf("%w: of an unknown kind", ErrDamaged)
	case binary.LittleEndian.Uint32(data[4:]) != uint32(width):
		return 0, nil, fmt.Errorf("%w: of another number of dimensions", ErrDamaged)
	}
	n := uint64(binary.LittleEndian.Uint32(data[8:]))
	if uint64(end-headSize) != n*uint64(entry) {
		return 0, nil, fmt.Errorf("%w: %d bytes for %d entries", ErrDamaged, end-headSize, n)
	}
	return int(n), data[headSize:end], nil
}

// FullSize is how many bytes Encode returns for a block of BlockSize codes.
func (b *Block) FullSize() int { return headSize + BlockSize*(16+8*b.Words) + crcSize }

// Encode returns the block as bytes: after the head the Seqs, the Bits, Factor and Norm2.
func (b *Block) Encode() []byte {
	out := head(blockMagic, b.Words, b.Len(), b.Len()*(16+8*b.Words))
	for _, s := range b.Seqs {
		out = binary.LittleEndian.AppendUint64(out, uint64(s))
	}
	for _, w := range b.Bits {
		out = binary.LittleEndian.AppendUint64(out, w)
	}
	for _, column := range [][]float32{b.Factor, b.Norm2} {
		for _, f := range column {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(f))
		}
	}
	return seal(out)
}

// DecodeBlock reads what Encode wrote for rotated vectors of this length. An error wraps ErrDamaged.
func DecodeBlock(data []byte, padded int) (*Block, error) {
	words := padded / 64
	n, body, err := open(data, blockMagic, words, 16+8*words)
	if err != nil {
		return nil, err
	}
	b := &Block{Words: words, Seqs: make([]int64, n), Bits: make([]uint64, n*words)}
	for i := range b.Seqs {
		b.Seqs[i] = int64(binary.LittleEndian.Uint64(body[8*i:]))
	}
	body = body[8*n:]
	for i := range b.Bits {
		b.Bits[i] = binary.LittleEndian.Uint64(body[8*i:])
	}
	body = body[8*len(b.Bits):]
	b.Factor = floats(body[:4*n])
	b.Norm2 = floats(body[4*n:])
	return b, nil
}

// EncodeCentres returns centres of padded coordinates each, one after the other, as bytes.
func EncodeCentres(centres []float32, padded int) []byte {
	out := head(centresMagic, padded, len(centres)/padded, 4*len(centres))
	for _, f := range centres {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(f))
	}
	return seal(out)
}

// DecodeCentres reads what EncodeCentres wrote. An error wraps ErrDamaged.
func DecodeCentres(data []byte, padded int) ([]float32, error) {
	_, body, err := open(data, centresMagic, padded, 4*padded)
	if err != nil {
		return nil, err
	}
	return floats(body), nil
}

func floats(b []byte) []float32 {
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}
