package talkbase_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const modulePath = "github.com/talkbase/talkbase"

// layers are the packages in the order they may import each other: a package imports only from
// layers before its own.
var layers = []string{
	"memory", "models", "embedding", "internal/text", "internal/sketch", "internal/sqlitefile", "internal/engine", "repo", "migration", "services", "",
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Fields(string(out))
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	for i, layer := range layers {
		for _, imp := range goList(t, "-f", `{{join .Imports "\n"}}`, "./"+layer) {
			dep, ours := strings.CutPrefix(imp, modulePath)
			if !ours {
				continue
			}
			dep = strings.TrimPrefix(dep, "/")
			allowed := false
			for _, below := range layers[:i] {
				allowed = allowed || below == dep
			}
			if !allowed {
				t.Errorf("%q imports %q, which is not below it", layer, dep)
			}
		}
	}
}

func TestLibraryLinksNothingOfTheCommandLineOrTests(t *testing.T) {
	t.Parallel()
	for _, dep := range goList(t, "-deps", ".") {
		for _, banned := range []string{
			"duckdb", "spf13/", "stretchr/testify", "rogpeppe/", "pgregory.net/rapid", "goleak",
			"go-pretty", "vbauerster", "arrow", "openai", "tidwall", "opentelemetry.io/otel/sdk",
		} {
			if strings.Contains(dep, banned) {
				t.Errorf("the library links %s", dep)
			}
		}
	}
}

func TestDialectsAreAskedForInTheEngineOnly(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"models", "repo", "services", "migration", "."} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			out, _ := exec.Command("grep", "-nE", `Dialector\.Name\(\)|== *engine\.(SQLite|Postgres)|== *"(sqlite|postgres)"`, f).Output()
			if len(out) > 0 {
				t.Errorf("%s asks which engine it is on:\n%s", f, out)
			}
		}
	}
}
