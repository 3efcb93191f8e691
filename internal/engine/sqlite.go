package engine

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	modernc "modernc.org/sqlite"

	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
)

// sqliteHeader is how every SQLite file begins.
const sqliteHeader = "SQLite format 3\x00"

// takeWriter makes a deferred transaction a writing one: it changes no row and needs the lock.
// A host's own pool may begin its transactions deferred, and a deferred transaction that reads
// before it writes fails at once when another writer came in between.
const takeWriter = "DELETE FROM talkbase_meta WHERE 0"

type sqliteEngine struct {
	read, write       *gorm.DB
	readSQL, writeSQL *sql.DB
	turns, readTurns  *turns
	// What transactions run stays prepared in these.
	writeStmts, readStmts *statements
	path                  string
	first                 string
	owned                 bool
	noVectors             bool
	sketches              *sketches
	log                   *slog.Logger
	observer              *Observer
	unwatch               func()
	tempDir               string
	closing               sync.Once
	closeErr              error
}

func openSQLiteFile(ctx context.Context, o Options, t Target) (Engine, error) {
	o.cannotSet(ctx, "SQLite has no schemas", "Schema")
	o.cannotSet(ctx, "SQLite needs no vector index", "Vector.Index")
	e := &sqliteEngine{owned: true, path: t.Path, noVectors: o.NoVectors, sketches: newSketches(o.SketchCache, o.Memory), log: o.Logger, observer: o.Observer}
	if t.Path == "" {
		dir, err := os.MkdirTemp("", "talkbase-")
		if err != nil {
			return nil, fmt.Errorf("a folder for the database in memory: %w", err)
		}
		e.tempDir, e.path = dir, filepath.Join(dir, "memory.db")
	}
	if err := e.open(ctx, o); err != nil {
		_ = e.Close()
		return nil, err
	}
	return e, nil
}

func (e *sqliteEngine) open(ctx context.Context, o Options) error {
	if err := lookAtFile(ctx, e.path, o.Logger); err != nil {
		return err
	}
	sync := strings.ToUpper(o.Synchronous)
	if sync == "" {
		sync = "FULL"
	}
	busy := o.BusyTimeout.Milliseconds()
	common := []string{
		fmt.Sprintf("busy_timeout(%d)", busy), "journal_mode(WAL)",
		"synchronous(" + sync + ")", "foreign_keys(1)",
		"recursive_triggers(1)", // REPLACE fires the triggers of the rows it takes the place of
	}
	if o.SharedBuffers > 0 {
		common = append(common, fmt.Sprintf("mmap_size(%d)", o.SharedBuffers))
	}
	var err error
	e.writeSQL, err = sql.Open("sqlite", sqliteURI(e.path, "_txlock=immediate", append(common[:len(common):len(common)], cacheSize(o.MaintenanceWorkMem)...)))
	if err != nil {
		return classifySQLite(err)
	}
	e.writeSQL.SetMaxOpenConns(1)
	// The writer goes first: a reader cannot create the file.
	if err := retryBusy(ctx, o.BusyTimeout, func() error { return e.writeSQL.PingContext(ctx) }); err != nil {
		return Damaged(e.path, classifySQLite(err))
	}
	if err := probe(ctx, e.writeSQL); err != nil {
		return Damaged(e.path, classifySQLite(err))
	}
	readers := o.MaxConns
	if readers <= 0 {
		readers = max(4, runtime.GOMAXPROCS(0))
	}
	// The readers need no journal mode and may not set one.
	readPragmas := append([]string{common[0], "foreign_keys(1)", "query_only(1)"}, common[4:]...)
	e.readSQL, err = sql.Open("sqlite", sqliteURI(e.path, "mode=ro", append(readPragmas, cacheSize(o.WorkMem)...)))
	if err != nil {
		return classifySQLite(err)
	}
	e.readSQL.SetMaxOpenConns(readers)
	e.readSQL.SetMaxIdleConns(readers)
	e.turns, e.readTurns = newTurns(1, o.BusyTimeout), newTurns(readers, o.BusyTimeout)
	return e.wrap(o, e.readSQL)
}

