package migration

// maxRejects bounds the rejected rows an ImportReport lists one by one.
const maxRejects = 100

// ImportReport says what an import read, wrote and could not place.
type ImportReport struct {
	// Run is the id of this import, a UUID.
	Run string `json:"run"`
	// OK is true when every source was read to its end and the target holds what was read. Rejected rows
	// do not make it false.
	OK bool `json:"ok"`
	// Milliseconds is how long the import took, from its beginning or from where it was resumed.
	Milliseconds int64 `json:"milliseconds"`
	// Failure says how an import ended that did not end well.
	Failure *ImportFailure `json:"failure,omitempty"`
	// DryRun says that nothing was written.
	DryRun bool `json:"dry_run,omitempty"`
	// Resumed says that the run went on from a checkpoint; the counts are those of the whole run.
	Resumed bool `json:"resumed,omitempty"`
	// Preflight is what was known of each source before it was copied, Target of the database.
	Preflight []SourceCheck `json:"preflight,omitempty"`
	Target    *TargetCheck  `json:"target,omitempty"`
	// Phases are the parts of the work that were begun, in their order. A resumed run lists its own.
	Phases []PhaseReport `json:"phases,omitempty"`
	// Backup is the folder of the backup, RejectFile the file of the rejected rows, "" for none.
	Backup     string `json:"backup,omitempty"`
	RejectFile string `json:"reject_file,omitempty"`
	// Verification says whether the target holds what was read; nil when it was not asked.
	Verification *Verification `json:"verification,omitempty"`
	// RollbackPossible says that rows were written, which a rollback would take out again.
	RollbackPossible bool `json:"rollback_possible,omitempty"`
	// Sources are in the order of the import.
	Sources []*SourceReport `json:"sources"`
	// Warnings are sentences for people about things that need no action or a look.
	Warnings []string `json:"warnings,omitempty"`
	// Rejects lists the first 100 rejected rows; the tables' counts cover all of them.
	Rejects []Reject `json:"rejects,omitempty"`
}

// ImportFailure says how an import ended that did not end well.
type ImportFailure struct {
	// Phase is where it ended.
	Phase Phase `json:"phase"`
	// Recoverable says that ImportOptions.Resume can go on with it.
	Recoverable bool `json:"recoverable"`
	// RollbackNeeded says that the run is recorded in the database, perhaps with rows, and cannot be
	// resumed: rolling it back, or ImportOptions.Restart, makes way for another.
	RollbackNeeded bool `json:"rollback_needed"`
}

// PhaseReport says how long a phase took.
type PhaseReport struct {
	Phase Phase `json:"phase"`
	// Milliseconds is its duration.
	Milliseconds int64 `json:"milliseconds"`
	// Bytes is what a backup copied.
	Bytes int64 `json:"bytes,omitempty"`
}

// SourceReport says what an import did with one legacy file.
type SourceReport struct {
	// Path is the file.
	Path string `json:"path"`
	// Kind is the file's format.
	Kind Kind `json:"kind"`
	// Base is the knowledge base a DuckDB file became.
	Base string `json:"base,omitempty"`
	// Tables are the target tables the file's rows went to. Tables that have no place in the target
	// are listed under their own name, with all their rows rejected.
	Tables []*TableReport `json:"tables"`
	// Error says why the file was not read to its end.
	Error string `json:"error,omitempty"`
}

// TableReport counts rows. Read = Written + Merged + Rejected always holds.
type TableReport struct {
	// Table is the target table.
	Table string `json:"table"`
	// Read is how many rows the file gave. A knowledge base counts as one row of
	// knowledge_bases, which is the file itself.
	Read int64 `json:"read"`
	// Written is how many became new rows of the target.
	Written int64 `json:"written"`
	// Merged is how many the target already holds with the same content, or the file says twice.
	Merged int64 `json:"merged"`
	// Changed is how many of the written rows a named rule altered.
	Changed int64 `json:"changed"`
	// Rejected is how many could not be placed.
	Rejected int64 `json:"rejected"`
	// Made is how many rows the importer made that no row of the file stands for: conversations
	// for orphaned messages.
	Made int64 `json:"made,omitempty"`
	// Reasons counts rows by what was done to them: changes and remarks of written rows,
	// and the reasons of rejections. A row can count under several.
	Reasons map[Reason]int64 `json:"reasons,omitempty"`
}

// Reject is one row that could not be placed.
type Reject struct {
	// Path is the file the row is in, Kind its format, Base the knowledge base it becomes.
	Path string `json:"path"`
	Kind Kind   `json:"kind"`
	Base string `json:"base,omitempty"`
	// Table is the target table.
	Table string `json:"table"`
	// SourceTable is the table of the file.
	SourceTable string `json:"source_table"`
	// RowID is the row's place in its table.
	RowID int64 `json:"rowid"`
	// ID is the row's key, if it has one.
	ID string `json:"id"`
	// Reason is why.
	Reason Reason `json:"reason"`
	// Detail tells people more. It holds no content of chats.
	Detail string `json:"detail,omitempty"`
	// Columns and Values are the whole original row. They are handed to ImportOptions.OnReject and
	// are not part of a report.
	Columns []string `json:"-"`
	Values  []any    `json:"-"`
}

// Table returns the counts of a target table, which are 0 where nothing was read.
func (s *SourceReport) Table(name string) *TableReport {
	for _, t := range s.Tables {
		if t.Table == name {
			return t
		}
	}
	return &TableReport{Table: name}
}

// written counts a row that became one of the target.
func (t *TableReport) written(n notes) {
	t.Written++
	if n.changed() {
		t.Changed++
	}
	for _, r := range n {
		t.count(r)
	}
}

func (t *TableReport) count(r Reason) {
	if t.Reasons == nil {
		t.Reasons = map[Reason]int64{}
	}
	t.Reasons[r]++
}

// reject adds r to the bounded list, without the row.
func (r *ImportReport) reject(x Reject) {
	if len(r.Rejects) < maxRejects {
		x.Columns, x.Values = nil, nil
		r.Rejects = append(r.Rejects, x)
	}
}
