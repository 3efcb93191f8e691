package tests

import (
	"testing"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
	"github.com/talkbase/talkbase/services"
)

func noVectorsCases() []testCase {
	return []testCase{
		{
			name: "knowledge calls are unsupported, all else works", configure: func(c *talkbase.Config) { c.Vector.Disabled = true },
			run: func(b *bench) { WithoutVectors(b.t, b.db) },
		},
	}
}

// WithoutVectors checks an empty database in which vectors cannot be stored: every knowledge call
// returns ErrUnsupported, and all else works.
func WithoutVectors(t *testing.T, db *talkbase.DB) {
	b := &bench{t: t, ctx: t.Context(), db: db}
	ctx := b.ctx
	only := func(_ any, err error) error { return err }
	bulk := db.Bulk()
	for name, err := range map[string]error{
		"create base":       only(db.CreateBase(ctx, models.KnowledgeBase{})),
		"open base":         only(db.OpenBase(ctx, models.KnowledgeBase{ID: "x"})),
		"get base":          only(db.GetBase(ctx, "x")),
		"list bases":        only(db.ListBases(ctx)),
		"update base":       only(db.UpdateBase(ctx, "x", repo.BaseUpdate{})),
		"delete base":       db.DeleteBase(ctx, "x"),
		"destroy":           only(db.DestroyKnowledge(ctx)),
		"insert file":       only(db.InsertFile(ctx, models.KnowledgeFile{})),
		"update file":       only(db.UpdateFile(ctx, "x", repo.FileUpdate{})),
		"get file":          only(db.GetFile(ctx, "x")),
		"query files":       only(db.QueryFiles(ctx, repo.FileQuery{})),
		"list files":        only(db.ListFiles(ctx, "")),
		"delete file":       db.DeleteFile(ctx, "x"),
		"insert chunks":     only(db.InsertChunks(ctx, nil)),
		"chunk status":      db.UpdateChunkStatus(ctx, "x", models.TaskError, ""),
		"query chunks":      only(db.QueryChunks(ctx, repo.ChunkQuery{})),
		"delete chunks":     only(db.DeleteChunksByFile(ctx, "x")),
		"upsert vectors":    only(db.UpsertVectors(ctx, []models.KnowledgeVector{{FileID: "f", ChunkID: "c", Embedding: []float32{1}}})),
		"upsert nothing":    only(db.UpsertVectors(ctx, nil)),
		"delete vectors":    only(db.DeleteVectorsByFile(ctx, "x")),
		"similarity query":  only(db.SimilarityQuery(ctx, repo.SimilarityQuery{Vector: []float32{1}})),
		"pause":             only(db.PauseRunningTasks(ctx)),
		"resume":            only(db.ResumePausedTasks(ctx)),
		"vectors supported": db.VectorsSupported(),
		"bulk bases":        bulk.InsertBases(ctx, []models.KnowledgeBase{{}}),
		"bulk files":        bulk.InsertFiles(ctx, []models.KnowledgeFile{{}}),
		"bulk chunks":       bulk.InsertChunks(ctx, []models.KnowledgeChunk{{}}),
		"bulk vectors":      bulk.InsertVectors(ctx, []models.KnowledgeVector{{}}),
	} {
		wantErr(t, name, err, repo.ErrUnsupported)
		equal(t, name+": code", repo.ErrorCode(err), "UNSUPPORTED")
	}
	b.conversation("c")
	b.message("c", "m", "words")
	_, err := db.AddAttachment(ctx, models.MessageAttachment{MessageID: "m"})
	wantNil(t, "attach", err)
	deepEqual(t, "found", b.searched("words"), []string{"m"})
	_, err = db.RebuildTextIndex(ctx)
	wantNil(t, "rebuild", err)
	st, err := db.GetStatistics(ctx)
	wantNil(t, "stats", err)
	equal(t, "messages", st.Rows()["messages"], 1)
	b.sound("without vectors")
	r, err := db.Repair(ctx, services.RepairOptions{NoBackup: true})
	wantNil(t, "repair", err)
	equal(t, "actions", len(r.Actions), 0)
	_, err = db.Optimize(ctx, services.OptimizeOptions{})
	wantNil(t, "optimize", err)
	validate := func(when string) {
		t.Helper()
		v, err := db.ValidateSchema(ctx)
		wantNil(t, "validate "+when, err)
		deepEqual(t, "drift "+when, v.Drift, []migration.Drift{})
		equal(t, "schema is right "+when, v.OK, true)
	}
	validate("when opened")
	_, err = db.CreateOptimalIndexes(ctx)
	wantNil(t, "create indexes", err)
	validate("with all indexes")
	wantNil(t, "down", db.MigrateSchema(ctx, 0))
	wantNil(t, "up", db.MigrateSchema(ctx, db.LatestSchemaVersion()))
	validate("after down and up")
	wantNil(t, "reset", db.Reset(ctx, nil))
	validate("after a reset")
	wantErr(t, "vectors after a reset", db.VectorsSupported(), repo.ErrUnsupported)
	b.conversation("c")
	b.message("c", "m", "words")
	wantNil(t, "delete", db.DeleteConversation(ctx, "c"))
}
