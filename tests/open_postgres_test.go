package tests_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
	"github.com/talkbase/talkbase/tests"
)

func few(c talkbase.Config) talkbase.Config {
	c.Performance.MaxConns = 3
	return c
}

func TestPostgresConcurrentOpens(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	for _, n := range []int{2, 4} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			openTogether(t, few(talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn)}), n)
		})
	}
}

// refuses checks that opening fails with want.
func refuses(t *testing.T, what string, cfg talkbase.Config, want error) {
	t.Helper()
	db, err := talkbase.Open(t.Context(), cfg)
	if db != nil {
		_ = db.Close()
	}
	if !errors.Is(err, want) {
		t.Errorf("open %s: got error %v, want %v", what, err, want)
	}
	var de *repo.DatabaseError
	if err != nil && !errors.As(err, &de) {
		t.Errorf("open %s: got error %T, want a DatabaseError", what, err)
	}
}

func TestPostgresVersions(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	cfg := few(talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn)})
	db := open(t, cfg)
	latest := db.LatestSchemaVersion()
	for target := range latest {
		if err := db.MigrateSchema(t.Context(), target); err != nil {
			t.Fatalf("down: got error %v, want none", err)
		}
		refuses(t, fmt.Sprint("at version ", target), cfg, repo.ErrSchemaOutdated)
		if v, err := db.SchemaVersion(t.Context()); v != target || err != nil {
			t.Errorf("version after a refusal: got %d (%v), want %d", v, err, target)
		}
		asked := cfg
		asked.Migrate = true
		migrated := open(t, asked)
		if v, err := migrated.SchemaVersion(t.Context()); v != latest || err != nil {
			t.Errorf("version after Migrate: got %d (%v), want %d", v, err, latest)
		}
	}
	admin(t, withParams(t, dsn, map[string]string{"search_path": cfg.Schema}), insertVersion(99))
	refuses(t, "a newer schema", cfg, repo.ErrSchemaNewer)
	cfg.Migrate = true
	refuses(t, "a newer schema with Migrate", cfg, repo.ErrSchemaNewer)
}

func TestPostgresForeignTables(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	cfg := few(talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn)})
	admin(t, dsn, "CREATE SCHEMA "+cfg.Schema, "CREATE TABLE "+cfg.Schema+".host_orders (id int)")
	// A host's tables beside ours are no reason to refuse, nor to touch an old schema unasked.
	refuses(t, "a schema with a host's tables", cfg, repo.ErrSchemaOutdated)
	cfg.Migrate = true
	open(t, cfg)

	cfg.Schema = schemaName(t, dsn)
	admin(t, dsn, "CREATE SCHEMA "+cfg.Schema, "CREATE TABLE "+cfg.Schema+".messages (id int)")
	refuses(t, "a schema with another program's messages", cfg, repo.ErrForeignSchema)

	// A schema's name is a name, whatever it looks like.
	odd := `Odd "name"; DROP SCHEMA public; -- $1`
	t.Cleanup(func() {
		admin(t, dsn, "SET client_min_messages = warning", `DROP SCHEMA IF EXISTS "`+strings.ReplaceAll(odd, `"`, `""`)+`" CASCADE`)
	})
	cfg.Schema = odd
	db := open(t, cfg)
	if _, err := db.CreateConversation(t.Context(), models.Conversation{Title: "t"}); err != nil {
		t.Errorf("create in an odd schema: got error %v, want none", err)
	}
	if r, err := db.ValidateSchema(t.Context()); !r.OK || err != nil {
		t.Errorf("validate an odd schema: got %+v (%v), want no drift", r, err)
	}
}

func TestPostgresSchemasAreApart(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	var dbs []*talkbase.DB
	for range 2 {
		dbs = append(dbs, open(t, few(talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn)})))
	}
	for i, db := range dbs {
		for j := range i + 1 {
			if _, err := db.CreateConversation(t.Context(), models.Conversation{ConvID: fmt.Sprint("c", j)}); err != nil {
				t.Fatalf("create: got error %v, want none", err)
			}
		}
	}
	for i, db := range dbs {
		if n, err := db.CountConversations(t.Context()); n != int64(i+1) || err != nil {
			t.Errorf("conversations of schema %d: got %d (%v), want %d", i, n, err, i+1)
		}
	}
	if err := dbs[0].Reset(t.Context(), nil); err != nil {
		t.Errorf("reset: got error %v, want none", err)
	}
	if n, err := dbs[1].CountConversations(t.Context()); n != 2 || err != nil {
		t.Errorf("conversations after the other schema was reset: got %d (%v), want 2", n, err)
	}
}

