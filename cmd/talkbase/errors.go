package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/repo"
)

// usageError is wrong use: exit code 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(err error) error { return &usageError{err} }

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// failure is an error whose words are made for people.
type failure struct {
	code, message string
	// hint says what to do.
	hint string
	err  error
}

func (f *failure) Error() string { return f.message }
func (f *failure) Unwrap() error { return f.err }

// errAnswered is returned by a command that has printed its answer and failed all the same, as
// validate does when it finds something.
var errAnswered = errors.New("the answer says what is wrong")

// problem is an error as it is printed.
type problem struct {
	// Code is stable.
	Code string `json:"code"`
	// Message is for people.
	Message string `json:"message"`
	// Hint says what to do, if anything is known to help.
	Hint string `json:"hint,omitempty"`
}

// fail prints err and returns the exit code.
func (a *app) fail(ctx context.Context, cmd *cobra.Command, err error) int {
	if errors.Is(err, errAnswered) {
		return exitFailed
	}
	exit, p := exitFailed, explain(ctx, err)
	if a.wrongUse(err) {
		exit = exitUsage
		p.Message = strings.Replace(p.Message, repo.ErrInvalid.Error()+": ", "", 1) // says nothing here
		p.Code, p.Hint = "USAGE", "see "+cmd.CommandPath()+" --help"
	}
	if a.json && !a.answered {
		// Nothing can be done when even this cannot be written; the line below is the rest.
		_ = a.writeJSON(map[string]problem{"error": p})
	}
	_, _ = fmt.Fprintf(a.stderr, "talkbase: %s\n", clean(p.Message))
	if p.Hint != "" {
		_, _ = fmt.Fprintf(a.stderr, "  %s\n", clean(p.Hint))
	}
	return exit
}

// wrongUse reports whether the command line is at fault. What the library calls invalid was given
// there: a cursor, a query without words, a DSN.
func (a *app) wrongUse(err error) bool {
	var u *usageError
	if !a.running || errors.As(err, &u) {
		return true
	}
	var f *failure
	return errors.Is(err, repo.ErrInvalid) && !errors.As(err, &f)
}

// explain says what happened and what to do about it.
func explain(ctx context.Context, err error) problem {
	var f *failure
	if errors.As(err, &f) {
		return problem{Code: f.code, Message: f.message, Hint: f.hint}
	}
	if ctx.Err() != nil {
		p := problem{Code: "CANCELED", Message: "interrupted; what was finished before is stored"}
		if m := (*migration.MigrationError)(nil); errors.As(err, &m) && m.Recoverable {
			p.Hint = "talkbase import --resume goes on from there"
			if m.Phase == migration.PhaseRollback {
				p.Hint = "talkbase rollback " + m.Run + " goes on from there"
			}
		}
		return p
	}
	p := problem{Code: codeOf(err), Message: message(err)}
	for _, h := range hints {
		if errors.Is(err, h.err) {
			p.Hint = h.hint
			break
		}
	}
	return p
}

// codeOf is repo's code, or one for what only an import or the file system has.
func codeOf(err error) string {
	code := repo.ErrorCode(err)
	if code != "DATABASE" {
		return code
	}
	for _, c := range []struct {
		err  error
		code string
	}{
		{migration.ErrNotLegacy, "NOT_LEGACY"},
		{migration.ErrSourceLocked, "SOURCE_LOCKED"},
		{migration.ErrSourceDamaged, "SOURCE_DAMAGED"},
		{migration.ErrNoReader, "NO_READER"},
		{migration.ErrUnfinished, "UNFINISHED"},
		{migration.ErrNothingToResume, "NOTHING_TO_RESUME"},
		{migration.ErrSourceChanged, "SOURCE_CHANGED"},
		{migration.ErrVerification, "VERIFICATION"},
		{migration.ErrEdited, "EDITED"},
		{migration.ErrRolledBack, "ROLLED_BACK"},
		{migration.ErrBackupDamaged, "BACKUP_DAMAGED"},
		{migration.ErrNotDump, "NOT_A_DUMP"},
		{migration.ErrNewerDump, "NEWER_DUMP"},
		{migration.ErrNotEmpty, "NOT_EMPTY"},
		{repo.ErrTaken, "TAKEN"},
		{fs.ErrNotExist, "NO_FILE"},
		{fs.ErrExist, "FILE_EXISTS"},
		{fs.ErrPermission, "PERMISSION"},
	} {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return code
}

// hints say what to do, the more special errors first. Errors that say it themselves have none.
var hints = []struct {
	err  error
	hint string
}{
	{migration.ErrSourceLocked, "quit the application that has it open, and try again"},
	{migration.ErrUnfinished, "talkbase import --resume goes on with it, --restart begins anew, talkbase rollback takes out what it wrote"},
	{migration.ErrSourceChanged, "talkbase import --restart PATH begins anew"},
	{migration.ErrEdited, "talkbase rollback --force loses these edits"},
	{migration.ErrVerification, "talkbase verify tells more; talkbase rollback takes the import out"},
	{migration.ErrBackupDamaged, "talkbase backup --check FILE tells whether another backup is whole"},
	{migration.ErrNotDump, "name a file that talkbase backup wrote"},
	{repo.ErrNotDatabase, "name another file with --db; a DeepChat chat.db or knowledge file is taken over with talkbase import"},
	{repo.ErrCorrupt, "restore a backup into a new file with talkbase restore, or rescue what can be read with talkbase salvage FILE OUT"},
	{repo.ErrUnavailable, "check that the server runs and that --db has the right host, user and database"},
	{repo.ErrBusy, "another program is writing to the database: try again when it is done"},
	{repo.ErrDiskFull, "make room on the disk, then run the command again"},
	{repo.ErrReadOnly, "check the permissions of the database and of its folder, or name another with --db"},
}

// message is the text of err without the names of our own packages and of the operation that was
// asked for anyway.
func message(err error) string {
	if m := (*migration.MigrationError)(nil); errors.As(err, &m) {
		err = m.Err // the phase is no news to whoever reads what went wrong
	}
	s := strings.TrimSpace(err.Error())
	for _, prefix := range []string{"open database: ", "migration/duckdb: ", "migration: "} {
		s = strings.TrimPrefix(s, prefix)
		s = strings.ReplaceAll(s, "\n"+prefix, "\n")
	}
	return s
}