// cacheSize bounds a connection's page cache, which is also what SQLite sorts in; PRAGMA
// cache_size takes KiB as a negative number.
func cacheSize(bytes int64) []string {
	if bytes <= 0 {
		return nil
	}
	return []string{fmt.Sprintf("cache_size(-%d)", max(bytes/1024, 1))}
}

func sqliteURI(path, param string, pragmas []string) string {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path)}
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path // a drive letter
	}
	q := []string{param, "_time_format=sqlite"}
	for _, p := range pragmas {
		q = append(q, "_pragma="+p)
	}
	u.RawQuery = strings.Join(q, "&")
	return u.String()
}

// openSQLitePool runs on a host's own pool in both roles.
func openSQLitePool(ctx context.Context, o Options, pool *sql.DB) (Engine, error) {
	o.cannotSet(ctx, "SQLite has no schemas", "Schema")
	o.cannotSet(ctx, "the host's pool makes its own connections", perConnection...)
	e := &sqliteEngine{readSQL: pool, writeSQL: pool, first: takeWriter, noVectors: o.NoVectors, sketches: newSketches(o.SketchCache, o.Memory), log: o.Logger, observer: o.Observer}
	e.turns, e.readTurns = newTurns(1, o.BusyTimeout), newTurns(1<<16, o.BusyTimeout)
	var on int
	if err := pool.QueryRowContext(ctx, "PRAGMA foreign_keys").Scan(&on); err != nil {
		return nil, classifySQLite(err)
	}
	if on != 1 {
		return nil, Invalidf("foreign keys are off on this pool, so deleting would leave orphans: open it with _pragma=foreign_keys(1) (modernc) or _foreign_keys=on (mattn)")
	}
	var fts int
	if err := pool.QueryRowContext(ctx, "SELECT count(*) FROM pragma_module_list WHERE name = 'fts5'").Scan(&fts); err != nil {
		return nil, classifySQLite(err)
	}
	if fts == 0 {
		return nil, fmt.Errorf("%w: this SQLite driver has no FTS5: build with -tags sqlite_fts5 (mattn), or use modernc.org/sqlite", ErrUnsupported)
	}
	if err := pool.QueryRowContext(ctx, "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&e.path); err != nil {
		return nil, classifySQLite(err)
	}
	if pool.Stats().MaxOpenConnections == 1 {
		o.Logger.WarnContext(ctx, "the pool brought for SQLite has one connection: reading inside a transaction with the outer ctx will wait for it")
	}
	return e, e.wrap(o, pool)
}

func (e *sqliteEngine) wrap(o Options, read *sql.DB) error {
	cfg := func() *gorm.Config {
		return &gorm.Config{
			SkipDefaultTransaction: true, TranslateError: true, Logger: newGormLogger(o),
			PrepareStmt: true, PrepareStmtMaxSize: 256, DisableAutomaticPing: true,
			// This very duration is gorm's "never", without the goroutine that nothing would end.
			PrepareStmtTTL: 10 * 365 * 24 * time.Hour,
		}
	}
	e.observer.speak(SQLite)
	pools := map[string]*sql.DB{"writer": e.writeSQL, "readers": read}
	if read == e.writeSQL {
		pools = map[string]*sql.DB{"host": read}
	}
	var err error
	if e.unwatch, err = o.Observer.watch(pools, o.Memory); err != nil {
		return err
	}
	if e.write, err = gorm.Open(sqliteDialector{&sqlite.Dialector{DriverName: "sqlite", Conn: e.writeSQL}}, cfg()); err != nil {
		return classifySQLite(err)
	}
	e.writeStmts, e.readStmts = newStatements(e.writeSQL), newStatements(read)
	e.read = e.write
	if read != e.writeSQL {
		if e.read, err = gorm.Open(sqliteDialector{&sqlite.Dialector{DriverName: "sqlite", Conn: read}}, cfg()); err != nil {
			return classifySQLite(err)
		}
	}
	return nil
}

