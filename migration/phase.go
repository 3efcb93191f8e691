package migration

import (
	"errors"
	"fmt"
)

// Phase is a part of an import.
type Phase string

// The phases, in their order.
const (
	// PhasePrepare finds the sources and checks that they and the target are fit.
	PhasePrepare Phase = "prepare"
	// PhaseBackup copies the sources, and an SQLite target that has data.
	PhaseBackup Phase = "backup"
	// PhaseInitialize opens the sources and records the run in the target.
	PhaseInitialize Phase = "initialize"
	// PhaseConversations imports conversations, messages and attachments.
	PhaseConversations Phase = "conversations"
	// PhaseKnowledge imports knowledge bases.
	PhaseKnowledge Phase = "knowledge"
	// PhaseIndex makes the indexes that were put off because the target was empty, PhaseText the index
	// of words.
	PhaseIndex Phase = "index"
	PhaseText  Phase = "text"
	// PhaseValidate compares what is stored with what was read, and cleans up.
	PhaseValidate Phase = "validate"
	// PhaseRollback takes an import out again.
	PhaseRollback Phase = "rollback"
)

// CodeMigration is the code of a MigrationError.
const CodeMigration = "MIGRATION_ERROR"

// MigrationError says in which phase an import, a verification or a rollback ended. It wraps the cause.
type MigrationError struct { //nolint:revive // the name that callers of the guide's migrator expect
	// Run is the import's id, "" before it was recorded.
	Run string
	// Phase is where it ended.
	Phase Phase
	// Recoverable says that the work can go on from its last checkpoint once the cause is mended.
	Recoverable bool
	// Err is the cause.
	Err error
}

// Error is the cause's message behind the phase.
func (e *MigrationError) Error() string {
	s := fmt.Sprintf("%s: %v", e.Phase, e.Err)
	if e.Recoverable && e.Phase == PhaseRollback {
		return s + "; what was done so far stays done, and rolling back run " + e.Run + " again goes on from there"
	}
	if e.Recoverable {
		return s + "; what was stored stays, and the import can be resumed (run " + e.Run + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *MigrationError) Unwrap() error { return e.Err }

// Code is CodeMigration.
func (e *MigrationError) Code() string { return CodeMigration }

// Errors of runs.
var (
	// ErrUnfinished means that an earlier import was cut off. It must be resumed, restarted or rolled
	// back before another begins.
	ErrUnfinished = errors.New("an earlier import is not finished")
	// ErrNothingToResume means that no import was cut off.
	ErrNothingToResume = errors.New("no import to resume")
	// ErrSourceChanged means that a source is no longer what it was when the import began.
	ErrSourceChanged = errors.New("the file has changed since the import began")
	// ErrVerification means that the target does not hold what was imported.
	ErrVerification = errors.New("the target does not hold what was imported")
	// ErrEdited means that imported rows were edited since, or others were added to them, which a
	// rollback would lose.
	ErrEdited = errors.New("imported rows were edited since")
	// ErrRolledBack means that the run was rolled back.
	ErrRolledBack = errors.New("the import was rolled back")
)
