package migration

import (
	"context"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// Target is the database an import writes to: exactly what the importer needs of it.
//
// Rows are stored as given: nothing is defaulted, updated_at is not touched, and integer ids and
// sequence numbers are assigned by the database in the order of the slice, which is the order of
// conversations and of equal order_seq. Indexes of words and vectors MUST be kept in step within
// the same transaction.
//
// The lookups take any number of ids up to a batch's rows and MUST see what the surrounding Batch
// has written. Ids that are not there are absent from the map, which is no error.
type Target interface {
	// Batch runs f in one write transaction: when f or the commit fails, nothing of it is stored.
	// The other methods, called with the ctx that f is given, belong to it. Batch MAY run f more
	// than once when transactions collide.
	Batch(ctx context.Context, f func(ctx context.Context) error) error
	// Read runs f, which only reads, on the database as of one moment; the methods that read, called with
	// the ctx that f is given, belong to it. Several may run at once.
	Read(ctx context.Context, f func(ctx context.Context) error) error
	// Refused reports whether err is the database's judgement on the rows themselves (a check, a
	// size limit, text it cannot hold, a missing parent) and not a failure of the database (disk
	// full, lost connection, busy, cancelled). The importer then narrows a failed batch down to the
	// rows at fault, rejects those and goes on; any other error ends the import.
	Refused(err error) bool

	// ConversationsByID returns conversations by conv_id.
	ConversationsByID(ctx context.Context, ids []string) (map[string]models.Conversation, error)
	// MessagesByID returns messages by msg_id.
	MessagesByID(ctx context.Context, ids []string) (map[string]models.Message, error)
	// HasMessages returns which of the msg_ids exist.
	HasMessages(ctx context.Context, ids []string) (map[string]bool, error)
	// AttachmentsByID returns attachments by attachment_id.
	AttachmentsByID(ctx context.Context, ids []string) (map[string]models.MessageAttachment, error)
	// BasesByID returns knowledge bases by id.
	BasesByID(ctx context.Context, ids []string) (map[string]models.KnowledgeBase, error)
	// FilesByID returns knowledge files by id, of whichever base.
	FilesByID(ctx context.Context, ids []string) (map[string]models.KnowledgeFile, error)
	// ChunksByID returns knowledge chunks by id.
	ChunksByID(ctx context.Context, ids []string) (map[string]models.KnowledgeChunk, error)
	// VectorsByID returns vectors by id.
	VectorsByID(ctx context.Context, ids []string) (map[string]models.KnowledgeVector, error)
	// VectorsOfChunks returns, by chunk id, the id of a vector the chunk has.
	VectorsOfChunks(ctx context.Context, chunkIDs []string) (map[string]string, error)

	// InsertConversations stores new conversations. MessageCount is the database's own and ignored.
	InsertConversations(ctx context.Context, rows []models.Conversation) error
	// InsertMessages stores new messages of conversations that exist.
	InsertMessages(ctx context.Context, rows []models.Message) error
	// InsertAttachments stores new attachments of messages that exist.
	InsertAttachments(ctx context.Context, rows []models.MessageAttachment) error
	// InsertBases stores new knowledge bases.
	InsertBases(ctx context.Context, rows []models.KnowledgeBase) error
	// InsertFiles stores new files of bases that exist.
	InsertFiles(ctx context.Context, rows []models.KnowledgeFile) error
	// InsertChunks stores new chunks of files that exist.
	InsertChunks(ctx context.Context, rows []models.KnowledgeChunk) error
	// InsertVectors stores new vectors of chunks that exist. All of a call belong to one base and
	// have its number of dimensions.
	InsertVectors(ctx context.Context, rows []models.KnowledgeVector) error

	// IsEmpty reports whether there is no conversation and no knowledge base.
	IsEmpty(ctx context.Context) (bool, error)

	Replacer
	Journal
	Checker
}

// Replacer overwrites rows that exist, found by their ids, exactly as given. Replacing a vector is
// InsertVectors; the dimensions and metric of a base stay.
type Replacer interface {
	ReplaceConversations(ctx context.Context, rows []models.Conversation) error
	ReplaceMessages(ctx context.Context, rows []models.Message) error
	ReplaceAttachments(ctx context.Context, rows []models.MessageAttachment) error
	ReplaceBases(ctx context.Context, rows []models.KnowledgeBase) error
	ReplaceFiles(ctx context.Context, rows []models.KnowledgeFile) error
	ReplaceChunks(ctx context.Context, rows []models.KnowledgeChunk) error
}

// Journal keeps what an import needs to be resumed, verified and rolled back, in the target and in
// the transactions of its batches.
type Journal interface {
	// SaveRun stores a run's row, or replaces it.
	SaveRun(ctx context.Context, run models.ImportRun) error
	// ImportRuns returns all runs, the newest first; ImportRun one, or repo.ErrNotFound.
	ImportRuns(ctx context.Context) ([]models.ImportRun, error)
	ImportRun(ctx context.Context, id string) (models.ImportRun, error)
	// OwnRun locks a run's row for the surrounding batch; repo.ErrTaken means that another process
	// took it up.
	OwnRun(ctx context.Context, id, owner string) error
	// SaveSource stores a source of a run, or replaces it; SaveProgress its checkpoint.
	SaveSource(ctx context.Context, src models.ImportSource) error
	SaveProgress(ctx context.Context, run string, position int64, progress models.JSON) error
	// ImportSources returns a run's sources in their order.
	ImportSources(ctx context.Context, run string) ([]models.ImportSource, error)
	// AppendBatch, ImportBatches and DeleteBatch keep the list of the rows a run wrote.
	AppendBatch(ctx context.Context, batch models.ImportBatch) error
	ImportBatches(ctx context.Context, run string, from int64, backward bool, limit int) ([]models.ImportBatch, error)
	DeleteBatch(ctx context.Context, run string, seq int64) error
	// MarkImported has changes to the rows that are there noted from now on; EditedSince returns what
	// was noted.
	MarkImported(ctx context.Context) error
	EditedSince(ctx context.Context, table string, keys []string) (map[string]int64, error)
	// NoteEdits notes rows that are about to be changed, or, when gone, to be deleted with all that belongs
	// to them, wherever imports have come to; ForgetEdits forgets what was noted of rows.
	NoteEdits(ctx context.Context, table string, keys []string, gone bool) error
	ForgetEdits(ctx context.Context, table string, keys []string) error
	// DeleteImported deletes rows of a table by their ids. What was noted of them stays.
	DeleteImported(ctx context.Context, table string, keys []string) (int64, error)
	// Dependents yields the rows that would be deleted with those given.
	Dependents(ctx context.Context, table string, keys []string, f func(repo.Dependent) error) error
}

// Checker looks at what is stored as a whole, and puts off and makes up what is faster done at once.
type Checker interface {
	// CountRows counts the rows of a table.
	CountRows(ctx context.Context, table string) (int64, error)
	// BrokenReferences describes rows whose parent does not exist, at most limit of each kind.
	BrokenReferences(ctx context.Context, limit int) ([]string, error)
	// TextMissing counts, by table, rows whose text is not indexed.
	TextMissing(ctx context.Context) (map[string]int64, error)
	// IndexText indexes the next rows of a table after an integer key; n is 0 at the end.
	IndexText(ctx context.Context, table string, after int64) (last int64, n int, err error)
	// DropForLoad drops what slows a load into an empty target down and no load needs, foreign keys
	// among it where the rows are known to have their parents; Restore makes one thing of it again, in the
	// order in which they were returned.
	DropForLoad(ctx context.Context, parentsKnown bool) ([]repo.Dropped, error)
	Restore(ctx context.Context, d repo.Dropped) error
	// Snapshot writes a copy of the database to path, or returns repo.ErrUnsupported.
	Snapshot(ctx context.Context, path string) error
	// File is the database's file, "" when it is not one.
	File(ctx context.Context) (string, error)
	// Finds reports whether a search for words finds a message or chunk.
	Finds(ctx context.Context, table, id, words string) (bool, error)
}

// deferring is what a Target implements that can leave the text index to IndexText.
type deferring interface{ WithoutText() *repo.Bulk }
