package tests

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
	"github.com/talkbase/talkbase/services"
)

func explainCases() []testCase {
	return []testCase{
		{name: "a plan names tables and indexes", run: explainPlans},
		{name: "the calls themselves are explained", run: explainCalls},
		{name: "an explanation writes nothing", run: explainReadOnly},
		{name: "an explanation ends with its ctx", run: explainEnds},
		{name: "what is slow is warned of", run: explainWarnings, configure: func(c *talkbase.Config) { c.Performance.WorkMem = "64kB" }},
		{name: "statistics count and measure", run: statistics},
		{name: "statistics of columns", run: columnStatistics},
		{name: "the slowest queries have no values", run: slowestQueries},
		{name: "optimising gives back space", run: optimizeSpace},
		{name: "optimising mends unfit indexes", run: optimizeIndexes},
		{name: "optimising is not in the way of writers and readers", run: optimizeBusy},
		{name: "optimising leaves what another program is in the way of", run: optimizeBlocked, configure: busySoon},
		{name: "space is given back in parts where the file allows it", run: optimizeInParts},
	}
}

// nodes are all steps of a plan.
func nodes(n repo.PlanNode) []repo.PlanNode {
	out := []repo.PlanNode{n}
	for _, c := range n.Children {
		out = append(out, nodes(c)...)
	}
	return out
}

// reads reports whether a step of the plan reads a table by an index; "" is any or none.
func reads(a repo.QueryAnalysis, table, index string) bool {
	return slices.ContainsFunc(nodes(a.Root), func(n repo.PlanNode) bool {
		return (n.Table == table || n.Table == "" && index != "") && (index == "" || n.Index == index)
	})
}

func explainPlans(b *bench) {
	b.stocked()
	a, err := b.db.AnalyzeQuery(b.ctx, "SELECT msg_id FROM messages AS m WHERE m.msg_id = $1;", "m2")
	wantNil(b.t, "analyze", err)
	equal(b.t, "rows", a.Rows, 1)
	equal(b.t, "query", a.Query, "SELECT msg_id FROM messages AS m WHERE m.msg_id = $1")
	if !reads(a, "messages", "") {
		b.t.Errorf("plan: got %s, want a step that reads messages", show(a.Root))
	}
	if n := nodes(a.Root)[0]; n.ActualRows == nil || *n.ActualRows != 1 || n.Milliseconds == nil {
		b.t.Errorf("first step: got %s, want 1 row and its time", show(n))
	}
	deepEqual(b.t, "warnings", a.Warnings, []repo.PlanWarning{})
	a, err = b.db.AnalyzeQuery(b.ctx, "WITH x AS (SELECT role, count(*) AS n FROM messages GROUP BY role) SELECT * FROM x JOIN conversations c ON c.conv_id = $1 ORDER BY n", "c")
	wantNil(b.t, "analyze", err)
	equal(b.t, "rows", a.Rows, 2)
	for _, table := range []string{"messages", "conversations"} {
		if !reads(a, table, "") {
			b.t.Errorf("plan: got %s, want a step that reads %s", show(a.Root), table)
		}
	}
	a, err = b.db.AnalyzeQuery(b.ctx, "VALUES (1), (2), (3)")
	wantNil(b.t, "analyze", err)
	equal(b.t, "rows", a.Rows, 3)
	_, err = b.db.AnalyzeQuery(b.ctx, "SELECT nothing FROM nowhere")
	wantTyped(b.t, "a query that is wrong", err)
	wantErr(b.t, "a query that is wrong", err, repo.ErrInvalid)
	wantErr(b.t, "inside a transaction", b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error {
		_, err := b.db.AnalyzeQuery(ctx, "SELECT 1")
		return err
	}), repo.ErrInvalid)
}

