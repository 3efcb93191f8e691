package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/bench"
)

// TestMain is also the way into the processes that the comparisons of imports start.
func TestMain(m *testing.M) {
	if !bench.Child() {
		os.Exit(m.Run())
	}
}

// TestReport runs every comparison once on little data, so that the report works when it is
// wanted.
func TestReport(t *testing.T) {
	engines := []string{bench.SQLite}
	if os.Getenv("TALKBASE_TEST_POSTGRES") != "" {
		engines = append(engines, bench.Postgres)
	}
	var out, progress bytes.Buffer
	err := run(t.Context(), []string{
		"-small", "2000", "-large", "4000", "-vectors", "200", "-dimensions", "16", "-import", "1000",
		"-legacy", "400", "-clean", "200", "-chunks", "100", "-times", "2", "-only", strings.Join(bench.Groups, ","), "-rounds", "1", "-turn", "1ms", "-engines", strings.Join(engines, ","),
	}, &out, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	for _, engine := range engines {
		for _, want := range []string{"50 recent conversations", "last page", "get a message", "known vectors", "import messages", "search a rare word", "search a Chinese word", "400 messages", "100 chunks and vectors of 16", "800 messages, verified", "200 chunks, verified"} {
			found := false
			for line := range strings.Lines(out.String()) {
				found = found || strings.Contains(line, want) && strings.Contains(line, engine)
			}
			if !found {
				t.Errorf("%q on %s is missing:\n%s", want, engine, out.String())
			}
		}
	}
}
