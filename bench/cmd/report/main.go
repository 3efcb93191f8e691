// Command report runs every comparison of package bench and prints them as one Markdown table.
//
//	go run ./cmd/report
//
// measures SQLite, and Postgres when TALKBASE_TEST_POSTGRES names a database to make schemas in.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/talkbase/talkbase/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to undo
	}
}

func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	sizes := bench.DefaultSizes
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	flags.IntVar(&sizes.Small, "small", sizes.Small, "messages in the small database")
	flags.IntVar(&sizes.Large, "large", sizes.Large, "messages in the large database")
	flags.IntVar(&sizes.Vectors, "vectors", sizes.Vectors, "vectors of a bulk load")
	flags.IntVar(&sizes.Dimensions, "dimensions", sizes.Dimensions, "dimensions of a vector")
	flags.IntVar(&sizes.Import, "import", sizes.Import, "messages of an import, a multiple of 1,000")
	flags.IntVar(&sizes.Similar, "similar", sizes.Similar, "vectors that are searched on SQLite")
	flags.IntVar(&sizes.SimilarDimensions, "similar-dimensions", sizes.SimilarDimensions, "their dimensions")
	flags.IntVar(&sizes.Grown, "grown", sizes.Grown, "vectors of the largest of three bases that are searched")
	flags.IntVar(&sizes.GrownDimensions, "grown-dimensions", sizes.GrownDimensions, "their dimensions")
	flags.IntVar(&sizes.Served, "served", sizes.Served, "vectors that are searched on Postgres")
	flags.StringVar(&sizes.PGlite, "pglite", sizes.PGlite, "folder of PGlite's script")
	flags.StringVar(&sizes.Embeddings, "embeddings", sizes.Embeddings, "folder of real embeddings")
	rounds := flags.Int("rounds", 41, "turns of each side; a sixth of it where a turn is a bulk load")
	turn := flags.Duration("turn", 40*time.Millisecond, "length of a turn")
	only := flags.String("only", strings.Join(bench.Groups, ","), "groups to run")
	engines := flags.String("engines", bench.SQLite+","+bench.Postgres, "engines to run on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dsn := os.Getenv("TALKBASE_TEST_POSTGRES")
	env, err := bench.NewEnv(dsn, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, env.Close()) }()

	var results []bench.Result
	for _, engine := range strings.Split(*engines, ",") {
		if engine == bench.Postgres && dsn == "" {
			_, _ = fmt.Fprintln(progress, "postgres: skipped, TALKBASE_TEST_POSTGRES is not set")
			continue
		}
		for _, group := range bench.Groups {
			if !slices.Contains(strings.Split(*only, ","), group) {
				continue
			}
			comparisons, err := env.Group(ctx, group, engine, sizes)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", group, engine, err)
			}
			for _, c := range comparisons {
				n := *rounds
				if c.Slow {
					n = max(3, n/6)
				}
				r, err := bench.Compare(ctx, c, n, *turn)
				if err != nil {
					return err
				}
				_, _ = fmt.Fprintf(progress, "%s: %s: %.2f\n", engine, c.Name, r.Ratio)
				results = append(results, r)
			}
		}
	}
	print(out, results, env.Loads())
	for _, r := range results {
		if !r.OK() {
			_, _ = fmt.Fprintf(progress, "not reached: %s on %s: %.2f, wanted %.2f\n", r.Name, r.Engine, r.Ratio, r.Target)
		}
	}
	return nil
}

// print writes the table: first what another machine would show as well, then the times of this one.
func print(out io.Writer, results []bench.Result, loads []string) {
	order := func(r bench.Result) int { return slices.Index(bench.Groups, r.Group) }
	slices.SortStableFunc(results, func(a, b bench.Result) int { return order(a) - order(b) })
	rows := [][]string{{"what", "engine", "ratio", "quartiles", "target", "ok", "this", "takes", "against", "takes"}}
	for _, r := range results {
		target, ok := "", ""
		if r.Target > 0 {
			target, ok = ratio(r.Target), "yes"
			if !r.OK() {
				ok = "NO"
			}
		}
		rows = append(rows, []string{
			r.Name, r.Engine, ratio(r.Ratio), ratio(r.Low) + "-" + ratio(r.High), target, ok,
			r.A.Label, cost(r.TimeA, r.Rows), r.B.Label, cost(r.TimeB, r.Rows),
		})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	line := func(cells []string) {
		for i, cell := range cells {
			_, _ = fmt.Fprintf(out, "| %-*s ", widths[i], cell)
		}
		_, _ = fmt.Fprintln(out, "|")
	}
	line(rows[0])
	for _, w := range widths {
		_, _ = fmt.Fprint(out, "|", strings.Repeat("-", w+2))
	}
	_, _ = fmt.Fprintln(out, "|")
	for _, row := range rows[1:] {
		line(row)
	}
	_, _ = fmt.Fprintf(out, "\n%s, %s/%s, %d processors. Ratios are medians of alternating turns; times are medians.\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, l := range loads {
		_, _ = fmt.Fprintln(out, l)
	}
}

// ratio has three places where it is small.
func ratio(x float64) string {
	if x < 0.1 {
		return fmt.Sprintf("%.3f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// cost is a time, or a rate where one run handles many rows.
func cost(d time.Duration, rows int) string {
	switch {
	case rows > 0:
		return fmt.Sprintf("%.0f rows/s", float64(rows)/d.Seconds())
	case d < time.Millisecond:
		return fmt.Sprintf("%.1f us", float64(d)/float64(time.Microsecond))
	default:
		return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
	}
}