func explainCalls(b *bench) {
	b.stocked()
	const secret = "zanzibar"
	b.message("c", "secret", "the way to "+secret)
	for _, c := range []struct {
		name, table, index string // of one of the statements
		call               func(ctx context.Context) error
	}{
		{"recent", "conversations", "", func(ctx context.Context) error { _, err := b.db.RecentConversations(ctx, 50); return err }},
		{"messages", "messages", "", func(ctx context.Context) error {
			_, err := b.db.ListMessages(ctx, repo.MessageList{ConversationID: "c"})
			return err
		}},
		{"snapshot", "messages", "", func(ctx context.Context) error { _, err := b.db.ConversationWithMessages(ctx, "c"); return err }},
		{"stream", "messages", "", func(ctx context.Context) error {
			for _, err := range b.db.StreamMessages(ctx, "c") {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"text", "message_terms", "", func(ctx context.Context) error {
			hits, err := b.db.SearchText(ctx, repo.TextQuery{Query: secret})
			if err == nil && len(hits) != 1 {
				err = fmt.Errorf("got %d hits, want 1", len(hits))
			}
			return err
		}},
		{"similarity", "knowledge_vectors", "", func(ctx context.Context) error {
			_, err := b.db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 2}})
			return err
		}},
		{"hybrid", "chunk_terms", "", func(ctx context.Context) error {
			_, err := b.db.SearchHybrid(ctx, repo.HybridQuery{BaseID: "kb", Vector: []float32{1, 2}, Text: "content"})
			return err
		}},
		{"gorm", "messages", "", func(ctx context.Context) error {
			g, err := b.db.Gorm(ctx)
			if err != nil {
				return err
			}
			var m models.Message
			return g.First(&m, "msg_id = ?", "m1").Error
		}},
	} {
		got, err := b.db.AnalyzeCalls(b.ctx, c.call)
		wantNil(b.t, c.name, err)
		if !slices.ContainsFunc(got, func(a repo.QueryAnalysis) bool { return reads(a, c.table, c.index) }) {
			b.t.Errorf("%s: got %s, want a statement that reads %s", c.name, show(got), c.table)
		}
		text, err := json.Marshal(got)
		wantNil(b.t, "JSON", err)
		if strings.Contains(string(text), secret) {
			b.t.Errorf("%s: got a value of the query in %s", c.name, text)
		}
	}
	got, err := b.db.AnalyzeCalls(b.ctx, func(ctx context.Context) error {
		for range 3 {
			if _, err := b.db.GetMessage(ctx, "m1"); err != nil {
				return err
			}
		}
		return nil
	})
	wantNil(b.t, "repeated", err)
	equal(b.t, "statements of a repeated call", len(got), 1)
	equal(b.t, "times", got[0].Times, 3)

	var kept context.Context
	_, err = b.db.AnalyzeCalls(b.ctx, func(ctx context.Context) error {
		kept = ctx
		_, err := b.db.CreateConversation(ctx, models.Conversation{ConvID: "new"})
		return err
	})
	wantErr(b.t, "a call that writes", err, repo.ErrReadOnly)
	equal(b.t, "written", b.exists(b.ctx, "new"), false)
	_, err = b.db.GetMessage(kept, "m1")
	wantErr(b.t, "a call after the analysis", err, repo.ErrTxDone)
	_, err = b.db.AnalyzeCalls(b.ctx, func(context.Context) error { return errUndo })
	wantErr(b.t, "a call that fails", err, errUndo)
	b.message("c", "after", "writing goes on")
}

func explainReadOnly(b *bench) {
	b.stocked()
	before := b.digests()
	refused := []string{
		"DELETE FROM messages", "UPDATE messages SET content = ''", "INSERT INTO messages SELECT * FROM messages", "DROP TABLE messages",
		"SELECT 1; DELETE FROM messages", "COMMIT; DELETE FROM messages", "EXPLAIN DELETE FROM messages", "BEGIN", "",
		"WITH x AS (SELECT 1) DELETE FROM messages", "WITH x AS (SELECT 1) UPDATE messages SET content = ''", "/* SELECT */ DELETE FROM messages",
	}
	if b.postgres() {
		b.exec("CREATE FUNCTION wipe() RETURNS bigint LANGUAGE sql AS 'WITH gone AS (DELETE FROM messages RETURNING 1) SELECT count(*) FROM gone'")
		refused = append(refused,
			"WITH gone AS (DELETE FROM messages RETURNING 1) SELECT * FROM gone", "SELECT wipe()", "SELECT nextval('messages_id_seq')", "SELECT setval('messages_id_seq', 1)",
			"SELECT * FROM messages FOR UPDATE", "SELECT 1 AS x INTO made", "WITH x AS (SELECT 1) SELECT * INTO made FROM x", "SELECT 1 AS x INTO made --", "SELECT set_config('transaction_read_only', 'off', false), wipe()",
		)
	} else {
		refused = append(refused, "PRAGMA query_only = 0", "REPLACE INTO messages SELECT * FROM messages", "ATTACH 'x' AS y", "WITH x AS (SELECT 1) REPLACE INTO talkbase_meta VALUES ('a', 'b')")
	}
	for _, q := range refused {
		_, err := b.db.AnalyzeQuery(b.ctx, q)
		if err == nil {
			b.t.Errorf("%s: got no error, want one", q)
			continue
		}
		wantTyped(b.t, q, err)
	}
	deepEqual(b.t, "rows", b.digests(), before)
	// The connections it used write again.
	for i := range 20 {
		b.message("c", fmt.Sprint("after", i), "writing goes on")
	}
}

