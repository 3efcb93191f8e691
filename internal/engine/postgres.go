package engine

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pgvector/pgvector-go"
	pgxvec "github.com/pgvector/pgvector-go/pgx"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
)

type postgresEngine struct {
	db      *gorm.DB
	pool    *sql.DB
	turns   *turns
	owned   bool
	wanted  bool // vectors are wanted by the configuration
	log     Options
	mu      sync.RWMutex
	vectors error
	indexes knownIndexes
	// narrow says which filters let so few vectors pass that these are compared one by one.
	narrow  float64
	unwatch func()
	closing sync.Once
	cerr    error
	// running, which tests set, is called before a similarity query runs.
	running func(ctx context.Context, db *gorm.DB, query string, args []any)
}

func openPostgresDSN(ctx context.Context, o Options, dsn string) (Engine, error) {
	o.cannotSet(ctx, "only Postgres' own configuration can set shared_buffers", "SharedBuffers", "MemoryLimit")
	o.cannotSet(ctx, "it is a setting for SQLite", "Synchronous")
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err) // pgx leaves the password out
	}
	set := func(k, v string) {
		if _, given := cfg.RuntimeParams[k]; !given {
			cfg.RuntimeParams[k] = v
		}
	}
	set("application_name", "talkbase")
	set("lock_timeout", strconv.FormatInt(o.BusyTimeout.Milliseconds(), 10))
	if o.WorkMem > 0 {
		set("work_mem", kb(o.WorkMem))
	}
	if o.MaintenanceWorkMem > 0 {
		set("maintenance_work_mem", kb(o.MaintenanceWorkMem))
	}
	if o.Schema != "" {
		if err := prepareSchema(ctx, cfg, o.Schema); err != nil {
			return nil, classifyPostgres(err)
		}
		cfg.RuntimeParams["search_path"] = pgx.Identifier{o.Schema}.Sanitize() + ", public"
	}
	pool := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		// Before CREATE EXTENSION there is nothing to register; the first use after it registers again.
		_ = pgxvec.RegisterTypes(ctx, c)
		return nil
	}))
	conns := o.MaxConns
	if conns <= 0 {
		conns = max(8, 4*runtime.GOMAXPROCS(0))
	}
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	e, err := newPostgres(ctx, o, pool, conns, true)
	if err != nil {
		_ = pool.Close()
		return nil, err
	}
	return e, nil
}

func kb(bytes int64) string { return strconv.FormatInt(max(bytes/1024, 64), 10) + "kB" }

// prepareSchema creates the schema that is to hold everything. Two programs may do so at once.
func prepareSchema(ctx context.Context, cfg *pgx.ConnConfig, schema string) error {
	conn, err := pgx.ConnectConfig(ctx, cfg.Copy())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var there bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)", schema).Scan(&there); err != nil || there {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{schema}.Sanitize())
	if pgCode(err) == "23505" {
		return nil
	}
	return err
}

func openPostgresPool(ctx context.Context, o Options, pool *sql.DB) (Engine, error) {
	if o.Schema != "" {
		return nil, Invalidf("a schema cannot be chosen on a pool the host brings: set search_path on its connections")
	}
	o.cannotSet(ctx, "the host's pool makes its own connections", perConnection...)
	conns := pool.Stats().MaxOpenConnections
	if conns <= 0 {
		conns = 1 << 16
	}
	return newPostgres(ctx, o, pool, conns, false)
}

