package tests

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func knowledgeCases() []testCase {
	return []testCase{
		{name: "bases: create, open, list, update, delete", run: bases, configure: func(c *talkbase.Config) { c.Vector.Dimensions, c.Vector.Metric = 7, models.MetricL2 }},
		{name: "bases: what cannot be is refused", run: refuseBases},
		{name: "files: insert, update, query, delete", run: files},
		{name: "chunks: insert, status, query, delete", run: chunks},
		{name: "tasks pause and resume", run: tasks},
		{name: "destroy empties everything", run: destroy},
		{name: "unknown ids are not found", run: unknownKnowledge},
	}
}

func bases(b *bench) {
	before := time.Now().UnixMilli()
	made, err := b.db.CreateBase(b.ctx, models.KnowledgeBase{})
	wantNil(b.t, "create", err)
	if _, err := uuid.Parse(made.ID); err != nil {
		b.t.Errorf("id: got %q, want a UUID", made.ID)
	}
	if now := time.Now().UnixMilli(); made.CreatedAt < before || made.CreatedAt > now {
		b.t.Errorf("created_at: got %d, want between %d and %d", made.CreatedAt, before, now)
	}
	want := models.KnowledgeBase{ID: made.ID, Name: made.ID, Dimensions: 7, Metric: models.MetricL2, Settings: models.JSON("{}"), CreatedAt: made.CreatedAt}
	deepEqual(b.t, "created", made, want)
	given := models.KnowledgeBase{ID: "given", Name: "Docs 文档", Dimensions: 3, Metric: models.MetricIP, EmbeddingModel: "m", Settings: models.JSON(`{"a":1}`), CreatedAt: 5}
	stored, err := b.db.CreateBase(b.ctx, given)
	wantNil(b.t, "create given", err)
	deepEqual(b.t, "stored", stored, given)
	read, err := b.db.GetBase(b.ctx, "given")
	wantNil(b.t, "get", err)
	deepEqual(b.t, "as read", read, given)

	opened, err := b.db.OpenBase(b.ctx, models.KnowledgeBase{ID: "given"})
	wantNil(b.t, "open", err)
	deepEqual(b.t, "opened", opened, given)
	opened, err = b.db.OpenBase(b.ctx, models.KnowledgeBase{ID: "given", Dimensions: 3, Metric: models.MetricIP, Name: "other name"})
	wantNil(b.t, "open as it is", err)
	deepEqual(b.t, "opened", opened, given)
	for name, as := range map[string]models.KnowledgeBase{
		"other dimensions": {ID: "given", Dimensions: 4},
		"other metric":     {ID: "given", Dimensions: 3, Metric: models.MetricCosine},
	} {
		_, err = b.db.OpenBase(b.ctx, as)
		wantErr(b.t, name, err, repo.ErrConflict)
		wantTyped(b.t, name, err)
		equal(b.t, name+" code", repo.ErrorCode(err), "CONFLICT")
	}
	opened, err = b.db.OpenBase(b.ctx, models.KnowledgeBase{ID: "opened", Dimensions: 9, Metric: models.MetricCosine, CreatedAt: 1})
	wantNil(b.t, "open a new one", err)
	equal(b.t, "dimensions of a base made by opening", opened.Dimensions, 9)
	_, err = b.db.CreateBase(b.ctx, models.KnowledgeBase{ID: "given"})
	wantErr(b.t, "create twice", err, repo.ErrConflict)

	updated, err := b.db.UpdateBase(b.ctx, "given", repo.BaseUpdate{Name: ptr("new"), EmbeddingModel: ptr(""), Settings: ptr(models.JSON(`{"b":[]}`))})
	wantNil(b.t, "update", err)
	given.Name, given.EmbeddingModel, given.Settings = "new", "", models.JSON(`{"b":[]}`)
	deepEqual(b.t, "updated", updated, given)
	updated, err = b.db.UpdateBase(b.ctx, "given", repo.BaseUpdate{})
	wantNil(b.t, "update nothing", err)
	deepEqual(b.t, "updated with nothing", updated, given)
	_, err = b.db.UpdateBase(b.ctx, "given", repo.BaseUpdate{Settings: ptr(models.JSON("[]"))})
	wantErr(b.t, "update with an array", err, repo.ErrInvalid)

	list, err := b.db.ListBases(b.ctx)
	wantNil(b.t, "list", err)
	deepEqual(b.t, "list", ids(list, func(k models.KnowledgeBase) string { return k.ID }), []string{made.ID, "given", "opened"})
	b.file("given", "f")
	b.vectors("f", []string{"v"}, map[string][]float32{"v": {1, 2, 3}})
	wantNil(b.t, "delete", b.db.DeleteBase(b.ctx, "given"))
	for _, table := range []string{"knowledge_files", "knowledge_chunks", "knowledge_vectors"} {
		equal(b.t, table+" left", b.number("SELECT count(*) FROM "+table), 0)
	}
	deepEqual(b.t, "found", b.searched("content"), []string{})
	wantErr(b.t, "delete again", b.db.DeleteBase(b.ctx, "given"), repo.ErrNotFound)
}

