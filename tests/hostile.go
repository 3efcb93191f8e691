package tests

import (
	"context"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func hostileTextCases() []testCase {
	return []testCase{
		{name: "every text argument refuses NUL and invalid UTF-8 alike", run: hostileText},
		{name: "a refused text leaves a transaction usable", run: hostileTextInTransaction},
	}
}

// badTexts cannot be stored by one engine or the other.
var badTexts = map[string]string{
	"NUL":       "a\x00b",
	"only NUL":  "\x00",
	"bare byte": "a\xffb",
	"cut off":   "数\xe6\x8d",
	"surrogate": "\xed\xa0\x80",
	"overlong":  "\xc0\xaf",
}

// textArguments calls every method with bad in one of its text arguments.
func textArguments(b *bench, ctx context.Context, bad string) map[string]error {
	db := b.db
	only := func(_ any, err error) error { return err }
	message := func(change func(*models.Message)) error {
		m := models.Message{ConversationID: "c", Role: models.RoleUser}
		change(&m)
		_, err := db.InsertMessage(ctx, m)
		_, err2 := db.InsertMessages(ctx, []models.Message{{ConversationID: "c", Role: models.RoleUser}, m})
		if err == nil {
			return nil
		}
		return err2
	}
	vector := func(v models.KnowledgeVector) error {
		v.Embedding = []float32{1, 2}
		return only(db.UpsertVectors(ctx, []models.KnowledgeVector{v}))
	}
	stream := func() error {
		for _, err := range db.StreamMessages(ctx, bad) {
			return err
		}
		return nil
	}
	return map[string]error{
		"create conversation: conv_id":  only(db.CreateConversation(ctx, models.Conversation{ConvID: bad})),
		"create conversation: title":    only(db.CreateConversation(ctx, models.Conversation{Title: bad})),
		"get conversation":              only(db.GetConversation(ctx, bad)),
		"update conversation: id":       only(db.UpdateConversation(ctx, bad, repo.ConversationUpdate{IsNew: ptr(true)})),
		"update conversation: title":    only(db.UpdateConversation(ctx, "c", repo.ConversationUpdate{Title: &bad})),
		"rename conversation: id":       db.RenameConversation(ctx, bad, "x"),
		"rename conversation: title":    db.RenameConversation(ctx, "c", bad),
		"pin conversation":              db.PinConversation(ctx, bad, true),
		"delete conversation":           db.DeleteConversation(ctx, bad),
		"conversation with messages":    only(db.ConversationWithMessages(ctx, bad)),
		"insert message: msg_id":        message(func(m *models.Message) { m.MsgID = bad }),
		"insert message: conversation":  message(func(m *models.Message) { m.ConversationID = bad }),
		"insert message: parent":        message(func(m *models.Message) { m.ParentID = bad }),
		"insert message: content":       message(func(m *models.Message) { m.Content = bad }),
		"get message":                   only(db.GetMessage(ctx, bad)),
		"update message: id":            only(db.UpdateMessage(ctx, bad, repo.MessageUpdate{TokenCount: ptr(int64(1))})),
		"update message: id, no fields": only(db.UpdateMessage(ctx, bad, repo.MessageUpdate{})),
		"update message: content":       only(db.UpdateMessage(ctx, "m", repo.MessageUpdate{Content: &bad})),
		"update message parent: id":     db.UpdateMessageParent(ctx, bad, "x"),
		"update message parent: parent": db.UpdateMessageParent(ctx, "m", bad),
		"delete message":                db.DeleteMessage(ctx, bad),
		"delete conversation messages":  only(db.DeleteConversationMessages(ctx, bad)),
		"query messages":                only(db.QueryMessages(ctx, bad)),
		"message variants":              only(db.MessageVariants(ctx, bad)),
		"main message: conversation":    only(db.MainMessage(ctx, bad, "x")),
		"main message: parent":          only(db.MainMessage(ctx, "c", bad)),
		"last user message":             only(db.LastUserMessage(ctx, bad)),
		"max order_seq":                 only(db.MaxOrderSeq(ctx, bad)),
		"list messages":                 only(db.ListMessages(ctx, repo.MessageList{ConversationID: bad, WithTotal: true})),
		"stream messages":               stream(),
		"add attachment: id":            only(db.AddAttachment(ctx, models.MessageAttachment{AttachmentID: bad, MessageID: "m"})),
		"add attachment: message":       only(db.AddAttachment(ctx, models.MessageAttachment{MessageID: bad})),
		"add attachment: type":          only(db.AddAttachment(ctx, models.MessageAttachment{MessageID: "m", Type: bad})),
		"add attachment: data":          only(db.AddAttachment(ctx, models.MessageAttachment{MessageID: "m", Data: bad})),
		"list attachments: message":     only(db.ListAttachments(ctx, bad, "")),
		"list attachments: type":        only(db.ListAttachments(ctx, "m", bad)),
		"delete attachment":             db.DeleteAttachment(ctx, bad),
		"create base: id":               only(db.CreateBase(ctx, models.KnowledgeBase{ID: bad})),
		"create base: name":             only(db.CreateBase(ctx, models.KnowledgeBase{Name: bad})),
		"create base: model":            only(db.CreateBase(ctx, models.KnowledgeBase{EmbeddingModel: bad})),
		"open base":                     only(db.OpenBase(ctx, models.KnowledgeBase{ID: bad})),
		"get base":                      only(db.GetBase(ctx, bad)),
		"update base: id":               only(db.UpdateBase(ctx, bad, repo.BaseUpdate{Name: ptr("x")})),
		"update base: name":             only(db.UpdateBase(ctx, "kb", repo.BaseUpdate{Name: &bad})),
		"update base: model":            only(db.UpdateBase(ctx, "kb", repo.BaseUpdate{EmbeddingModel: &bad})),
		"delete base":                   db.DeleteBase(ctx, bad),
		"insert file: id":               only(db.InsertFile(ctx, models.KnowledgeFile{ID: bad, BaseID: "kb"})),
		"insert file: base":             only(db.InsertFile(ctx, models.KnowledgeFile{BaseID: bad})),
		"insert file: name":             only(db.InsertFile(ctx, models.KnowledgeFile{BaseID: "kb", Name: bad})),
		"insert file: path":             only(db.InsertFile(ctx, models.KnowledgeFile{BaseID: "kb", Path: bad})),
		"insert file: type":             only(db.InsertFile(ctx, models.KnowledgeFile{BaseID: "kb", MimeType: bad})),
		"update file: id":               only(db.UpdateFile(ctx, bad, repo.FileUpdate{})),
		"update file: name":             only(db.UpdateFile(ctx, "kb-file", repo.FileUpdate{Name: &bad})),
		"update file: path":             only(db.UpdateFile(ctx, "kb-file", repo.FileUpdate{Path: &bad})),
		"update file: type":             only(db.UpdateFile(ctx, "kb-file", repo.FileUpdate{MimeType: &bad})),
		"get file":                      only(db.GetFile(ctx, bad)),
		"query files: base":             only(db.QueryFiles(ctx, repo.FileQuery{BaseID: bad})),
		"query files: name":             only(db.QueryFiles(ctx, repo.FileQuery{Name: bad})),
		"query files: path":             only(db.QueryFiles(ctx, repo.FileQuery{Path: bad})),
		"query files: type":             only(db.QueryFiles(ctx, repo.FileQuery{MimeType: bad})),
		"list files":                    only(db.ListFiles(ctx, bad)),
		"delete file":                   db.DeleteFile(ctx, bad),
		"insert chunks: id":             only(db.InsertChunks(ctx, []models.KnowledgeChunk{{ID: bad, FileID: "kb-file"}})),
		"insert chunks: file":           only(db.InsertChunks(ctx, []models.KnowledgeChunk{{FileID: bad}})),
		"insert chunks: content":        only(db.InsertChunks(ctx, []models.KnowledgeChunk{{FileID: "kb-file", Content: bad}})),
		"insert chunks: error":          only(db.InsertChunks(ctx, []models.KnowledgeChunk{{FileID: "kb-file", Error: bad}})),
		"update chunk status: id":       db.UpdateChunkStatus(ctx, bad, models.TaskError, ""),
		"update chunk status: error":    db.UpdateChunkStatus(ctx, "k", models.TaskError, bad),
		"query chunks: base":            only(db.QueryChunks(ctx, repo.ChunkQuery{BaseID: bad})),
		"query chunks: file":            only(db.QueryChunks(ctx, repo.ChunkQuery{FileID: bad})),
		"delete chunks by file":         only(db.DeleteChunksByFile(ctx, bad)),
		"upsert vectors: id":            vector(models.KnowledgeVector{ID: bad, FileID: "kb-file", ChunkID: "k"}),
		"upsert vectors: file":          vector(models.KnowledgeVector{FileID: bad, ChunkID: "k"}),
		"upsert vectors: chunk":         vector(models.KnowledgeVector{FileID: "kb-file", ChunkID: bad}),
		"upsert vectors: base":          vector(models.KnowledgeVector{FileID: "kb-file", ChunkID: "k", BaseID: bad}),
		"delete vectors by file":        only(db.DeleteVectorsByFile(ctx, bad)),
		"similarity query":              only(db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: bad, Vector: []float32{1, 2}})),
		"search text: query":            only(db.SearchText(ctx, repo.TextQuery{Query: "word " + bad})),
		"search text: conversation":     only(db.SearchText(ctx, repo.TextQuery{Query: "word", ConversationID: bad})),
		"bulk: conversation":            db.Bulk().InsertConversations(ctx, []models.Conversation{{ConvID: "x", Title: bad}}),
		"bulk: message":                 db.Bulk().InsertMessages(ctx, []models.Message{{MsgID: "x", ConversationID: "c", Role: models.RoleUser, Status: models.StatusSent, Content: bad}}),
		"bulk: attachment":              db.Bulk().InsertAttachments(ctx, []models.MessageAttachment{{AttachmentID: "x", MessageID: "m", Data: bad}}),
		"bulk: chunk":                   db.Bulk().InsertChunks(ctx, []models.KnowledgeChunk{{ID: "x", FileID: "kb-file", Status: models.TaskPending, Content: bad}}),
		"bulk: conversations by id":     only(db.Bulk().ConversationsByID(ctx, []string{bad})),
	}
}

