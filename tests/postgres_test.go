package tests_test

import (
	"context"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/tests"
)

// postgresDSN returns the DSN of the server to test on. Without one the test is skipped, or fails
// where it must not be skipped.
func postgresDSN(t testing.TB) string {
	t.Helper()
	dsn := os.Getenv("TALKBASE_TEST_POSTGRES")
	switch {
	case dsn != "":
	case os.Getenv("TALKBASE_REQUIRE_POSTGRES") == "1":
		t.Fatal("TALKBASE_TEST_POSTGRES: got nothing, want a DSN, because TALKBASE_REQUIRE_POSTGRES is 1: use scripts/postgres run -- go test ./...")
	default:
		t.Skip("TALKBASE_TEST_POSTGRES is not set: use scripts/postgres run -- go test ./...")
	}
	return dsn
}

// withParams adds parameters to a DSN.
func withParams(t testing.TB, dsn string, params map[string]string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatalf("TALKBASE_TEST_POSTGRES: got %v, want a URL", err)
	}
	q := u.Query()
	for k, v := range params {
		q.Set(k, v)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// admin runs statements outside of the library.
func admin(t testing.TB, dsn string, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatalf("connect: got error %v, want none", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			t.Errorf("%s: got error %v, want none", s, err)
		}
	}
}

// schemaName returns the name of a schema that is dropped when the test ends.
func schemaName(t testing.TB, dsn string) string {
	t.Helper()
	name := "t_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	t.Cleanup(func() { admin(t, dsn, "SET client_min_messages = warning", "DROP SCHEMA IF EXISTS "+name+" CASCADE") })
	return name
}

func runPostgres(t *testing.T, params map[string]string, skip map[tests.Category]string) {
	dsn := withParams(t, postgresDSN(t), params)
	tests.Run(t, tests.Suite{
		Open: func(t testing.TB, configure func(*talkbase.Config)) *talkbase.DB {
			return fresh(t, talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn)}, configure)
		},
		Skip: skip,
	})
}

func TestPostgresCachedStatements(t *testing.T) {
	t.Parallel()
	runPostgres(t, nil, nil)
}

func TestPostgresSimpleProtocol(t *testing.T) {
	t.Parallel()
	runPostgres(t, map[string]string{"default_query_exec_mode": "simple_protocol"}, secondWay(nil))
}
