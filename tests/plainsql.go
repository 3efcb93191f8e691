package tests

import (
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func plainSQLCases() []testCase {
	return []testCase{
		{name: "the guide's statements run unchanged", run: guideSQL},
		{name: "columns that are left out have defaults", run: defaults},
		{name: "checks hold", run: checks},
		{name: "deleted rows leave nothing behind", run: plainDeletes},
		{name: "counts follow moved messages", run: movedMessages},
		{name: "counts follow many rows at once", run: manyRows},
		{name: "gorm reads the models", run: gormModels},
	}
}

func guideSQL(b *bench) {
	const insert = `
      INSERT INTO conversations (conv_id, title, created_at, updated_at, is_pinned, settings)
      VALUES ($1, $2, $3, $4, $5, $6)
    `
	// gorm takes ? and knows nothing of $1, so these go through database/sql as a host's would.
	raw := func(query string, args ...any) {
		b.t.Helper()
		tx, err := b.db.Begin(b.ctx)
		wantNil(b.t, "begin", err)
		_, err = tx.Gorm().Statement.ConnPool.ExecContext(b.ctx, query, args...)
		wantNil(b.t, query, err)
		wantNil(b.t, "commit", tx.Commit())
	}
	for i := range 3 {
		raw(insert, fmt.Sprint("c", i), fmt.Sprint("Test ", i), 10+i, 20+i, i%2, `{"theme":"dark"}`)
	}
	c := b.getConversation("c1")
	deepEqual(b.t, "conversation", c, models.Conversation{
		ID: c.ID, ConvID: "c1", Title: "Test 1", CreatedAt: 11, UpdatedAt: 21, IsPinned: true, IsNew: true, Settings: models.JSON(`{"theme":"dark"}`),
	})
	columns := "msg_id, conversation_id, parent_id, role, content, created_at, order_seq, token_count, status, metadata, is_context_edge, is_variant"
	for i := range 4 {
		raw("INSERT INTO messages ("+columns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
			fmt.Sprint("m", i), "c1", "", "user", "text", 5, 4-i, 0, "sent", "{}", 0, 0)
	}
	raw("INSERT INTO message_attachments (message_id, attachment_type, attachment_data, created_at) VALUES ($1, $2, $3, $4)", "m0", "file", "data", 6)
	raw("INSERT INTO message_attachments (message_id, attachment_type, attachment_data) VALUES ($1, $2, $3)", "m0", "file", "more")
	as, err := b.db.ListAttachments(b.ctx, "m0", "file")
	wantNil(b.t, "list", err)
	equal(b.t, "attachments", len(as), 2)
	if as[0].AttachmentID == "" || as[0].AttachmentID == as[1].AttachmentID {
		b.t.Errorf("attachment ids: got %q and %q, want two that differ", as[0].AttachmentID, as[1].AttachmentID)
	}
	wantNil(b.t, "delete by the id the database made", b.db.DeleteAttachment(b.ctx, as[0].AttachmentID))

	recent := `
      SELECT 
        conv_id,
        title,
        updated_at,
        is_pinned,
        (SELECT COUNT(*) FROM messages WHERE conversation_id = c.conv_id) as message_count
      FROM conversations c
      ORDER BY 
        is_pinned DESC,
        updated_at DESC
      LIMIT $1
    `
	rows, err := must[*gorm.DB](b.t)(b.db.Gorm(b.ctx)).Statement.ConnPool.QueryContext(b.ctx, recent, 50)
	wantNil(b.t, "recent", err)
	got := []string{}
	for rows.Next() {
		var id, title string
		var updated, pinned, count int64
		wantNil(b.t, "scan", rows.Scan(&id, &title, &updated, &pinned, &count))
		got = append(got, fmt.Sprint(id, "|", title, "|", updated, "|", pinned, "|", count))
	}
	wantNil(b.t, "rows", rows.Err())
	wantNil(b.t, "close", rows.Close())
	deepEqual(b.t, "recent", got, []string{"c1|Test 1|21|1|4", "c2|Test 2|22|0|0", "c0|Test 0|20|0|0"})
	ours, err := b.db.RecentConversations(b.ctx, 50)
	wantNil(b.t, "recent", err)
	deepEqual(b.t, "recent by talkbase", convIDs(ours), []string{"c1", "c2", "c0"})
	equal(b.t, "count by talkbase", ours[0].MessageCount, 4)
	if b.postgres() {
		guideJSON(b)
	}
}

// guideJSON is the guide's conversation with its messages, grouped by what it selects.
func guideJSON(b *bench) {
	var n int64
	var first, conv string
	query := `
      WITH conversation_data AS (
        SELECT * FROM conversations WHERE conv_id = $1
      ),
      message_data AS (
        SELECT * FROM messages 
        WHERE conversation_id = $1 
        ORDER BY order_seq ASC
      ), result AS (
      SELECT 
        json_build_object(
          'conversation', row_to_json(cd.*),
          'messages', json_agg(row_to_json(md.*) ORDER BY md.order_seq)
        ) as result
      FROM conversation_data cd
      LEFT JOIN message_data md ON true
      GROUP BY cd.*
      ) SELECT json_array_length(result -> 'messages'), result #>> '{messages,0,msg_id}', result #>> '{conversation,settings,theme}' FROM result`
	row := must[*gorm.DB](b.t)(b.db.Gorm(b.ctx)).Statement.ConnPool.QueryRowContext(b.ctx, query, "c1")
	wantNil(b.t, "conversation as JSON", row.Scan(&n, &first, &conv))
	equal(b.t, "conversation as JSON", fmt.Sprintf("%d %s %s", n, first, conv), "4 m3 dark")
}

func defaults(b *bench) {
	before := time.Now().UnixMilli() - 1000 // the server's clock may differ a little
	b.exec("INSERT INTO conversations (conv_id, title, created_at, updated_at) VALUES ('c', 't', 1, 2)")
	c := b.getConversation("c")
	deepEqual(b.t, "conversation", c, models.Conversation{ID: c.ID, ConvID: "c", Title: "t", CreatedAt: 1, UpdatedAt: 2, IsNew: true, Settings: models.JSON("{}")})
	b.exec("INSERT INTO messages (msg_id, conversation_id, role, content, created_at) VALUES ('m', 'c', 'user', 'x', 3)")
	m := b.getMessage("m")
	deepEqual(b.t, "message", m, models.Message{
		ID: m.ID, MsgID: "m", ConversationID: "c", Role: models.RoleUser, Content: "x", CreatedAt: 3, Status: models.StatusSent, Metadata: models.JSON("{}"),
	})
	b.exec("INSERT INTO message_attachments (attachment_id, message_id, attachment_type, attachment_data) VALUES ('a', 'm', 't', 'd')")
	as, err := b.db.ListAttachments(b.ctx, "m", "")
	wantNil(b.t, "list", err)
	present := func(what string, ms int64) {
		b.t.Helper()
		if now := time.Now().UnixMilli() + 1000; ms < before || ms > now {
			b.t.Errorf("%s: got %d, want the present, between %d and %d", what, ms, before, now)
		}
	}
	present("created_at of an attachment", as[0].CreatedAt)
	b.exec("INSERT INTO knowledge_bases (id, name, dimensions, metric) VALUES ('kb', 'n', 2, 'l2')")
	k, err := b.db.GetBase(b.ctx, "kb")
	wantNil(b.t, "get", err)
	present("created_at of a base", k.CreatedAt)
	k.CreatedAt = 0
	deepEqual(b.t, "base", k, models.KnowledgeBase{ID: "kb", Name: "n", Dimensions: 2, Metric: models.MetricL2, Settings: models.JSON("{}")})
	b.exec("INSERT INTO knowledge_files (id, base_id, name, path, status, uploaded_at) VALUES ('f', 'kb', 'n', 'p', 'processed', 4)")
	f, err := b.db.GetFile(b.ctx, "f")
	wantNil(b.t, "get", err)
	deepEqual(b.t, "file", f, models.KnowledgeFile{ID: "f", BaseID: "kb", Name: "n", Path: "p", Status: models.TaskProcessed, UploadedAt: 4, Metadata: models.JSON("{}")})
	b.exec("INSERT INTO knowledge_chunks (id, file_id, chunk_index, content, status) VALUES ('k', 'f', 0, 'x', 'processed')")
	ks, err := b.db.QueryChunks(b.ctx, repo.ChunkQuery{})
	wantNil(b.t, "query", err)
	equal(b.t, "error of a chunk", ks[0].Error, "")
	b.exec("INSERT INTO knowledge_vectors (id, base_id, file_id, chunk_id, embedding) VALUES ('v', 'kb', 'f', 'k', " + b.pick("x'0000803f00000040'", "'[1,2]'") + ")")
	vs, err := b.db.Bulk().VectorsByID(b.ctx, []string{"v"})
	wantNil(b.t, "read", err)
	present("created_at of a vector", vs["v"].CreatedAt)
	deepEqual(b.t, "embedding", vs["v"].Embedding, models.Vector{1, 2})
	deepEqual(b.t, "similar", similarIDs(b.similar(repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 2}})), []string{"v"})
}

