package talkbase_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/repo"
)

func TestEveryFindingIsExplained(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, findings, _ := strings.Cut(string(b), "\n## Findings\n")
	var explained []string
	for part := range strings.SplitSeq(findings, "\n### ") {
		code, body, _ := strings.Cut(part, "\n")
		if strings.Contains(code, " ") || code == "" {
			continue // what is before the first
		}
		explained = append(explained, code)
		if !strings.Contains(body, "**Command:**") {
			t.Errorf("%s: got no command", code)
		}
		repairable := repo.NewFinding(code).Repairable || code == repo.FindingOrphanRows
		if strings.Contains(strings.ToLower(body), "*repairable*") != repairable && strings.Contains(body, "*Repairable.*") != repairable {
			t.Errorf("%s: got another word on whether it is repairable than its findings, %t", code, repairable)
		}
	}
	if codes := repo.FindingCodes(); !slices.Equal(explained, codes) {
		t.Errorf("explained: got %v, want every code in its order: %v", explained, codes)
	}
	for line := range strings.Lines(string(b)) {
		for _, link := range strings.Split(line, "](#")[1:] {
			name, _, _ := strings.Cut(link, ")")
			if !slices.Contains(explained, name) {
				t.Errorf("link to %q: got no such heading", name)
			}
		}
	}
}