func refuseBases(b *bench) {
	for name, k := range map[string]models.KnowledgeBase{
		"negative dimensions": {Dimensions: -1},
		"too many dimensions": {Dimensions: 16001},
		"unknown metric":      {Metric: "manhattan"},
		"array as settings":   {Settings: models.JSON("[]")},
	} {
		_, err := b.db.CreateBase(b.ctx, k)
		wantErr(b.t, name, err, repo.ErrInvalid)
		wantTyped(b.t, name, err)
		k.ID = "x"
		_, err = b.db.OpenBase(b.ctx, k)
		wantErr(b.t, "open: "+name, err, repo.ErrInvalid)
	}
	for _, d := range []int64{1, 16000} {
		_, err := b.db.CreateBase(b.ctx, models.KnowledgeBase{Dimensions: d})
		wantNil(b.t, fmt.Sprint(d, " dimensions"), err)
	}
}

func files(b *bench) {
	before := time.Now().UnixMilli()
	f, err := b.db.InsertFile(b.ctx, models.KnowledgeFile{Name: "a.md", Path: "/a.md"})
	wantNil(b.t, "insert", err)
	equal(b.t, "base", f.BaseID, models.DefaultBase)
	equal(b.t, "status", f.Status, models.TaskProcessing)
	if now := time.Now().UnixMilli(); f.UploadedAt < before || f.UploadedAt > now {
		b.t.Errorf("uploaded_at: got %d, want between %d and %d", f.UploadedAt, before, now)
	}
	def, err := b.db.GetBase(b.ctx, models.DefaultBase)
	wantNil(b.t, "the default base", err)
	equal(b.t, "dimensions of the default base", def.Dimensions, 1536)
	equal(b.t, "metric of the default base", def.Metric, models.MetricCosine)
	wantNil(b.t, "delete", b.db.DeleteFile(b.ctx, f.ID))

	b.base("kb", 3, models.MetricCosine)
	given := models.KnowledgeFile{
		ID: "g", BaseID: "kb", Name: "报告.pdf", Path: "/ü/报告.pdf", MimeType: "application/pdf", Status: models.TaskError, UploadedAt: 4,
		Metadata: models.JSON(`{"pages":3}`),
	}
	stored, err := b.db.InsertFile(b.ctx, given)
	wantNil(b.t, "insert given", err)
	deepEqual(b.t, "stored", stored, given)
	_, err = b.db.InsertFile(b.ctx, given)
	wantErr(b.t, "known id", err, repo.ErrConflict)
	_, err = b.db.InsertFile(b.ctx, models.KnowledgeFile{BaseID: "nobody"})
	wantErr(b.t, "unknown base", err, repo.ErrReference, repo.ErrNotFound)
	_, err = b.db.InsertFile(b.ctx, models.KnowledgeFile{Status: "lost"})
	wantErr(b.t, "unknown status", err, repo.ErrInvalid)
	_, err = b.db.InsertFile(b.ctx, models.KnowledgeFile{Metadata: models.JSON("[]")})
	wantErr(b.t, "array as metadata", err, repo.ErrInvalid)

	for _, s := range []struct {
		name   string
		update repo.FileUpdate
		change func(*models.KnowledgeFile)
	}{
		{"nothing", repo.FileUpdate{}, func(*models.KnowledgeFile) {}},
		{"name", repo.FileUpdate{Name: ptr("")}, func(f *models.KnowledgeFile) { f.Name = "" }},
		{"path", repo.FileUpdate{Path: ptr("/p")}, func(f *models.KnowledgeFile) { f.Path = "/p" }},
		{"type", repo.FileUpdate{MimeType: ptr("")}, func(f *models.KnowledgeFile) { f.MimeType = "" }},
		{"status", repo.FileUpdate{Status: ptr(models.TaskPaused)}, func(f *models.KnowledgeFile) { f.Status = models.TaskPaused }},
		{"metadata", repo.FileUpdate{Metadata: ptr(models.JSON(`{ }`))}, func(f *models.KnowledgeFile) { f.Metadata = models.JSON(`{}`) }},
	} {
		s.change(&given)
		got, err := b.db.UpdateFile(b.ctx, "g", s.update)
		wantNil(b.t, s.name, err)
		deepEqual(b.t, s.name, got, given)
		got, err = b.db.GetFile(b.ctx, "g")
		wantNil(b.t, s.name, err)
		deepEqual(b.t, s.name+" as read", got, given)
	}
	_, err = b.db.UpdateFile(b.ctx, "g", repo.FileUpdate{Status: ptr(models.TaskStatus("lost"))})
	wantErr(b.t, "update to an unknown status", err, repo.ErrInvalid)
	queryFiles(b)
}