func checks(b *bench) {
	b.conversation("c")
	b.message("c", "m", "")
	b.base("kb", 2, models.MetricL2)
	for statement, want := range map[string]error{
		"UPDATE messages SET role = 'admin'":                                                                       repo.ErrInvalid,
		"UPDATE messages SET status = 'lost'":                                                                      repo.ErrInvalid,
		"UPDATE messages SET conversation_id = 'nobody'":                                                           repo.ErrReference,
		"UPDATE messages SET metadata = '[]'":                                                                      repo.ErrInvalid,
		"UPDATE conversations SET settings = '[]'":                                                                 repo.ErrInvalid,
		"UPDATE conversations SET title = NULL":                                                                    repo.ErrInvalid,
		"UPDATE knowledge_bases SET dimensions = 0":                                                                repo.ErrInvalid,
		"UPDATE knowledge_bases SET metric = 'none'":                                                               repo.ErrInvalid,
		"UPDATE knowledge_bases SET settings = 'null'":                                                             repo.ErrInvalid,
		"UPDATE knowledge_files SET status = 'completed'":                                                          repo.ErrInvalid,
		"UPDATE knowledge_files SET metadata = '1'":                                                                repo.ErrInvalid,
		"INSERT INTO conversations SELECT * FROM conversations":                                                    repo.ErrConflict,
		"INSERT INTO message_attachments (message_id, attachment_type, attachment_data) VALUES ('nobody', '', '')": repo.ErrReference,
		"UPDATE conversations SET conv_id = 'other'":                                                               repo.ErrReference,
	} {
		wantErr(b.t, statement, b.tryExec(statement), want)
	}
}

