package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

// BenchmarkPostgresNearest asks an index in turns with what one writes by hand for the same rows, on a
// session whose settings are the same.
func BenchmarkPostgresNearest(b *testing.B) {
	const dims, n = 256, 20_000
	data, queries := clusters(rand.New(rand.NewPCG(1, 1)), n, dims, 101)
	v := openOnPostgres(b, dims, models.MetricCosine, nil)
	v.fill(data)
	v.exec("ANALYZE")
	v.index("hnsw")
	var effort string
	engine.OnQuery(v.e, func(ctx context.Context, db *gorm.DB, _ string, _ []any) {
		var err error
		effort, err = engine.One(ctx, db, engine.Value[string], "SELECT current_setting('hnsw.ef_search')")
		check(b, err)
	})
	v.nearest(queries[0], 10, false)
	engine.OnQuery(v.e, nil)
	conn, err := v.e.SQL().Conn(b.Context())
	check(b, err)
	defer func() { check(b, conn.Close()) }()
	for _, set := range []string{"hnsw.ef_search = " + effort, "enable_seqscan = off", "enable_sort = off"} {
		_, err := conn.ExecContext(b.Context(), "SET "+set)
		check(b, err)
	}
	hand := func(q []float32) {
		rows, err := conn.QueryContext(b.Context(), fmt.Sprintf(`SELECT v.id, v.chunk_id, v.file_id, c.content, c.chunk_index, f.name, f.path, f.status, v.embedding::vector(%[1]d) <=> $1::vector
			FROM knowledge_vectors v JOIN knowledge_chunks c ON c.id = v.chunk_id JOIN knowledge_files f ON f.id = v.file_id
			WHERE v.base_id = 'kb' AND CASE WHEN vector_dims(v.embedding) = %[1]d THEN true ELSE false END AND c.status = 'processed'
			ORDER BY v.embedding::vector(%[1]d) <=> $1::vector LIMIT 10`, dims), models.Vector(q).Text())
		check(b, err)
		defer func() { check(b, rows.Close()) }()
		got := 0
		for rows.Next() {
			var s [7]string
			var at int64
			var d float64
			check(b, rows.Scan(&s[0], &s[1], &s[2], &s[3], &at, &s[4], &s[5], &s[6], &d))
			got++
		}
		if check(b, rows.Err()); got != 10 {
			b.Fatalf("by hand: got %d, want 10", got)
		}
	}
	var ours, theirs []time.Duration
	for i := 0; b.Loop(); i++ {
		q := queries[i%len(queries)]
		for turn := range 2 { // the second finds in memory what the first has read
			start := time.Now()
			if (i+turn)%2 == 0 {
				v.nearest(q, 10, false)
				ours = append(ours, time.Since(start))
			} else {
				hand(q)
				theirs = append(theirs, time.Since(start))
			}
		}
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	a, h := ours[len(ours)/2], theirs[len(theirs)/2]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(a.Microseconds())/1000, "talkbase-ms")
	b.ReportMetric(float64(h.Microseconds())/1000, "by-hand-ms")
	b.ReportMetric(float64(a)/float64(h), "times")
}
