package migration

import (
	"time"

	"github.com/talkbase/talkbase/models"
)

// Defaults of ImportOptions.
const (
	// DefaultBatchRows is how many rows go into one transaction.
	DefaultBatchRows = 5000
	// DefaultBatchBytes is how many bytes of rows go into one transaction.
	DefaultBatchBytes = 4 << 20
	// DefaultWidth is how many batches are worked on at once.
	DefaultWidth = 3
	// DefaultMemoryLimit bounds, in bytes, the rows in memory.
	DefaultMemoryLimit = 64 << 20
)

// ImportOptions says what to import and how. The zero value of a field is the safe choice.
type ImportOptions struct {
	// Paths are DeepChat user-data folders, chat.db files and knowledge files, in any mix; see
	// Discover.
	Paths []string
	// BatchRows bounds the rows of one transaction; 0 is DefaultBatchRows.
	BatchRows int
	// BatchBytes bounds the bytes of the rows of one transaction; 0 is DefaultBatchBytes. A row
	// that is larger makes a batch of its own.
	BatchBytes int
	// Width is how many batches are worked on at once: while one is stored, the next are read and
	// transformed; 0 is DefaultWidth. Tables come one after another, for a row needs its parents.
	Width int
	// MemoryLimit bounds, in bytes, the rows in memory, one row in excess; 0 is DefaultMemoryLimit.
	MemoryLimit int64
	// MarkPendingAsError marks answers that were interrupted as errors, as DeepChat does when it
	// starts. By default they stay pending.
	MarkPendingAsError bool
	// RecoverOrphans makes a conversation named 'Recovered' for each conversation that is gone
	// while its messages are still there. By default such messages are rejected.
	RecoverOrphans bool
	// PreferSource replaces a row of the target that has the same id and other content. By default the
	// target's stays and the source's is rejected as a conflict.
	PreferSource bool

	// BackupDir is the folder in which the run's backup is made, as a folder of its own named by the
	// run's id. "" leaves it out, unless the caller is talkbase's DB, which then chooses one.
	BackupDir string
	// NoBackup leaves the backup out.
	NoBackup bool
	// NoVerify leaves out the comparison of what is stored with what was read.
	NoVerify bool
	// RejectFile is where rejected rows are written, as JSON lines; "" is rejects.jsonl in the run's
	// backup, and no file without one. The file holds contents of chats.
	RejectFile string
	// WorkDir is where private copies of the files are made, "" for the system's temporary folder.
	// It needs as much space as all of them. The copies are removed.
	WorkDir string

	// DryRun does everything but write to the target.
	DryRun bool
	// Resume goes on with an import that was cut off, from its last checkpoint. Paths may be empty;
	// what decides the result is as it was when the import began.
	Resume bool
	// Restart rolls an import back that was cut off, and then begins anew.
	Restart bool
	// Replay is a reject file whose rows are imported again, instead of Paths, after the cause of the
	// rejection was mended. A chunk whose vector is placed so is processed from then on, and found by
	// similarity; a rollback gives it the state it had.
	Replay string

	// Progress is called after each batch, from the goroutine that called Import.
	Progress func(Progress)
	// OnReject is called for each rejected row, with the whole row, after its batch is stored. An
	// error ends the import.
	OnReject func(Reject) error
	// OnError is called with the error that ends the import, before Import returns.
	OnError func(*MigrationError)
}

func (o ImportOptions) withDefaults() ImportOptions {
	if o.BatchRows <= 0 {
		o.BatchRows = DefaultBatchRows
	}
	if o.BatchBytes <= 0 {
		o.BatchBytes = DefaultBatchBytes
	}
	if o.Width <= 0 {
		o.Width = DefaultWidth
	}
	if o.MemoryLimit <= 0 {
		o.MemoryLimit = DefaultMemoryLimit
	}
	// A page in the making, those under way, and one being stored.
	o.BatchBytes = int(max(64<<10, min(int64(o.BatchBytes), o.MemoryLimit/int64(2*(o.Width+1)))))
	return o
}

// runOptions are the options that decide a run's result. They are kept with it.
type runOptions struct {
	Paths              []string `json:"paths"`
	MarkPendingAsError bool     `json:"mark_pending_as_error,omitempty"`
	RecoverOrphans     bool     `json:"recover_orphans,omitempty"`
	PreferSource       bool     `json:"prefer_source,omitempty"`
	NoVerify           bool     `json:"no_verify,omitempty"`
	RejectFile         string   `json:"reject_file,omitempty"`
	Replay             string   `json:"replay,omitempty"`
}

func (o ImportOptions) decisive() (models.JSON, error) {
	return models.NewJSON(runOptions{o.Paths, o.MarkPendingAsError, o.RecoverOrphans, o.PreferSource, o.NoVerify, o.RejectFile, o.Replay})
}

func (o *ImportOptions) restore(r runOptions) {
	o.Paths, o.MarkPendingAsError, o.RecoverOrphans, o.PreferSource = r.Paths, r.MarkPendingAsError, r.RecoverOrphans, r.PreferSource
	o.NoVerify, o.RejectFile, o.Replay = r.NoVerify, r.RejectFile, r.Replay
}

// Progress says how far an import has come with one table, or another part of its work.
type Progress struct {
	// Run is the import's id.
	Run string
	// Phase is the part of the work. Each begins with a report that has nothing more.
	Phase Phase
	// Source is the path of the file, "" where the work is not about one.
	Source string
	// Table is the target table, "" where the work is not about one.
	Table string
	// Done is how many rows (bytes, for a backup) have been dealt with, Total how many there are.
	Done, Total int64
	// PerSecond is how many of them a second, lately; 0 when it is not known yet.
	PerSecond float64
	// Remaining is the time that the rest will take; 0 until 1 % is done.
	Remaining time.Duration
}