func plainDeletes(b *bench) {
	for _, id := range []string{"a", "b"} {
		b.conversation(id)
		for i := range 3 {
			b.message(id, fmt.Sprint(id, i), "walnut")
			_, err := b.db.AddAttachment(b.ctx, models.MessageAttachment{MessageID: fmt.Sprint(id, i)})
			wantNil(b.t, "attach", err)
		}
	}
	b.exec("DELETE FROM messages WHERE msg_id IN ('a0', 'b1')")
	equal(b.t, "count of a", b.getConversation("a").MessageCount, 2)
	equal(b.t, "count of b", b.getConversation("b").MessageCount, 2)
	equal(b.t, "attachments", b.number("SELECT count(*) FROM message_attachments"), 4)
	equal(b.t, "found", len(b.searched("walnut")), 4)
	equal(b.t, "order_seq after a deletion", b.message("a", "a9", "").OrderSeq, 4)
	b.exec("DELETE FROM conversations WHERE conv_id = 'a'")
	equal(b.t, "messages", b.number("SELECT count(*) FROM messages"), 2)
	equal(b.t, "attachments", b.number("SELECT count(*) FROM message_attachments"), 2)
	equal(b.t, "found", len(b.searched("walnut")), 2)
	deepEqual(b.t, "titles found", b.searched("title"), []string{"b"})
	equal(b.t, "rows of the text index", b.number("SELECT count(*) FROM message_terms"), 2)
	b.exec("DELETE FROM messages")
	equal(b.t, "count of b", b.getConversation("b").MessageCount, 0)
	b.exec("DELETE FROM conversations")
	for _, table := range []string{"messages", "message_attachments", "message_terms", "conversation_terms"} {
		equal(b.t, "rows left in "+table, b.number("SELECT count(*) FROM "+table), 0)
	}
	// A row that takes another's place does not inherit its words.
	b.conversation("a")
	b.message("a", "a0", "hazelnut")
	deepEqual(b.t, "found of an id that came back", append(b.searched("walnut"), b.searched("hazelnut")...), []string{"a0"})
}

func movedMessages(b *bench) {
	b.conversation("a")
	b.conversation("b")
	for i := range 5 {
		b.message("a", fmt.Sprint("m", i), "")
	}
	counts := func(what string, a, bb int64) {
		b.t.Helper()
		equal(b.t, what+": a", b.getConversation("a").MessageCount, a)
		equal(b.t, what+": b", b.getConversation("b").MessageCount, bb)
	}
	b.exec("UPDATE messages SET conversation_id = 'b' WHERE msg_id IN ('m0', 'm1')")
	counts("after two moved", 3, 2)
	b.exec("UPDATE messages SET conversation_id = conversation_id")
	counts("after none moved", 3, 2)
	b.exec("UPDATE messages SET conversation_id = 'b'")
	counts("after all moved", 0, 5)
	b.exec("UPDATE messages SET conversation_id = CASE msg_id WHEN 'm4' THEN 'a' ELSE 'b' END, content = 'x'")
	counts("after one moved back", 1, 4)
	err := b.tryExec("UPDATE messages SET conversation_id = 'nobody' WHERE msg_id = 'm0'")
	wantErr(b.t, "move to nobody", err, repo.ErrReference)
	counts("after a refused move", 1, 4)
}

