package models

// ImportState says how far an import has come.
type ImportState string

// The states of an import.
const (
	// ImportRunning: it is under way, or was cut off and can be resumed.
	ImportRunning ImportState = "running"
	// ImportDone: every row was dealt with and the result verified, if that was asked for.
	ImportDone ImportState = "done"
	// ImportRollingBack: its rows are being taken out again, or that was cut off and can go on.
	ImportRollingBack ImportState = "rolling_back"
	// ImportRolledBack: the database is as it was before the import.
	ImportRolledBack ImportState = "rolled_back"
)

// ImportRun is one import of legacy data, kept beside the data so that it can be resumed, verified
// and rolled back.
type ImportRun struct {
	// ID is a UUIDv7.
	ID    string      `gorm:"column:id;type:text;primaryKey" json:"id"`
	State ImportState `gorm:"column:state;type:text;not null" json:"state"`
	// Phase is the part of the work that was begun last.
	Phase string `gorm:"column:phase;type:text;not null" json:"phase"`
	// Owner changes whenever a process takes the run up, so that no two work on it at once.
	Owner string `gorm:"column:owner;type:text;not null" json:"-"`
	// StartedAt and FinishedAt are in milliseconds since the Unix epoch; FinishedAt is 0 before the end.
	StartedAt  int64 `gorm:"column:started_at;not null" json:"started_at"`
	FinishedAt int64 `gorm:"column:finished_at;not null;sqldefault:0" json:"finished_at"`
	// Options holds what decides the result, so that resuming makes the same of the rest.
	Options JSON `gorm:"column:options;not null;sqldefault:'{}'" json:"options"`
	// Backup is the folder of the run's backup, "" for none.
	Backup string `gorm:"column:backup;type:text;not null;sqldefault:''" json:"backup"`
	// Progress holds what was put off: indexes that were dropped, text that is not indexed yet.
	Progress JSON `gorm:"column:progress;not null;sqldefault:'{}'" json:"-"`
	// Report is the run's result.
	Report JSON `gorm:"column:report;not null;sqldefault:'{}'" json:"report"`
}

// TableName is talkbase_import_runs.
func (ImportRun) TableName() string { return "talkbase_import_runs" }

// ImportSource is one legacy file of an import with its checkpoint.
type ImportSource struct {
	RunID    string `gorm:"column:run_id;type:text;primaryKey" json:"run_id"`
	Position int64  `gorm:"column:position;primaryKey;autoIncrement:false" json:"position"`
	Path     string `gorm:"column:path;type:text;not null" json:"path"`
	Kind     string `gorm:"column:kind;type:text;not null" json:"kind"`
	// Fingerprint identifies the file's content: a SHA-256 in hexadecimal digits.
	Fingerprint string `gorm:"column:fingerprint;type:text;not null" json:"fingerprint"`
	// Config is what the legacy configuration says of the file.
	Config JSON `gorm:"column:config;not null;sqldefault:'{}'" json:"config"`
	// Progress says which rows have been dealt with and what became of them. It changes in the
	// transaction that stores the rows.
	Progress JSON `gorm:"column:progress;not null;sqldefault:'{}'" json:"progress"`
}

// TableName is talkbase_import_sources.
func (ImportSource) TableName() string { return "talkbase_import_sources" }

// ImportBatch says which rows one transaction of an import wrote, or found there with the same
// content.
type ImportBatch struct {
	RunID string `gorm:"column:run_id;type:text;primaryKey" json:"run_id"`
	Seq   int64  `gorm:"column:seq;primaryKey;autoIncrement:false" json:"seq"`
	Table string `gorm:"column:table_name;type:text;not null" json:"table"`
	// Merged is true for rows that were there before, which a rollback leaves alone.
	Merged Flag `gorm:"column:merged;not null;sqldefault:0" json:"merged"`
	// Keys are the rows' keys, each as a length (uvarint) and its bytes.
	Keys []byte `gorm:"column:keys;not null" json:"-"`
	// Hashes are the first 8 bytes of the SHA-256 of each row's canonical form, in the order of Keys.
	Hashes []byte `gorm:"column:hashes;not null" json:"-"`
	// Replaced holds, as a JSON array, the rows that were replaced, as they were; empty when none was.
	Replaced []byte `gorm:"column:replaced;not null" json:"-"`
}

// TableName is talkbase_import_batches.
func (ImportBatch) TableName() string { return "talkbase_import_batches" }

// ImportMark is the highest integer key that imports have reached in a table: rows above it need no
// note when they are edited.
type ImportMark struct {
	Table  string `gorm:"column:table_name;type:text;primaryKey" json:"table"`
	LastID int64  `gorm:"column:last_id;not null" json:"last_id"`
}

// TableName is talkbase_import_marks.
func (ImportMark) TableName() string { return "talkbase_import_marks" }

// ImportEdit notes that talkbase itself changed or deleted a row that may have been imported, which
// tells an edit from damage.
type ImportEdit struct {
	Table string `gorm:"column:table_name;type:text;primaryKey" json:"table"`
	Key   string `gorm:"column:row_key;type:text;primaryKey" json:"key"`
	// At is in milliseconds since the Unix epoch.
	At int64 `gorm:"column:edited_at;not null" json:"edited_at"`
}

// TableName is talkbase_import_edits.
func (ImportEdit) TableName() string { return "talkbase_import_edits" }