// TestPostgresWithoutVectors opens a database without the extension, as a role that may not create it.
func TestPostgresWithoutVectors(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	name := strings.Replace(schemaName(t, dsn), "t_", "db_", 1)
	admin(t, dsn, "CREATE DATABASE "+name, "CREATE ROLE "+name+" LOGIN PASSWORD 'secret'")
	t.Cleanup(func() { admin(t, dsn, "DROP DATABASE "+name+" WITH (FORCE)", "DROP ROLE "+name) })
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatalf("DSN: got error %v, want a URL", err)
	}
	u.Path = "/" + name
	owner := u.String()
	admin(t, owner, "CREATE SCHEMA chat AUTHORIZATION "+name)
	u.User = url.UserPassword(name, "secret")
	cfg := few(talkbase.Config{DSN: u.String(), Schema: "chat"})
	db := open(t, cfg)
	tests.WithoutVectors(t, db)

	// When the extension comes, the next program that opens the database has vectors.
	admin(t, owner, "CREATE EXTENSION vector SCHEMA public")
	db = open(t, cfg)
	if err := db.VectorsSupported(); err != nil {
		t.Fatalf("vectors after the extension came: got error %v, want none", err)
	}
	if _, err := db.CreateBase(t.Context(), models.KnowledgeBase{Dimensions: 3}); err != nil {
		t.Errorf("create base: got error %v, want none", err)
	}
	if r, err := db.ValidateSchema(t.Context()); !r.OK || err != nil {
		t.Errorf("validate: got %+v (%v), want no drift", r, err)
	}
}

// TestPostgresPasswordIsNeverShown looks for the password in errors and in the most detailed log.
func TestPostgresPasswordIsNeverShown(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	const secret = "hunter2-never-show-me"
	var buf bytes.Buffer
	log := slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatalf("DSN: got error %v, want a URL", err)
	}
	user := u.User.Username()
	u.User = url.UserPassword(user, secret)
	right := u.String()
	u.User = url.UserPassword("nobody_"+user, secret)
	stranger := u.String()
	u.User = url.UserPassword(user, secret)
	u.Path = "/no_such_database"
	missing := u.String()
	u.Host = "127.0.0.1:1"
	unreachable := u.String()
	for name, c := range map[string]struct {
		dsn  string
		want error
	}{
		"unknown role": {stranger, repo.ErrUnavailable}, "unknown database": {missing, repo.ErrUnavailable}, "unreachable": {unreachable, repo.ErrUnavailable},
		"unknown host":  {"postgres://u:" + secret + "@no-such-host.invalid/db", repo.ErrUnavailable},
		"broken port":   {"postgres://u:" + secret + "@localhost:99999999/db", repo.ErrInvalid},
		"unknown mode":  {right + "&sslmode=sometimes", repo.ErrInvalid},
		"broken escape": {"postgres://u:" + secret + "%zz@localhost/db", repo.ErrInvalid},
	} {
		db, err := talkbase.Open(t.Context(), talkbase.Config{DSN: c.dsn, Logger: log})
		if db != nil {
			_ = db.Close()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got error %v, want %v", name, err, c.want)
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if text := fmt.Sprintf("%v %+v", e, e); strings.Contains(text, secret) {
				t.Errorf("%s: got the password in %q, want it left out", name, text)
			}
		}
	}
	// A server that trusts everybody takes the wrong password as well; one that does not is an error.
	db, err := talkbase.Open(t.Context(), few(talkbase.Config{DSN: right, Schema: schemaName(t, dsn), Logger: log}))
	if err == nil {
		if _, err := db.CreateConversation(t.Context(), models.Conversation{ConvID: "c", Title: secret}); err != nil {
			t.Errorf("create: got error %v, want none", err)
		}
		_, _ = db.CreateConversation(t.Context(), models.Conversation{ConvID: "c", Title: secret})
		if err := db.Close(); err != nil {
			t.Errorf("close: got error %v, want none", err)
		}
		if buf.Len() == 0 {
			t.Error("log at debug: got nothing, want statements")
		}
	} else if strings.Contains(err.Error(), secret) {
		t.Errorf("open: got the password in %q, want it left out", err)
	}
	if strings.Contains(buf.String(), secret) {
		t.Errorf("log: got the password, or a title, in it, want neither")
	}
}

// TestPostgresLostConnection checks that a server that ends a connection is reported as such, and
// that the next call works.
func TestPostgresLostConnection(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	schema := schemaName(t, dsn)
	db := open(t, few(talkbase.Config{DSN: withParams(t, dsn, map[string]string{"application_name": schema}), Schema: schema}))
	err := db.WithTransaction(t.Context(), func(ctx context.Context, _ *repo.Tx) error {
		if _, err := db.CreateConversation(ctx, models.Conversation{ConvID: "lost"}); err != nil {
			return err
		}
		admin(t, dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '"+schema+"'")
		_, err := db.CreateConversation(ctx, models.Conversation{ConvID: "after"})
		return err
	})
	if !errors.Is(err, repo.ErrUnavailable) {
		t.Errorf("transaction whose connection was ended: got error %v, want %v", err, repo.ErrUnavailable)
	}
	if _, err := db.CreateConversation(t.Context(), models.Conversation{ConvID: "next"}); err != nil {
		t.Errorf("the next call: got error %v, want none", err)
	}
	if n, err := db.CountConversations(t.Context()); n != 1 || err != nil {
		t.Errorf("conversations: got %d (%v), want 1", n, err)
	}
}
