package talkbase_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func Example() {
	ctx := context.Background()
	db, err := talkbase.Open(ctx, talkbase.Config{DSN: "sqlite::memory:"})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()

	c, err := db.CreateConversation(ctx, models.NewConversation("Moving house"))
	if err != nil {
		log.Fatal(err)
	}
	question, err := db.InsertMessage(ctx, models.Message{
		ConversationID: c.ConvID, Role: models.RoleUser, Content: "Where do the backups go?",
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = db.InsertMessage(ctx, models.Message{
		ConversationID: c.ConvID, ParentID: question.MsgID, Role: models.RoleAssistant, Content: "Beside the database file.",
	})
	if err != nil {
		log.Fatal(err)
	}
	for m, err := range db.StreamMessages(ctx, c.ConvID) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.OrderSeq, m.Role, m.Content)
	}
	hits, err := db.SearchText(ctx, repo.TextQuery{Query: "backup"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(hits[0].Kind, hits[0].Snippet)
	// Output:
	// 1 user Where do the backups go?
	// 2 assistant Beside the database file.
	// message Where do the backups go?
}

func ExampleDB_WithTransaction() {
	ctx := context.Background()
	db, err := talkbase.Open(ctx, talkbase.Config{DSN: "sqlite::memory:"})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()

	changedMind := errors.New("changed my mind")
	err = db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error {
		if _, err := db.CreateConversation(ctx, models.NewConversation("A draft")); err != nil {
			return err
		}
		return changedMind // everything made with this ctx is undone
	})
	n, _ := db.CountConversations(ctx)
	fmt.Println(errors.Is(err, changedMind), n)
	// Output: true 0
}

func ExampleDB_SimilarityQuery() {
	ctx := context.Background()
	db, err := talkbase.Open(ctx, talkbase.Config{DSN: "sqlite::memory:"})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()

	base, err := db.CreateBase(ctx, models.KnowledgeBase{ID: "manuals", Dimensions: 3})
	if err != nil {
		log.Fatal(err)
	}
	file, err := db.InsertFile(ctx, models.KnowledgeFile{BaseID: base.ID, Name: "kettle.md", Path: "/manuals/kettle.md", Status: models.TaskProcessed})
	if err != nil {
		log.Fatal(err)
	}
	chunks, err := db.InsertChunks(ctx, []models.KnowledgeChunk{
		{FileID: file.ID, ChunkIndex: 0, Content: "Fill with water.", Status: models.TaskProcessed},
		{FileID: file.ID, ChunkIndex: 1, Content: "Press the switch.", Status: models.TaskProcessed},
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = db.UpsertVectors(ctx, []models.KnowledgeVector{
		{FileID: file.ID, ChunkID: chunks[0].ID, Embedding: []float32{1, 0, 0}},
		{FileID: file.ID, ChunkID: chunks[1].ID, Embedding: []float32{0, 1, 0}},
	})
	if err != nil {
		log.Fatal(err)
	}
	found, err := db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: base.ID, Vector: []float32{0.9, 0.1, 0}, Limit: 1})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s %.2f\n", found[0].FileName, found[0].Content, found[0].Similarity)
	// Output: kettle.md: Fill with water. 0.99
}
