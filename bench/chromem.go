package bench

import (
	"context"
	"runtime"
	"strconv"

	"github.com/philippgille/chromem-go"
)

// inChromem returns the vectors in chromem-go, in memory.
func inChromem(ctx context.Context, d *made) (nearest, error) {
	c, err := chromem.NewDB().CreateCollection("items", nil, nil)
	if err != nil {
		return nil, err
	}
	const batch = 5000
	docs := make([]chromem.Document, 0, batch)
	for i := range d.len() {
		docs = append(docs, chromem.Document{ID: itoa(i), Embedding: d.row(i)})
		if len(docs) == batch || i == d.len()-1 {
			if err := c.AddDocuments(ctx, docs, runtime.NumCPU()); err != nil {
				return nil, err
			}
			docs = docs[:0]
		}
	}
	return func(ctx context.Context, query []float32, k int) ([]int, error) {
		results, err := c.QueryEmbedding(ctx, query, k, nil, nil)
		if err != nil {
			return nil, err
		}
		found := make([]int, len(results))
		for i, r := range results {
			if found[i], err = strconv.Atoi(r.ID); err != nil {
				return nil, err
			}
		}
		return found, nil
	}, nil
}