// retryBusy repeats f while another process holds the file, which busy_timeout does not cover
// when the journal mode changes.
func retryBusy(ctx context.Context, limit time.Duration, f func() error) error {
	deadline := time.Now().Add(limit)
	wait := 5 * time.Millisecond
	for {
		err := f()
		if err == nil || !errors.Is(classifySQLite(err), ErrBusy) || time.Now().After(deadline) {
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return Ended(ctx)
		case <-t.C:
		}
		wait = min(2*wait, 200*time.Millisecond)
	}
}

func (e *sqliteEngine) Name() string { return SQLite }

func (e *sqliteEngine) Reader(ctx context.Context) (*gorm.DB, error) {
	return e.read.WithContext(ctx), nil
}

func (e *sqliteEngine) SQL() *sql.DB { return e.writeSQL }

func (e *sqliteEngine) Begin(ctx context.Context) (*Tx, error) {
	return begin(ctx, pool{e.writeSQL, e.write, classifySQLite, e.observer, e.writeStmts}, e.turns, nil, e.first)
}

// BeginRead begins deferred, also where a host's pool would have transactions take the writer's lock: the
// first statement takes the snapshot.
func (e *sqliteEngine) BeginRead(ctx context.Context) (*Tx, error) {
	return begin(ctx, pool{e.readSQL, e.read, classifySQLite, e.observer, e.readStmts}, e.readTurns, &sql.TxOptions{ReadOnly: true}, "")
}

// frugalCache is the page cache of a transaction that goes through much data, in KiB. modernc's
// allocator takes nearly twice that for it: a page with its header is a little more than 4,096 bytes, and
// the next larger block has 8,192.
const frugalCache = 4 << 10

// Frugal bounds the page cache, which otherwise keeps what it has seen up to the configured size.
func (e *sqliteEngine) Frugal(ctx context.Context, tx *gorm.DB) (over func(), err error) {
	conn, ok := SQLTx(tx)
	if !ok || !e.owned {
		return func() {}, nil
	}
	size, err := One(ctx, tx, Value[int64], "PRAGMA cache_size")
	if err != nil {
		return nil, err
	}
	// The pragma works when it is compiled: it must not be kept prepared.
	set := func(ctx context.Context, size int64) error {
		_, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA cache_size = %d", size))
		return classifySQLite(err)
	}
	if err := set(ctx, -frugalCache); err != nil {
		return nil, err
	}
	return func() { _ = set(context.WithoutCancel(ctx), size) }, nil
}

func (e *sqliteEngine) Gorm(ctx context.Context, tx *sql.Tx) (*gorm.DB, error) {
	return withPool(ctx, e.write, tx, nil, nil), nil
}

func (e *sqliteEngine) Vectors() error {
	if e.noVectors {
		return fmt.Errorf("%w: vectors are disabled by the configuration", ErrUnsupported)
	}
	return nil
}

func (e *sqliteEngine) EnableVectors(context.Context, string) error { return nil }

func (e *sqliteEngine) LockSuffix() string { return "" }

func (e *sqliteEngine) Goose() (Migrations, error) {
	var opts []goose.ProviderOption
	if e.path != "" {
		opts = append(opts, goose.WithSessionLocker(&siblingLock{path: e.path + ".schema-lock"}))
	}
	return Migrations{goose.DialectSQLite3, opts, "sqlite"}, nil
}

// siblingLock keeps two processes from changing one file's schema at once. It holds an exclusive
// transaction on a small database beside it: on the file itself it would block the change.
type siblingLock struct {
	path string
	mu   sync.Mutex // held from lock to unlock, which goose does not keep apart from another's lock
	db   *sql.DB
	tx   *sql.Conn
}

var _ lock.SessionLocker = (*siblingLock)(nil)

