package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/migration/duckdb"
)

// GroupMigration compares whole imports of legacy files, with all they promise, with bare copies of the
// same rows, and with pgloader where that is installed.
const GroupMigration = "migration"

// MigrationSizes says how large the legacy files are.
type MigrationSizes struct {
	// Messages are those of a chat.db; 300,000 make about 700 MB.
	Messages int
	// Clean are those of the chat.db that pgloader loads as well; 0 leaves it out.
	Clean int
	// Chunks is how many chunks with vectors of Dimensions a knowledge file has; 0 leaves it out.
	Chunks, Dimensions int
	// Times is how many times as large the files are of which the peak memory is shown as well; 1 or
	// less leaves that out.
	Times int
}

// DefaultMigrationSizes are those the targets are stated for.
var DefaultMigrationSizes = MigrationSizes{Messages: 300_000, Clean: 60_000, Chunks: 50_000, Dimensions: 768, Times: 4}

// The targets of imports: throughputs as multiples of the other side's, and bytes of memory.
const (
	importTarget         = 0.7
	verifiedTarget       = 0.4
	importSQLiteTarget   = 0.6
	importVectorsTarget  = 0.6
	pgloaderTarget       = 3
	pgloaderVerifyTarget = 2
)

// MemoryTarget is how much anonymous memory, in bytes, an import's process may have above its start,
// whatever the size of the file.
const MemoryTarget = 256 << 20

// Phases are the parts of an import that are reported.
var Phases = []migration.Phase{
	migration.PhasePrepare, migration.PhaseBackup, migration.PhaseInitialize, migration.PhaseConversations,
	migration.PhaseKnowledge, migration.PhaseIndex, migration.PhaseText, migration.PhaseValidate,
}

// The shape of a made chat.db.
const (
	legacyPer     = 20
	legacyContent = 900
)

// Imported is one import that ran in a match, or for its memory.
type Imported struct {
	Engine, What string
	// Phases are its parts, Whole all of it.
	Phases map[migration.Phase]time.Duration
	Whole  time.Duration
	// Peak is the most anonymous memory that its process had above its start, in bytes.
	Peak int64
}

// OK reports whether the memory target is reached.
func (i Imported) OK() bool { return i.Peak <= MemoryTarget }

// Imports are the imports that ran.
func (e *Env) Imports() []Imported { return e.imports }

// migrations measures imports on one engine.
type migrations struct {
	env    *Env
	engine string
	sizes  MigrationSizes
}

// Migrate runs the matches of GroupMigration on an engine, and imports the larger files for their memory.
// Each legacy file is made when it is needed and removed after that.
func (e *Env) Migrate(ctx context.Context, engine string, s MigrationSizes, rounds int) ([]Result, error) {
	m := migrations{e, engine, s}
	var out []Result
	for _, match := range []func(context.Context) (Match, error){m.chats, m.pgloader, m.knowledge} {
		next, err := match(ctx)
		if err != nil || len(next.Entrants) == 0 {
			if err != nil {
				return nil, err
			}
			continue
		}
		results, err := Play(ctx, next, rounds)
		if err != nil {
			return nil, err
		}
		out = append(out, results...)
	}
	return out, m.larger(ctx)
}

// chatFile makes a chat.db. The function it returns removes it.
func (m migrations) chatFile(ctx context.Context, messages int) (string, func(context.Context) error, error) {
	dir, err := os.MkdirTemp(m.env.dir, "chat-")
	if err != nil {
		return "", nil, err
	}
	path := filepath.Join(dir, "chat.db")
	_, err = fixtures.LegacyChat{
		Version: 7, Seed: 1, Conversations: messages / legacyPer, MessagesPer: legacyPer, ContentBytes: legacyContent,
	}.Write(ctx, path)
	return path, m.made(path, dir, count(messages)+" messages"), err
}

// knowledgeFile makes a knowledge file.
func (m migrations) knowledgeFile(ctx context.Context, chunks int) (string, func(context.Context) error, error) {
	dir, err := os.MkdirTemp(m.env.dir, "knowledge-")
	if err != nil {
		return "", nil, err
	}
	path := filepath.Join(dir, "base")
	const perFile = 100
	_, err = duckdb.LegacyKnowledge{Seed: 1, Dimensions: m.sizes.Dimensions, Files: max(chunks/perFile, 1), ChunksPerFile: min(chunks, perFile)}.Write(ctx, path)
	return path, m.made(path, dir, count(chunks)+" chunks"), err
}

func (m migrations) made(path, dir, what string) func(context.Context) error {
	if info, err := os.Stat(path); err == nil {
		m.env.load(fmt.Sprintf("%s: a legacy file of %s, %d MB, was made.", m.engine, what, info.Size()/1e6))
	}
	return func(context.Context) error { return os.RemoveAll(dir) }
}

