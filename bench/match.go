package bench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// Entrant is one of several that do the same work, each in a process of its own.
type Entrant struct {
	// Label says what runs, for the table.
	Label string
	// Prepare runs before each turn and is not measured.
	Prepare func(ctx context.Context) error
	// Run does the work once.
	Run func(ctx context.Context) (Lap, error)
}

// Lap is how long a turn took.
type Lap struct {
	// Whole is all of it; Counted leaves out what is reported apart; Part is the part that some pairs
	// are about.
	Whole, Counted, Part time.Duration
}

// Which tells the times of a lap apart.
type Which int

// The times of a lap.
const (
	Counted Which = iota
	Whole
	Part
)

func (l Lap) time(w Which) time.Duration { return [...]time.Duration{l.Counted, l.Whole, l.Part}[w] }

// Pair is two entrants of a match and how much faster the first must be.
type Pair struct {
	Name string
	// A and B are their places in the match.
	A, B int
	// TimeA and TimeB say what of a turn is compared.
	TimeA, TimeB Which
	// Least is the throughput that is wanted of A, as a multiple of B's; 0 where the pair only informs.
	Least float64
}

// Match is entrants that run in turns, forth and back, and the pairs that are compared.
type Match struct {
	Group, Engine string
	// Rows is how many rows a turn handles.
	Rows     int
	Entrants []Entrant
	Pairs    []Pair
	// End, if any, runs at the end.
	End func(ctx context.Context) error
}

// Play runs a match for so many rounds.
func Play(ctx context.Context, m Match, rounds int) ([]Result, error) {
	laps := make([][]Lap, len(m.Entrants))
	for round := range rounds {
		for i := range m.Entrants {
			if round%2 == 1 {
				i = len(m.Entrants) - 1 - i
			}
			e := m.Entrants[i]
			runtime.GC()
			if e.Prepare != nil {
				if err := e.Prepare(ctx); err != nil {
					return nil, fmt.Errorf("%s (%s): %w", e.Label, m.Engine, err)
				}
			}
			lap, err := e.Run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s (%s): %w", e.Label, m.Engine, err)
			}
			laps[i] = append(laps[i], lap)
		}
	}
	var out []Result
	for _, p := range m.Pairs {
		var as, bs []time.Duration
		for round := range rounds {
			as, bs = append(as, laps[p.A][round].time(p.TimeA)), append(bs, laps[p.B][round].time(p.TimeB))
		}
		r := Result{Comparison: Comparison{
			Group: m.Group, Name: p.Name, Engine: m.Engine, Least: p.Least, Rows: m.Rows,
			A: Side{Label: m.Entrants[p.A].Label}, B: Side{Label: m.Entrants[p.B].Label},
		}}
		r.set(as, bs, true)
		out = append(out, r)
	}
	if m.End != nil {
		return out, m.End(ctx)
	}
	return out, nil
}

// set computes the medians of turns; faster has the ratios say how many times as fast A is, and not how
// many times as long it takes.
func (r *Result) set(as, bs []time.Duration, faster bool) {
	ratios := make([]float64, len(as))
	for i := range as {
		ratios[i] = float64(as[i]) / float64(bs[i])
		if faster {
			ratios[i] = 1 / ratios[i]
		}
	}
	slices.Sort(ratios)
	r.Ratio, r.Low, r.High = middle(ratios), ratios[len(ratios)/4], ratios[len(ratios)*3/4]
	r.TimeA, r.TimeB = middle(slices.Sorted(slices.Values(as))), middle(slices.Sorted(slices.Values(bs)))
}