func explainEnds(b *bench) {
	ctx, cancel := context.WithTimeout(b.ctx, 50*time.Millisecond)
	defer cancel()
	_, err := b.db.AnalyzeQuery(ctx, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
	wantErr(b.t, "a query without an end", err, context.DeadlineExceeded)
	wantTyped(b.t, "a query without an end", err)
	b.conversation("c")
}

func explainWarnings(b *bench) {
	b.stocked()
	b.exec(b.numbers(11000) + "INSERT INTO talkbase_import_edits (table_name, row_key, edited_at) SELECT 'messages', 'a plum, a pear and a quince, ' || i, i FROM n")
	_, err := b.db.Optimize(b.ctx, services.OptimizeOptions{})
	wantNil(b.t, "optimize", err)
	codes := func(query string, args ...any) []string {
		b.t.Helper()
		a, err := b.db.AnalyzeQuery(b.ctx, query, args...)
		wantNil(b.t, query, err)
		return ids(a.Warnings, func(w repo.PlanWarning) string { return w.Code })
	}
	deepEqual(b.t, "a full scan", codes("SELECT count(*) FROM talkbase_import_edits e WHERE e.edited_at + 0 > 0"), []string{"full_scan"})
	deepEqual(b.t, "by an index", codes("SELECT count(*) FROM talkbase_import_edits e WHERE e.table_name = 'messages' AND e.row_key = 'x'"), []string{})
	deepEqual(b.t, "stopped early", codes("SELECT id FROM messages ORDER BY id LIMIT 1"), []string{})
	sorted := codes("SELECT row_key FROM talkbase_import_edits e ORDER BY e.row_key || 'x', e.edited_at DESC")
	if b.postgres() && b.number("SELECT setting::bigint FROM pg_settings WHERE name = 'work_mem'") > 64 {
		b.t.Log("a host's pool sorts in more memory") // whose settings are the host's
	} else if !slices.Contains(sorted, b.pick("sort", "on_disk")) {
		b.t.Errorf("a large sort: got %v, want %s", sorted, b.pick("sort", "on_disk"))
	}
	if b.postgres() {
		wrong := codes("SELECT count(*) FROM (SELECT * FROM talkbase_import_edits WHERE edited_at % 2 = 0 OFFSET 0) x")
		if !slices.Contains(wrong, "misestimate") {
			b.t.Errorf("a condition that cannot be estimated: got %v, want misestimate", wrong)
		}
	}
}

func statistics(b *bench) {
	b.stocked()
	day := int64(24 * time.Hour / time.Millisecond)
	now := time.Now().UnixMilli()
	for i, ago := range []int64{0, 3 * day, 20 * day, 100 * day} {
		id := fmt.Sprint("old", i)
		_, err := b.db.InsertMessage(b.ctx, models.Message{MsgID: id, ConversationID: "d", Role: models.RoleUser, CreatedAt: now - ago})
		wantNil(b.t, "insert", err)
		_, err = b.db.AddAttachment(b.ctx, models.MessageAttachment{MessageID: id})
		wantNil(b.t, "attach", err)
	}
	_, err := b.db.InsertFile(b.ctx, models.KnowledgeFile{ID: "oldfile", BaseID: "kb", Status: models.TaskProcessed, UploadedAt: now - 20*day})
	wantNil(b.t, "file", err)
	b.vectors("oldfile", []string{"o"}, map[string][]float32{"o": {1, 1}})
	st, err := b.db.GetStatistics(b.ctx)
	wantNil(b.t, "statistics", err)
	equal(b.t, "messages", st.Tables["messages"].Rows, 8)
	deepEqual(b.t, "growth of messages", *st.Tables["messages"].Growth, repo.Growth{Day: 5, Week: 6, Month: 7})
	deepEqual(b.t, "growth of attachments", *st.Tables["message_attachments"].Growth, repo.Growth{Day: 2, Week: 3, Month: 4})
	deepEqual(b.t, "growth of files", *st.Tables["knowledge_files"].Growth, repo.Growth{Day: 2, Week: 2, Month: 3})
	deepEqual(b.t, "growth of vectors", *st.Tables["knowledge_vectors"].Growth, repo.Growth{Day: 2, Week: 2, Month: 3})
	var sum int64
	for name, t := range st.Tables {
		if t.Bytes <= 0 || t.IndexBytes <= 0 {
			b.t.Errorf("%s: got %s, want sizes", name, show(t))
		}
		sum += t.Bytes + t.IndexBytes
	}
	if st.Bytes < sum {
		b.t.Errorf("bytes: got %d, want at least the %d of the tables", st.Bytes, sum)
	}
	i := slices.IndexFunc(st.Indexes, func(x repo.IndexStatistics) bool { return x.Index == "idx_messages_parent" })
	if i < 0 || st.Indexes[i].Table != "messages" || st.Indexes[i].Bytes <= 0 || !st.Indexes[i].Valid || st.Indexes[i].Kind != "btree" {
		b.t.Errorf("indexes: got %s, want idx_messages_parent of messages", show(st.Indexes))
	}
	equal(b.t, "uses of indexes are known", st.Indexes[i].Scans != nil, b.postgres())
	equal(b.t, "dead rows are known", st.Tables["messages"].DeadRows != nil, b.postgres())
	equal(b.t, "a version", st.EngineVersion != "", true)
	deepEqual(b.t, "bases", st.Bases, []repo.BaseStatistics{
		{ID: "kb", Name: "kb", Dimensions: 2, Metric: models.MetricCosine, Files: 2, Chunks: 2, Vectors: 2},
		{ID: "kc", Name: "kc", Dimensions: 2, Metric: models.MetricL2, Files: 1, Chunks: 1, Vectors: 1},
	})
	if len(st.Queries) == 0 && st.NoQueries == "" {
		b.t.Error("queries: got none, want the reason")
	}
	many(b)
	_, err = b.db.CreateOptimalIndexes(b.ctx)
	wantNil(b.t, "create indexes", err)
	st, err = b.db.GetStatistics(b.ctx)
	wantNil(b.t, "statistics", err)
	equal(b.t, "index of vectors", st.Bases[0].Index, b.pick("sketches", "hnsw"))
	wantNil(b.t, "inside a transaction", b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error {
		wantNil(b.t, "create", b.create(ctx, "inside"))
		st, err := b.db.GetStatistics(ctx)
		equal(b.t, "conversations inside", st.Tables["conversations"].Rows, 3)
		return err
	}))
}

