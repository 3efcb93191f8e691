package tests_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// step is one call with everything it needs, so that it can be made on both engines.
type step struct {
	name string
	run  func(ctx context.Context, db *talkbase.DB) (any, error)
}

var (
	someConvs  = rapid.SampledFrom([]string{"c1", "c2", "c3", "中"})
	someMsgs   = rapid.SampledFrom([]string{"m1", "m2", "m3", "m4", "m5", "M1"})
	someFiles  = rapid.SampledFrom([]string{"f1", "f2"})
	someChunks = rapid.SampledFrom([]string{"k1", "k2", "k3", "k4"})
	someTexts  = rapid.SampledFrom([]string{
		"", "running dogs", "the dog runs", "数据库 迁移", "crème brûlée", `{"text":"hello dog","files":[]}`, `[{"type":"content","content":"hello 数据"}]`, "a\tb", "bad\x00",
	})
	someQueries = rapid.SampledFrom([]string{"run", "dog", "hello dog", "数据", `"dog runs"`, "creme OR hello", "dog -hello", "brul*", "text", "", "-dog"})
	someJSON    = rapid.SampledFrom([]string{"", "{}", `{"b":1e2,"a":[1.50,-0]}`, `{"a":"\u00e9"}`, "[]", `{"a":1,"a":2}`, "null"})
	someStates  = rapid.SampledFrom([]models.TaskStatus{"", models.TaskPending, models.TaskProcessed, models.TaskProcessed, models.TaskPaused, models.TaskError, "lost"})
)

// vector draws small halves, whose distances are exact on both engines.
func vector(t *rapid.T) []float32 {
	out := make([]float32, rapid.SampledFrom([]int{3, 3, 3, 3, 3, 2}).Draw(t, "dimensions"))
	for i := range out {
		out[i] = float32(rapid.IntRange(-4, 4).Draw(t, "element")) / 2
	}
	return out
}

func small(t *rapid.T, what string) int64 { return int64(rapid.IntRange(1, 6).Draw(t, what)) }

func coin(t *rapid.T, what string) bool { return rapid.Bool().Draw(t, what) }

// message draws a message whose times are fixed: the present would differ between the engines.
func message(t *rapid.T) models.Message {
	return models.Message{
		MsgID: someMsgs.Draw(t, "msg"), ConversationID: someConvs.Draw(t, "conv"), ParentID: rapid.SampledFrom([]string{"", "m1", "m2", "none"}).Draw(t, "parent"),
		Role: rapid.SampledFrom([]models.Role{models.RoleUser, models.RoleAssistant, models.RoleAssistant, "admin"}).Draw(t, "role"), Content: someTexts.Draw(t, "content"),
		CreatedAt: small(t, "created"), OrderSeq: small(t, "seq") - 1, TokenCount: small(t, "tokens"), Metadata: models.JSON(someJSON.Draw(t, "metadata")),
		IsContextEdge: models.Flag(coin(t, "edge")), IsVariant: models.Flag(coin(t, "variant")),
	}
}

