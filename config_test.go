package talkbase_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/repo"
)

func TestOpenRefusesABadConfiguration(t *testing.T) {
	t.Parallel()
	dsn := "sqlite::memory:"
	for name, cfg := range map[string]talkbase.Config{
		"no database":         {},
		"unknown scheme":      {DSN: "mysql://h/db"},
		"negative dimensions": {DSN: dsn, Vector: talkbase.VectorConfig{Dimensions: -1}},
		"too many dimensions": {DSN: dsn, Vector: talkbase.VectorConfig{Dimensions: 16001}},
		"unknown metric":      {DSN: dsn, Vector: talkbase.VectorConfig{Metric: "hamming"}},
		"unknown index":       {DSN: dsn, Vector: talkbase.VectorConfig{Index: "annoy"}},
		"bad size":            {DSN: dsn, Performance: talkbase.PerformanceConfig{WorkMem: "lots"}},
		"bad synchronous":     {DSN: dsn, Performance: talkbase.PerformanceConfig{Synchronous: "OFF"}},
		"negative conns":      {DSN: dsn, Performance: talkbase.PerformanceConfig{MaxConns: -1}},
		"bad memory budget":   {DSN: dsn, Performance: talkbase.PerformanceConfig{MemoryBudget: "half"}},
		"bad level":           {DSN: dsn, Logging: talkbase.LoggingConfig{Level: "loud"}},
		"bad destination":     {DSN: dsn, Logging: talkbase.LoggingConfig{Destination: filepath.Join(t.TempDir(), "no", "log")}},
	} {
		db, err := talkbase.Open(context.Background(), cfg)
		if !errors.Is(err, repo.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
		if err == nil {
			_ = db.Close()
		}
	}
}

func TestPerformanceSettingsReachSQLite(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var log bytes.Buffer
	db, err := talkbase.Open(ctx, talkbase.Config{
		DSN: "sqlite::memory:", Schema: "app", Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Performance: talkbase.PerformanceConfig{SharedBuffers: "32MB", WorkMem: "2MB", Synchronous: "normal", MaxConns: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	g, err := db.Gorm(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for pragma, want := range map[string]int64{"cache_size": -2048, "mmap_size": 32 << 20, "foreign_keys": 1, "query_only": 1} {
		var got int64
		if err := g.Raw("PRAGMA " + pragma).Row().Scan(&got); err != nil || got != want {
			t.Errorf("%s of a reader is %d, %v; want %d", pragma, got, err, want)
		}
	}
	err = db.WithTransaction(ctx, func(_ context.Context, tx *repo.Tx) error {
		for pragma, want := range map[string]int64{"cache_size": -256 << 10, "synchronous": 1, "foreign_keys": 1} {
			var got int64
			if err := tx.Gorm().Raw("PRAGMA " + pragma).Row().Scan(&got); err != nil || got != want {
				t.Errorf("%s of the writer is %d, %v; want %d", pragma, got, err, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "setting=Schema") || strings.Contains(log.String(), "setting=WorkMem") {
		t.Errorf("the log must name Schema, which has no effect, and nothing else: %s", log.String())
	}
}

func TestPostgresSettingsReachTheServer(t *testing.T) {
	t.Parallel()
	dsn := os.Getenv("TALKBASE_TEST_POSTGRES")
	if dsn == "" {
		if os.Getenv("TALKBASE_REQUIRE_POSTGRES") == "1" {
			t.Fatal("TALKBASE_TEST_POSTGRES is not set")
		}
		t.Skip("TALKBASE_TEST_POSTGRES is not set: run scripts/test")
	}
	ctx := context.Background()
	var log bytes.Buffer
	db, err := talkbase.Open(ctx, talkbase.Config{
		DSN: dsn, Schema: "settings_test", Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Performance: talkbase.PerformanceConfig{MemoryLimit: "32MB", WorkMem: "2MB", MaintenanceWorkMem: "48MB"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	g, err := db.Gorm(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{"work_mem": "2MB", "maintenance_work_mem": "48MB", "search_path": `"settings_test", public`, "lock_timeout": "5s"} {
		var got string
		if err := g.Raw("SHOW " + setting).Row().Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", setting, got, err, want)
		}
	}
	if err := g.Exec(`DROP SCHEMA settings_test CASCADE`).Error; err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "setting=MemoryLimit") || strings.Contains(log.String(), "setting=WorkMem") {
		t.Errorf("the log must name MemoryLimit, which has no effect, and nothing else: %s", log.String())
	}
}

func TestLogFileIsPrivateAndHoldsNoValues(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "talkbase.log")
	db, err := talkbase.Open(ctx, talkbase.Config{DSN: "sqlite::memory:", Logging: talkbase.LoggingConfig{Level: "debug", Destination: path}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.GetConversation(ctx, "a-secret-id"); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 {
		t.Errorf("the log file has mode %v, want 0600", st.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "FROM conversations") || strings.Contains(string(b), "a-secret-id") {
		t.Errorf("the log must hold statements and not their values:\n%s", b)
	}
}