func columnStatistics(b *bench) {
	b.stocked()
	_, err := b.db.Optimize(b.ctx, services.OptimizeOptions{})
	wantNil(b.t, "optimize", err)
	got, err := b.db.GetTableStatistics(b.ctx, "messages")
	wantNil(b.t, "statistics", err)
	equal(b.t, "columns", len(got), 13)
	distinct := map[string]float64{}
	for _, c := range got {
		if c.Distinct != nil {
			distinct[c.Column] = *c.Distinct
		}
	}
	equal(b.t, "messages", distinct["msg_id"], 4)
	equal(b.t, "conversations", distinct["conversation_id"], 2)
	for _, table := range []string{"nothing", "pg_authid", "sqlite_master", "talkbase_meta", ""} {
		_, err := b.db.GetTableStatistics(b.ctx, table)
		wantErr(b.t, table, err, repo.ErrInvalid)
	}
}

func slowestQueries(b *bench) {
	if !b.postgres() {
		return
	}
	var loaded string
	b.scan([]any{&loaded}, "SELECT current_setting('shared_preload_libraries')")
	extension(b, "pg_stat_statements")
	if !strings.Contains(loaded, "pg_stat_statements") {
		st, err := b.db.GetStatistics(b.ctx)
		wantNil(b.t, "statistics", err)
		if !strings.Contains(st.NoQueries, "shared_preload_libraries") {
			b.t.Errorf("reason: got %q, want that it is not loaded", st.NoQueries)
		}
		return
	}
	const secret = "zanzibar"
	b.conversation("c")
	b.message("c", "m", secret)
	equal(b.t, "messages", b.number("SELECT count(*) FROM messages, pg_sleep(0.2) WHERE content = '"+secret+"'"), 1)
	st, err := b.db.GetStatistics(b.ctx)
	wantNil(b.t, "statistics", err)
	i := slices.IndexFunc(st.Queries, func(q repo.QueryShape) bool { return strings.Contains(q.Query, "pg_sleep") })
	last := len(st.Queries) - 1
	switch {
	case i >= 0 && st.Queries[i].Calls >= 1 && st.Queries[i].MaxMS >= 200:
	case i < 0 && last == 19 && st.Queries[last].TotalMS >= 200: // others were slower
	default:
		b.t.Errorf("slowest queries: got %s, want one with pg_sleep", show(st.Queries))
	}
	for _, q := range st.Queries {
		if strings.Contains(q.Query, secret) {
			b.t.Errorf("query: got %q, want no value in it", q.Query)
		}
	}
}

