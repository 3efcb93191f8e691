package bench

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"testing"
)

var (
	large = flag.Int("large", 100_000, "messages in the large database")
	env   *Env
)

func TestMain(m *testing.M) {
	if Child() {
		return
	}
	flag.Parse()
	code, err := runWith(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runWith(m *testing.M) (code int, err error) {
	if env, err = NewEnv(os.Getenv("TALKBASE_TEST_POSTGRES"), io.Discard); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, env.Close()
}

// run measures each side of a group's comparisons by itself.
func run(b *testing.B, group string) {
	ctx := context.Background()
	sizes := DefaultSizes
	sizes.Large = *large
	for _, engine := range []string{SQLite, Postgres} {
		b.Run(engine, func(b *testing.B) {
			if engine == Postgres && env.DSN == "" {
				b.Skip("TALKBASE_TEST_POSTGRES is not set")
			}
			comparisons, err := env.Group(ctx, group, engine, sizes)
			if err != nil {
				b.Fatal(err)
			}
			for _, c := range comparisons {
				for _, s := range []Side{c.A, c.B} {
					b.Run(c.Name+"/"+s.Label, func(b *testing.B) { side(ctx, b, c, s) })
				}
			}
		})
	}
}

func side(ctx context.Context, b *testing.B, c Comparison, s Side) {
	b.ReportAllocs()
	if !c.Slow {
		if err := s.Run(ctx, 20); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for range b.N {
		if s.Prepare != nil {
			b.StopTimer()
			if err := s.Prepare(ctx); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		if err := s.Run(ctx, 1); err != nil {
			b.Fatal(err)
		}
	}
	if c.Rows > 0 {
		b.ReportMetric(float64(c.Rows*b.N)/b.Elapsed().Seconds(), "rows/s")
	}
}

func BenchmarkSize(b *testing.B)       { run(b, GroupSize) }
func BenchmarkPresenter(b *testing.B)  { run(b, GroupPresenter) }
func BenchmarkVectors(b *testing.B)    { run(b, GroupVectors) }
func BenchmarkImport(b *testing.B)     { run(b, GroupImport) }
func BenchmarkSearch(b *testing.B)     { run(b, GroupSearch) }
func BenchmarkOverhead(b *testing.B)   { run(b, GroupOverhead) }
func BenchmarkSimilarity(b *testing.B) { run(b, GroupSimilarity) }
