package repo

import (
	"context"
	"slices"
	"time"

	"github.com/talkbase/talkbase/internal/engine"
)

// RecallQuery says how the recall of a base's index is measured.
type RecallQuery struct {
	// BaseID is the knowledge base, models.DefaultBase when empty.
	BaseID string
	// K is how many of the nearest are asked for, 10 when 0, at most 1,000.
	K int
	// Queries is how many are made, 100 when 0, at most 1,000.
	Queries int
	// Vectors are the queries; without them they are the middles between two vectors of the base at
	// random, which are about as hard to find as the vectors of questions.
	Vectors [][]float32
}

// RecallReport says how good and how fast the answers of a base's index are.
type RecallReport struct {
	BaseID string `json:"base_id"`
	// Index is the kind of index that answered: sketches, hnsw or ivfflat; "" where all answers were exact.
	Index string `json:"index"`
	// K and Queries are what was asked; Queries is 0 for a base without vectors.
	K       int `json:"k"`
	Queries int `json:"queries"`
	// Indexed is how many of the queries an index answered. The others were exact, and count as such.
	Indexed int `json:"indexed"`
	// Recall is the part of the exact answers that were found, 0 to 1; 1 where there are none.
	Recall float64 `json:"recall"`
	// Worst is the recall of the query with the lowest.
	Worst float64 `json:"worst"`
	// Answers and Exact are how long the queries take, by default and compared one by one.
	Answers Latency `json:"answers"`
	Exact   Latency `json:"exact"`
}

// Latency says how long queries took, in milliseconds: half of them at most P50, 95 of 100 at most P95.
type Latency struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
}

func latencyOf(took []time.Duration) Latency {
	if len(took) == 0 {
		return Latency{}
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return Latency{ms(took[len(took)/2]), ms(took[len(took)*95/100])}
}

// MeasureRecall asks a base queries twice, as SimilarityQuery does by default and exactly, in turns, and
// compares the answers. Answers at the same distance as the last exact one count as found. It reads all
// vectors of the base once for each query.
func (r *Knowledge) MeasureRecall(ctx context.Context, q RecallQuery) (RecallReport, error) {
	report, err := r.measureRecall(ctx, q)
	return report, wrap("measure recall", err)
}

func (r *Knowledge) measureRecall(ctx context.Context, q RecallQuery) (report RecallReport, err error) {
	if report.K, err = limitOf(q.K, 10); err != nil {
		return report, err
	}
	if q.Queries, err = limitOf(q.Queries, 100); err != nil {
		return report, err
	}
	db, err := r.reader(ctx)
	if err != nil {
		return report, err
	}
	base, err := r.shape(ctx, db, q.BaseID, false)
	if err != nil {
		return report, err
	}
	report.BaseID, report.Recall, report.Worst = base.ID, 1, 1
	if q.Vectors == nil {
		if q.Vectors, err = engine.SampleQueries(ctx, db, base, q.Queries); err != nil {
			return report, err
		}
	}
	var all, hits int
	var answers, exact []time.Duration
	ask := func(v []float32, e bool) ([]engine.Neighbor, string, time.Duration, error) {
		n, err := r.nearestQuery(ctx, db, SimilarityQuery{BaseID: base.ID, Vector: v, Limit: report.K, Exact: e})
		if err != nil {
			return nil, "", 0, err
		}
		var index string
		n.Index = &index
		start := time.Now()
		found, err := r.s.eng().Nearest(ctx, db, n)
		return found, index, time.Since(start), err
	}
	for i, v := range q.Vectors {
		if i == 0 { // what is read for the first time is not what is measured
			if _, _, _, err := ask(v, false); err != nil {
				return report, err
			}
		}
		want, _, slow, err := ask(v, true)
		if err != nil {
			return report, err
		}
		found, index, took, err := ask(v, false)
		if err != nil {
			return report, err
		}
		if index != "" {
			report.Indexed++
			report.Index = index
		}
		n := engine.Hits(want, found)
		all, hits = all+len(want), hits+n
		if len(want) > 0 {
			report.Worst = min(report.Worst, float64(n)/float64(len(want)))
		}
		exact, answers = append(exact, slow), append(answers, took)
	}
	report.Queries = len(q.Vectors)
	if all > 0 {
		report.Recall = float64(hits) / float64(all)
	}
	report.Answers, report.Exact = latencyOf(answers), latencyOf(exact)
	return report, nil
}
