// Package services holds what a host calls: the Presenter, made of small role interfaces that a
// host can depend on one by one.
package services

import (
	"context"
	"database/sql"
	"iter"
	"slices"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/embedding"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// ConversationStore keeps conversations. repo.Conversations documents each method.
type ConversationStore interface {
	CreateConversation(ctx context.Context, c models.Conversation) (models.Conversation, error)
	GetConversation(ctx context.Context, convID string) (models.Conversation, error)
	UpdateConversation(ctx context.Context, convID string, u repo.ConversationUpdate) (models.Conversation, error)
	RenameConversation(ctx context.Context, convID, title string) error
	PinConversation(ctx context.Context, convID string, pinned bool) error
	DeleteConversation(ctx context.Context, convID string) error
	ListConversations(ctx context.Context, q repo.ConversationList) (repo.ConversationPage, error)
	RecentConversations(ctx context.Context, limit int) ([]models.Conversation, error)
	CountConversations(ctx context.Context) (int64, error)
	ConversationWithMessages(ctx context.Context, convID string) (repo.ConversationMessages, error)
}

// MessageStore keeps messages. repo.Messages documents each method.
type MessageStore interface {
	InsertMessage(ctx context.Context, m models.Message) (models.Message, error)
	InsertMessages(ctx context.Context, ms []models.Message) ([]models.Message, error)
	GetMessage(ctx context.Context, msgID string) (models.Message, error)
	UpdateMessage(ctx context.Context, msgID string, u repo.MessageUpdate) (models.Message, error)
	UpdateMessageParent(ctx context.Context, msgID, parentID string) error
	DeleteMessage(ctx context.Context, msgID string) error
	DeleteConversationMessages(ctx context.Context, convID string) (int64, error)
	DeleteAllMessages(ctx context.Context) (int64, error)
	QueryMessages(ctx context.Context, convID string) ([]repo.MessageThread, error)
	MessageVariants(ctx context.Context, msgID string) ([]models.Message, error)
	MainMessage(ctx context.Context, convID, parentID string) (models.Message, error)
	LastUserMessage(ctx context.Context, convID string) (models.Message, error)
	MaxOrderSeq(ctx context.Context, convID string) (int64, error)
	ListMessages(ctx context.Context, q repo.MessageList) (repo.MessagePage, error)
	StreamMessages(ctx context.Context, convID string) iter.Seq2[models.Message, error]
}

// AttachmentStore keeps what belongs to messages. repo.Attachments documents each method.
type AttachmentStore interface {
	AddAttachment(ctx context.Context, a models.MessageAttachment) (models.MessageAttachment, error)
	ListAttachments(ctx context.Context, msgID, attachmentType string) ([]models.MessageAttachment, error)
	DeleteAttachment(ctx context.Context, attachmentID string) error
}

// KnowledgeStore keeps knowledge bases with their files, chunks and vectors. repo.Knowledge
// documents each method.
type KnowledgeStore interface {
	CreateBase(ctx context.Context, b models.KnowledgeBase) (models.KnowledgeBase, error)
	OpenBase(ctx context.Context, b models.KnowledgeBase) (models.KnowledgeBase, error)
	GetBase(ctx context.Context, id string) (models.KnowledgeBase, error)
	ListBases(ctx context.Context) ([]models.KnowledgeBase, error)
	UpdateBase(ctx context.Context, id string, u repo.BaseUpdate) (models.KnowledgeBase, error)
	DeleteBase(ctx context.Context, id string) error
	DestroyKnowledge(ctx context.Context) (int64, error)

	InsertFile(ctx context.Context, f models.KnowledgeFile) (models.KnowledgeFile, error)
	UpdateFile(ctx context.Context, id string, u repo.FileUpdate) (models.KnowledgeFile, error)
	GetFile(ctx context.Context, id string) (models.KnowledgeFile, error)
	QueryFiles(ctx context.Context, q repo.FileQuery) ([]models.KnowledgeFile, error)
	ListFiles(ctx context.Context, baseID string) ([]models.KnowledgeFile, error)
	DeleteFile(ctx context.Context, id string) error

	InsertChunks(ctx context.Context, chunks []models.KnowledgeChunk) ([]models.KnowledgeChunk, error)
	UpdateChunkStatus(ctx context.Context, id string, status models.TaskStatus, errText string) error
	QueryChunks(ctx context.Context, q repo.ChunkQuery) ([]models.KnowledgeChunk, error)
	DeleteChunksByFile(ctx context.Context, fileID string) (int64, error)

	UpsertVectors(ctx context.Context, vectors []models.KnowledgeVector) (int64, error)
	DeleteVectorsByFile(ctx context.Context, fileID string) (int64, error)
	SimilarityQuery(ctx context.Context, q repo.SimilarityQuery) ([]repo.SimilarChunk, error)
	SimilarityQueryAll(ctx context.Context, qs []repo.SimilarityQuery, limit int) ([]repo.SimilarChunk, error)
	MeasureRecall(ctx context.Context, q repo.RecallQuery) (repo.RecallReport, error)

	PauseRunningTasks(ctx context.Context) (repo.Tasks, error)
	ResumePausedTasks(ctx context.Context) (repo.Tasks, error)
	VectorsSupported() error
}

// Searcher finds words. repo.Search documents each method.
type Searcher interface {
	SearchText(ctx context.Context, q repo.TextQuery) ([]repo.TextHit, error)
	RebuildTextIndex(ctx context.Context) (int64, error)
}

// Transactor runs calls together. repo.Store documents each method.
type Transactor interface {
	WithTransaction(ctx context.Context, f func(ctx context.Context, tx *repo.Tx) error) error
	Begin(ctx context.Context) (*repo.Tx, error)
	JoinTx(ctx context.Context, tx *sql.Tx) (context.Context, error)
	JoinGorm(ctx context.Context, db *gorm.DB) (context.Context, error)
	Gorm(ctx context.Context) (*gorm.DB, error)
}

// Presenter is the whole of a talkbase database for a host.
type Presenter interface {
	ConversationStore
	MessageStore
	AttachmentStore
	KnowledgeStore
	Searcher
	Embeddings
	Transactor
	Health
}

type (
	conversations = repo.Conversations
	messages      = repo.Messages
	attachments   = repo.Attachments
	knowledge     = repo.Knowledge
	search        = repo.Search
	store         = repo.Store
)

type presenter struct {
	*conversations
	*messages
	*attachments
	*knowledge
	*search
	*store
	*health

	embedders []embedding.Embedder
}

// NewPresenter returns the presenter of a store and its schema. Of several embedders each is for the bases of its model;
// one that is nil is none.
func NewPresenter(s *repo.Store, schema *migration.Schema, es ...embedding.Embedder) Presenter {
	p := &presenter{
		repo.NewConversations(s), repo.NewMessages(s), repo.NewAttachments(s),
		repo.NewKnowledge(s), repo.NewSearch(s), s, newHealth(s, schema),
		slices.DeleteFunc(slices.Clone(es), func(e embedding.Embedder) bool { return e == nil }),
	}
	if o := s.Observer(); o.Tracing() {
		return traced{p, o}
	}
	return p
}