// enumArguments are texts of which only a few are allowed.
func enumArguments(b *bench, bad string) map[string]error {
	db, ctx := b.db, b.ctx
	only := func(_ any, err error) error { return err }
	return map[string]error{
		"role":            only(db.InsertMessage(ctx, models.Message{ConversationID: "c", Role: models.Role(bad)})),
		"message status":  only(db.UpdateMessage(ctx, "m", repo.MessageUpdate{Status: ptr(models.MessageStatus(bad))})),
		"metric":          only(db.CreateBase(ctx, models.KnowledgeBase{Metric: models.Metric(bad)})),
		"file status":     only(db.UpdateFile(ctx, "kb-file", repo.FileUpdate{Status: ptr(models.TaskStatus(bad))})),
		"chunk status":    db.UpdateChunkStatus(ctx, "k", models.TaskStatus(bad), ""),
		"status of files": only(db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 2}, Files: repo.FileFilter{Status: []models.TaskStatus{models.TaskStatus(bad)}}})),
		"metric to ask":   only(db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 2}, Metric: models.Metric(bad)})),
		"sort":            only(db.ListConversations(ctx, repo.ConversationList{Sort: repo.ConversationSort(bad)})),
		"cursor":          only(db.ListConversations(ctx, repo.ConversationList{After: bad})),
		"message cursor":  only(db.ListMessages(ctx, repo.MessageList{ConversationID: "c", After: bad})),
		"kind":            only(db.SearchText(ctx, repo.TextQuery{Query: "w", In: []repo.HitKind{repo.HitKind(bad)}})),
		"role to search":  only(db.SearchText(ctx, repo.TextQuery{Query: "w", Role: models.Role(bad)})),
		"settings":        only(db.CreateConversation(ctx, models.Conversation{Settings: models.JSON(bad)})),
		"metadata":        only(db.UpdateMessage(ctx, "m", repo.MessageUpdate{Metadata: ptr(models.JSON(`{"a":"` + bad + `"}`))})),
	}
}