// target is an empty database to import into, or to copy to, and how it is made before each turn.
func (m migrations) target(name string) (t task, prepare func(context.Context) error) {
	d := &Database{Engine: m.engine, path: filepath.Join(m.env.dir, name+".db"), schema: "talkbase_bench_" + name}
	t = task{Target: d.path, Profile: m.env.Profile}
	if m.engine == Postgres {
		t.Target, t.Schema = m.env.DSN, d.schema
	}
	return t, func(ctx context.Context) error {
		if err := m.clear(ctx, d); err != nil {
			return err
		}
		db, err := m.env.connect(ctx, d, "")
		if err != nil {
			return err
		}
		return db.Close()
	}
}

// clear removes what the turn before left.
func (m migrations) clear(ctx context.Context, d *Database) error {
	if m.engine == Postgres {
		return m.env.dropSchema(ctx, d.schema)
	}
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(d.path + suffix); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// importer is an entrant that imports.
func (m migrations) importer(source, what string, verify bool) Entrant {
	t, prepare := m.target("imported")
	t.Do, t.Source, t.Verify = doImport, source, verify
	label := "import"
	if verify {
		label = "import, verified"
	}
	return Entrant{Label: label, Prepare: prepare, Run: func(ctx context.Context) (Lap, error) {
		var err error
		if t.Backup, err = os.MkdirTemp(m.env.dir, "backup-"); err != nil {
			return Lap{}, err
		}
		out, err := runChild(ctx, t)
		if err = errors.Join(err, os.RemoveAll(t.Backup)); err != nil {
			return Lap{}, err
		}
		i := Imported{Engine: m.engine, What: what, Phases: out.Phases, Whole: out.Took, Peak: out.Peak}
		if verify {
			i.What += ", verified"
		}
		m.env.imports = append(m.env.imports, i)
		return Lap{Whole: out.Took, Counted: out.counted(), Part: out.Vectors}, nil
	}}
}

// copier is an entrant that copies by hand, into tables without keys and indexes or into talkbase's own.
func (m migrations) copier(do, source string, keyed bool) Entrant {
	t, prepare := m.target("copied")
	t.Do, t.Source, t.Keyed = do, source, keyed
	label := map[string]string{SQLite: "prepared inserts", Postgres: "COPY"}[m.engine]
	if keyed {
		label += ", same tables"
	} else {
		label += ", bare tables"
	}
	return Entrant{Label: label, Prepare: prepare, Run: func(ctx context.Context) (Lap, error) {
		out, err := runChild(ctx, t)
		return Lap{Whole: out.Took, Counted: out.Took, Part: out.Vectors}, err
	}}
}

// chats compares imports of a chat.db with bare copies.
func (m migrations) chats(ctx context.Context) (Match, error) {
	if m.sizes.Messages == 0 {
		return Match{}, nil
	}
	source, remove, err := m.chatFile(ctx, m.sizes.Messages)
	if err != nil {
		return Match{}, err
	}
	what := count(m.sizes.Messages) + " messages"
	match := Match{
		Group: GroupMigration, Engine: m.engine, Rows: m.sizes.Messages, End: remove,
		Entrants: []Entrant{
			m.importer(source, what, false), m.importer(source, what, true),
			m.copier(doCopyChat, source, false), m.copier(doCopyChat, source, true),
		},
	}
	least, verified := importTarget, verifiedTarget
	if m.engine == SQLite {
		least, verified = importSQLiteTarget, 0
	}
	for _, against := range []int{3, 2} {
		match.Pairs = append(match.Pairs,
			Pair{Name: what, A: 0, B: against, Least: least},
			Pair{Name: what + ", verified", A: 1, B: against, Least: verified},
		)
		least, verified = 0, 0
	}
	match.Pairs = append(match.Pairs, Pair{Name: what + ", verified, with backup and text index", A: 1, B: 2, TimeA: Whole, TimeB: Whole})
	return match, nil
}

// pgloader compares imports with pgloader.
func (m migrations) pgloader(ctx context.Context) (Match, error) {
	program, err := exec.LookPath("pgloader")
	if m.engine != Postgres || m.sizes.Clean == 0 || err != nil {
		if m.engine == Postgres && err != nil {
			m.env.load("pgloader is not installed and was left out.")
		}
		return Match{}, nil
	}
	source, remove, err := m.chatFile(ctx, m.sizes.Clean)
	if err != nil {
		return Match{}, err
	}
	what := count(m.sizes.Clean) + " messages"
	const database = "talkbase_bench_pgloader"
	cfg, err := pgx.ParseConfig(m.env.DSN)
	if err != nil {
		return Match{}, err
	}
	url := fmt.Sprintf("postgresql://%s:%s@%s:%d/%s", cfg.User, cfg.Password, cfg.Host, cfg.Port, database)
	drop := func(ctx context.Context) error {
		return m.env.exec(ctx, "DROP DATABASE IF EXISTS "+database)
	}
	other := Entrant{
		Label: "pgloader",
		Prepare: func(ctx context.Context) error {
			if err := drop(ctx); err != nil {
				return err
			}
			return m.env.exec(ctx, "CREATE DATABASE "+database)
		},
		Run: func(ctx context.Context) (Lap, error) {
			start := time.Now()
			cmd := exec.CommandContext(ctx, program, "--quiet", source, url)
			cmd.Dir = filepath.Dir(source)
			said, err := cmd.CombinedOutput()
			took := time.Since(start)
			if err != nil {
				return Lap{}, fmt.Errorf("%w\n%s", err, said)
			}
			err = m.loaded(ctx, cfg, database)
			return Lap{Whole: took, Counted: took}, err
		},
	}
	return Match{
		Group: GroupMigration, Engine: m.engine, Rows: m.sizes.Clean,
		Entrants: []Entrant{m.importer(source, what, false), m.importer(source, what, true), other},
		Pairs: []Pair{
			{Name: what, A: 0, B: 2, Least: pgloaderTarget},
			{Name: what + ", verified", A: 1, B: 2, Least: pgloaderVerifyTarget},
			{Name: what + ", with backup and text index", A: 0, B: 2, TimeA: Whole, TimeB: Whole},
			{Name: what + ", verified, with backup and text index", A: 1, B: 2, TimeA: Whole, TimeB: Whole},
		},
		End: func(ctx context.Context) error { return errors.Join(remove(ctx), drop(ctx)) },
	}, nil
}

// loaded checks that pgloader loaded every message.
func (m migrations) loaded(ctx context.Context, cfg *pgx.ConnConfig, database string) error {
	cfg = cfg.Copy()
	cfg.Database = database
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var n int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM messages").Scan(&n); err != nil {
		return err
	}
	if want := m.sizes.Clean / legacyPer * legacyPer; n != want {
		return fmt.Errorf("pgloader loaded %d messages of %d", n, want)
	}
	return nil
}