var chatSteps = map[string]func(t *rapid.T) step{
	"create conversation": func(t *rapid.T) step {
		c := models.Conversation{
			ConvID: someConvs.Draw(t, "conv"), Title: someTexts.Draw(t, "title"), CreatedAt: small(t, "created"), UpdatedAt: small(t, "updated"),
			IsPinned: models.Flag(coin(t, "pinned")), IsNew: models.Flag(coin(t, "new")), Settings: models.JSON(someJSON.Draw(t, "settings")),
		}
		return step{fmt.Sprintf("%+v", c), func(ctx context.Context, db *talkbase.DB) (any, error) { return db.CreateConversation(ctx, c) }}
	},
	"update conversation": func(t *rapid.T) step {
		id, title, at, pinned := someConvs.Draw(t, "conv"), someTexts.Draw(t, "title"), small(t, "updated"), coin(t, "pinned")
		return step{fmt.Sprintf("%s %q", id, title), func(ctx context.Context, db *talkbase.DB) (any, error) {
			return db.UpdateConversation(ctx, id, repo.ConversationUpdate{Title: &title, IsPinned: &pinned, UpdatedAt: &at})
		}}
	},
	"pin conversation": func(t *rapid.T) step {
		id, pinned := someConvs.Draw(t, "conv"), coin(t, "pinned")
		return step{id, func(ctx context.Context, db *talkbase.DB) (any, error) {
			return nil, db.PinConversation(ctx, id, pinned)
		}}
	},
	"delete conversation": func(t *rapid.T) step {
		id := someConvs.Draw(t, "conv")
		return step{id, func(ctx context.Context, db *talkbase.DB) (any, error) { return nil, db.DeleteConversation(ctx, id) }}
	},
	"insert messages": func(t *rapid.T) step {
		var ms []models.Message
		for range rapid.IntRange(1, 3).Draw(t, "n") {
			ms = append(ms, message(t))
		}
		return step{fmt.Sprintf("%+v", ms), func(ctx context.Context, db *talkbase.DB) (any, error) { return db.InsertMessages(ctx, ms) }}
	},
	"insert message": func(t *rapid.T) step {
		m := message(t)
		return step{fmt.Sprintf("%+v", m), func(ctx context.Context, db *talkbase.DB) (any, error) { return db.InsertMessage(ctx, m) }}
	},
	"update message": func(t *rapid.T) step {
		id, content, edge := someMsgs.Draw(t, "msg"), someTexts.Draw(t, "content"), coin(t, "edge")
		return step{fmt.Sprintf("%s %q", id, content), func(ctx context.Context, db *talkbase.DB) (any, error) {
			return db.UpdateMessage(ctx, id, repo.MessageUpdate{Content: &content, IsContextEdge: &edge})
		}}
	},
	"delete message": func(t *rapid.T) step {
		id := someMsgs.Draw(t, "msg")
		return step{id, func(ctx context.Context, db *talkbase.DB) (any, error) { return nil, db.DeleteMessage(ctx, id) }}
	},
	"delete messages": func(t *rapid.T) step {
		id := someConvs.Draw(t, "conv")
		return step{id, func(ctx context.Context, db *talkbase.DB) (any, error) { return db.DeleteConversationMessages(ctx, id) }}
	},
	"attach": func(t *rapid.T) step {
		a := models.MessageAttachment{AttachmentID: someChunks.Draw(t, "att"), MessageID: someMsgs.Draw(t, "msg"), Type: "t", Data: someTexts.Draw(t, "data"), CreatedAt: 1}
		return step{fmt.Sprintf("%+v", a), func(ctx context.Context, db *talkbase.DB) (any, error) { return db.AddAttachment(ctx, a) }}
	},
	"read conversation": func(t *rapid.T) step {
		id, parent := someConvs.Draw(t, "conv"), someMsgs.Draw(t, "parent")
		return step{id + " " + parent, func(ctx context.Context, db *talkbase.DB) (any, error) {
			var out []any
			add := func(v any, err error) { out = append(out, v, repo.ErrorCode(err)) }
			add(wrapAny(db.QueryMessages(ctx, id)))
			add(wrapAny(db.MainMessage(ctx, id, parent)))
			add(wrapAny(db.MessageVariants(ctx, parent)))
			add(wrapAny(db.LastUserMessage(ctx, id)))
			add(wrapAny(db.MaxOrderSeq(ctx, id)))
			add(wrapAny(db.ListAttachments(ctx, parent, "")))
			for m, err := range db.StreamMessages(ctx, id) {
				add(m, err)
			}
			return out, nil
		}}
	},
	"pages": func(t *rapid.T) step {
		id, newest, limit := someConvs.Draw(t, "conv"), coin(t, "newest"), rapid.IntRange(1, 3).Draw(t, "limit")
		by, ascending := rapid.SampledFrom([]repo.ConversationSort{"", repo.SortTitle, repo.SortCreated, "id"}).Draw(t, "sort"), coin(t, "ascending")
		return step{fmt.Sprint(id, newest, limit, by, ascending), func(ctx context.Context, db *talkbase.DB) (any, error) {
			var out []any
			q := repo.MessageList{ConversationID: id, Newest: newest, Limit: limit, WithTotal: true}
			for range 20 {
				page, err := db.ListMessages(ctx, q)
				out = append(out, page.Messages, *page.Total, repo.ErrorCode(err))
				if q.After = page.Next; q.After == "" {
					break
				}
			}
			l := repo.ConversationList{Sort: by, Ascending: ascending, Limit: limit}
			for range 20 {
				page, err := db.ListConversations(ctx, l)
				out = append(out, page.Conversations, repo.ErrorCode(err))
				if l.After = page.Next; l.After == "" {
					break
				}
			}
			recent, err := db.RecentConversations(ctx, limit)
			return append(out, recent), err
		}}
	},
	"search": func(t *rapid.T) step {
		q := someQueries.Draw(t, "query")
		return step{q, func(ctx context.Context, db *talkbase.DB) (any, error) {
			hits, err := db.SearchText(ctx, repo.TextQuery{Query: q, Limit: 1000})
			var out []string // their order may differ
			for _, h := range hits {
				out = append(out, fmt.Sprint(h.Kind, h.ID, h.ConversationID, h.FileID, h.Title, h.Role, h.CreatedAt, h.Snippet, h.Highlights))
			}
			slices.Sort(out)
			return out, err
		}}
	},
}