func newPostgres(ctx context.Context, o Options, pool *sql.DB, conns int, owned bool) (Engine, error) {
	e := &postgresEngine{pool: pool, owned: owned, wanted: !o.NoVectors, log: o, turns: newTurns(conns-1, o.BusyTimeout), narrow: narrowPostgres}
	if err := pool.PingContext(ctx); err != nil {
		return nil, classifyPostgres(err)
	}
	o.Observer.speak(Postgres)
	name := "host"
	if owned {
		name = "postgres"
	}
	var err error
	if e.unwatch, err = o.Observer.watch(map[string]*sql.DB{name: pool}, o.Memory); err != nil {
		return nil, err
	}
	e.db, err = gorm.Open(postgresDialector{postgres.New(postgres.Config{Conn: pool}).(*postgres.Dialector)}, &gorm.Config{
		SkipDefaultTransaction: true, TranslateError: true, Logger: newGormLogger(o), DisableAutomaticPing: true,
	})
	if err != nil {
		e.unwatch()
		return nil, classifyPostgres(err)
	}
	if e.wanted {
		e.vectors = fmt.Errorf("%w: the schema's table of vectors is missing", ErrUnsupported)
	} else {
		e.vectors = fmt.Errorf("%w: vectors are disabled by the configuration", ErrUnsupported)
	}
	return e, nil
}

func (e *postgresEngine) Name() string       { return Postgres }
func (e *postgresEngine) SQL() *sql.DB       { return e.pool }
func (e *postgresEngine) LockSuffix() string { return " FOR UPDATE" }

func (e *postgresEngine) Reader(ctx context.Context) (*gorm.DB, error) {
	return e.db.WithContext(ctx), nil
}

func (e *postgresEngine) Begin(ctx context.Context) (*Tx, error) {
	return begin(ctx, pool{e.pool, e.db, classifyPostgres, e.log.Observer, nil}, e.turns, nil, "")
}

func (e *postgresEngine) BeginRead(ctx context.Context) (*Tx, error) {
	return begin(ctx, pool{e.pool, e.db, classifyPostgres, e.log.Observer, nil}, e.turns, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, "")
}

// Frugal does nothing: the memory is the server's.
func (e *postgresEngine) Frugal(context.Context, *gorm.DB) (over func(), err error) {
	return func() {}, nil
}

func (e *postgresEngine) Gorm(ctx context.Context, tx *sql.Tx) (*gorm.DB, error) {
	return withPool(ctx, e.db, tx, nil, nil), nil
}

func (e *postgresEngine) Vectors() error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.vectors
}

// EnableVectors creates the extension and the table of vectors where that is possible. What is
// not possible is no error: Vectors says why.
func (e *postgresEngine) EnableVectors(ctx context.Context, ddl string) error {
	if !e.wanted {
		return nil
	}
	err := e.enableVectors(ctx, ddl)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.vectors = err
	if err == nil || errors.Is(err, ErrUnsupported) {
		return nil
	}
	return err
}

