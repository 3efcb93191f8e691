package migration

import (
	"context"

	"github.com/talkbase/talkbase/models"
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
}
