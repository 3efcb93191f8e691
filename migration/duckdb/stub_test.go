//go:build !cgo || !((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)) || (windows && amd64))

package duckdb

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/migration"
)

func TestStub(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kb")
	if err := os.WriteFile(path, []byte("12345678DUCK"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := migration.OpenSource(t.Context(), path, t.TempDir())
	if !errors.Is(err, migration.ErrNoReader) || !strings.Contains(err.Error(), "CGO_ENABLED=1") {
		t.Errorf("OpenSource: %v", err)
	}
	if _, err := (LegacyKnowledge{}).Write(t.Context(), path); !errors.Is(err, migration.ErrNoReader) {
		t.Errorf("Write: %v", err)
	}
}