func (e *postgresEngine) enableVectors(ctx context.Context, ddl string) error {
	var hasType, hasTable, available bool
	err := e.pool.QueryRowContext(ctx, `SELECT to_regtype('vector') IS NOT NULL,
		EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'knowledge_vectors'),
		EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'vector')`).Scan(&hasType, &hasTable, &available)
	if err != nil {
		return classifyPostgres(err)
	}
	switch {
	case hasType && hasTable:
		return nil
	case !hasType && !available:
		return fmt.Errorf("%w: this Postgres has no pgvector: install the extension (0.8 or newer), then open the database again", ErrUnsupported)
	}
	if !hasType {
		_, err := e.pool.ExecContext(ctx, "CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
		switch code := pgCode(err); {
		case code == "23505", code == "42710": // another program created it at this moment
		case err != nil:
			return fmt.Errorf("%w: pgvector is installed but not enabled in this database: run CREATE EXTENSION vector as its owner: %w", ErrUnsupported, err)
		}
	}
	conn, err := e.pool.Conn(ctx)
	if err != nil {
		return classifyPostgres(err)
	}
	defer func() { _ = conn.Close() }()
	// IF NOT EXISTS is not enough when two programs create a table at once.
	if err := (schemaLock{}).SessionLock(ctx, conn); err != nil {
		return err
	}
	defer func() { _ = schemaLock{}.SessionUnlock(context.WithoutCancel(ctx), conn) }()
	// Simple protocol: several statements at once, in one implicit transaction.
	err = conn.Raw(func(dc any) error {
		c, ok := dc.(*stdlib.Conn)
		if !ok {
			_, err := e.pool.ExecContext(ctx, ddl)
			return err
		}
		_, err := c.Conn().PgConn().Exec(ctx, ddl).ReadAll()
		return err
	})
	if pgCode(err) == "42501" {
		return fmt.Errorf("%w: this role may not create the table of vectors: %w", ErrUnsupported, err)
	}
	return classifyPostgres(err)
}

func (e *postgresEngine) Goose() (Migrations, error) {
	return Migrations{goose.DialectPostgres, []goose.ProviderOption{goose.WithSessionLocker(schemaLock{})}, "postgres"}, nil
}

// schemaLock keeps two programs from changing one schema at once. goose's own lock is one for the
// whole database and asks every five seconds.
type schemaLock struct{}

var _ lock.SessionLocker = schemaLock{}

const (
	schemaLockKey  = "hashtextextended('talkbase:' || current_schema(), 0)"
	schemaLockWait = 5 * time.Minute
)

// SessionLock asks again and again: a statement that waits in the database would hold up an index
// that is built concurrently.
func (schemaLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	deadline := time.Now().Add(schemaLockWait)
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
		var locked bool
		err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock("+schemaLockKey+")").Scan(&locked)
		if err != nil || locked {
			return classifyPostgres(err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: waited %s for another program to finish changing the schema", ErrBusy, schemaLockWait)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return Ended(ctx)
		case <-t.C:
		}
	}
}

func (schemaLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock("+schemaLockKey+")")
	return classifyPostgres(err)
}

func (e *postgresEngine) ReserveIDs(ctx context.Context, tx *gorm.DB, table, key string, n int) ([]int64, error) {
	return Collect(ctx, tx, Value[int64], "SELECT nextval(pg_get_serial_sequence(?, ?)) FROM generate_series(1, ?::int) ORDER BY 1", table, key, n)
}

func (e *postgresEngine) AnyOf(column string, keys []string) (where string, arg any, err error) {
	return column + " = ANY(?::text[])", keys, checkKeys(keys)
}

// BulkInsert uses binary COPY on a connection of ours, and plain inserts in a transaction that a
// host began, whose connection cannot be reached.
func (e *postgresEngine) BulkInsert(ctx context.Context, tx *gorm.DB, table string, columns []string, rows [][]any) error {
	done, err := e.copyIn(ctx, tx, table, columns, pgx.CopyFromRows(rows))
	if done || err != nil {
		return err
	}
	return insertRows(ctx, tx, table, columns, rows, rowsPerStatement, "")
}

// copyIn reports done false when there is no pgx connection to copy on.
func (e *postgresEngine) copyIn(ctx context.Context, tx *gorm.DB, table string, columns []string, rows pgx.CopyFromSource) (done bool, err error) {
	conn := connOf(tx)
	if conn == nil {
		return false, nil
	}
	start, n := time.Now(), int64(0)
	err = conn.Raw(func(dc any) (err error) {
		c, ok := dc.(*stdlib.Conn)
		if !ok {
			return nil
		}
		done = true
		if table == "knowledge_vectors" || table == vectorStage {
			if err := registerVectors(ctx, c.Conn()); err != nil {
				return err
			}
		}
		n, err = c.Conn().CopyFrom(ctx, pgx.Identifier{table}, columns, rows)
		return err
	})
	err = withEnd(ctx, classifyPostgres(err))
	if done {
		e.log.Observer.statement(ctx, start, "COPY "+table+" ("+strings.Join(columns, ", ")+") FROM STDIN", n, err)
	}
	return done, err
}

// registerVectors teaches a connection that was opened before the extension existed.
func registerVectors(ctx context.Context, c *pgx.Conn) error {
	if _, ok := c.TypeMap().TypeForName("vector"); ok {
		return nil
	}
	return pgxvec.RegisterTypes(ctx, c)
}

// vectorStage is the temporary table that known vectors are replaced through.
const vectorStage = "talkbase_vector_stage"

// anyVectorKnown looks each id up in the index. As one EXISTS over id = ANY(…) the planner expects to
// find a row at once and scans the table, which for new ids it then does to its end; OFFSET 0 keeps it
// from making the same of this.
const anyVectorKnown = `SELECT EXISTS (SELECT 1 FROM unnest(?::text[]) AS u(id)
	WHERE EXISTS (SELECT 1 FROM knowledge_vectors v WHERE v.id = u.id OFFSET 0))`

func (e *postgresEngine) UpsertVectors(ctx context.Context, tx *gorm.DB, rows []models.KnowledgeVector) error {
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	known, err := One(ctx, tx, Value[bool], anyVectorKnown, ids)
	if err != nil {
		return err
	}
	if connOf(tx) == nil {
		return insertRows(ctx, tx, "knowledge_vectors", vectorColumns, vectorRows(rows, e), rowsPerStatement, vectorConflict)
	}
	if !known {
		if _, err := Exec(ctx, tx, "SAVEPOINT talkbase_copy"); err != nil {
			return err
		}
		done, err := e.copyIn(ctx, tx, "knowledge_vectors", vectorColumns, pgx.CopyFromRows(vectorRows(rows, e)))
		if err == nil && done {
			_, err = Exec(ctx, tx, "RELEASE SAVEPOINT talkbase_copy")
			return err
		}
		// Another program may have inserted one of them meanwhile, or the same id is given twice.
		if _, rerr := Exec(ctx, tx, "ROLLBACK TO SAVEPOINT talkbase_copy"); rerr != nil {
			return errors.Join(err, rerr)
		}
		if err != nil && !errors.Is(err, ErrConflict) {
			return err
		}
	}
	if _, err := Exec(ctx, tx, "CREATE TEMPORARY TABLE IF NOT EXISTS "+vectorStage+` (id text, base_id text, file_id text, chunk_id text, embedding vector, created_at bigint) ON COMMIT DROP`); err != nil {
		return err
	}
	if _, err := Exec(ctx, tx, "TRUNCATE "+vectorStage); err != nil {
		return err
	}
	if done, err := e.copyIn(ctx, tx, vectorStage, vectorColumns, pgx.CopyFromRows(vectorRows(rows, e))); err != nil || !done {
		if err == nil {
			err = insertRows(ctx, tx, "knowledge_vectors", vectorColumns, vectorRows(rows, e), rowsPerStatement, vectorConflict)
		}
		return err
	}
	// The last of a repeated id wins, as it does row by row.
	_, err = Exec(ctx, tx, `INSERT INTO knowledge_vectors (id, base_id, file_id, chunk_id, embedding, created_at)
		SELECT id, base_id, file_id, chunk_id, embedding, created_at FROM `+vectorStage+vectorConflict)
	return err
}

func (e *postgresEngine) VectorBytes(column string) string { return "vector_send(" + column + ")" }

// VectorOf reads what pgvector sends: the dimensions and an unused number, of 2 bytes each, and then the
// elements, all of them big-endian.
func (e *postgresEngine) VectorOf(b []byte) (models.Vector, error) {
	if len(b) < 4 || len(b) != 4+4*int(binary.BigEndian.Uint16(b)) {
		return nil, fmt.Errorf("%w: pgvector sent a vector in %d bytes", ErrCorrupt, len(b))
	}
	out := make(models.Vector, (len(b)-4)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.BigEndian.Uint32(b[4+4*i:]))
	}
	return out, nil
}