var knowledgeSteps = map[string]func(t *rapid.T) step{
	"insert file": func(t *rapid.T) step {
		f := models.KnowledgeFile{
			ID: someFiles.Draw(t, "file"), BaseID: rapid.SampledFrom([]string{"l2", "ip", "none"}).Draw(t, "base"), Name: someTexts.Draw(t, "name"),
			Status: someStates.Draw(t, "status"), UploadedAt: small(t, "uploaded"), Metadata: models.JSON(someJSON.Draw(t, "metadata")),
		}
		return step{fmt.Sprintf("%+v", f), func(ctx context.Context, db *talkbase.DB) (any, error) { return db.InsertFile(ctx, f) }}
	},
	"update file": func(t *rapid.T) step {
		id, status, name := someFiles.Draw(t, "file"), someStates.Draw(t, "status"), someTexts.Draw(t, "name")
		return step{id, func(ctx context.Context, db *talkbase.DB) (any, error) {
			return db.UpdateFile(ctx, id, repo.FileUpdate{Status: &status, Name: &name})
		}}
	},
	"delete file": func(t *rapid.T) step {
		id := someFiles.Draw(t, "file")
		return step{id, func(ctx context.Context, db *talkbase.DB) (any, error) { return nil, db.DeleteFile(ctx, id) }}
	},
	"insert chunks": func(t *rapid.T) step {
		var ks []models.KnowledgeChunk
		for range rapid.IntRange(1, 3).Draw(t, "n") {
			ks = append(ks, models.KnowledgeChunk{
				ID: someChunks.Draw(t, "chunk"), FileID: someFiles.Draw(t, "file"), ChunkIndex: small(t, "index"), Content: someTexts.Draw(t, "content"), Status: someStates.Draw(t, "status"),
			})
		}
		return step{fmt.Sprintf("%+v", ks), func(ctx context.Context, db *talkbase.DB) (any, error) {
			out, err := db.InsertChunks(ctx, ks)
			if errors.Is(err, repo.ErrConflict) || errors.Is(err, repo.ErrReference) {
				return "refused", nil // of two faults in one batch, either may be named
			}
			return out, err
		}}
	},
	"chunk status": func(t *rapid.T) step {
		id, status := someChunks.Draw(t, "chunk"), someStates.Draw(t, "status")
		return step{id + string(status), func(ctx context.Context, db *talkbase.DB) (any, error) {
			return nil, db.UpdateChunkStatus(ctx, id, status, "")
		}}
	},
	"upsert vectors": func(t *rapid.T) step {
		var vs []models.KnowledgeVector
		for range rapid.IntRange(1, 4).Draw(t, "n") {
			vs = append(vs, models.KnowledgeVector{
				ID: rapid.SampledFrom([]string{"", "v1", "v2", "v3"}).Draw(t, "vector"), FileID: someFiles.Draw(t, "file"), ChunkID: someChunks.Draw(t, "chunk"), Embedding: vector(t),
			})
		}
		return step{fmt.Sprintf("%+v", vs), func(ctx context.Context, db *talkbase.DB) (any, error) { return db.UpsertVectors(ctx, vs) }}
	},
	"similar": func(t *rapid.T) step {
		q := repo.SimilarityQuery{BaseID: rapid.SampledFrom([]string{"l2", "ip", "none"}).Draw(t, "base"), Vector: vector(t), Limit: rapid.IntRange(0, 3).Draw(t, "limit")}
		if coin(t, "threshold") {
			least := float64(small(t, "least"))/4 - 0.1
			q.Threshold = &least
		}
		if status := someStates.Draw(t, "status"); status != "" {
			q.Files.Status = []models.TaskStatus{status}
		}
		return step{fmt.Sprintf("%+v", q), func(ctx context.Context, db *talkbase.DB) (any, error) {
			found, err := db.SimilarityQuery(ctx, q)
			for i := range found { // an engine may compute in float32
				found[i].Distance = float64(float32(found[i].Distance))
				found[i].Similarity = float64(float32(found[i].Similarity))
			}
			return found, err
		}}
	},
	"tasks": func(t *rapid.T) step {
		pause := coin(t, "pause")
		return step{fmt.Sprint(pause), func(ctx context.Context, db *talkbase.DB) (any, error) {
			if pause {
				return db.PauseRunningTasks(ctx)
			}
			return db.ResumePausedTasks(ctx)
		}}
	},
	"read knowledge": func(t *rapid.T) step {
		base, status := rapid.SampledFrom([]string{"", "l2", "ip"}).Draw(t, "base"), someStates.Draw(t, "status")
		return step{base + string(status), func(ctx context.Context, db *talkbase.DB) (any, error) {
			fs, err := db.QueryFiles(ctx, repo.FileQuery{BaseID: base, Status: status})
			ks, kerr := db.QueryChunks(ctx, repo.ChunkQuery{BaseID: base, Status: status})
			st, serr := db.GetStatistics(ctx)
			return []any{fs, ks, st.Rows()}, errors.Join(err, kerr, serr)
		}}
	},
	"delete chunks": func(t *rapid.T) step {
		id := someFiles.Draw(t, "file")
		return step{id, func(ctx context.Context, db *talkbase.DB) (any, error) { return db.DeleteChunksByFile(ctx, id) }}
	},
	"delete vectors": func(t *rapid.T) step {
		id := someFiles.Draw(t, "file")
		return step{id, func(ctx context.Context, db *talkbase.DB) (any, error) { return db.DeleteVectorsByFile(ctx, id) }}
	},
}

