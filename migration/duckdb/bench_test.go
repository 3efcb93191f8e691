//go:build cgo && ((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)) || (windows && amd64))

package duckdb

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
)

// BenchmarkRows reads the vectors of a knowledge base of 20,000 chunks, 768 dimensions each.
func BenchmarkRows(b *testing.B) {
	path := filepath.Join(b.TempDir(), "kb")
	rng := rand.New(rand.NewPCG(1, 2))
	content, err := LegacyKnowledge{
		Dimensions: 768, Files: 20, ChunksPerFile: 1000,
		Embed: func(string) []float32 {
			v := make([]float32, 768)
			for i := range v {
				v[i] = rng.Float32() - 0.5
			}
			return v
		},
	}.Write(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	src, err := Open(b.Context(), path, b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := src.Close(); err != nil {
			b.Error(err)
		}
	}()
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		for row, err := range src.Rows(b.Context(), "vector", 0) {
			if err != nil {
				b.Fatal(err)
			}
			if len(row.Values[1].([]float32)) != 768 {
				b.Fatal("a vector of another length")
			}
			rows++
		}
	}
	if rows != content.Vectors*b.N {
		b.Fatalf("%d rows in %d rounds", rows, b.N)
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}