func (l *siblingLock) SessionLock(ctx context.Context, _ *sql.Conn) error {
	for attempt := 1; ; attempt++ {
		db, conn, err := l.take(ctx)
		if err == nil {
			l.mu.Lock()
			l.db, l.tx = db, conn
			return nil
		}
		// The holder removes the file at the end, and whoever is opening it just then cannot read it.
		if err = classifySQLite(err); attempt == 100 || !errors.Is(err, ErrUnavailable) {
			return fmt.Errorf("waiting for another program to finish changing the schema: %w", err)
		}
	}
}

func (l *siblingLock) take(ctx context.Context) (*sql.DB, *sql.Conn, error) {
	db, err := sql.Open("sqlite", sqliteURI(l.path, "_txlock=exclusive", []string{"busy_timeout(30000)", "journal_mode(DELETE)"}))
	if err != nil {
		return nil, nil, err
	}
	conn, err := db.Conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, "BEGIN EXCLUSIVE")
	}
	if err != nil {
		if conn != nil {
			_ = conn.Close()
		}
		_ = db.Close()
		return nil, nil, err
	}
	return db, conn, nil
}

func (l *siblingLock) SessionUnlock(ctx context.Context, _ *sql.Conn) error {
	defer l.mu.Unlock()
	// Whoever waits for the lock finds the schema changed, also when it holds a file that has no name
	// any more.
	removed := os.Remove(l.path)
	_, err := l.tx.ExecContext(ctx, "ROLLBACK")
	if cerr := l.tx.Close(); err == nil {
		err = cerr
	}
	if cerr := l.db.Close(); err == nil {
		err = cerr
	}
	if removed != nil { // where an open file cannot be removed
		_ = os.Remove(l.path)
	}
	return classifySQLite(err)
}

func (e *sqliteEngine) ReserveIDs(ctx context.Context, tx *gorm.DB, table, _ string, n int) ([]int64, error) {
	last, err := One(ctx, tx, Value[int64], "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0)", table)
	if err != nil {
		return nil, err
	}
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = last + 1 + int64(i)
	}
	return ids, nil
}

// rowsPerStatement are the sizes of a bulk insert's statements, the largest that fits first. A
// statement that may fail half-way keeps the pages it changes in a journal, so that many rows at once
// are faster, and few different statements stay prepared.
var rowsPerStatement = []int{125, 25, 1}

// maxBound bounds the text that a statement of more than one row binds at once.
const maxBound = 8 << 20

// AnyOf hands the keys over as JSON: of a list of placeholders each number would be another statement.
func (e *sqliteEngine) AnyOf(column string, keys []string) (where string, arg any, err error) {
	if err := checkKeys(keys); err != nil {
		return "", nil, err
	}
	list, err := json.Marshal(keys)
	return column + " IN (SELECT value FROM json_each(?))", string(list), err
}

func (e *sqliteEngine) BulkInsert(ctx context.Context, tx *gorm.DB, table string, columns []string, rows [][]any) error {
	return insertRows(ctx, tx, table, columns, rows, rowsPerStatement, "")
}

