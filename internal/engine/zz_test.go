package engine_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

func TestZZPostgres(t *testing.T) {
	var kind string
	var n, dims int
	fmt.Sscan(os.Getenv("ZZ"), &kind, &n, &dims)
	v := openOnPostgres(t, dims, models.MetricCosine, func(o *engine.Options) { o.MaintenanceWorkMem = 1 << 30 })
	rng := rand.New(rand.NewPCG(1, 2))
	var data []float32
	var queries [][]float32
	if kind == "clusters" {
		data, queries = clusters(rng, n, dims, 50)
	} else {
		data, queries = noise(rng, n, dims), split(noise(rng, 50, dims), dims)
	}
	s := time.Now()
	v.fill(data)
	data = nil
	t.Log("filled", time.Since(s))
	truth := v.exactly(queries, 100, engine.FileFilter{})
	for _, ix := range []string{"ivfflat", "hnsw"} {
		s := time.Now()
		name := v.index(ix)
		t.Log(ix, "built and measured in", time.Since(s).Round(time.Second), read(v, engine.Value[string], "SELECT coalesce(obj_description(oid,'pg_class'),'') FROM pg_class WHERE relname=? and relnamespace=current_schema()::regnamespace", name))
		for _, k := range []int{10, 100} {
			var took []time.Duration
			for _, q := range queries {
				s := time.Now()
				v.nearest(q, k, false)
				took = append(took, time.Since(s))
			}
			slices.Sort(took)
			t.Logf("%s recall@%d %.4f p50 %s", ix, k, v.recall(ix, queries, k, engine.FileFilter{}, truth), took[25])
		}
	}
}
