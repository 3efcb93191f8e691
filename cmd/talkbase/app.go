package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/repo"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const (
	// envDB names the database where --db is not given.
	envDB = "TALKBASE_DB"
	// defaultDB is a file in the working folder.
	defaultDB = "talkbase.db"
)

// app is one run of the program: where it reads and writes, and the flags every command has.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	db       string
	dbFlag   *pflag.Flag
	schema   string
	migrate  bool
	json     bool
	logLevel *choice

	// running is set when a command's own work begins; an error before that is wrong use.
	running bool
	// answered is set when the JSON document has been printed.
	answered bool
}

// run is the whole program. It returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal ends the work in order; a second one ends the program at once.
	context.AfterFunc(ctx, stop)

	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	a.json = a.json || wantsJSON(args)
	return a.fail(ctx, cmd, err)
}

// wantsJSON finds --json where the flags could not be parsed.
func wantsJSON(args []string) bool {
	for _, arg := range args {
		switch arg {
		case "--json", "--json=true":
			return true
		case "--":
			return false
		}
	}
	return false
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "talkbase",
		Short: "The data layer of an AI chat application, from the command line",
		Long: `talkbase keeps conversations, messages, attachments and knowledge bases with vectors in one
database, an SQLite file or Postgres, and takes over the files of older DeepChat releases.`,
		Example: `  talkbase demo
  talkbase import ~/.config/DeepChat
  talkbase conversations --limit 10
  talkbase search "vector index" --json
  talkbase stats --db postgres://user@localhost/chat`,
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	a.logLevel = oneOf("warn", "error", "warn", "info", "debug")
	p := root.PersistentFlags()
	p.StringVar(&a.db, "db", "", "database: a file, sqlite:///path/file.db or postgres://… (default $"+envDB+", else "+defaultDB+")")
	a.dbFlag = p.Lookup("db")
	p.StringVar(&a.schema, "schema", "", "Postgres schema that holds everything (default: the connection's own)")
	p.BoolVar(&a.migrate, "migrate", false, "bring an older Postgres schema up to date first")
	p.BoolVar(&a.json, "json", false, "print one JSON document, for programs")
	p.Var(a.logLevel, "log-level", "what to log to standard error: "+a.logLevel.list())
	root.Version = buildVersion()
	root.SetHelpCommand(a.helpCommand())
	root.AddCommand(
		a.demoCommand(), a.importCommand(), a.importsCommand(), a.verifyCommand(), a.rollbackCommand(), a.backupCommand(), a.restoreCommand(), a.copyCommand(), a.salvageCommand(),
		a.conversationsCommand(), a.messagesCommand(), a.searchCommand(), a.statsCommand(), a.doctorCommand(), a.explainCommand(), a.optimizeCommand(), a.schemaCommand(),
		a.indexesCommand(), a.benchCommand(), a.reindexCommand(), a.resetCommand(), a.versionCommand(),
	)
	return root
}

// helpCommand is cobra's own, but for that it takes an unknown command as wrong use.
func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [command]", Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, _, err := cmd.Root().Find(args)
			if err != nil {
				return usage(err)
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// work makes a command run f. Whatever goes wrong before is wrong use.
func (a *app) work(cmd *cobra.Command, f func(cmd *cobra.Command, args []string) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.running = true
		return f(cmd, args)
	}
	return cmd
}

// dsn is the database that the flags and the environment name.
func (a *app) dsn() string {
	if a.dbGiven() || a.db != "" { // a command may have a database of its own
		return a.db
	}
	if env := os.Getenv(envDB); env != "" {
		return env
	}
	return defaultDB
}

// dbGiven reports whether --db was given, even as an empty text, which is then an error.
func (a *app) dbGiven() bool { return a.dbFlag.Changed }

// target parses the DSN.
func (a *app) target() (engine.Target, error) {
	t, err := engine.ParseDSN(a.dsn())
	if err != nil {
		return t, usage(err)
	}
	if t.Engine == engine.SQLite && a.schema != "" {
		return t, usagef("--schema is for Postgres; an SQLite file has no schemas")
	}
	return t, nil
}

func (a *app) logger() *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel.value)); err != nil {
		level = slog.LevelWarn // the flag allows no such value
	}
	return slog.New(&plainHandler{w: a.stderr, level: level})
}