func wrapAny(v any, err error) (any, error) { return v, err }

// countedIDs are the integer ids that each engine counts on its own: a rollback on Postgres leaves a
// gap.
var countedIDs = regexp.MustCompile(`\{(ID|Seq):[0-9]+ `)

// answer is what a step gave, without those ids.
func answer(v any, err error) string {
	if err != nil {
		return "error " + repo.ErrorCode(err)
	}
	return countedIDs.ReplaceAllString(fmt.Sprintf("%+v", v), "{$1:n ")
}

// TestPostgresAgreesWithSQLite makes the same random calls on both engines, some of them in
// transactions that are rolled back, and compares every answer.
func TestPostgresAgreesWithSQLite(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	dbs := []*talkbase.DB{
		fresh(t, talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")}, nil),
		fresh(t, talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn)}, nil),
	}
	steps := map[string]func(t *rapid.T) step{}
	var names []string
	for _, group := range []map[string]func(t *rapid.T) step{chatSteps, knowledgeSteps} {
		for name, f := range group {
			steps[name] = f
			names = append(names, name)
		}
	}
	slices.Sort(names)
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		for _, db := range dbs {
			for _, id := range []string{"c1", "c2", "c3", "中"} {
				if err := db.DeleteConversation(ctx, id); err != nil && !errors.Is(err, repo.ErrNotFound) {
					t.Fatalf("clear: got error %v, want none", err)
				}
			}
			_, err := db.DestroyKnowledge(ctx)
			for _, id := range []string{"l2", "ip"} {
				_, cerr := db.CreateBase(ctx, models.KnowledgeBase{ID: id, Dimensions: 3, Metric: models.Metric(id), CreatedAt: 1})
				err = errors.Join(err, cerr)
			}
			if err != nil {
				t.Fatalf("clear: got error %v, want none", err)
			}
		}
		draw := func() (string, step) {
			name := rapid.SampledFrom(names).Draw(t, "step")
			return name, steps[name](t)
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			var group []step
			label := ""
			n, undo := 1, false
			inside := rapid.IntRange(0, 3).Draw(t, "transaction") == 0
			if inside {
				n, undo = rapid.IntRange(1, 4).Draw(t, "calls"), coin(t, "undo")
			}
			for range n {
				name, s := draw()
				group = append(group, s)
				label += fmt.Sprintf("%s %s; ", name, s.name)
			}
			var got [2]string
			for i, db := range dbs {
				run := func(ctx context.Context) {
					for _, s := range group {
						v, err := s.run(ctx, db)
						got[i] += answer(v, err) + "\n"
					}
				}
				if !inside {
					run(ctx)
					continue
				}
				abort := errors.New("abort")
				err := db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error {
					run(ctx)
					if undo {
						return abort
					}
					return nil
				})
				if err != nil && !errors.Is(err, abort) {
					got[i] += answer(nil, err)
				}
			}
			if got[0] != got[1] {
				t.Fatalf("%s\ngot on SQLite\n%s\nwant the same as on Postgres\n%s", label, got[0], got[1])
			}
		}
	})
	for _, db := range dbs {
		wantSound(t, db)
	}
}
