package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// events makes a go test -json stream of lines of action, package, test and
// output, separated by bars.
func events(t *testing.T, lines ...string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	for _, line := range lines {
		if strings.Count(line, "|") != 3 {
			b.WriteString(line + "\n")
			continue
		}
		f := strings.SplitN(line, "|", 4)
		if f[3] != "" {
			f[3] += "\n"
		}
		if err := json.NewEncoder(&b).Encode(event{Action: f[0], Package: f[1], Test: f[2], Output: f[3]}); err != nil {
			t.Fatal(err)
		}
	}
	return &b
}

func TestReport(t *testing.T) {
	pass := []string{
		"start|p||", "run|p|TestA|", "output|p|TestA|=== RUN   TestA", "output|p|TestA|quiet",
		"pass|p|TestA|", "run|p|TestA/postgres|", "pass|p|TestA/postgres|",
		"output|p||PASS", "output|p||ok  \tp\t0.1s", "pass|p||",
	}
	skip := func(name, reason string) []string {
		return append([]string{
			"run|q|" + name + "|", "output|q|" + name + "|=== RUN   " + name,
			"output|q|" + name + "|    a_test.go:7: " + reason,
			"output|q|" + name + "|--- SKIP: " + name + " (0.00s)", "skip|q|" + name + "|",
		}, pass...)
	}
	for name, c := range map[string]struct {
		in      []string
		well    bool
		has     []string
		hasNot  []string
		verbose bool
	}{
		"all pass": {
			in: pass, well: true,
			has:    []string{"ok  \tp\t0.1s\n", "x: tests passed 2, failed 0, skipped 0; passed on Postgres 1\n"},
			hasNot: []string{"quiet", "PASS", "RUN"},
		},
		"verbose": {in: pass, well: true, verbose: true, has: []string{"quiet", "PASS", "=== RUN"}},
		"nothing ran on a server": {
			in:  []string{"pass|p|TestA|", "pass|p||"},
			has: []string{"no test with Postgres in its name passed"},
		},
		"a test fails": {
			in: append([]string{
				"run|q|TestB|", "output|q|TestB|=== RUN   TestB", "output|q|TestB|    b_test.go:1: broken",
				"output|q|TestB|--- FAIL: TestB (0.00s)", "fail|q|TestB|", "output|q||FAIL\tq\t0.1s", "fail|q||",
			}, pass...),
			has:    []string{"broken\n--- FAIL: TestB", "FAIL\tq\t0.1s", "passed 2, failed 1, skipped 0"},
			hasNot: []string{"outside", "RUN"},
		},
		"a test is cut off": {
			in: append([]string{
				"run|q|TestB|", "output|q|TestB|=== RUN   TestB", "output|q|TestB|panic: timeout", "fail|q||",
			}, pass...),
			has: []string{"panic: timeout", "passed 2, failed 1, skipped 0"},
		},
		"a package fails outside of its tests": {
			in:  append([]string{"output|q||no luck", "fail|q||"}, pass...),
			has: []string{"no luck", "passed 2, failed 0, skipped 0; passed on Postgres 1; packages that failed outside of a test 1"},
		},
		"not JSON": {in: append([]string{"warning: {odd"}, pass...), well: true, has: []string{"warning: {odd\n"}},
		"a skip": {
			in: skip("TestC/sqlite", "Postgres has schemas, SQLite has none"), well: true,
			has: []string{"skipped 1", "  q TestC/sqlite: Postgres has schemas, SQLite has none\n"},
		},
		"a skip that must not be":     {in: skip("TestC/Postgres15", "slow"), has: []string{"a Postgres test was skipped: q TestC/Postgres15: slow"}},
		"a skip for want of the DSN":  {in: skip("TestC", "TALKBASE_TEST_POSTGRES is not set"), has: []string{"a Postgres test was skipped"}},
		"a skip for want of a server": {in: skip("TestC", "Postgres is not reachable"), has: []string{"a Postgres test was skipped"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out)
			r.verbose, r.postgres, r.whole = c.verbose, true, true
			if err := r.read(events(t, c.in...)); err != nil {
				t.Fatal(err)
			}
			if well := r.close("x"); well != c.well {
				t.Errorf("well: %v, want %v", well, c.well)
			}
			for _, s := range c.has {
				if !strings.Contains(out.String(), s) {
					t.Errorf("missing: %q", s)
				}
			}
			for _, s := range c.hasNot {
				if strings.Contains(out.String(), s) {
					t.Errorf("should not be there: %q", s)
				}
			}
			if t.Failed() {
				t.Log("\n" + out.String())
			}
		})
	}
}
