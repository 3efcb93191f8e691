// Command report runs every comparison of package bench and prints them as one Markdown table.
//
//	go run ./cmd/report
//
// measures SQLite, and Postgres when TALKBASE_TEST_POSTGRES names a database to make schemas in. Whole
// imports are measured when they are asked for, on smaller files if so many flags say so:
//
//	go run ./cmd/report -only migration -legacy 30000 -clean 6000 -chunks 5000 -times 1
package main

import (
	"cmp"
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
	if bench.Child() {
		return
	}
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
	legacy := bench.DefaultMigrationSizes
	flags.IntVar(&legacy.Messages, "legacy", legacy.Messages, "messages of a legacy file")
	flags.IntVar(&legacy.Clean, "clean", legacy.Clean, "messages of the legacy file that pgloader loads too")
	flags.IntVar(&legacy.Chunks, "chunks", legacy.Chunks, "chunks of a legacy knowledge file")
	flags.IntVar(&legacy.Times, "times", legacy.Times, "how many times as large the files are whose memory is shown too")
	profile := flags.String("profile", "", "folder for CPU profiles of imports")
	flags.IntVar(&sizes.Similar, "similar", sizes.Similar, "vectors that are searched on SQLite")
	flags.IntVar(&sizes.SimilarDimensions, "similar-dimensions", sizes.SimilarDimensions, "their dimensions")
	flags.IntVar(&sizes.Grown, "grown", sizes.Grown, "vectors of the largest of three bases that are searched")
	flags.IntVar(&sizes.GrownDimensions, "grown-dimensions", sizes.GrownDimensions, "their dimensions")
	flags.IntVar(&sizes.Served, "served", sizes.Served, "vectors that are searched on Postgres")
	flags.StringVar(&sizes.PGlite, "pglite", sizes.PGlite, "folder of PGlite's script")
	flags.StringVar(&sizes.Embeddings, "embeddings", sizes.Embeddings, "folder of real embeddings")
	rounds := flags.Int("rounds", 41, "turns of each side; a sixth of it where a turn is a bulk load")
	turn := flags.Duration("turn", 40*time.Millisecond, "length of a turn")
	usual := slices.DeleteFunc(slices.Clone(bench.Groups), func(g string) bool { return g == bench.GroupMigration })
	only := flags.String("only", strings.Join(usual, ","), "groups to run; migration, which takes minutes and gigabytes, is the other one")
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
	env.Profile, legacy.Dimensions = *profile, sizes.Dimensions

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
			if group == bench.GroupMigration {
				more, err := env.Migrate(ctx, engine, legacy, max(1, *rounds/12))
				if err != nil {
					return fmt.Errorf("%s on %s: %w", group, engine, err)
				}
				results = append(results, more...)
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
	print(out, results, env.Imports(), env.Loads())
	for _, r := range results {
		if !r.OK() {
			_, _ = fmt.Fprintf(progress, "not reached: %s on %s: %.2f, wanted %.2f\n", r.Name, r.Engine, r.Ratio, max(r.Target, r.Least))
		}
	}
	return nil
}

// print writes the tables: first what another machine would show as well, then the times of this one.
func print(out io.Writer, results []bench.Result, imports []bench.Imported, loads []string) {
	order := func(r bench.Result) int { return slices.Index(bench.Groups, r.Group) }
	slices.SortStableFunc(results, func(a, b bench.Result) int { return order(a) - order(b) })
	rows := [][]string{{"what", "engine", "ratio", "quartiles", "target", "ok", "this", "takes", "against", "takes"}}
	for _, r := range results {
		target, ok := "", ""
		switch {
		case r.Target > 0:
			target, ok = fmt.Sprintf("at most %.2f", r.Target), yes(r.OK())
		case r.Least > 0:
			target, ok = fmt.Sprintf("at least %.2f", r.Least), yes(r.OK())
		}
		rows = append(rows, []string{
			r.Name, r.Engine, ratio(r.Ratio), ratio(r.Low) + "-" + ratio(r.High), target, ok,
			r.A.Label, cost(r.TimeA, r.Rows), r.B.Label, cost(r.TimeB, r.Rows),
		})
	}
	table(out, rows)
	_, _ = fmt.Fprintf(out, "\n%s, %s/%s, %d processors. Ratios are medians of alternating turns; times are medians. "+
		"What shall be at most so much is a ratio of times, what shall be at least so much of throughputs.\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, l := range loads {
		_, _ = fmt.Fprintln(out, l)
	}
	if len(imports) > 0 {
		_, _ = fmt.Fprint(out, "\nThe imports, in seconds, and the most anonymous memory of their processes above the start. "+
			"Throughputs are those of the whole without the backup and the text index, unless they say otherwise.\n\n")
		printImports(out, imports)
	}
}

// printImports writes how long the parts of each kind of import took: the medians of its turns, and the
// most memory of any.
func printImports(out io.Writer, imports []bench.Imported) {
	head := []string{"import", "engine", "turns"}
	for _, p := range bench.Phases {
		head = append(head, string(p))
	}
	rows := [][]string{append(head, "whole", "MiB", "target", "ok")}
	for len(imports) > 0 {
		first := imports[0]
		same := func(i bench.Imported) bool { return i.What == first.What && i.Engine == first.Engine }
		var turns, others []bench.Imported
		for _, i := range imports {
			if same(i) {
				turns = append(turns, i)
			} else {
				others = append(others, i)
			}
		}
		imports = others
		median := func(f func(bench.Imported) time.Duration) string {
			all := make([]time.Duration, len(turns))
			for i := range turns {
				all[i] = f(turns[i])
			}
			slices.Sort(all)
			return fmt.Sprintf("%.2f", all[len(all)/2].Seconds())
		}
		row := []string{first.What, first.Engine, fmt.Sprint(len(turns))}
		for _, p := range bench.Phases {
			row = append(row, median(func(i bench.Imported) time.Duration { return i.Phases[p] }))
		}
		most := slices.MaxFunc(turns, func(a, b bench.Imported) int { return cmp.Compare(a.Peak, b.Peak) })
		rows = append(rows, append(row, median(func(i bench.Imported) time.Duration { return i.Whole }),
			fmt.Sprint(most.Peak>>20), fmt.Sprintf("at most %d", bench.MemoryTarget>>20), yes(most.OK())))
	}
	table(out, rows)
}

func yes(ok bool) string {
	if ok {
		return "yes"
	}
	return "NO"
}

// table writes rows as a Markdown table, the first as its head.
func table(out io.Writer, rows [][]string) {
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