func queryFiles(b *bench) {
	// kb has kb-file (uploaded now) and g (uploaded at 4).
	for i, id := range []string{"q2", "q1", "q3"} {
		_, err := b.db.InsertFile(b.ctx, models.KnowledgeFile{
			ID: id, BaseID: "kb", Name: "n", Path: fmt.Sprint("/", i), MimeType: "text/plain", Status: models.TaskPending, UploadedAt: 10,
		})
		wantNil(b.t, "insert", err)
	}
	for name, c := range map[string]struct {
		q    repo.FileQuery
		want []string
	}{
		"all of a base":    {repo.FileQuery{BaseID: "kb"}, []string{"g", "q1", "q2", "q3", "kb-file"}},
		"all":              {repo.FileQuery{}, []string{"g", "q1", "q2", "q3", "kb-file"}},
		"name":             {repo.FileQuery{Name: "n"}, []string{"q1", "q2", "q3"}},
		"path":             {repo.FileQuery{Path: "/1"}, []string{"q1"}},
		"type":             {repo.FileQuery{MimeType: "text/plain"}, []string{"q1", "q2", "q3"}},
		"status":           {repo.FileQuery{Status: models.TaskPending, Limit: 2}, []string{"q1", "q2"}},
		"everything":       {repo.FileQuery{BaseID: "kb", Name: "n", Path: "/2", MimeType: "text/plain", Status: models.TaskPending}, []string{"q3"}},
		"contradiction":    {repo.FileQuery{Name: "n", Status: models.TaskError}, []string{}},
		"pattern":          {repo.FileQuery{Name: "%"}, []string{}},
		"injection":        {repo.FileQuery{Path: "' OR 1=1 --"}, []string{}},
		"status injection": {repo.FileQuery{Status: "pending' OR '1'='1"}, []string{}},
	} {
		got, err := b.db.QueryFiles(b.ctx, c.q)
		wantNil(b.t, name, err)
		deepEqual(b.t, name, ids(got, func(f models.KnowledgeFile) string { return f.ID }), c.want)
	}
	got, err := b.db.ListFiles(b.ctx, "kb")
	wantNil(b.t, "list", err)
	equal(b.t, "files of kb", len(got), 5)
	got, err = b.db.ListFiles(b.ctx, "")
	wantNil(b.t, "list the default base", err)
	equal(b.t, "files of the default base", len(got), 0)
	b.vectors("g", []string{"v"}, map[string][]float32{"v": {1, 2, 3}})
	wantNil(b.t, "delete", b.db.DeleteFile(b.ctx, "g"))
	equal(b.t, "chunks left", b.number("SELECT count(*) FROM knowledge_chunks"), 0)
	equal(b.t, "vectors left", b.number("SELECT count(*) FROM knowledge_vectors"), 0)
	deepEqual(b.t, "found", b.searched("content"), []string{})
}

