package engine_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

// spread puts the vectors into files, so many in each, uploaded at 0, 1 …
func (v *vectors) spread(files int) {
	v.t.Helper()
	v.exec(`INSERT INTO knowledge_files (id, base_id, name, path, status, uploaded_at)
		WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < CAST(? AS bigint)) SELECT 's' || i, 'kb', 'f', '/f', 'processed', i FROM c`, files)
	for _, table := range []string{"knowledge_chunks", "knowledge_vectors"} {
		v.exec("UPDATE "+table+" SET file_id = 's' || (1 + seq % CAST(? AS bigint))", files)
	}
}

// benchmarkNarrow compares, for filters that let more and more vectors pass, the two ways to find the
// nearest of them in turns: one by one, and by the index. Where they take the same time, as median, is what
// narrow is.
func benchmarkNarrow(b *testing.B, v *vectors, n int, queries [][]float32) {
	for _, k := range []int{10, 100} {
		for _, pass := range []int{1, 2, 4, 8, 16, 32, 64} { // of 200 files
			b.Run(fmt.Sprintf("k=%d/%d of %d pass", k, pass*n/200, n), func(b *testing.B) {
				took := map[float64][]time.Duration{}
				for i := 0; b.Loop(); i++ {
					for turn := range 2 { // the second finds in memory what the first has read
						narrow := float64((i+turn)%2) * 1e9
						engine.Narrow(v.e, narrow)
						start := time.Now()
						v.find(engine.NearestQuery{Base: v.base, Metric: v.base.Metric, Vector: queries[i%len(queries)], K: k, Files: engine.FileFilter{Before: int64(pass) + 1}})
						took[narrow] = append(took[narrow], time.Since(start))
					}
				}
				for narrow, name := range map[float64]string{0: "index-ms", 1e9: "one-by-one-ms"} {
					slices.Sort(took[narrow])
					b.ReportMetric(float64(took[narrow][len(took[narrow])/2].Microseconds())/1000, name)
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

const narrowSize = 20_000

func BenchmarkNarrow(b *testing.B) {
	data, queries := clusters(rand.New(rand.NewPCG(1, 1)), narrowSize, 256, 100)
	v := openVectors(b, filepath.Join(b.TempDir(), "v.db"), 256, models.MetricCosine)
	v.add(0, data, 5000)
	v.build()
	v.spread(200)
	benchmarkNarrow(b, v, narrowSize, queries)
}

// BenchmarkPostgresNarrow is BenchmarkNarrow for an index of the kind that TALKBASE_INDEX names.
func BenchmarkPostgresNarrow(b *testing.B) {
	data, queries := clusters(rand.New(rand.NewPCG(1, 1)), narrowSize, 256, 100)
	v := openOnPostgres(b, 256, models.MetricCosine, nil)
	v.fill(data)
	v.spread(200)
	v.exec("ANALYZE")
	v.index(os.Getenv("TALKBASE_INDEX"))
	benchmarkNarrow(b, v, narrowSize, queries)
}