// insertRows inserts rows with statements of the given sizes, the last of which is 1.
func insertRows(ctx context.Context, tx *gorm.DB, table string, columns []string, rows [][]any, sizes []int, suffix string) error {
	one := "(?" + strings.Repeat(",?", len(columns)-1) + ")"
	head := "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES "
	queries := make([]string, len(sizes))
	var args []any
	for len(rows) > 0 {
		i := slices.IndexFunc(sizes, func(n int) bool { return n == 1 || n <= len(rows) && boundBytes(rows[:n]) <= maxBound })
		n := sizes[i]
		if queries[i] == "" {
			queries[i] = head + one + strings.Repeat(","+one, n-1) + suffix
		}
		args = args[:0]
		for _, r := range rows[:n] {
			args = append(args, r...)
		}
		if _, err := Exec(ctx, tx, queries[i], args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func boundBytes(rows [][]any) (n int) {
	for _, r := range rows {
		for _, v := range r {
			switch v := v.(type) {
			case string:
				n += len(v)
			case []byte:
				n += len(v)
			}
		}
	}
	return n
}

// UpsertVectors inserts new vectors a row at a time: a row without triggers and without a conflict
// to solve needs no statement journal, which costs more than the calls that several rows at once save.
func (e *sqliteEngine) UpsertVectors(ctx context.Context, tx *gorm.DB, rows []models.KnowledgeVector) error {
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	where, list, err := e.AnyOf("id", ids)
	if err != nil {
		return err
	}
	there, err := Collect(ctx, tx, Value[string], "SELECT id FROM knowledge_vectors WHERE "+where, list)
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(there))
	for _, id := range there {
		known[id] = true
	}
	var fresh, replaced [][]any
	for i, values := range vectorRows(rows, e) {
		if id := ids[i]; known[id] {
			replaced = append(replaced, values)
		} else {
			fresh = append(fresh, values)
			known[id] = true // a repeated id replaces the first
		}
	}
	if err := insertRows(ctx, tx, "knowledge_vectors", vectorColumns, fresh, []int{1}, ""); err != nil {
		return err
	}
	if err := insertRows(ctx, tx, "knowledge_vectors", vectorColumns, replaced, rowsPerStatement, vectorConflict); err != nil {
		return err
	}
	return e.sketches.foldAll(ctx, tx, rows)
}

// vectorConflict replaces a vector whose id is known.
const vectorConflict = ` ON CONFLICT (id) DO UPDATE SET base_id = excluded.base_id, file_id = excluded.file_id,
	chunk_id = excluded.chunk_id, embedding = excluded.embedding, created_at = excluded.created_at`

var vectorColumns = []string{"id", "base_id", "file_id", "chunk_id", "embedding", "created_at"}

func vectorRows(vs []models.KnowledgeVector, e Engine) [][]any {
	out := make([][]any, len(vs))
	for i := range vs {
		v := &vs[i]
		out[i] = []any{v.ID, v.BaseID, v.FileID, v.ChunkID, e.BindVector(v.Embedding), v.CreatedAt}
	}
	return out
}

func (e *sqliteEngine) VectorBytes(column string) string { return column }

func (e *sqliteEngine) VectorOf(b []byte) (models.Vector, error) {
	var v models.Vector
	if err := v.Scan(b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return v, nil
}

func (e *sqliteEngine) BindVector(v []float32) any { return models.Vector(v).Blob() }

func (e *sqliteEngine) AddTerms(ctx context.Context, tx *gorm.DB, table string, docs []TermDoc) error {
	for _, d := range docs {
		if _, err := Exec(ctx, tx, "INSERT INTO "+table+" (rowid, terms) VALUES (?, ?)", d.ID, d.Doc.FTS5()); err != nil {
			return err
		}
	}
	return nil
}

// DeleteTerms deletes all in between, because nobody else is writing.
func (e *sqliteEngine) DeleteTerms(ctx context.Context, tx *gorm.DB, table string, ids []int64) error {
	list, err := json.Marshal(ids)
	if err == nil {
		_, err = Exec(ctx, tx, "DELETE FROM "+table+" WHERE rowid IN (SELECT value FROM json_each(?))", string(list))
	}
	return err
}

func (e *sqliteEngine) MatchTerms(table string, q text.Query) TermMatch {
	return TermMatch{
		Key: "rowid", Where: table + " MATCH ?", Args: []any{q.FTS5()},
		Rank: "bm25(" + table + ")",
	}
}

// VectorIndex describes the sketches of a base.
func (e *sqliteEngine) VectorIndex(base models.KnowledgeBase, _ string, rows int64) (IndexSpec, string) {
	if rows < e.sketches.tuning.foldAt {
		return IndexSpec{}, ""
	}
	return IndexSpec{Name: "sketches of " + base.ID, Method: sketchMethod, Body: base.ID}, ""
}

func (e *sqliteEngine) CreateIndex(ctx context.Context, ix IndexSpec) (bool, error) {
	if ix.Method == sketchMethod {
		return e.buildSketches(ctx, ix.Body)
	}
	var n int
	err := e.readSQL.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND name = ?", ix.Name).Scan(&n)
	if err != nil || n > 0 {
		return false, classifySQLite(err)
	}
	start, query := time.Now(), "CREATE INDEX IF NOT EXISTS "+ix.Name+" ON "+ix.Table+" "+ix.Body
	err = e.maintain(ctx, query)
	e.observer.statement(ctx, start, query, -1, err)
	return err == nil, err
}

// Snapshot has a connection of its own: the writers' own would keep them waiting, and the readers' may
// not write at all. A host's pool it shares: its driver may be another, and the locks of two libraries
// on one file in one process undo each other.
func (e *sqliteEngine) Snapshot(ctx context.Context, path string) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return generic(err)
	}
	defer func() {
		if err = errors.Join(err, generic(f.Close())); err != nil {
			_ = os.Remove(path)
		}
	}()
	from := e.writeSQL
	if e.owned {
		from, err = sql.Open("sqlite", sqliteURI(e.path, "mode=ro", []string{"busy_timeout(5000)"}))
		if err != nil {
			return classifySQLite(err)
		}
		defer func() { err = errors.Join(err, classifySQLite(from.Close())) }()
	}
	start := time.Now()
	_, err = from.ExecContext(ctx, "VACUUM INTO ?", path)
	err = withEnd(ctx, classifySQLite(err))
	e.observer.statement(ctx, start, "VACUUM INTO ?", -1, err)
	if err != nil {
		return err
	}
	return generic(f.Sync())
}

func (e *sqliteEngine) State(ctx context.Context) (State, error) {
	s := State{Empty: true, Path: e.path}
	if e.tempDir != "" {
		s.Path = ""
	}
	return s, classifySQLite(s.collect(ctx, e.readSQL, sqliteTables))
}

// collect reads the names of tables, which the query returns.
func (s *State) collect(ctx context.Context, db *sql.DB, query string) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		s.Empty = false
		switch {
		case name == VersionTable:
			s.Versioned = true
		case isOurTable(name) && s.Foreign == "":
			s.Foreign = name
		}
	}
	if s.Versioned {
		s.Foreign = ""
	}
	return rows.Err()
}

