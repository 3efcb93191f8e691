package engine

import (
	"context"
	"database/sql"
	"sync"

	"gorm.io/gorm"
)

// How many statements are kept prepared on a pool, and in one transaction.
const (
	maxStatements   = 256
	maxTxStatements = 64
)

// statements keeps what transactions run on a pool prepared from one to the next. gorm's own cache
// would prepare it inside the transaction that runs it first, and database/sql then prepares it anew
// in every other one.
type statements struct {
	db *sql.DB

	mu     sync.Mutex
	ready  map[string]*sql.Stmt
	wanted map[string]bool
}

func newStatements(db *sql.DB) *statements {
	return &statements{db: db, ready: map[string]*sql.Stmt{}, wanted: map[string]bool{}}
}

// get returns a statement if it is prepared. If not, prepare will see to it.
func (c *statements) get(query string) *sql.Stmt {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.ready[query]
	if !ok && len(c.wanted) < maxTxStatements {
		c.wanted[query] = true
	}
	return s
}

// prepare prepares what the transactions before could not: a pool of one has no connection for it
// while one runs. What cannot be prepared runs unprepared, and says why there.
func (c *statements) prepare(ctx context.Context) {
	c.mu.Lock()
	wanted := c.wanted
	if len(wanted) == 0 { // and is filled by others from here on
		c.mu.Unlock()
		return
	}
	c.wanted = map[string]bool{}
	c.mu.Unlock()
	for query := range wanted {
		s, err := c.db.PrepareContext(ctx, query)
		if err != nil {
			continue
		}
		c.put(query, s)
	}
}

func (c *statements) put(query string, s *sql.Stmt) {
	var old []*sql.Stmt
	c.mu.Lock()
	if have, ok := c.ready[query]; ok {
		old = append(old, have)
	}
	for q, have := range c.ready { // any will do: those in use come back
		if len(c.ready) < maxStatements {
			break
		}
		delete(c.ready, q)
		old = append(old, have)
	}
	c.ready[query] = s
	c.mu.Unlock()
	for _, s := range old {
		_ = s.Close()
	}
}

func (c *statements) close() {
	c.mu.Lock()
	ready := c.ready
	c.ready = map[string]*sql.Stmt{}
	c.mu.Unlock()
	for _, s := range ready {
		_ = s.Close()
	}
}

// preparedTx is a transaction that runs prepared statements: those of its pool, and what it runs
// more than once itself. A prepared statement has one set of rows at a time, so only queries whose rows
// are read at once are run this way; gorm's and other's run as they are.
type preparedTx struct {
	*sql.Tx
	pool *statements

	mu  sync.Mutex
	own map[string]*txStatement
}

// txStatement is a statement in one transaction.
type txStatement struct {
	stmt *sql.Stmt // nil after the first run
	busy bool
}

func newPreparedTx(tx *sql.Tx, pool *statements) *preparedTx {
	return &preparedTx{Tx: tx, pool: pool, own: map[string]*txStatement{}}
}

var (
	_ gorm.Tx             = (*preparedTx)(nil)
	_ gorm.GetDBConnector = (*preparedTx)(nil)
)

// take returns the prepared statement for the caller alone, or nil to run the text as it is.
func (t *preparedTx) take(ctx context.Context, query string) *txStatement {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, seen := t.own[query]
	if !seen {
		if len(t.own) >= maxTxStatements {
			return nil
		}
		s = &txStatement{}
		t.own[query] = s
	}
	if s.stmt == nil {
		// A statement whose preparation was cancelled would stay so.
		ctx = context.WithoutCancel(ctx)
		if shared := t.pool.get(query); shared != nil {
			s.stmt = t.StmtContext(ctx, shared)
		} else if seen {
			s.stmt, _ = t.PrepareContext(ctx, query)
		}
	}
	if s.stmt == nil || s.busy {
		return nil
	}
	s.busy = true
	return s
}

func (t *preparedTx) give(s *txStatement) {
	t.mu.Lock()
	s.busy = false
	t.mu.Unlock()
}

// ExecContext runs a statement without rows.
func (t *preparedTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s := t.take(ctx, query)
	if s == nil {
		return t.Tx.ExecContext(ctx, query, args...)
	}
	defer t.give(s)
	return s.stmt.ExecContext(ctx, args...)
}

// query runs a statement whose rows the caller closes at once; then it calls done.
func (t *preparedTx) query(ctx context.Context, query string, args ...any) (rows *sql.Rows, done func(), err error) {
	s := t.take(ctx, query)
	if s == nil {
		rows, err = t.QueryContext(ctx, query, args...)
		return rows, func() {}, err
	}
	rows, err = s.stmt.QueryContext(ctx, args...)
	return rows, func() { t.give(s) }, err
}

// GetDBConn returns the pool, as gorm asks of what stands in for an *sql.Tx.
func (t *preparedTx) GetDBConn() (*sql.DB, error) { return t.pool.db, nil }

// SQLTx returns the transaction of database/sql that a gorm handle runs in.
func SQLTx(db *gorm.DB) (*sql.Tx, bool) {
	if db == nil || db.Statement == nil {
		return nil, false
	}
	return sqlTx(db.Statement.ConnPool)
}

func sqlTx(pool any) (*sql.Tx, bool) {
	switch p := pool.(type) {
	case *sql.Tx:
		return p, p != nil
	case *preparedTx:
		return p.Tx, true
	case *recorder:
		return sqlTx(p.ConnPool)
	case *gorm.PreparedStmtTX:
		return sqlTx(p.Tx)
	}
	return nil, false
}
