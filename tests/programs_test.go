package tests_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// serverPrograms finds the newest installed server, as scripts/postgres does.
func serverPrograms(t testing.TB) string {
	t.Helper()
	if config := os.Getenv("PG_CONFIG"); config != "" {
		if out, err := exec.CommandContext(t.Context(), config, "--bindir").Output(); err == nil {
			return strings.TrimSpace(string(out))
		}
	}
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(dirs, func(a, b string) int {
		version := func(s string) int { n, _ := strconv.Atoi(strings.Split(s, "/")[4]); return n }
		return version(b) - version(a)
	})
	if len(dirs) > 0 {
		return filepath.Dir(dirs[0])
	}
	path, err := exec.LookPath("initdb")
	switch {
	case err == nil:
		return filepath.Dir(path)
	case os.Getenv("TALKBASE_REQUIRE_POSTGRES") == "1":
		t.Fatal("there is no initdb: scripts/postgres install installs it")
	}
	t.Skip("there is no Postgres server to kill")
	return ""
}
