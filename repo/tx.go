package repo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
)

// Store is an open database as the repositories see it: the engine and the unit of work.
//
// A transaction travels in the ctx. Calls made with a ctx that carries one join it; all others
// run on their own.
type Store struct {
	late *engine.Late
	now  func() time.Time
	// defaults are those of a base that does not say otherwise.
	defaults BaseDefaults
}

// NewStore returns a store on an engine that may be opened later.
func NewStore(e *engine.Late, d BaseDefaults) *Store {
	return &Store{late: e, now: time.Now, defaults: d}
}

func (s *Store) eng() engine.Engine { return s.late.Get() }

// Engine returns the name of the engine: sqlite or postgres.
func (s *Store) Engine() string { return s.eng().Name() }

// VectorsSupported returns nil when the knowledge calls work, else an error wrapping ErrUnsupported
// that says why.
func (s *Store) VectorsSupported() error { return s.eng().Vectors() }

func (s *Store) nowMS() int64 { return s.now().UnixMilli() }

// Tx is one transaction. Its calls must come one after another: goroutines that share it take turns.
type Tx struct {
	id    string
	store *Store
	ctx   context.Context
	db    *gorm.DB

	mu    sync.Mutex
	inner *engine.Tx // nil when a host began the transaction
	done  bool
	saves int
	stop  func() bool // takes back the rollback that the end of ctx causes
}

type txKey struct{ store *Store }

// ID is unique to the transaction, for logs and maps.
func (t *Tx) ID() string { return t.id }

// Context carries the transaction: calls made with it run inside.
func (t *Tx) Context() context.Context { return t.ctx }

// Gorm returns gorm's handle in the transaction, for what talkbase has no call for.
func (t *Tx) Gorm() *gorm.DB { return t.db.Session(&gorm.Session{Context: t.ctx}) }

// Commit makes the transaction's work permanent. The error is a TransactionError; after ErrTxDone
// nothing more happened.
func (t *Tx) Commit() error { return t.end("commit", (*engine.Tx).Commit) }

// Rollback undoes the transaction's work. After Commit it returns a TransactionError that wraps
// ErrTxDone and undoes nothing.
func (t *Tx) Rollback() error { return t.end("rollback", (*engine.Tx).Rollback) }

func (t *Tx) end(op string, f func(*engine.Tx) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return &TransactionError{Op: op, ID: t.id, Err: ErrTxDone}
	}
	if t.inner == nil {
		return &TransactionError{Op: op, ID: t.id, Err: fmt.Errorf("%w: whoever began this transaction ends it", ErrInvalid)}
	}
	t.done = true
	if t.stop != nil {
		t.stop()
	}
	err := f(t.inner)
	if err != nil {
		return &TransactionError{Op: op, ID: t.id, Err: err}
	}
	return nil
}

func (t *Tx) ended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done
}

func (s *Store) carried(ctx context.Context) *Tx {
	t, _ := ctx.Value(txKey{s}).(*Tx)
	return t
}

// Begin starts a transaction that the caller ends. Until then, use Tx.Context for every call that
// is to run inside; on SQLite nobody else can write meanwhile. If ctx ends first, it is rolled back.
func (s *Store) Begin(ctx context.Context) (*Tx, error) {
	if t := s.carried(ctx); t != nil && !t.ended() {
		return nil, &TransactionError{Op: "begin", Err: fmt.Errorf("%w: ctx carries a transaction already: use WithTransaction for a nested one", ErrInvalid)}
	}
	inner, err := s.eng().Begin(ctx)
	if err != nil {
		return nil, &TransactionError{Op: "begin", Err: err}
	}
	t := s.newTx(ctx, inner.DB, inner)
	// database/sql rolls back by itself when ctx ends; this also gives back the turn to write.
	t.mu.Lock()
	t.stop = context.AfterFunc(ctx, func() { _ = t.Rollback() })
	t.mu.Unlock()
	return t, nil
}

func (s *Store) newTx(ctx context.Context, db *gorm.DB, inner *engine.Tx) *Tx {
	t := &Tx{id: uuid.Must(uuid.NewV7()).String(), store: s, db: db, inner: inner}
	t.ctx = context.WithValue(ctx, txKey{s}, t)
	return t
}

// JoinTx returns a ctx that carries a transaction the host began on the same database with its
// own pool. Calls made with it run inside; the host ends it.
func (s *Store) JoinTx(ctx context.Context, tx *sql.Tx) (context.Context, error) {
	if tx == nil {
		return nil, &TransactionError{Op: "join", Err: fmt.Errorf("%w: there is no transaction to join", ErrInvalid)}
	}
	db, err := s.eng().Gorm(ctx, tx)
	if err != nil {
		return nil, &TransactionError{Op: "join", Err: err}
	}
	return s.newTx(ctx, db, nil).ctx, nil
}

// JoinGorm is JoinTx for a transaction begun through gorm. The error is a TransactionError when db
// is not in a transaction of database/sql.
func (s *Store) JoinGorm(ctx context.Context, db *gorm.DB) (context.Context, error) {
	tx, ok := engine.SQLTx(db)
	if !ok {
		return nil, &TransactionError{Op: "join", Err: fmt.Errorf("%w: this *gorm.DB is not in a transaction", ErrInvalid)}
	}
	return s.JoinTx(ctx, tx)
}

