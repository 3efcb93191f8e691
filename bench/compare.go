package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// Side is one half of a comparison.
type Side struct {
	// Label says what runs, for the table.
	Label string
	// Prepare, if any, runs before each turn and is not measured.
	Prepare func(ctx context.Context) error
	// Run does the work n times.
	Run func(ctx context.Context, n int) error
	// Typical, if any, does so instead and returns how long one of them takes: where a few take much longer,
	// it is not their mean that counts.
	Typical func(ctx context.Context, n int) (time.Duration, error)
}

// Comparison is two sides and how much longer the first may take.
type Comparison struct {
	Group, Name, Engine string
	// Target is the ratio that is wanted at most; 0 where the comparison only informs.
	Target float64
	// Least is the throughput that is wanted of A, as a multiple of B's, where the ratio is one of
	// throughputs.
	Least float64
	// Rows is how many rows one run handles, for rates; 0 where times are shown.
	Rows int
	// Slow sides run once a turn.
	Slow bool
	A, B Side
}

// Result is what a comparison showed.
type Result struct {
	Comparison
	// Ratio is the median of the turns' ratios, of times, or of throughputs in a match; Low and High are
	// its quartiles.
	Ratio, Low, High float64
	// TimeA and TimeB are the medians of one run.
	TimeA, TimeB time.Duration
}

// OK reports whether the target is reached; it is true where there is none.
func (r Result) OK() bool {
	return (r.Target == 0 || r.Ratio <= r.Target) && r.Ratio >= r.Least
}

// Compare runs both sides in turns, A B B A …, for so many rounds. A turn of a side that is not slow
// runs as often as fits into turn.
func Compare(ctx context.Context, c Comparison, rounds int, turn time.Duration) (Result, error) {
	res := Result{Comparison: c}
	n := 1
	if !c.Slow {
		for _, s := range []Side{c.A, c.B} { // prepares statements and fills caches
			if _, err := once(ctx, s, 20); err != nil {
				return res, fmt.Errorf("%s (%s, %s): %w", c.Name, c.Engine, s.Label, err)
			}
		}
		took, err := once(ctx, c.B, 20)
		if err != nil {
			return res, err
		}
		n = max(5, int(turn/max(took/20, 1)))
	}
	var as, bs []time.Duration
	for round := range rounds {
		var took [2]time.Duration
		for i := range took {
			which := (i + round) % 2
			side := []Side{c.A, c.B}[which]
			d, err := once(ctx, side, n)
			if err != nil {
				return res, fmt.Errorf("%s (%s, %s): %w", c.Name, c.Engine, side.Label, err)
			}
			took[which] = d / time.Duration(n)
		}
		as, bs = append(as, took[0]), append(bs, took[1])
	}
	res.set(as, bs, false)
	return res, nil
}

func middle[T int | float64 | time.Duration](sorted []T) T {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// once measures n runs. What the side before left to collect is collected first.
func once(ctx context.Context, s Side, n int) (time.Duration, error) {
	if s.Prepare != nil {
		if err := s.Prepare(ctx); err != nil {
			return 0, err
		}
	}
	runtime.GC()
	if s.Typical != nil {
		d, err := s.Typical(ctx, n)
		return d * time.Duration(n), err
	}
	start := time.Now()
	err := s.Run(ctx, n)
	return time.Since(start), err
}