func chunks(b *bench) {
	b.base("kb", 3, models.MetricCosine)
	b.base("other", 3, models.MetricCosine)
	stored, err := b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{
		{FileID: "kb-file", ChunkIndex: 2, Content: "second 第二"},
		{ID: "c1", FileID: "kb-file", ChunkIndex: 1, Content: "", Status: models.TaskError, Error: "it failed"},
		{ID: "c0", FileID: "other-file", Content: "first", Status: models.TaskProcessed},
	})
	wantNil(b.t, "insert", err)
	if _, err := uuid.Parse(stored[0].ID); err != nil {
		b.t.Errorf("id: got %q, want a UUID", stored[0].ID)
	}
	equal(b.t, "status", stored[0].Status, models.TaskProcessing)
	all, err := b.db.QueryChunks(b.ctx, repo.ChunkQuery{})
	wantNil(b.t, "query", err)
	deepEqual(b.t, "chunks by file and index", all, []models.KnowledgeChunk{stored[1], stored[0], stored[2]})
	for name, c := range map[string]struct {
		chunk models.KnowledgeChunk
		want  error
	}{
		"unknown file":   {models.KnowledgeChunk{FileID: "nobody"}, repo.ErrReference},
		"known id":       {models.KnowledgeChunk{ID: "c1", FileID: "kb-file"}, repo.ErrConflict},
		"no file":        {models.KnowledgeChunk{}, repo.ErrInvalid},
		"unknown status": {models.KnowledgeChunk{FileID: "kb-file", Status: "lost"}, repo.ErrInvalid},
	} {
		_, err := b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{FileID: "kb-file", Content: "unwanted"}, c.chunk})
		wantErr(b.t, name, err, c.want)
		wantTyped(b.t, name, err)
	}
	none, err := b.db.InsertChunks(b.ctx, nil)
	wantNil(b.t, "no chunks", err)
	equal(b.t, "rows of no chunks", len(none), 0)
	deepEqual(b.t, "found of refused chunks", b.searched("unwanted"), []string{})
	deepEqual(b.t, "found", b.searched("第二", repo.HitChunk), []string{stored[0].ID})

	wantNil(b.t, "status", b.db.UpdateChunkStatus(b.ctx, "c1", models.TaskProcessed, ""))
	wantErr(b.t, "unknown status", b.db.UpdateChunkStatus(b.ctx, "c1", "lost", ""), repo.ErrInvalid)
	for name, c := range map[string]struct {
		q    repo.ChunkQuery
		want []string
	}{
		"base":          {repo.ChunkQuery{BaseID: "kb"}, []string{"c1", stored[0].ID}},
		"file":          {repo.ChunkQuery{FileID: "other-file"}, []string{"c0"}},
		"status":        {repo.ChunkQuery{Status: models.TaskProcessed}, []string{"c1", "c0"}},
		"limit":         {repo.ChunkQuery{Limit: 1}, []string{"c1"}},
		"both":          {repo.ChunkQuery{BaseID: "kb", Status: models.TaskProcessed}, []string{"c1"}},
		"contradiction": {repo.ChunkQuery{BaseID: "kb", FileID: "other-file"}, []string{}},
	} {
		got, err := b.db.QueryChunks(b.ctx, c.q)
		wantNil(b.t, name, err)
		deepEqual(b.t, name, ids(got, func(c models.KnowledgeChunk) string { return c.ID }), c.want)
	}
	got, err := b.db.QueryChunks(b.ctx, repo.ChunkQuery{BaseID: "kb", Limit: 1})
	wantNil(b.t, "query", err)
	equal(b.t, "error text after it was cleared", got[0].Error, "")
	_, err = b.db.UpsertVectors(b.ctx, []models.KnowledgeVector{{FileID: "kb-file", ChunkID: "c1", Embedding: []float32{1, 1, 1}}})
	wantNil(b.t, "upsert", err)
	n, err := b.db.DeleteChunksByFile(b.ctx, "kb-file")
	wantNil(b.t, "delete", err)
	equal(b.t, "deleted", n, 2)
	equal(b.t, "vectors left", b.number("SELECT count(*) FROM knowledge_vectors"), 0)
	deepEqual(b.t, "found", b.searched("第二"), []string{})
	n, err = b.db.DeleteChunksByFile(b.ctx, "kb-file")
	wantNil(b.t, "delete again", err)
	equal(b.t, "deleted again", n, 0)
}

