package migration

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/bits"

	"github.com/talkbase/talkbase/models"
)

// rowHash is the SHA-256 of a row's canonical form.
type rowHash [sha256.Size]byte

// shortHash is how many bytes of a rowHash the journal keeps: a change that goes unnoticed has a
// chance of 1 in 2^64.
const shortHash = 8

// Digest stands for a set of rows whatever their order: the sum of their SHA-256 modulo 2^256, and how
// many there are.
type Digest struct {
	Rows int64
	sum  [4]uint64
}

func (d *Digest) add(h rowHash) {
	var carry uint64
	for i := range d.sum {
		d.sum[i], carry = bits.Add64(d.sum[i], binary.LittleEndian.Uint64(h[8*i:]), carry)
	}
	d.Rows++
}

func (d *Digest) merge(o Digest) {
	var carry uint64
	for i := range d.sum {
		d.sum[i], carry = bits.Add64(d.sum[i], o.sum[i], carry)
	}
	d.Rows += o.Rows
}

// String is the sum in hexadecimal digits.
func (d Digest) String() string {
	var b [32]byte
	for i, w := range d.sum {
		binary.LittleEndian.PutUint64(b[8*i:], w)
	}
	return hex.EncodeToString(b[:])
}

type digestJSON struct {
	Rows int64  `json:"rows"`
	Sum  string `json:"sum"`
}

// MarshalJSON writes the number of rows and the sum in hexadecimal digits.
func (d Digest) MarshalJSON() ([]byte, error) { return json.Marshal(digestJSON{d.Rows, d.String()}) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Digest) UnmarshalJSON(b []byte) error {
	var j digestJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	sum, err := hex.DecodeString(j.Sum)
	if err != nil || len(sum) != sha256.Size {
		return fmt.Errorf("migration: %.80q is no digest", j.Sum)
	}
	d.Rows = j.Rows
	for i := range d.sum {
		d.sum[i] = binary.LittleEndian.Uint64(sum[8*i:])
	}
	return nil
}

func (p *sourceProgress) store(table string, h rowHash) {
	d := p.Stored[table]
	d.add(h)
	p.Stored[table] = d
}

// entry is one row in the journal, which keeps the beginnings of the hashes.
type entry struct {
	key  string
	full rowHash
	// loose is the hash of a conversation without its updated_at, which every new message moves.
	loose rowHash
}

func newEntry(key string, canonical []byte) entry {
	return entry{key: key, full: sha256.Sum256(canonical)}
}

func conversationEntry(c *models.Conversation) entry {
	e := newEntry(c.ConvID, c.AppendCanonical(nil))
	loose := *c
	loose.UpdatedAt = 0
	e.loose = sha256.Sum256(loose.AppendCanonical(nil))
	return e
}

// is reports whether e is the row that o is in the journal.
func (e entry) is(o entry) bool { return e.full.begins(o.full) }

// moved reports whether e is the conversation that o is in the journal, but for its time of change.
func (e entry) moved(o entry) bool { return o.loose != (rowHash{}) && e.loose.begins(o.loose) }

func (h rowHash) begins(o rowHash) bool {
	return [shortHash]byte(h[:shortHash]) == [shortHash]byte(o[:shortHash])
}

// packEntries makes the journal's form of rows of one table.
func packEntries(b *models.ImportBatch, entries []entry) {
	for _, e := range entries {
		b.Keys = append(binary.AppendUvarint(b.Keys, uint64(len(e.key))), e.key...)
		b.Hashes = append(b.Hashes, e.full[:shortHash]...)
		if b.Table == tableConversations {
			b.Hashes = append(b.Hashes, e.loose[:shortHash]...)
		}
	}
}

// unpackEntries reads what packEntries wrote.
func unpackEntries(b models.ImportBatch) ([]entry, error) {
	bad := fmt.Errorf("migration: batch %d of the journal of run %s is damaged; restore the database from a backup", b.Seq, b.RunID)
	width := shortHash
	if b.Table == tableConversations {
		width = 2 * shortHash
	}
	var out []entry
	hashes := b.Hashes
	for keys := b.Keys; len(keys) > 0; {
		n, used := binary.Uvarint(keys)
		if used <= 0 || n > uint64(len(keys)-used) || len(hashes) < width {
			return nil, bad
		}
		e := entry{key: string(keys[used : used+int(n)])} //nolint:gosec // n is at most len(keys)
		copy(e.full[:shortHash], hashes)
		if width > shortHash {
			copy(e.loose[:shortHash], hashes[shortHash:])
		}
		out = append(out, e)
		keys, hashes = keys[used+int(n):], hashes[width:] //nolint:gosec // as above
	}
	if len(hashes) > 0 {
		return nil, bad
	}
	return out, nil
}

// tableProgress is the checkpoint of one table of a source.
type tableProgress struct {
	// After is the last row that was dealt with.
	After int64 `json:"after"`
	// Read is how many rows were.
	Read int64 `json:"read"`
}

// sourceProgress is the checkpoint of a source. It changes in the transaction of each batch.
type sourceProgress struct {
	// Tables is by the source's tables, Counts by the target's.
	Tables map[string]tableProgress `json:"tables,omitempty"`
	Counts []*TableReport           `json:"counts,omitempty"`
	// Stored is the digest of what was written, or found with the same content, by the target's
	// tables; Transformed that of all rows that could be made into rows of the target.
	Stored      map[string]Digest `json:"stored,omitempty"`
	Transformed map[string]Digest `json:"transformed,omitempty"`
	// Rejects is the length of the reject file.
	Rejects int64 `json:"rejects,omitempty"`
}

func (p sourceProgress) clone() sourceProgress {
	q := p
	q.Tables, q.Stored, q.Transformed = maps.Clone(p.Tables), maps.Clone(p.Stored), maps.Clone(p.Transformed)
	if q.Tables == nil {
		q.Tables, q.Stored, q.Transformed = map[string]tableProgress{}, map[string]Digest{}, map[string]Digest{}
	}
	q.Counts = make([]*TableReport, len(p.Counts))
	for i, c := range p.Counts {
		d := *c
		d.Reasons = maps.Clone(c.Reasons)
		q.Counts[i] = &d
	}
	return q
}

// table returns the counts of a target table, making them if need be.
func (p *sourceProgress) table(name string) *TableReport {
	for _, t := range p.Counts {
		if t.Table == name {
			return t
		}
	}
	t := &TableReport{Table: name}
	p.Counts = append(p.Counts, t)
	return t
}

func (p sourceProgress) json() (models.JSON, error) { return models.NewJSON(p) }