func manyRows(b *bench) {
	b.conversation("a")
	b.conversation("b")
	var rows []string
	for i := range 60 {
		rows = append(rows, fmt.Sprintf("('m%d', '%c', 'user', '', 1)", i, 'a'+i%3%2))
	}
	b.exec("INSERT INTO messages (msg_id, conversation_id, role, content, created_at) VALUES " + strings.Join(rows, ", "))
	equal(b.t, "count of a", b.getConversation("a").MessageCount, 40)
	equal(b.t, "count of b", b.getConversation("b").MessageCount, 20)
	b.exec("INSERT INTO messages (msg_id, conversation_id, role, content, created_at) VALUES ('m0', 'a', 'user', 'again', 1), ('new', 'b', 'user', '', 1) ON CONFLICT (msg_id) DO NOTHING")
	equal(b.t, "count of a after a conflict", b.getConversation("a").MessageCount, 40)
	equal(b.t, "count of b after an insert", b.getConversation("b").MessageCount, 21)
	b.exec("INSERT INTO messages (msg_id, conversation_id, role, content, created_at) VALUES ('m0', 'a', 'user', 'again', 1) ON CONFLICT (msg_id) DO UPDATE SET content = excluded.content")
	equal(b.t, "count of a after an upsert", b.getConversation("a").MessageCount, 40)
	if !b.postgres() {
		b.exec("INSERT OR REPLACE INTO messages (msg_id, conversation_id, role, content, created_at) VALUES ('m0', 'a', 'user', 'replaced', 1)")
		equal(b.t, "count of a after a replacement", b.getConversation("a").MessageCount, 40)
	}
}

func gormModels(b *bench) {
	b.conversation("c")
	b.message("c", "m", "text")
	g := must[*gorm.DB](b.t)(b.db.Gorm(b.ctx))
	var m models.Message
	wantNil(b.t, "first", g.Preload("Conversation").First(&m, "msg_id = ?", "m").Error)
	equal(b.t, "content", m.Content, "text")
	equal(b.t, "conversation", m.Conversation.ConvID, "c")
	var c models.Conversation
	wantErr(b.t, "first of none", g.First(&c, "conv_id = ?", "nobody").Error, gorm.ErrRecordNotFound)
	b.base("kb", 2, models.MetricL2)
	b.vectors("kb-file", []string{"v"}, map[string][]float32{"v": {1, -2.5}})
	var v models.KnowledgeVector
	wantNil(b.t, "first vector", g.First(&v, "id = ?", "v").Error)
	deepEqual(b.t, "embedding", v.Embedding, models.Vector{1, -2.5})
	tx, err := b.db.Begin(b.ctx)
	wantNil(b.t, "begin", err)
	v = models.KnowledgeVector{ID: "w", BaseID: "kb", FileID: "kb-file", ChunkID: "v", Embedding: models.Vector{3, 4}, CreatedAt: 1}
	wantNil(b.t, "create by gorm", tx.Gorm().Create(&v).Error)
	c = models.Conversation{ConvID: "g", CreatedAt: 0, UpdatedAt: 0, IsNew: false}
	wantNil(b.t, "create by gorm", tx.Gorm().Create(&c).Error)
	wantErr(b.t, "create again by gorm", func() error {
		wantNil(b.t, "savepoint", tx.Gorm().SavePoint("s").Error)
		err := tx.Gorm().Create(&models.Conversation{ConvID: "g"}).Error
		wantNil(b.t, "roll back", tx.Gorm().RollbackTo("s").Error)
		return err
	}(), repo.ErrConflict)
	wantNil(b.t, "commit", tx.Commit())
	deepEqual(b.t, "nearest", similarIDs(b.similar(repo.SimilarityQuery{BaseID: "kb", Vector: []float32{3, 4}, Limit: 1})), []string{"w"})
	got := b.getConversation("g")
	deepEqual(b.t, "zero values by gorm", got, models.Conversation{ID: got.ID, ConvID: "g", Settings: models.JSON("{}")})
}