func (a *app) config() talkbase.Config {
	return talkbase.Config{DSN: a.dsn(), Schema: a.schema, Migrate: a.migrate, Logger: a.logger()}
}

// open opens the database, creating what is missing.
func (a *app) open(ctx context.Context) (*talkbase.DB, error) {
	t, err := a.target()
	if err != nil {
		return nil, err
	}
	if dir := filepath.Dir(t.Path); t.Path != "" {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return nil, &failure{code: "NO_DATABASE", message: fmt.Sprintf("there is no folder %s to make the database in", dir), hint: "create it first, or name another file with --db"}
		}
	}
	return talkbase.Open(ctx, a.config())
}

// openExisting opens a database that must be there, so that a mistyped name makes neither a file
// nor tables.
func (a *app) openExisting(ctx context.Context) (*talkbase.DB, error) {
	if err := a.mustExist(ctx); err != nil {
		return nil, err
	}
	return a.open(ctx)
}

func (a *app) mustExist(ctx context.Context) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	switch {
	case t.Engine == engine.Postgres:
		return a.mustHaveTables(ctx, t.DSN)
	case t.Path == "": // in memory: empty, as whoever asks for it knows
		return nil
	}
	switch info, err := os.Stat(t.Path); {
	case errors.Is(err, os.ErrNotExist):
		return &failure{
			code: "NO_DATABASE", message: fmt.Sprintf("there is no file %s", t.Path),
			hint: "name another database with --db, or make one: talkbase import PATH for your own chats, talkbase demo for a sample",
		}
	case err == nil && !isRegular(t.Path):
		return &failure{code: "NO_DATABASE", message: fmt.Sprintf("%s is not a file", t.Path), hint: "name a database file with --db"}
	case err == nil && info.Size() == 0:
		return &failure{
			code: "NO_DATABASE", message: fmt.Sprintf("the file %s is empty", t.Path),
			hint: "if it held something, restore a backup: talkbase restore BACKUP --db other.db; if not, delete it, and talkbase import PATH or talkbase demo makes a database",
		}
	}
	return nil
}

func isRegular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// mustHaveTables looks for the schema without creating it. Where that fails, opening says why.
func (a *app) mustHaveTables(ctx context.Context, dsn string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil //nolint:nilerr // talkbase.Open meets the same error and classifies it
	}
	defer func() { _ = conn.Close(ctx) }()
	var there bool
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_tables
		WHERE schemaname = coalesce(nullif($1::text, ''), current_schema()) AND tablename = $2::text)`, a.schema, engine.VersionTable).Scan(&there)
	if err != nil || there {
		return nil //nolint:nilerr // as above
	}
	where := "this database"
	if a.schema != "" {
		where = fmt.Sprintf("the schema %q of this database", a.schema)
	}
	return &failure{
		code: "NO_DATABASE", message: "there is no talkbase schema in " + where,
		hint: "name another with --db or --schema, or make one: talkbase import PATH, talkbase demo, or talkbase schema up",
	}
}

// shown is the database as people may see it: without a password, as they named it.
func (a *app) shown() string { return oneLine(engine.Redact(a.dsn())) }

// closing closes db and keeps the first error.
func closing(db io.Closer, err *error) {
	if cerr := db.Close(); *err == nil {
		*err = cerr
	}
}

// withDB runs f on a database that exists.
func (a *app) withDB(cmd *cobra.Command, f func(ctx context.Context, db *talkbase.DB) error) (err error) {
	ctx := cmd.Context()
	db, err := a.openExisting(ctx)
	if err != nil {
		return err
	}
	defer closing(db, &err)
	return f(ctx, db)
}

// notFound turns an unknown id into a message that names it and says where ids are.
func notFound(err error, what, id, hint string) error {
	if !errors.Is(err, repo.ErrNotFound) {
		return err
	}
	return &failure{code: repo.ErrorCode(err), message: fmt.Sprintf("there is no %s %q", what, oneLine(id)), hint: hint}
}

// noArgs refuses arguments and says that there are none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no argument such as %q", cmd.CommandPath(), strings.Join(args, " "))
	}
	return nil
}