// knowledge compares imports of a knowledge file with a bare copy.
func (m migrations) knowledge(ctx context.Context) (Match, error) {
	if m.sizes.Chunks == 0 {
		return Match{}, nil
	}
	source, remove, err := m.knowledgeFile(ctx, m.sizes.Chunks)
	if err != nil {
		return Match{}, err
	}
	what := fmt.Sprintf("%s chunks and vectors of %d", count(m.sizes.Chunks), m.sizes.Dimensions)
	match := Match{
		Group: GroupMigration, Engine: m.engine, Rows: m.sizes.Chunks, End: remove,
		Entrants: []Entrant{m.importer(source, what, false), m.importer(source, what, true)},
	}
	if m.engine != Postgres {
		match.Pairs = []Pair{{Name: what + ", verified", A: 1, B: 0}}
		return match, nil
	}
	match.Entrants = append(match.Entrants, m.copier(doCopyKnowledge, source, false), m.copier(doCopyKnowledge, source, true))
	least := importVectorsTarget
	for _, against := range []int{3, 2} {
		match.Pairs = append(match.Pairs,
			Pair{Name: what, A: 0, B: against, Least: least},
			Pair{Name: what + ", verified", A: 1, B: against},
			Pair{Name: fmt.Sprintf("the vectors of %d alone", m.sizes.Dimensions), A: 0, B: against, TimeA: Part, TimeB: Part, Least: least},
		)
		least = 0
	}
	return match, nil
}

// larger imports larger files for their memory.
func (m migrations) larger(ctx context.Context) error {
	if m.sizes.Times <= 1 {
		return nil
	}
	for _, kind := range []struct {
		n    int
		what string
		file func(context.Context, int) (string, func(context.Context) error, error)
	}{
		{m.sizes.Times * m.sizes.Messages, "messages", m.chatFile},
		{m.sizes.Times * m.sizes.Chunks, "chunks", m.knowledgeFile},
	} {
		if kind.n == 0 {
			continue
		}
		source, remove, err := kind.file(ctx, kind.n)
		if err != nil {
			return err
		}
		e := m.importer(source, count(kind.n)+" "+kind.what, true)
		if err = e.Prepare(ctx); err == nil {
			_, err = e.Run(ctx)
		}
		if err := errors.Join(err, remove(ctx)); err != nil {
			return err
		}
	}
	return nil
}
