package talkbase

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func smoke(t *testing.T, cfg Config) {
	ctx := context.Background()
	db, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c, err := db.CreateConversation(ctx, models.NewConversation("Migrating 数据库 files"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := db.InsertMessage(ctx, models.Message{ConversationID: c.ConvID, Role: "user", Content: `{"text":"how do I run migrations?"}`})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", m)
	hits, err := db.SearchText(ctx, repo.TextQuery{Query: "migration"})
	t.Logf("%+v %v", hits, err)
	hits, err = db.SearchText(ctx, repo.TextQuery{Query: "数据"})
	t.Logf("%+v %v", hits, err)
	f, err := db.InsertFile(ctx, models.KnowledgeFile{Name: "a.md", Path: "/a.md"})
	if err != nil {
		t.Fatal(err)
	}
	ch, err := db.InsertChunks(ctx, []models.KnowledgeChunk{{FileID: f.ID, Content: "hello", Status: "processed"}, {FileID: f.ID, Content: "world", Status: "processed"}})
	if err != nil {
		t.Fatal(err)
	}
	v := make([]float32, 1536)
	v[0] = 1
	w := make([]float32, 1536)
	w[1] = 1
	for range 2 {
		n, err := db.UpsertVectors(ctx, []models.KnowledgeVector{{FileID: f.ID, ChunkID: ch[0].ID, Embedding: v}, {FileID: f.ID, ChunkID: ch[1].ID, Embedding: w}})
		t.Log(n, err)
	}
	sim, err := db.SimilarityQuery(ctx, repo.SimilarityQuery{Vector: v})
	t.Logf("%+v %v", sim, err)
	th, err := db.QueryMessages(ctx, c.ConvID)
	t.Logf("%+v %v", th, err)
	rec, err := db.RecentConversations(ctx, 0)
	t.Logf("%+v %v", rec, err)
	st, err := db.Stats(ctx)
	t.Logf("%+v %v", st, err)
	rep, err := db.ValidateSchema(ctx)
	t.Logf("%v %v %v", rep.Version, len(rep.Drift), err)
	before, _ := db.late.Get().Introspect(ctx)
	if err := db.Reset(ctx, nil); err != nil {
		t.Fatal(err)
	}
	after, _ := db.late.Get().Introspect(ctx)
	for _, d := range engine.Compare(before, after, nil) {
		t.Logf("%+v", d)
	}
	if os.Getenv("GOLD") != "" {
		b, _ := json.MarshalIndent(before, "", "  ")
		os.WriteFile("migration/schema/"+db.Engine()+".json", append(b, 10), 0o644)
	}
	for _, tn := range []int64{0, 2, 1, 2} {
		if err := db.MigrateSchema(ctx, tn); err != nil {
			t.Fatal(tn, err)
		}
	}
}

func TestSmoke(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { smoke(t, Config{DSN: "sqlite::memory:"}) })
	if dsn := os.Getenv("TALKBASE_TEST_POSTGRES"); dsn != "" {
		t.Run("postgres", func(t *testing.T) { smoke(t, Config{DSN: dsn, Schema: "smoke"}) })
		t.Run("simple", func(t *testing.T) {
			smoke(t, Config{DSN: dsn + "&default_query_exec_mode=simple_protocol", Schema: "smoke2"})
		})
	}
}