func tasks(b *bench) {
	b.base("kb", 3, models.MetricCosine)
	states := []models.TaskStatus{models.TaskPending, models.TaskProcessing, models.TaskPaused, models.TaskProcessed, models.TaskError}
	for _, s := range states {
		_, err := b.db.InsertFile(b.ctx, models.KnowledgeFile{ID: "f-" + string(s), BaseID: "kb", Status: s})
		wantNil(b.t, "insert", err)
		_, err = b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: "c-" + string(s), FileID: "kb-file", Status: s}})
		wantNil(b.t, "insert", err)
	}
	check := func(when string, want map[models.TaskStatus]models.TaskStatus) {
		b.t.Helper()
		for _, s := range states {
			f, err := b.db.GetFile(b.ctx, "f-"+string(s))
			wantNil(b.t, "get", err)
			equal(b.t, fmt.Sprint("file that was ", s, " ", when), f.Status, want[s])
			got, err := b.db.QueryChunks(b.ctx, repo.ChunkQuery{Status: want[s]})
			wantNil(b.t, "query", err)
			found := false
			for _, c := range got {
				found = found || c.ID == "c-"+string(s)
			}
			equal(b.t, fmt.Sprint("chunk that was ", s, " is ", want[s], " ", when), found, true)
		}
	}
	n, err := b.db.PauseRunningTasks(b.ctx)
	wantNil(b.t, "pause", err)
	equal(b.t, "paused", n, repo.Tasks{Files: 2, Chunks: 2})
	check("after pause", map[models.TaskStatus]models.TaskStatus{
		"pending": "paused", "processing": "paused", "paused": "paused", "processed": "processed", "error": "error",
	})
	n, err = b.db.ResumePausedTasks(b.ctx)
	wantNil(b.t, "resume", err)
	equal(b.t, "resumed", n, repo.Tasks{Files: 3, Chunks: 3})
	check("after resume", map[models.TaskStatus]models.TaskStatus{
		"pending": "processing", "processing": "processing", "paused": "processing", "processed": "processed", "error": "error",
	})
	n, err = b.db.ResumePausedTasks(b.ctx)
	wantNil(b.t, "resume again", err)
	equal(b.t, "resumed again", n, repo.Tasks{})
}

func destroy(b *bench) {
	b.conversation("c")
	for _, id := range []string{"a", "b"} {
		b.base(id, 3, models.MetricCosine)
		b.vectors(id+"-file", []string{id + "1", id + "2"}, map[string][]float32{id + "1": {1, 0, 0}, id + "2": {0, 1, 0}})
	}
	n, err := b.db.DestroyKnowledge(b.ctx)
	wantNil(b.t, "destroy", err)
	equal(b.t, "bases destroyed", n, 2)
	st, err := b.db.GetStatistics(b.ctx)
	wantNil(b.t, "stats", err)
	deepEqual(b.t, "rows left", st.Rows(), map[string]int64{
		"conversations": 1, "messages": 0, "message_attachments": 0,
		"knowledge_bases": 0, "knowledge_files": 0, "knowledge_chunks": 0, "knowledge_vectors": 0,
	})
	deepEqual(b.t, "found", b.searched("content"), []string{})
	n, err = b.db.DestroyKnowledge(b.ctx)
	wantNil(b.t, "destroy again", err)
	equal(b.t, "bases destroyed again", n, 0)
	_, err = b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: "a", Vector: []float32{1, 0, 0}})
	wantErr(b.t, "similarity in a destroyed base", err, repo.ErrNotFound)
	b.base("a", 4, models.MetricL2)
}

func unknownKnowledge(b *bench) {
	for name, call := range map[string]func() error{
		"get base":     func() error { _, err := b.db.GetBase(b.ctx, "nobody"); return err },
		"get no base":  func() error { _, err := b.db.GetBase(b.ctx, ""); return err },
		"update base":  func() error { _, err := b.db.UpdateBase(b.ctx, "nobody", repo.BaseUpdate{Name: ptr("x")}); return err },
		"delete base":  func() error { return b.db.DeleteBase(b.ctx, "nobody") },
		"get file":     func() error { _, err := b.db.GetFile(b.ctx, "nobody"); return err },
		"update file":  func() error { _, err := b.db.UpdateFile(b.ctx, "nobody", repo.FileUpdate{}); return err },
		"delete file":  func() error { return b.db.DeleteFile(b.ctx, "nobody") },
		"chunk status": func() error { return b.db.UpdateChunkStatus(b.ctx, "nobody", models.TaskError, "") },
		"similarity": func() error {
			_, err := b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: "nobody", Vector: []float32{1}})
			return err
		},
		"no default base": func() error {
			_, err := b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{Vector: []float32{1}})
			return err
		},
	} {
		err := call()
		wantErr(b.t, name, err, repo.ErrNotFound)
		wantTyped(b.t, name, err)
	}
	n, err := b.db.DeleteVectorsByFile(b.ctx, "nobody")
	wantNil(b.t, "delete vectors of nobody", err)
	equal(b.t, "deleted", n, 0)
}