func (e *postgresEngine) BindVector(v []float32) any { return pgvector.NewVector(v) }

func (e *postgresEngine) AddTerms(ctx context.Context, tx *gorm.DB, table string, docs []TermDoc) error {
	if len(docs) == 1 {
		_, err := Exec(ctx, tx, "INSERT INTO "+table+" (id, terms) VALUES (?, ?::text::tsvector)", docs[0].ID, docs[0].Doc.TSVector())
		return err
	}
	done, err := e.copyIn(ctx, tx, table, []string{"id", "terms"}, pgx.CopyFromSlice(len(docs), func(i int) ([]any, error) {
		return []any{docs[i].ID, tsvector(docs[i].Doc)}, nil
	}))
	if done || err != nil {
		return err
	}
	ids, terms := make([]int64, len(docs)), make([]string, len(docs))
	for i, d := range docs {
		ids[i], terms[i] = d.ID, d.Doc.TSVector()
	}
	_, err = Exec(ctx, tx, "INSERT INTO "+table+" (id, terms) SELECT a, b::tsvector FROM unnest(?::bigint[], ?::text[]) AS u(a, b)", ids, terms)
	return err
}

// tsvector is a document in the form that COPY sends without anything to parse.
func tsvector(d text.Document) pgtype.TSVector {
	lexemes, positions := d.Size()
	v := pgtype.TSVector{Valid: true, Lexemes: make([]pgtype.TSVectorLexeme, 0, lexemes)}
	all := make([]pgtype.TSVectorPosition, 0, positions)
	d.Lexemes(func(word string, positions []int32) {
		from := len(all)
		for _, p := range positions {
			all = append(all, pgtype.TSVectorPosition{Position: uint16(p)}) //nolint:gosec // Postgres has none greater than 16,383
		}
		v.Lexemes = append(v.Lexemes, pgtype.TSVectorLexeme{Word: word, Positions: all[from:len(all):len(all)]})
	})
	return v
}

