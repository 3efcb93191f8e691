package tests_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func init() { childTasks["opener"] = taskOf(beOpener) }

// openerTask is what another process does with a database.
type openerTask struct {
	DSN, Schema string
	Migrate     bool
	// Name begins the ids of the conversations that it creates, so many of them.
	Name  string
	Count int
	// Want is a conversation that must be there.
	Want string
}

func beOpener(c openerTask) error {
	ctx := context.Background()
	cfg := killedConfig(c.DSN, c.Schema)
	cfg.Migrate = c.Migrate
	db, err := talkbase.Open(ctx, cfg)
	if err != nil {
		return err
	}
	for i := range c.Count {
		if _, err := db.CreateConversation(ctx, models.Conversation{ConvID: fmt.Sprint(c.Name, i)}); err != nil {
			return err
		}
		if _, err := db.InsertMessage(ctx, models.Message{ConversationID: fmt.Sprint(c.Name, i), Role: models.RoleUser, Content: c.Name}); err != nil {
			return err
		}
	}
	if c.Want != "" {
		if _, err := db.GetConversation(ctx, c.Want); err != nil {
			return err
		}
	}
	return db.Close()
}

func runOpener(t *testing.T, c openerTask) error {
	cmd := child(t, "opener", c)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// processes opens a database in n processes at once, each of which writes, and looks at the outcome.
func processes(t *testing.T, cfg talkbase.Config, n int) {
	t.Helper()
	const each = 5
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			errs[i] = runOpener(t, openerTask{DSN: cfg.DSN, Schema: cfg.Schema, Migrate: cfg.Migrate, Name: fmt.Sprint("p", i, "-"), Count: each})
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("%d processes at once: got error %v, want none", n, err)
	}
	db := open(t, cfg)
	for i := range n {
		for j := range each {
			if _, err := db.GetConversation(t.Context(), fmt.Sprint("p", i, "-", j)); err != nil {
				t.Errorf("get: got error %v, want what process %d wrote", err, i)
			}
		}
	}
	if r, err := db.ValidateSchema(t.Context()); !r.OK || err != nil {
		t.Errorf("schema of %d processes at once: got %+v (%v), want no drift", n, r, err)
	}
	if missing, err := db.Bulk().TextMissing(t.Context()); err != nil || len(missing) > 0 {
		t.Errorf("text that is not indexed: got %v (%v), want none", missing, err)
	}
}

// Several processes open a new database at once, and one whose schema is old: one of them makes the
// schema, the others wait for it.
func TestSQLiteProcesses(t *testing.T) {
	t.Parallel()
	t.Run("new", func(t *testing.T) {
		t.Parallel()
		processes(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")}, inShort(3, 6))
	})
	t.Run("old", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "talk.db")
		old(t, talkbase.Config{DSN: path})
		processes(t, talkbase.Config{DSN: path}, inShort(3, 6))
	})
}

func TestPostgresProcesses(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	t.Run("new", func(t *testing.T) {
		t.Parallel()
		processes(t, talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn)}, inShort(3, 6))
	})
	t.Run("old", func(t *testing.T) {
		t.Parallel()
		cfg := talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn), Migrate: true}
		old(t, cfg)
		processes(t, cfg, inShort(3, 6))
	})
}

// old makes a database with the schema of the first version.
func old(t *testing.T, cfg talkbase.Config) {
	t.Helper()
	db, err := talkbase.Open(t.Context(), cfg)
	if err == nil {
		err = errors.Join(db.MigrateSchema(t.Context(), 1), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// SQLite's locks on a file belong to the process, and end when the process closes any handle of the
// file. A second database on the file must not end the first one's: then another process would take itself
// for the last one, and remove the log that the first still writes to.
func TestSQLiteLocksStay(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"new", "used"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "talk.db")
			if state == "used" {
				if err := runOpener(t, openerTask{DSN: path, Name: "used-", Count: 2}); err != nil {
					t.Fatal(err)
				}
			}
			first := open(t, talkbase.Config{DSN: path})
			if _, err := first.CreateConversation(t.Context(), models.Conversation{ConvID: "first"}); err != nil {
				t.Fatal(err)
			}
			second, err := talkbase.Open(t.Context(), talkbase.Config{DSN: path})
			if err != nil {
				t.Fatal(err)
			}
			if err := second.Snapshot(t.Context(), path+".copy"); err != nil {
				t.Error(err)
			}
			if err := second.Close(); err != nil {
				t.Fatal(err)
			}
			before, err := os.Stat(path + "-wal")
			if err != nil {
				t.Fatal(err)
			}
			if err := runOpener(t, openerTask{DSN: path, Name: "other-", Count: 1, Want: "first"}); err != nil {
				t.Fatal(err)
			}
			after, err := os.Stat(path + "-wal")
			if err != nil || !os.SameFile(before, after) {
				t.Errorf("the log: another process removed it (%v), want it left to the process that has it open", err)
			}
			if _, err := first.CreateConversation(t.Context(), models.Conversation{ConvID: "last"}); err != nil {
				t.Errorf("create: got error %v, want none", err)
			}
			if _, err := first.GetConversation(t.Context(), "other-0"); err != nil {
				t.Errorf("get what another process wrote: got error %v, want none", err)
			}
			if err := runOpener(t, openerTask{DSN: path, Want: "last"}); err != nil {
				t.Errorf("another process: got error %v, want it to see what was written here", err)
			}
		})
	}
}

// TestSQLiteSchemaChangesElsewhere searches while somebody else changes the schema, which the statements of
// FTS5's own are told of.
func TestSQLiteSchemaChangesElsewhere(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cfg := talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")}
	db, other := open(t, cfg), open(t, cfg)
	if _, err := db.CreateConversation(ctx, models.Conversation{ConvID: "c", Title: "walnut"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; err == nil && i < inShort(200, 1000); i++ {
			err = other.WithTransaction(ctx, func(_ context.Context, tx *repo.Tx) error {
				return tx.Gorm().Exec(fmt.Sprintf("CREATE TABLE host_%d (x)", i)).Error
			})
		}
		done <- err
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("changes: got error %v, want none", err)
			}
			return
		default:
		}
		hits, err := db.SearchText(ctx, repo.TextQuery{Query: "walnut"})
		if err != nil || len(hits) != 1 {
			t.Fatalf("search: got %v (%v), want one hit", hits, err)
		}
		if _, err := db.UpdateConversation(ctx, "c", repo.ConversationUpdate{Title: new("walnut")}); err != nil {
			t.Fatalf("update: got error %v, want none", err)
		}
	}
}
