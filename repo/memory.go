package repo

import (
	"context"
	"iter"
	"math"
	"unsafe"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/memory"
	"github.com/talkbase/talkbase/models"
)

// SlowQuery is what is known of the statements of one shape in this process.
type SlowQuery = engine.SlowQuery

// SlowQueries returns the shapes of this process's statements on which most time was spent, the most
// first; at most limit of them, all that are remembered when limit is 0. A shape has ? in place of
// every value. It needs no database: it answers before Open and after Close.
func (s *Store) SlowQueries(limit int) []SlowQuery { return s.late.Observer.SlowQueries(limit) }

// Observer is told of the statements. It may be nil.
func (s *Store) Observer() *engine.Observer { return s.late.Observer }

// Memory is what calls that need much memory share. It may be nil, which is no limit.
func (s *Store) Memory() *memory.Manager { return s.late.Memory }

// Memory is the memory of the store that b loads into.
func (b *Bulk) Memory() *memory.Manager { return b.s.Memory() }

// smallCall is what a call may need, in bytes, without setting it aside.
const smallCall = 1 << 20

// room is what a call set aside. It works in pieces that need no more than bytes.
type room struct {
	*memory.Reservation
	bytes int64
}

// room sets memory aside for a call, and waits for it. Inside a transaction it does not: who holds
// the memory may be waiting for the transaction. Then, and where there is less memory than the call
// asks for, the room is smaller.
func (s *Store) room(ctx context.Context, bytes int64) (context.Context, room, error) {
	m := s.Memory()
	if bytes < smallCall || m.Reserved(ctx) {
		return ctx, room{bytes: math.MaxInt64}, nil
	}
	r, ok := m.TryAcquire(bytes)
	if !ok {
		if s.carried(ctx) != nil {
			return ctx, room{bytes: smallCall}, nil
		}
		var err error
		if r, err = m.Acquire(ctx, bytes); err != nil {
			return ctx, room{}, err
		}
	}
	return m.With(ctx), room{r, r.Bytes()}, nil
}

// What rows take while they are stored, in bytes, beside their texts and vectors: measured, with some in
// excess. Texts take up to as many times their length: the words of the index, and what is sent to
// a server of them.
const (
	rowMemory    = 1024
	vectorMemory = 768
	textTimes    = 4
)

// vectorsMemory is what storing vectors takes: keep all the time, and one for each of a batch. SQLite's
// form of a batch is in memory, and then that of the vectors that get codes, which are some more, with
// what codes are made of.
func vectorsMemory(vs []models.KnowledgeVector) (keep, one int64) {
	longest := 0
	for i := range vs {
		longest = max(longest, len(vs[i].Embedding))
	}
	one = vectorMemory + 8*int64(longest)
	return int64(len(vs))*int64(2*unsafe.Sizeof(models.KnowledgeVector{})) + min(int64(len(vs)), 256)*one, one
}

// messagesMemory is what inserting messages one by one takes: the copy that is returned, and the index of
// the longest.
func messagesMemory(ms []models.Message) int64 {
	longest := 0
	for i := range ms {
		longest = max(longest, len(ms[i].Content))
	}
	return int64(len(ms))*int64(unsafe.Sizeof(models.Message{})) + textTimes*int64(longest)
}

// memory is what loading rows at once takes.
func (t loadSpec[T]) memory(rows []T) (bytes int64) {
	for i := range rows {
		bytes += t.rowMemory(&rows[i])
	}
	return bytes
}

func (t loadSpec[T]) rowMemory(row *T) int64 { return rowMemory + textTimes*int64(t.size(row)) }

// pieces yields rows in pieces that need no more than so many bytes each, or a single row.
func (t loadSpec[T]) pieces(rows []T, bytes int64) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for len(rows) > 0 {
			n, left := 1, bytes-t.rowMemory(&rows[0])
			for n < len(rows) && left >= t.rowMemory(&rows[n]) {
				left -= t.rowMemory(&rows[n])
				n++
			}
			if !yield(rows[:n]) {
				return
			}
			rows = rows[n:]
		}
	}
}