// DeleteTerms need not look for rows that are gone: they took their terms along.
func (e *postgresEngine) DeleteTerms(ctx context.Context, tx *gorm.DB, table string, ids []int64) error {
	_, err := Exec(ctx, tx, "DELETE FROM "+table+" WHERE id = ANY (?::bigint[])", ids)
	return err
}

func (e *postgresEngine) MatchTerms(_ string, q text.Query) TermMatch {
	lit := q.TSQuery()
	return TermMatch{
		Key: "id", Where: "t.terms @@ ?::text::tsquery", Args: []any{lit},
		// 1 divides by the logarithm of the document's length, so that long texts do not always win.
		Rank: "-ts_rank(t.terms, ?::text::tsquery, 1)", RankArgs: []any{lit},
	}
}

// CreateIndex builds concurrently, and again where an earlier build was cut off and left an
// invalid index.
func (e *postgresEngine) CreateIndex(ctx context.Context, ix IndexSpec) (bool, error) {
	if ix.Base.ID != "" {
		return e.createVectorIndex(ctx, ix)
	}
	var exists, valid bool
	err := e.pool.QueryRowContext(ctx, `SELECT count(*) > 0, coalesce(bool_and(i.indisvalid), false)
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = current_schema() AND c.relname = $1`, ix.Name).Scan(&exists, &valid)
	if err != nil {
		return false, classifyPostgres(err)
	}
	if valid {
		return false, nil
	}
	if exists {
		if err := e.patiently(ctx, "DROP INDEX CONCURRENTLY IF EXISTS "+ix.Name); err != nil {
			return false, err
		}
	}
	err = e.patiently(ctx, "CREATE INDEX CONCURRENTLY IF NOT EXISTS "+ix.Name+" ON "+ix.Table+" "+ix.Body)
	return err == nil, err
}

// patiently runs a statement that makes or drops an index concurrently.
func (e *postgresEngine) patiently(ctx context.Context, statement string) error {
	return e.patient(ctx, func(p *patient) { p.run(statement) })
}

// patient is a connection whose statements wait for the transactions on a table for as long as they take: an
// index that is made or dropped concurrently waits for all of them, and one that gave up would leave an index
// behind that is of no use. After an error it runs nothing more.
type patient struct {
	ctx  context.Context
	conn *sql.Conn
	log  *Observer
	err  error
}

func (p *patient) run(statement string) {
	if p.err != nil {
		return
	}
	start := time.Now()
	_, err := p.conn.ExecContext(p.ctx, statement)
	p.err = withEnd(p.ctx, classifyPostgres(err))
	p.log.statement(p.ctx, start, statement, -1, p.err)
}

