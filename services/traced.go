package services

import (
	"context"
	"iter"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// traced gives the calls of a presenter spans. It is used only where the host asks for traces, and
// covers every call that runs statements; transactions that the caller ends have no span of their own.
type traced struct {
	Presenter
	o *engine.Observer
}

func (t traced) WithTransaction(ctx context.Context, f func(ctx context.Context, tx *repo.Tx) error) (err error) {
	ctx, end := t.o.Operation(ctx, "WithTransaction")
	defer func() { end(err) }()
	return t.Presenter.WithTransaction(ctx, f)
}

// StreamMessages has a span as long as the caller reads.
func (t traced) StreamMessages(ctx context.Context, convID string) iter.Seq2[models.Message, error] {
	return func(yield func(models.Message, error) bool) {
		ctx, end := t.o.Operation(ctx, "StreamMessages")
		var failed error
		defer func() { end(failed) }()
		for m, err := range t.Presenter.StreamMessages(ctx, convID) {
			if err != nil {
				failed = err
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

func (t traced) CreateConversation(ctx context.Context, c models.Conversation) (v models.Conversation, err error) {
	ctx, end := t.o.Operation(ctx, "CreateConversation")
	defer func() { end(err) }()
	return t.Presenter.CreateConversation(ctx, c)
}

func (t traced) GetConversation(ctx context.Context, convID string) (v models.Conversation, err error) {
	ctx, end := t.o.Operation(ctx, "GetConversation")
	defer func() { end(err) }()
	return t.Presenter.GetConversation(ctx, convID)
}

func (t traced) UpdateConversation(ctx context.Context, convID string, u repo.ConversationUpdate) (v models.Conversation, err error) {
	ctx, end := t.o.Operation(ctx, "UpdateConversation")
	defer func() { end(err) }()
	return t.Presenter.UpdateConversation(ctx, convID, u)
}

func (t traced) RenameConversation(ctx context.Context, convID, title string) (err error) {
	ctx, end := t.o.Operation(ctx, "RenameConversation")
	defer func() { end(err) }()
	return t.Presenter.RenameConversation(ctx, convID, title)
}

func (t traced) PinConversation(ctx context.Context, convID string, pinned bool) (err error) {
	ctx, end := t.o.Operation(ctx, "PinConversation")
	defer func() { end(err) }()
	return t.Presenter.PinConversation(ctx, convID, pinned)
}

func (t traced) DeleteConversation(ctx context.Context, convID string) (err error) {
	ctx, end := t.o.Operation(ctx, "DeleteConversation")
	defer func() { end(err) }()
	return t.Presenter.DeleteConversation(ctx, convID)
}

func (t traced) ListConversations(ctx context.Context, q repo.ConversationList) (v repo.ConversationPage, err error) {
	ctx, end := t.o.Operation(ctx, "ListConversations")
	defer func() { end(err) }()
	return t.Presenter.ListConversations(ctx, q)
}

func (t traced) RecentConversations(ctx context.Context, limit int) (v []models.Conversation, err error) {
	ctx, end := t.o.Operation(ctx, "RecentConversations")
	defer func() { end(err) }()
	return t.Presenter.RecentConversations(ctx, limit)
}

func (t traced) CountConversations(ctx context.Context) (v int64, err error) {
	ctx, end := t.o.Operation(ctx, "CountConversations")
	defer func() { end(err) }()
	return t.Presenter.CountConversations(ctx)
}

func (t traced) ConversationWithMessages(ctx context.Context, convID string) (v repo.ConversationMessages, err error) {
	ctx, end := t.o.Operation(ctx, "ConversationWithMessages")
	defer func() { end(err) }()
	return t.Presenter.ConversationWithMessages(ctx, convID)
}

func (t traced) InsertMessage(ctx context.Context, m models.Message) (v models.Message, err error) {
	ctx, end := t.o.Operation(ctx, "InsertMessage")
	defer func() { end(err) }()
	return t.Presenter.InsertMessage(ctx, m)
}

func (t traced) InsertMessages(ctx context.Context, ms []models.Message) (v []models.Message, err error) {
	ctx, end := t.o.Operation(ctx, "InsertMessages")
	defer func() { end(err) }()
	return t.Presenter.InsertMessages(ctx, ms)
}

func (t traced) GetMessage(ctx context.Context, msgID string) (v models.Message, err error) {
	ctx, end := t.o.Operation(ctx, "GetMessage")
	defer func() { end(err) }()
	return t.Presenter.GetMessage(ctx, msgID)
}

func (t traced) UpdateMessage(ctx context.Context, msgID string, u repo.MessageUpdate) (v models.Message, err error) {
	ctx, end := t.o.Operation(ctx, "UpdateMessage")
	defer func() { end(err) }()
	return t.Presenter.UpdateMessage(ctx, msgID, u)
}

func (t traced) UpdateMessageParent(ctx context.Context, msgID, parentID string) (err error) {
	ctx, end := t.o.Operation(ctx, "UpdateMessageParent")
	defer func() { end(err) }()
	return t.Presenter.UpdateMessageParent(ctx, msgID, parentID)
}

func (t traced) DeleteMessage(ctx context.Context, msgID string) (err error) {
	ctx, end := t.o.Operation(ctx, "DeleteMessage")
	defer func() { end(err) }()
	return t.Presenter.DeleteMessage(ctx, msgID)
}

func (t traced) DeleteConversationMessages(ctx context.Context, convID string) (v int64, err error) {
	ctx, end := t.o.Operation(ctx, "DeleteConversationMessages")
	defer func() { end(err) }()
	return t.Presenter.DeleteConversationMessages(ctx, convID)
}

func (t traced) DeleteAllMessages(ctx context.Context) (v int64, err error) {
	ctx, end := t.o.Operation(ctx, "DeleteAllMessages")
	defer func() { end(err) }()
	return t.Presenter.DeleteAllMessages(ctx)
}

func (t traced) QueryMessages(ctx context.Context, convID string) (v []repo.MessageThread, err error) {
	ctx, end := t.o.Operation(ctx, "QueryMessages")
	defer func() { end(err) }()
	return t.Presenter.QueryMessages(ctx, convID)
}

func (t traced) MessageVariants(ctx context.Context, msgID string) (v []models.Message, err error) {
	ctx, end := t.o.Operation(ctx, "MessageVariants")
	defer func() { end(err) }()
	return t.Presenter.MessageVariants(ctx, msgID)
}

func (t traced) MainMessage(ctx context.Context, convID, parentID string) (v models.Message, err error) {
	ctx, end := t.o.Operation(ctx, "MainMessage")
	defer func() { end(err) }()
	return t.Presenter.MainMessage(ctx, convID, parentID)
}

func (t traced) LastUserMessage(ctx context.Context, convID string) (v models.Message, err error) {
	ctx, end := t.o.Operation(ctx, "LastUserMessage")
	defer func() { end(err) }()
	return t.Presenter.LastUserMessage(ctx, convID)
}

func (t traced) MaxOrderSeq(ctx context.Context, convID string) (v int64, err error) {
	ctx, end := t.o.Operation(ctx, "MaxOrderSeq")
	defer func() { end(err) }()
	return t.Presenter.MaxOrderSeq(ctx, convID)
}

func (t traced) ListMessages(ctx context.Context, q repo.MessageList) (v repo.MessagePage, err error) {
	ctx, end := t.o.Operation(ctx, "ListMessages")
	defer func() { end(err) }()
	return t.Presenter.ListMessages(ctx, q)
}

func (t traced) AddAttachment(ctx context.Context, a models.MessageAttachment) (v models.MessageAttachment, err error) {
	ctx, end := t.o.Operation(ctx, "AddAttachment")
	defer func() { end(err) }()
	return t.Presenter.AddAttachment(ctx, a)
}

func (t traced) ListAttachments(ctx context.Context, msgID, attachmentType string) (v []models.MessageAttachment, err error) {
	ctx, end := t.o.Operation(ctx, "ListAttachments")
	defer func() { end(err) }()
	return t.Presenter.ListAttachments(ctx, msgID, attachmentType)
}

func (t traced) DeleteAttachment(ctx context.Context, attachmentID string) (err error) {
	ctx, end := t.o.Operation(ctx, "DeleteAttachment")
	defer func() { end(err) }()
	return t.Presenter.DeleteAttachment(ctx, attachmentID)
}

func (t traced) CreateBase(ctx context.Context, b models.KnowledgeBase) (v models.KnowledgeBase, err error) {
	ctx, end := t.o.Operation(ctx, "CreateBase")
	defer func() { end(err) }()
	return t.Presenter.CreateBase(ctx, b)
}

func (t traced) OpenBase(ctx context.Context, b models.KnowledgeBase) (v models.KnowledgeBase, err error) {
	ctx, end := t.o.Operation(ctx, "OpenBase")
	defer func() { end(err) }()
	return t.Presenter.OpenBase(ctx, b)
}

func (t traced) GetBase(ctx context.Context, id string) (v models.KnowledgeBase, err error) {
	ctx, end := t.o.Operation(ctx, "GetBase")
	defer func() { end(err) }()
	return t.Presenter.GetBase(ctx, id)
}

func (t traced) ListBases(ctx context.Context) (v []models.KnowledgeBase, err error) {
	ctx, end := t.o.Operation(ctx, "ListBases")
	defer func() { end(err) }()
	return t.Presenter.ListBases(ctx)
}

func (t traced) UpdateBase(ctx context.Context, id string, u repo.BaseUpdate) (v models.KnowledgeBase, err error) {
	ctx, end := t.o.Operation(ctx, "UpdateBase")
	defer func() { end(err) }()
	return t.Presenter.UpdateBase(ctx, id, u)
}

func (t traced) DeleteBase(ctx context.Context, id string) (err error) {
	ctx, end := t.o.Operation(ctx, "DeleteBase")
	defer func() { end(err) }()
	return t.Presenter.DeleteBase(ctx, id)
}

func (t traced) DestroyKnowledge(ctx context.Context) (v int64, err error) {
	ctx, end := t.o.Operation(ctx, "DestroyKnowledge")
	defer func() { end(err) }()
	return t.Presenter.DestroyKnowledge(ctx)
}

func (t traced) InsertFile(ctx context.Context, f models.KnowledgeFile) (v models.KnowledgeFile, err error) {
	ctx, end := t.o.Operation(ctx, "InsertFile")
	defer func() { end(err) }()
	return t.Presenter.InsertFile(ctx, f)
}

func (t traced) UpdateFile(ctx context.Context, id string, u repo.FileUpdate) (v models.KnowledgeFile, err error) {
	ctx, end := t.o.Operation(ctx, "UpdateFile")
	defer func() { end(err) }()
	return t.Presenter.UpdateFile(ctx, id, u)
}

func (t traced) GetFile(ctx context.Context, id string) (v models.KnowledgeFile, err error) {
	ctx, end := t.o.Operation(ctx, "GetFile")
	defer func() { end(err) }()
	return t.Presenter.GetFile(ctx, id)
}

func (t traced) QueryFiles(ctx context.Context, q repo.FileQuery) (v []models.KnowledgeFile, err error) {
	ctx, end := t.o.Operation(ctx, "QueryFiles")
	defer func() { end(err) }()
	return t.Presenter.QueryFiles(ctx, q)
}

func (t traced) ListFiles(ctx context.Context, baseID string) (v []models.KnowledgeFile, err error) {
	ctx, end := t.o.Operation(ctx, "ListFiles")
	defer func() { end(err) }()
	return t.Presenter.ListFiles(ctx, baseID)
}

func (t traced) DeleteFile(ctx context.Context, id string) (err error) {
	ctx, end := t.o.Operation(ctx, "DeleteFile")
	defer func() { end(err) }()
	return t.Presenter.DeleteFile(ctx, id)
}

func (t traced) InsertChunks(ctx context.Context, chunks []models.KnowledgeChunk) (v []models.KnowledgeChunk, err error) {
	ctx, end := t.o.Operation(ctx, "InsertChunks")
	defer func() { end(err) }()
	return t.Presenter.InsertChunks(ctx, chunks)
}

func (t traced) UpdateChunkStatus(ctx context.Context, id string, status models.TaskStatus, errText string) (err error) {
	ctx, end := t.o.Operation(ctx, "UpdateChunkStatus")
	defer func() { end(err) }()
	return t.Presenter.UpdateChunkStatus(ctx, id, status, errText)
}

func (t traced) QueryChunks(ctx context.Context, q repo.ChunkQuery) (v []models.KnowledgeChunk, err error) {
	ctx, end := t.o.Operation(ctx, "QueryChunks")
	defer func() { end(err) }()
	return t.Presenter.QueryChunks(ctx, q)
}

func (t traced) DeleteChunksByFile(ctx context.Context, fileID string) (v int64, err error) {
	ctx, end := t.o.Operation(ctx, "DeleteChunksByFile")
	defer func() { end(err) }()
	return t.Presenter.DeleteChunksByFile(ctx, fileID)
}

func (t traced) UpsertVectors(ctx context.Context, vectors []models.KnowledgeVector) (v int64, err error) {
	ctx, end := t.o.Operation(ctx, "UpsertVectors")
	defer func() { end(err) }()
	return t.Presenter.UpsertVectors(ctx, vectors)
}

func (t traced) DeleteVectorsByFile(ctx context.Context, fileID string) (v int64, err error) {
	ctx, end := t.o.Operation(ctx, "DeleteVectorsByFile")
	defer func() { end(err) }()
	return t.Presenter.DeleteVectorsByFile(ctx, fileID)
}

func (t traced) SimilarityQuery(ctx context.Context, q repo.SimilarityQuery) (v []repo.SimilarChunk, err error) {
	ctx, end := t.o.Operation(ctx, "SimilarityQuery")
	defer func() { end(err) }()
	return t.Presenter.SimilarityQuery(ctx, q)
}

func (t traced) PauseRunningTasks(ctx context.Context) (v repo.Tasks, err error) {
	ctx, end := t.o.Operation(ctx, "PauseRunningTasks")
	defer func() { end(err) }()
	return t.Presenter.PauseRunningTasks(ctx)
}

func (t traced) ResumePausedTasks(ctx context.Context) (v repo.Tasks, err error) {
	ctx, end := t.o.Operation(ctx, "ResumePausedTasks")
	defer func() { end(err) }()
	return t.Presenter.ResumePausedTasks(ctx)
}

func (t traced) SearchText(ctx context.Context, q repo.TextQuery) (v []repo.TextHit, err error) {
	ctx, end := t.o.Operation(ctx, "SearchText")
	defer func() { end(err) }()
	return t.Presenter.SearchText(ctx, q)
}

func (t traced) RebuildTextIndex(ctx context.Context) (v int64, err error) {
	ctx, end := t.o.Operation(ctx, "RebuildTextIndex")
	defer func() { end(err) }()
	return t.Presenter.RebuildTextIndex(ctx)
}

func (t traced) EmbedPending(ctx context.Context, baseID string) (v EmbedReport, err error) {
	ctx, end := t.o.Operation(ctx, "EmbedPending")
	defer func() { end(err) }()
	return t.Presenter.EmbedPending(ctx, baseID)
}

func (t traced) SearchSimilar(ctx context.Context, text string, q repo.SimilarityQuery) (v []repo.SimilarChunk, err error) {
	ctx, end := t.o.Operation(ctx, "SearchSimilar")
	defer func() { end(err) }()
	return t.Presenter.SearchSimilar(ctx, text, q)
}

func (t traced) SearchHybrid(ctx context.Context, q repo.HybridQuery) (v []repo.HybridHit, err error) {
	ctx, end := t.o.Operation(ctx, "SearchHybrid")
	defer func() { end(err) }()
	return t.Presenter.SearchHybrid(ctx, q)
}

func (t traced) SimilarityQueryAll(ctx context.Context, qs []repo.SimilarityQuery, limit int) (v []repo.SimilarChunk, err error) {
	ctx, end := t.o.Operation(ctx, "SimilarityQueryAll")
	defer func() { end(err) }()
	return t.Presenter.SimilarityQueryAll(ctx, qs, limit)
}

func (t traced) MeasureRecall(ctx context.Context, q repo.RecallQuery) (v repo.RecallReport, err error) {
	ctx, end := t.o.Operation(ctx, "MeasureRecall")
	defer func() { end(err) }()
	return t.Presenter.MeasureRecall(ctx, q)
}

func (t traced) SearchSimilarAll(ctx context.Context, text string, qs []repo.SimilarityQuery, limit int) (v []repo.SimilarChunk, err error) {
	ctx, end := t.o.Operation(ctx, "SearchSimilarAll")
	defer func() { end(err) }()
	return t.Presenter.SearchSimilarAll(ctx, text, qs, limit)
}

func (t traced) ValidateIntegrity(ctx context.Context) (v repo.IntegrityReport, err error) {
	ctx, end := t.o.Operation(ctx, "ValidateIntegrity")
	defer func() { end(err) }()
	return t.Presenter.ValidateIntegrity(ctx)
}

func (t traced) Repair(ctx context.Context, opts RepairOptions) (v RepairReport, err error) {
	ctx, end := t.o.Operation(ctx, "Repair")
	defer func() { end(err) }()
	return t.Presenter.Repair(ctx, opts)
}

func (t traced) GetStatistics(ctx context.Context) (v repo.Statistics, err error) {
	ctx, end := t.o.Operation(ctx, "GetStatistics")
	defer func() { end(err) }()
	return t.Presenter.GetStatistics(ctx)
}

func (t traced) GetTableStatistics(ctx context.Context, table string) (v []repo.ColumnStatistics, err error) {
	ctx, end := t.o.Operation(ctx, "GetTableStatistics")
	defer func() { end(err) }()
	return t.Presenter.GetTableStatistics(ctx, table)
}

func (t traced) AnalyzeQuery(ctx context.Context, query string, args ...any) (v repo.QueryAnalysis, err error) {
	ctx, end := t.o.Operation(ctx, "AnalyzeQuery")
	defer func() { end(err) }()
	return t.Presenter.AnalyzeQuery(ctx, query, args...)
}

func (t traced) AnalyzeCalls(ctx context.Context, f func(ctx context.Context) error) (v []repo.QueryAnalysis, err error) {
	ctx, end := t.o.Operation(ctx, "AnalyzeCalls")
	defer func() { end(err) }()
	return t.Presenter.AnalyzeCalls(ctx, f)
}

func (t traced) Optimize(ctx context.Context, opts OptimizeOptions) (v OptimizeReport, err error) {
	ctx, end := t.o.Operation(ctx, "Optimize")
	defer func() { end(err) }()
	return t.Presenter.Optimize(ctx, opts)
}