func hostileSetup(b *bench) {
	b.conversation("c")
	b.message("c", "m", "words")
	b.base("kb", 2, models.MetricCosine)
	_, err := b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: "k", FileID: "kb-file"}})
	wantNil(b.t, "insert", err)
}

func hostileText(b *bench) {
	hostileSetup(b)
	before, err := b.db.GetStatistics(b.ctx)
	wantNil(b.t, "stats", err)
	for kind, bad := range badTexts {
		for name, err := range textArguments(b, b.ctx, bad) {
			wantErr(b.t, kind+" in "+name, err, repo.ErrText, repo.ErrInvalid)
			wantTyped(b.t, kind+" in "+name, err)
			equal(b.t, kind+" in "+name+": code", repo.ErrorCode(err), "TEXT")
		}
		for name, err := range enumArguments(b, bad) {
			wantErr(b.t, kind+" in "+name, err, repo.ErrInvalid)
			wantTyped(b.t, kind+" in "+name, err)
		}
	}
	after, err := b.db.GetStatistics(b.ctx)
	wantNil(b.t, "stats", err)
	deepEqual(b.t, "rows", after.Rows(), before.Rows())
}

func hostileTextInTransaction(b *bench) {
	hostileSetup(b)
	err := b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error {
		for name, err := range textArguments(b, ctx, "a\x00b") {
			wantErr(b.t, name, err, repo.ErrText)
		}
		_, err := b.db.InsertMessage(ctx, models.Message{MsgID: "after", ConversationID: "c", Role: models.RoleUser})
		return err
	})
	wantNil(b.t, "transaction", err)
	equal(b.t, "inserted afterwards", b.getMessage("after").MsgID, "after")
}