// patient gives f such a connection, and returns the error that it met.
func (e *postgresEngine) patient(ctx context.Context, f func(p *patient)) error {
	conn, err := e.pool.Conn(ctx)
	if err != nil {
		return withEnd(ctx, classifyPostgres(err))
	}
	defer func() { _ = conn.Close() }()
	p := &patient{ctx: ctx, conn: conn, log: e.log.Observer}
	p.run("SET lock_timeout = 0")
	defer func() { _, _ = conn.ExecContext(context.WithoutCancel(ctx), "RESET lock_timeout") }()
	f(p)
	return p.err
}

func (e *postgresEngine) Snapshot(context.Context, string) error {
	return fmt.Errorf("%w: only an SQLite database is a file; talkbase backup and DB.Backup write dumps of either engine", ErrUnsupported)
}

func (e *postgresEngine) State(ctx context.Context) (State, error) {
	s := State{Empty: true, Shared: true}
	err := s.collect(ctx, e.pool, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
	return s, classifyPostgres(err)
}

// ourFunctions are the trigger functions of the schema.
var ourFunctions = []string{
	"talkbase_conversation_title", "talkbase_message_content", "talkbase_chunk_content",
	"talkbase_messages_inserted", "talkbase_messages_deleted", "talkbase_message_moved",
}

func (e *postgresEngine) DropAll(ctx context.Context) error {
	var b strings.Builder
	for _, t := range dropOrder() {
		fmt.Fprintf(&b, "DROP TABLE IF EXISTS %s CASCADE;", t)
	}
	for _, f := range ourFunctions {
		fmt.Fprintf(&b, "DROP FUNCTION IF EXISTS %s() CASCADE;", f)
	}
	for _, stmt := range strings.SplitAfter(b.String(), ";") {
		if stmt == "" {
			continue
		}
		if _, err := e.pool.ExecContext(ctx, stmt); err != nil {
			return classifyPostgres(err)
		}
	}
	return nil
}

func (e *postgresEngine) Close() error {
	e.closing.Do(func() {
		e.unwatch()
		if e.owned {
			e.cerr = classifyPostgres(e.pool.Close())
		}
	})
	return e.cerr
}

func pgCode(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code
	}
	var state interface{ SQLState() string } // lib/pq
	if errors.As(err, &state) {
		return state.SQLState()
	}
	return ""
}

// pgMessage is the server's own line, without what it says of values.
func pgMessage(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Message
	}
	return err.Error()
}

// classifyPostgres maps SQLSTATE (Postgres documentation, appendix A) to the sentinels.
func classifyPostgres(err error) error {
	if err == nil || Code(err) != "DATABASE" {
		return err
	}
	code := pgCode(err)
	switch code {
	case "23503":
		return because(ErrReference, err)
	case "23505", "42P07":
		return because(ErrConflict, err)
	case "40001", "40P01":
		return because(ErrSerialization, err)
	case "55P03", "53300":
		return because(ErrBusy, err)
	case "57014":
		return because(context.Canceled, err)
	case "53100":
		return because(ErrDiskFull, err)
	case "25006":
		return because(ErrReadOnly, err)
	case "42501":
		return because(ErrReadOnly, err)
	case "XX001", "XX002":
		return because(ErrCorrupt, err)
	case "22021", "22P05":
		return because(ErrText, err)
	}
	if len(code) == 5 {
		switch code[:2] {
		case "22", "23", "54":
			return because(ErrInvalid, err)
		case "08", "57", "28", "3D":
			return because(ErrUnavailable, err)
		}
		return generic(err)
	}
	var connErr *pgconn.ConnectError
	var netErr net.Error
	if errors.As(err, &connErr) || errors.As(err, &netErr) || pgconn.SafeToRetry(err) {
		return because(ErrUnavailable, err)
	}
	return generic(err)
}
