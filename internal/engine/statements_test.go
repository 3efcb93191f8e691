package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"github.com/talkbase/talkbase/models"
)

func openTest(t *testing.T) *sqliteEngine {
	t.Helper()
	e, err := Open(t.Context(), Options{DSN: filepath.Join(t.TempDir(), "test.db"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	s := e.(*sqliteEngine)
	if _, err := s.SQL().ExecContext(t.Context(), "CREATE TABLE n (id integer PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	return s
}

func inTx(t *testing.T, e Engine, f func(ctx context.Context, tx *Tx)) {
	t.Helper()
	tx, err := e.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f(t.Context(), tx)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestStatementsStayPrepared(t *testing.T) {
	e := openTest(t)
	for i := range 3 {
		inTx(t, e, func(ctx context.Context, tx *Tx) {
			for j := range 3 {
				if _, err := Exec(ctx, tx.DB, "INSERT INTO n VALUES (?)", 10*i+j); err != nil {
					t.Fatal(err)
				}
			}
		})
		if _, ok := e.writeStmts.ready["INSERT INTO n VALUES (?)"]; ok != (i > 0) {
			t.Errorf("after transaction %d: prepared is %v", i, ok)
		}
	}
	inTx(t, e, func(ctx context.Context, tx *Tx) {
		n, err := One(ctx, tx.DB, Value[int], "SELECT count(*) FROM n")
		if err != nil || n != 9 {
			t.Errorf("count is %d, %v", n, err)
		}
	})
}

// The pool forgets statements when there are too many, and those in use go on.
func TestStatementsAreBounded(t *testing.T) {
	e := openTest(t)
	for i := range maxStatements/maxTxStatements + 3 {
		inTx(t, e, func(ctx context.Context, tx *Tx) {
			for j := range maxTxStatements + 10 {
				if _, err := Exec(ctx, tx.DB, fmt.Sprintf("INSERT INTO n VALUES (%d)", i*1000+j)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Exec(ctx, tx.DB, "DELETE FROM n WHERE id = ?", 1); err != nil {
				t.Fatal(err)
			}
		})
		if n := len(e.writeStmts.ready); n > maxStatements {
			t.Fatalf("%d statements are prepared", n)
		}
	}
}

// Two sets of rows of the same text may be open in one transaction.
func TestNestedRowsOfOneStatement(t *testing.T) {
	e := openTest(t)
	const all = "SELECT id FROM n ORDER BY id"
	inTx(t, e, func(ctx context.Context, tx *Tx) {
		for i := range 3 {
			if _, err := Exec(ctx, tx.DB, "INSERT INTO n VALUES (?)", i); err != nil {
				t.Fatal(err)
			}
		}
	})
	for range 3 { // unprepared, prepared by the transaction, prepared by the pool
		inTx(t, e, func(ctx context.Context, tx *Tx) {
			got, err := Collect(ctx, tx.DB, func(s Scanner, v *[]int) error {
				var n int
				if err := s.Scan(&n); err != nil {
					return err
				}
				var err error
				*v, err = Collect(ctx, tx.DB, Value[int], all)
				return err
			}, all)
			if err != nil || len(got) != 3 || len(got[2]) != 3 {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestOneTransactionOfManyGoroutines(t *testing.T) {
	e := openTest(t)
	for round := range 3 {
		inTx(t, e, func(ctx context.Context, tx *Tx) {
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					for j := range 20 {
						if _, err := Exec(ctx, tx.DB, "INSERT INTO n VALUES (?)", round*1000+i*100+j); err != nil {
							t.Error(err)
						}
						if _, err := Collect(ctx, tx.DB, Value[int], "SELECT id FROM n"); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// A call whose ctx had ended leaves nothing behind that a later call trips over.
func TestCancelledPreparation(t *testing.T) {
	e := openTest(t)
	for range 3 {
		inTx(t, e, func(ctx context.Context, tx *Tx) {
			over, cancel := context.WithCancel(ctx)
			cancel()
			for range 3 {
				if _, err := Exec(over, tx.DB, "DELETE FROM n"); !errors.Is(err, context.Canceled) {
					t.Errorf("with a ctx that has ended: %v", err)
				}
			}
			if _, err := Exec(ctx, tx.DB, "DELETE FROM n"); err != nil {
				t.Error(err)
			}
		})
	}
}

// A host's transaction may come from another pool on the same file.
func TestHostTransactionOfAnotherPool(t *testing.T) {
	e := openTest(t)
	host, err := sql.Open("sqlite", e.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = host.Close() }()
	for i := range 3 {
		inTx(t, e, func(ctx context.Context, tx *Tx) {
			if _, err := Exec(ctx, tx.DB, "INSERT INTO n VALUES (?)", 10*i); err != nil {
				t.Fatal(err)
			}
		})
		tx, err := host.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		g, err := e.Gorm(t.Context(), tx)
		if err != nil {
			t.Fatal(err)
		}
		for j := range 2 {
			if _, err := Exec(t.Context(), g, "INSERT INTO n VALUES (?)", 10*i+j+1); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInsertRowsSplits(t *testing.T) {
	e := openTest(t)
	rows := make([][]any, 1000-1)
	for i := range rows {
		rows[i] = []any{i}
	}
	inTx(t, e, func(ctx context.Context, tx *Tx) {
		if err := e.BulkInsert(ctx, tx.DB, "n", []string{"id"}, rows); err != nil {
			t.Fatal(err)
		}
		n, err := One(ctx, tx.DB, Value[int], "SELECT count(*) FROM n")
		if err != nil || n != len(rows) {
			t.Errorf("count is %d, %v", n, err)
		}
	})
	if n := boundBytes([][]any{{"ab", 1}, {[]byte("cde"), models.Flag(true)}}); n != 5 {
		t.Errorf("boundBytes is %d", n)
	}
}

// TestStatementsOfSeveral has transactions begin while others meet statements for the first time.
func TestStatementsOfSeveral(t *testing.T) {
	e := openTest(t)
	for i := range 20 {
		c := newStatements(e.SQL())
		var all sync.WaitGroup
		all.Go(func() { c.prepare(t.Context()) })
		all.Go(func() { c.get(fmt.Sprint("SELECT ", i)) })
		all.Wait()
		c.close()
	}
}
