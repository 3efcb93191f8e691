package migration

import "hash/maphash"

// newIDs tells which ids are certainly not in the target, so that they need not be looked up there. It
// exists for targets that were empty when the run began, and is told of every row that the run stores or
// finds. It is a Bloom filter of a fixed size: an id that is new may seem to be known, never the other
// way round, and the more ids it holds the more often it is no help.
type newIDs struct {
	seed maphash.Seed
	bits []uint64
}

// Of 10 million ids about 1 in 20 that is new seems to be known.
const (
	newIDsBits  = 1 << 26
	newIDsMarks = 4
)

func newNewIDs() *newIDs {
	return &newIDs{seed: maphash.MakeSeed(), bits: make([]uint64, newIDsBits/64)}
}

// marks calls f for the bits of an id of a table until f returns false.
func (n *newIDs) marks(table, id string, f func(word *uint64, bit uint64) bool) bool {
	var h maphash.Hash
	h.SetSeed(n.seed)
	_, _ = h.WriteString(table)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(id)
	sum := h.Sum64()
	step := sum>>32 | 1
	for range newIDsMarks {
		at := sum % newIDsBits
		if !f(&n.bits[at/64], 1<<(at%64)) {
			return false
		}
		sum += step
	}
	return true
}

func (n *newIDs) add(table, id string) {
	if n == nil {
		return
	}
	n.marks(table, id, func(word *uint64, bit uint64) bool {
		*word |= bit
		return true
	})
}

// known returns those of the ids that may be in the target.
func (n *newIDs) known(table string, ids []string) []string {
	if n == nil {
		return ids
	}
	var out []string
	for _, id := range ids {
		if n.marks(table, id, func(word *uint64, bit uint64) bool { return *word&bit != 0 }) {
			out = append(out, id)
		}
	}
	return out
}