// maxAttempts bounds how often a colliding transaction is tried. Where many write the same rows for minutes, with
// transactions that lock thousands among them, ten attempts in a row were seen to collide.
const maxAttempts = 30

// WithTransaction runs f in a transaction and commits when f returns nil. When f fails or panics,
// everything is undone. A transaction that collides with another (a serialization failure, a
// deadlock) is tried again with growing pauses, so f may run several times and must have no other
// effects. Nested calls, recognised by their ctx, are savepoints: an inner failure that the outer f
// handles undoes the inner work only.
func (s *Store) WithTransaction(ctx context.Context, f func(ctx context.Context, tx *Tx) error) error {
	if t := s.carried(ctx); t != nil {
		return t.nested(ctx, f)
	}
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 2*time.Millisecond, 250*time.Millisecond
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := s.attempt(ctx, f)
		if err != nil && !errors.Is(err, ErrSerialization) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(retry), backoff.WithMaxTries(maxAttempts))
	return err
}

func (s *Store) attempt(ctx context.Context, f func(ctx context.Context, tx *Tx) error) (err error) {
	tx, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if !tx.ended() { // f failed or panicked
			if rerr := tx.Rollback(); rerr != nil && err != nil && ctx.Err() == nil && !errors.Is(rerr, ErrTxDone) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	err = f(tx.ctx, tx)
	if cause := engine.Ended(ctx); cause != nil {
		if errors.Is(err, ctx.Err()) && errors.Is(err, context.Cause(ctx)) {
			return err
		}
		if err != nil {
			cause = fmt.Errorf("%w: %w", cause, err)
		}
		return wrap("transaction", cause)
	}
	if err != nil {
		return err
	}
	return tx.Commit()
}

func (t *Tx) nested(ctx context.Context, f func(ctx context.Context, tx *Tx) error) (err error) {
	t.mu.Lock()
	if t.done {
		t.mu.Unlock()
		return &TransactionError{Op: "begin", ID: t.id, Err: ErrTxDone}
	}
	t.saves++
	name := fmt.Sprintf("talkbase_%d", t.saves)
	t.mu.Unlock()
	if _, err := engine.Exec(ctx, t.db, "SAVEPOINT "+name); err != nil {
		return &TransactionError{Op: "begin", ID: t.id, Err: err}
	}
	ok := false
	defer func() {
		if ok {
			return
		}
		// The savepoint is left even when the caller's ctx has ended; the transaction decides the rest.
		bg := context.WithoutCancel(ctx)
		_, rerr := engine.Exec(bg, t.db, "ROLLBACK TO SAVEPOINT "+name)
		if rerr == nil {
			_, rerr = engine.Exec(bg, t.db, "RELEASE SAVEPOINT "+name)
		}
		if rerr != nil && err != nil {
			err = errors.Join(err, &TransactionError{Op: "rollback", ID: t.id, Err: rerr})
		}
	}()
	if err := f(ctx, t); err != nil {
		return err
	}
	if _, err := engine.Exec(ctx, t.db, "RELEASE SAVEPOINT "+name); err != nil {
		return &TransactionError{Op: "commit", ID: t.id, Err: err}
	}
	ok = true
	return nil
}

// Gorm returns gorm's handle for what talkbase has no call for: inside ctx's transaction, or for
// reading outside of one. It keeps to the same connections and error mapping.
func (s *Store) Gorm(ctx context.Context) (*gorm.DB, error) {
	db, err := s.reader(ctx)
	if err != nil {
		return nil, wrap("gorm", err)
	}
	return db.Session(&gorm.Session{Context: ctx}), nil
}

// reader returns where ctx's calls read: its transaction, or the pool.
func (s *Store) reader(ctx context.Context) (*gorm.DB, error) {
	if t := s.carried(ctx); t != nil {
		if t.ended() {
			return nil, &TransactionError{Op: "use", ID: t.id, Err: ErrTxDone}
		}
		return t.db, nil
	}
	return s.eng().Reader(ctx)
}

// snapshot runs f, which only reads, on the database as of one moment.
func (s *Store) snapshot(ctx context.Context, f func(ctx context.Context, db *gorm.DB) error) error {
	if s.carried(ctx) != nil {
		db, err := s.reader(ctx)
		if err != nil {
			return err
		}
		return f(ctx, db)
	}
	tx, err := s.eng().BeginRead(ctx)
	if err != nil {
		return err
	}
	err = f(ctx, tx.DB)
	if rerr := tx.Rollback(); err == nil && rerr != nil && !errors.Is(rerr, ErrTxDone) {
		err = rerr
	}
	return err
}

// write runs f in ctx's transaction, or in one of its own. Inside a transaction, f needs no
// savepoint if it fails before its first write or writes once; others use WithTransaction.
func (s *Store) write(ctx context.Context, op string, f func(ctx context.Context, db *gorm.DB) error) error {
	return wrap(op, s.WithTransaction(ctx, func(ctx context.Context, tx *Tx) error {
		return f(ctx, tx.db)
	}))
}