// fill makes rows that take space, and deletes most of them.
func fillAndEmpty(b *bench) {
	b.stocked()
	rows := 300
	if b.postgres() {
		rows = 1200
	}
	b.exec(b.numbers(rows) + "INSERT INTO knowledge_chunks (id, file_id, chunk_index, content, status) SELECT 'f' || i, 'kb-file', i, " +
		b.pick("hex(zeroblob(2000))", "repeat('0', 800)") + ", 'error' FROM n")
	b.exec("DELETE FROM knowledge_chunks WHERE status = 'error' AND chunk_index > 10")
	_, err := b.db.RebuildTextIndex(b.ctx)
	wantNil(b.t, "index text", err)
	if b.postgres() { // the server learns of it at once
		b.exec("SELECT pg_stat_force_next_flush()")
	}
}

func steps(r services.OptimizeReport, action string) []repo.OptimizeStep {
	return slices.DeleteFunc(slices.Clone(r.Steps), func(s repo.OptimizeStep) bool { return s.Action != action })
}

func optimizeSpace(b *bench) {
	fillAndEmpty(b)
	before := b.digests()
	r, err := b.db.Optimize(b.ctx, services.OptimizeOptions{})
	wantNil(b.t, "optimize", err)
	if v := steps(r, "vacuum"); len(v) == 0 || v[0].Why == "" || v[0].Skipped != "" {
		b.t.Errorf("steps: got %s, want a vacuum", show(r.Steps))
	}
	deepEqual(b.t, "rows", b.digests(), before)
	if !b.postgres() {
		if r.After.Bytes >= r.Before.Bytes || r.After.FreeBytes != 0 || r.After.WALBytes != 0 {
			b.t.Errorf("size: got %+v, want less than %+v, nothing free and no log", r.After, r.Before)
		}
		equal(b.t, "checkpoint", len(steps(r, "checkpoint")), 1)
	}
	b.sound("after optimising")
	again, err := b.db.Optimize(b.ctx, services.OptimizeOptions{})
	wantNil(b.t, "optimize again", err)
	equal(b.t, "vacuums of the file the second time", !b.postgres() && len(steps(again, "vacuum")) > 0, false)
	wantErr(b.t, "inside a transaction", b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error {
		_, err := b.db.Optimize(ctx, services.OptimizeOptions{})
		return err
	}), repo.ErrInvalid)
}

func optimizeIndexes(b *bench) {
	b.stocked()
	indexed(b)
	b.exec("UPDATE knowledge_bases SET metric = 'l2' WHERE id = 'kb'")
	if b.postgres() {
		b.exec("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_messages_parent'::regclass")
	}
	r, err := b.db.Optimize(b.ctx, services.OptimizeOptions{})
	wantNil(b.t, "optimize", err)
	if got := steps(r, "rebuild"); len(got) != 1 || !strings.Contains(got[0].Subject, "kb") {
		b.t.Errorf("steps: got %s, want the index of kb made anew", show(r.Steps))
	}
	equal(b.t, "reindexed", len(steps(r, "reindex")) == 1, b.postgres())
	v := b.validate()
	for _, code := range []string{repo.FindingVectorIndexStale, repo.FindingIndexInvalid} {
		deepEqual(b.t, code, v.Find(code), nil)
	}
	near := b.similar(repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 2}, Limit: 3})
	equal(b.t, "found", len(near), 3)
	equal(b.t, "distance by the new metric", near[0].Distance, 0)
}

