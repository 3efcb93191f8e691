// Command testreport reads what go test -json writes and prints what a person
// wants to see of it: a line per package, the whole output of every test that
// failed, the tests that were skipped, and a closing line with the counts.
//
// It exits with 1 when a test or a build failed. With -postgres, skipping a
// Postgres test is a failure too: one that has Postgres in its name, or one
// that was skipped because it found no server. With -whole it is a failure
// when no Postgres test passed at all.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

var (
	ofPostgres = regexp.MustCompile(`(?i)postgres|pgvector`)
	noServer   = regexp.MustCompile(`TALKBASE_(TEST|REQUIRE)_POSTGRES|(?i)\bno postgres|postgres.*\b(unreachable|unavailable|not (available|configured|found|reachable|running|set|there))\b`)
)

func main() {
	r := newReport(os.Stdout)
	flag.BoolVar(&r.verbose, "v", false, "print the output of all tests")
	flag.BoolVar(&r.postgres, "postgres", false, "fail when a Postgres test was skipped")
	flag.BoolVar(&r.whole, "whole", false, "fail when no Postgres test passed")
	label := flag.String("label", "", "`words` in front of the closing line")
	flag.Parse()
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	if !r.close(*label) {
		os.Exit(1)
	}
}

// event is one line of go test -json; see go doc test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

type testID struct{ pkg, name string }

type report struct {
	out                      io.Writer
	verbose, postgres, whole bool

	output   map[testID][]string // of tests that are not finished
	skips    []string
	problems []string

	passed, failed, skipped int
	onPostgres              int // of the passed
	broken                  int // packages that failed without a failed test
	failedIn                map[string]bool
}

func newReport(out io.Writer) *report {
	return &report{out: out, output: map[testID][]string{}, failedIn: map[string]bool{}}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				r.event(e)
			} else {
				r.print(string(line)) // not from a test: let it through
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) event(e event) {
	id := testID{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		r.print(e.Output)
	case "output":
		switch {
		case e.Test == "" && (r.verbose || e.Output != "PASS\n"):
			r.print(e.Output)
		case r.verbose || strings.HasPrefix(e.Test, "Benchmark"):
			r.print(e.Output)
		}
		if e.Test != "" {
			r.output[id] = append(r.output[id], e.Output)
		}
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(e.Action, id)
		}
	}
}

func (r *report) endTest(action string, id testID) {
	text := r.output[id]
	delete(r.output, id)
	switch action {
	case "pass":
		r.passed++
		if ofPostgres.MatchString(id.name) {
			r.onPostgres++
		}
	case "fail":
		r.failed++
		r.failedIn[id.pkg] = true
		r.dump(text)
	case "skip":
		r.skipped++
		reason := reasonOf(text)
		skip := id.pkg + " " + id.name + ": " + reason
		r.skips = append(r.skips, skip)
		if r.postgres && (ofPostgres.MatchString(id.name) || noServer.MatchString(reason)) {
			r.problems = append(r.problems, "a Postgres test was skipped: "+skip)
		}
	}
}

// endPackage also ends the tests that a panic, a timeout or an os.Exit cut off.
func (r *report) endPackage(e event) {
	for id, text := range r.output {
		if id.pkg != e.Package {
			continue
		}
		delete(r.output, id)
		if e.Action == "fail" {
			r.failed++
			r.failedIn[id.pkg] = true
			r.print("--- FAIL: " + id.name + " (did not end)\n")
			r.dump(text)
		}
	}
	if e.Action == "fail" && !r.failedIn[e.Package] {
		r.broken++
	}
}

// close prints the end of the report and says whether all is well.
func (r *report) close(label string) bool {
	if r.whole && r.onPostgres == 0 {
		r.problems = append(r.problems, "no test with Postgres in its name passed")
	}
	if len(r.skips) > 0 {
		r.print("\nskipped:\n  " + strings.Join(r.skips, "\n  ") + "\n")
	}
	if len(r.problems) > 0 {
		r.print("\nfailures of the run itself:\n  " + strings.Join(r.problems, "\n  ") + "\n")
	}
	if label != "" {
		label += ": "
	}
	r.print(fmt.Sprintf("\n%stests passed %d, failed %d, skipped %d", label, r.passed, r.failed, r.skipped))
	if r.postgres {
		r.print(fmt.Sprintf("; passed on Postgres %d", r.onPostgres))
	}
	if r.broken > 0 {
		r.print(fmt.Sprintf("; packages that failed outside of a test %d", r.broken))
	}
	r.print("\n")
	return r.failed == 0 && r.broken == 0 && len(r.problems) == 0
}

// dump prints a failed test's output, unless it was printed as it came.
func (r *report) dump(text []string) {
	if r.verbose {
		return
	}
	for _, line := range text {
		switch word, _, _ := strings.Cut(strings.TrimPrefix(line, "=== "), " "); word {
		case "RUN", "PAUSE", "CONT", "NAME":
		default:
			r.print(line)
		}
	}
}

func (r *report) print(s string) { _, _ = fmt.Fprint(r.out, s) }

// reasonOf finds what a skipped test said, without the place it said it at.
func reasonOf(text []string) string {
	var reason []string
	for _, line := range text {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- SKIP") {
			continue
		}
		if place, rest, ok := strings.Cut(line, ": "); ok && strings.Contains(place, ".go:") {
			line = rest
		}
		reason = append(reason, line)
	}
	if len(reason) == 0 {
		return "no reason given"
	}
	return strings.Join(reason, " ")
}