func (e *sqliteEngine) DropAll(ctx context.Context) error {
	for _, t := range dropOrder() {
		if _, err := e.writeSQL.ExecContext(ctx, "DROP TABLE IF EXISTS "+t); err != nil {
			return classifySQLite(err)
		}
	}
	return nil
}

func (e *sqliteEngine) Close() error {
	e.closing.Do(func() {
		if e.unwatch != nil {
			e.unwatch()
		}
		e.sketches.close()
		for _, s := range []*statements{e.readStmts, e.writeStmts} {
			if s != nil {
				s.close()
			}
		}
		if !e.owned {
			return
		}
		var errs []error
		for _, p := range []*sql.DB{e.readSQL, e.writeSQL} { // the writer last: it checkpoints the WAL
			if p != nil {
				errs = append(errs, classifySQLite(p.Close()))
			}
		}
		if e.tempDir != "" {
			errs = append(errs, os.RemoveAll(e.tempDir))
		}
		e.closeErr = errors.Join(errs...)
	})
	return e.closeErr
}

// engineOfDriver tells the engine from the driver's type; "" when it is not known.
func engineOfDriver(db *sql.DB) string {
	switch d := db.Driver().(type) {
	case *modernc.Driver:
		return SQLite
	default:
		name := fmt.Sprintf("%T", d)
		switch {
		case strings.Contains(name, "sqlite"):
			return SQLite
		case strings.HasPrefix(name, "*stdlib."), strings.HasPrefix(name, "*pq."):
			return Postgres
		}
		return ""
	}
}