func optimizeBusy(b *bench) {
	fillAndEmpty(b)
	indexed(b)
	_, err := b.db.RebuildTextIndex(b.ctx)
	wantNil(b.t, "index text", err)
	ctx, cancel := context.WithCancel(b.ctx)
	var wg sync.WaitGroup
	wrote := make([]int, 2)
	for w := range wrote {
		wg.Go(func() {
			for ctx.Err() == nil {
				id := fmt.Sprint("w", w, "-", wrote[w])
				if _, err := b.db.InsertMessage(b.ctx, models.Message{MsgID: id, ConversationID: "c", Role: models.RoleUser, Content: "a plum"}); err != nil {
					b.t.Errorf("write while optimising: got error %v, want none", err)
					return
				}
				if _, err := b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 2}}); err != nil {
					b.t.Errorf("read while optimising: got error %v, want none", err)
					return
				}
				wrote[w]++
			}
		})
	}
	for range 3 {
		_, err := b.db.Optimize(b.ctx, services.OptimizeOptions{})
		wantNil(b.t, "optimize", err)
		b.exec("UPDATE knowledge_bases SET metric = CASE metric WHEN 'l2' THEN 'cosine' ELSE 'l2' END WHERE id = 'kb'")
	}
	_, err = b.db.Optimize(b.ctx, services.OptimizeOptions{Full: true})
	wantNil(b.t, "optimize", err)
	cancel()
	wg.Wait()
	equal(b.t, "messages", b.getConversation("c").MessageCount, int64(3+wrote[0]+wrote[1]))
	b.sound("after optimising under load")
	if b.postgres() {
		return
	}
	// A reader keeps a part of the log.
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: filepath.ToSlash(b.path())}).String())
	wantNil(b.t, "open", err)
	defer func() { _ = db.Close() }()
	tx, err := db.Begin()
	wantNil(b.t, "begin", err)
	defer func() { _ = tx.Rollback() }()
	var n int64
	wantNil(b.t, "read", tx.QueryRow("SELECT count(*) FROM messages").Scan(&n))
	b.message("c", "later", "a pear")
	start := time.Now()
	r, err := b.db.Optimize(b.ctx, services.OptimizeOptions{})
	wantNil(b.t, "optimize with a reader", err)
	if got := steps(r, "checkpoint"); len(got) != 1 || got[0].Skipped == "" {
		b.t.Errorf("steps: got %s after %s, want a checkpoint that was left", show(r.Steps), time.Since(start))
	}
}

func optimizeBlocked(b *bench) {
	if b.postgres() {
		return
	}
	fillAndEmpty(b)
	conn := b.raw("")
	_, err := conn.ExecContext(b.ctx, "BEGIN IMMEDIATE")
	wantNil(b.t, "begin", err)
	r, err := b.db.Optimize(b.ctx, services.OptimizeOptions{})
	wantNil(b.t, "optimize", err)
	for _, s := range r.Steps {
		if s.Skipped == "" {
			b.t.Errorf("step: got %s, want it left", show(s))
		}
	}
	_, err = conn.ExecContext(b.ctx, "ROLLBACK")
	wantNil(b.t, "rollback", err)
	r, err = b.db.Optimize(b.ctx, services.OptimizeOptions{})
	wantNil(b.t, "optimize", err)
	equal(b.t, "vacuums", len(steps(r, "vacuum")), 1)
}

func optimizeInParts(b *bench) {
	if b.postgres() {
		return
	}
	b.damage(plant{name: "a file that can be shortened", sqlite: []string{"PRAGMA auto_vacuum = 2", "VACUUM"}})
	fillAndEmpty(b)
	r, err := b.db.Optimize(b.ctx, services.OptimizeOptions{})
	wantNil(b.t, "optimize", err)
	equal(b.t, "incremental vacuum", len(steps(r, "incremental_vacuum")), 1)
	equal(b.t, "free bytes", r.After.FreeBytes, 0)
	if r.After.Bytes >= r.Before.Bytes {
		b.t.Errorf("size: got %+v, want less than %+v", r.After, r.Before)
	}
	b.sound("after optimising")
}
