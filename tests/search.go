package tests

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func searchCases() []testCase {
	return []testCase{
		{name: "what a query finds", run: queries},
		{name: "titles, messages and chunks, limited and described", run: searchScope},
		{name: "filters", run: searchFilters},
		{name: "two Chinese characters are found as LIKE finds them", run: searchHan},
		{name: "any word of a question", run: searchAnyWord},
		{name: "better hits come first", run: searchRanking},
		{name: "the version of the analyser", run: analyserVersion},
		{name: "chat content is searched by its words", run: searchContent},
		{name: "queries without words are refused", run: emptyQueries},
		{name: "updates and deletions keep the index in step", run: searchInStep},
		{name: "rebuild finds what plain SQL wrote", run: rebuildIndex},
	}
}

func queries(b *bench) {
	b.conversation("c")
	for id, content := range map[string]string{
		"run":      "The quick brown fox was running over the hills.",
		"runner":   "She runs every day, and the runner rests.",
		"universe": "the universe is universal",
		"exact":    "hot dog stand",
		"apart":    "the dog is hot",
		"chinese":  "我们的数据库迁移已经完成",
		"japanese": "カタカナとひらがなの混ざった文章です。東京タワー",
		"korean":   "안녕하세요 데이터베이스를 이전합니다",
		"arabic":   "مرحبا بالعالم، هذه قاعدة بيانات",
		"accents":  "Élodie a mangé une crème brûlée à Besançon",
		"code":     "call getUserName() or HTTPServer2, see user_name and foo-bar.baz",
		"emoji":    "done 👩‍💻🎉 at last",
		"numbers":  "version 1.25.3 of 2024",
		"hebrew":   "שלום עולם",
		"thai":     "ภาษาไทยง่ายมาก",
		"mixed":    "用 Go 写的 SQLite 驱动",
	} {
		b.message("c", id, content)
	}
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"fox", []string{"run"}},
		{"FOX", []string{"run"}},
		{"run", []string{"run", "runner"}},
		{"running", []string{"run", "runner"}},
		{"runs", []string{"run", "runner"}},
		{"quick fox", []string{"run"}},
		{"quick runner", []string{}},
		{`"hot dog"`, []string{"exact"}},
		{"hot dog", []string{"apart", "exact"}},
		{`"dog hot"`, []string{}},
		{`"brown fox was"`, []string{"run"}},
		{"univ*", []string{"universe"}},
		{"qui* bro*", []string{"run"}},
		{"dog -stand", []string{"apart"}},
		{`dog -"hot dog"`, []string{"apart"}},
		{"fox OR stand", []string{"exact", "run"}},
		{"the -fox -dog -universe", []string{"runner"}},
		{"数据库", []string{"chinese"}},
		{"据库", []string{"chinese"}},
		{"迁", []string{"chinese"}},
		{"数据 完成", []string{"chinese"}},
		{"库数", []string{}},
		{"東京", []string{"japanese"}},
		{"ひらがな", []string{"japanese"}},
		{"カタカナ", []string{"japanese"}},
		{"ｶﾀｶﾅ", []string{"japanese"}},
		{"데이터", []string{"korean"}},
		{"안녕", []string{"korean"}},
		{"بيانات", []string{"arabic"}},
		{"مَرْحَبًا", []string{"arabic"}},
		{"creme brulee", []string{"accents"}},
		{"CRÈME", []string{"accents"}},
		{"besancon", []string{"accents"}},
		{"cre\u0300me", []string{"accents"}},
		{"getUserName", []string{"code"}},
		{"getusername", []string{"code"}},
		{"user", []string{"code"}},
		{"name server", []string{"code"}},
		{"user_name", []string{"code"}},
		{"foo-bar", []string{"code"}},
		{"baz", []string{"code"}},
		{"1.25", []string{"numbers"}},
		{"2024", []string{"numbers"}},
		{"שלום", []string{"hebrew"}},
		{"ไทย", []string{"thai"}},
		{"sqlite 驱动", []string{"mixed"}},
		{"go", []string{"mixed"}},
		{"done", []string{"emoji"}},
		{"nothing-like-this", []string{}},
		// None of this is syntax.
		{`fox"`, []string{"run"}},
		{`"fox`, []string{"run"}},
		{"fox AND hills", []string{"run"}},
		{"fox) OR (1=1", []string{"run"}},
		{"content:fox", []string{}},
		{"fox'; DROP TABLE messages; --", []string{}},
		{"fox:* & hills", []string{"run"}},
		{"NEAR(fox hills)", []string{}},
		{"fox*", []string{"run"}},
		{"^fox", []string{"run"}},
		{"{fox}", []string{"run"}},
		{`\fox\`, []string{"run"}},
	} {
		got := b.searched(c.query)
		slices.Sort(got)
		deepEqual(b.t, "query "+c.query, got, c.want)
	}
}

func searchScope(b *bench) {
	for _, id := range []string{"a", "b"} {
		_, err := b.db.CreateConversation(b.ctx, models.Conversation{ConvID: id, Title: "Lighthouse " + id, CreatedAt: 7})
		wantNil(b.t, "create", err)
		for _, role := range models.Roles() {
			_, err := b.db.InsertMessage(b.ctx, models.Message{
				MsgID: id + "-" + string(role), ConversationID: id, Role: role, Content: "a lighthouse on the rocks", CreatedAt: 9,
			})
			wantNil(b.t, "insert", err)
		}
	}
	b.base("kb", 3, models.MetricCosine)
	_, err := b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: "chunk", FileID: "kb-file", Content: "about the lighthouse"}})
	wantNil(b.t, "insert", err)
	for _, c := range []struct {
		name string
		q    repo.TextQuery
		want string
	}{
		{"everywhere", repo.TextQuery{}, "a b a-assistant a-function a-system a-user b-assistant b-function b-system b-user chunk"},
		{"titles", repo.TextQuery{In: []repo.HitKind{repo.HitConversation}}, "a b"},
		{"chunks", repo.TextQuery{In: []repo.HitKind{repo.HitChunk}}, "chunk"},
		{"titles and chunks", repo.TextQuery{In: []repo.HitKind{repo.HitChunk, repo.HitConversation}}, "a b chunk"},
		{"a conversation", repo.TextQuery{ConversationID: "a"}, "a-assistant a-function a-system a-user"},
		{"a role", repo.TextQuery{Role: models.RoleUser}, "a-user b-user"},
		{"a role in a conversation", repo.TextQuery{ConversationID: "b", Role: models.RoleUser}, "b-user"},
		{"an unknown conversation", repo.TextQuery{ConversationID: "nobody"}, ""},
		{"a conversation's chunks", repo.TextQuery{ConversationID: "a", In: []repo.HitKind{repo.HitChunk}}, ""},
		{"one of each kind", repo.TextQuery{Limit: 1}, "a a-assistant chunk"},
	} {
		c.q.Query = "lighthouses"
		hits, err := b.db.SearchText(b.ctx, c.q)
		wantNil(b.t, c.name, err)
		equal(b.t, c.name, strings.Join(ids(hits, func(h repo.TextHit) string { return h.ID }), " "), c.want)
	}
	hits, err := b.db.SearchText(b.ctx, repo.TextQuery{Query: "lighthouse", Limit: 1})
	wantNil(b.t, "search", err)
	for i, want := range []repo.TextHit{
		{Kind: repo.HitConversation, ID: "a", ConversationID: "a", Title: "Lighthouse a", CreatedAt: 7, Snippet: "Lighthouse a"},
		{Kind: repo.HitMessage, ID: "a-assistant", ConversationID: "a", Title: "Lighthouse a", Role: models.RoleAssistant, CreatedAt: 9, Snippet: "a lighthouse on the rocks"},
		{Kind: repo.HitChunk, ID: "chunk", FileID: "kb-file", BaseID: "kb", Title: "kb-file.md", Snippet: "about the lighthouse"},
	} {
		h := hits[i]
		if len(h.Highlights) != 1 || !strings.EqualFold(h.Snippet[h.Highlights[0][0]:h.Highlights[0][1]], "lighthouse") {
			b.t.Errorf("highlights of %s: got %v in %q, want the word", h.ID, h.Highlights, h.Snippet)
		}
		if h.Score <= 0 {
			b.t.Errorf("score of %s: got %v, want more than 0", h.ID, h.Score)
		}
		h.Highlights, h.Score = nil, 0
		deepEqual(b.t, "hit "+h.ID, h, want)
	}
}

func searchContent(b *bench) {
	b.conversation("c")
	picture := strings.Repeat("iVBORw0KGgoquokka", 30)
	b.message("c", "user", `{"text":"how do I train a penguin?","files":[{"name":"zebra.pdf","mimeType":"application/pdf","content":"a walrus inside"}],"links":["https://ostrich.example"],"search":true}`)
	_, err := b.db.InsertMessage(b.ctx, models.Message{MsgID: "assistant", ConversationID: "c", Role: models.RoleAssistant, Content: `[
		{"type":"reasoning_content","content":"thinking of herring","status":"success"},
		{"type":"content","content":"Feed it \u9c7c and sardines","status":"success"},
		{"type":"tool_call","tool_call":{"name":"find_fish","params":"{\"species\":\"mackerel\"}","response":"plenty of anchovies"}},
		{"type":"image","content":"image","image_data":{"data":"` + picture + `","mimeType":"image/png"}}]`})
	wantNil(b.t, "insert", err)
	for query, want := range map[string][]string{
		"penguin": {"user"}, "zebra": {"user"}, "walrus": {"user"}, "ostrich": {"user"},
		"herring": {"assistant"}, "sardine": {"assistant"}, "鱼": {"assistant"}, "mackerel": {"assistant"}, "anchovies": {"assistant"}, "fish": {"assistant"},
		// Keys, states, types and pictures are not words of the chat.
		"text": {}, "mimeType": {}, "reasoning_content": {}, "success": {}, "status": {}, "image_data": {}, "species": {}, "quokka": {}, "iVBORw0KGgoquokka*": {},
	} {
		deepEqual(b.t, "query "+query, b.searched(query, repo.HitMessage), want)
	}
}

func emptyQueries(b *bench) {
	b.conversation("c")
	b.message("c", "m", "words")
	for _, q := range []string{"", " ", "\t\n", "-words", `-"two words"`, `""`, "🎉", "!!! ... ???", "*", "OR", `-a -b`, "\u0301"} {
		hits, err := b.db.SearchText(b.ctx, repo.TextQuery{Query: q})
		// A bare OR is a word like any other.
		if q == "OR" && err == nil {
			equal(b.t, "hits of OR", len(hits), 0)
			continue
		}
		wantErr(b.t, fmt.Sprintf("query %q", q), err, repo.ErrInvalid)
		wantTyped(b.t, fmt.Sprintf("query %q", q), err)
	}
}

func searchInStep(b *bench) {
	b.conversation("c")
	b.message("c", "m", "alpha")
	b.base("kb", 3, models.MetricCosine)
	_, err := b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: "k", FileID: "kb-file", Content: "alpha"}})
	wantNil(b.t, "insert", err)
	deepEqual(b.t, "before", b.searched("alpha"), []string{"m", "k"})

	_, err = b.db.UpdateMessage(b.ctx, "m", repo.MessageUpdate{Content: ptr("beta")})
	wantNil(b.t, "update", err)
	deepEqual(b.t, "old word", b.searched("alpha"), []string{"k"})
	deepEqual(b.t, "new word", b.searched("beta"), []string{"m"})
	_, err = b.db.UpdateMessage(b.ctx, "m", repo.MessageUpdate{Content: ptr("beta")})
	wantNil(b.t, "update to the same", err)
	deepEqual(b.t, "same word", b.searched("beta"), []string{"m"})
	_, err = b.db.UpdateMessage(b.ctx, "m", repo.MessageUpdate{TokenCount: ptr(int64(4))})
	wantNil(b.t, "update of something else", err)
	deepEqual(b.t, "after an update of something else", b.searched("beta"), []string{"m"})

	wantNil(b.t, "rename", b.db.RenameConversation(b.ctx, "c", "gamma"))
	deepEqual(b.t, "old title", b.searched("title"), []string{})
	deepEqual(b.t, "new title", b.searched("gamma"), []string{"c"})
	_, err = b.db.UpdateConversation(b.ctx, "c", repo.ConversationUpdate{Title: ptr("delta"), IsPinned: ptr(true)})
	wantNil(b.t, "update", err)
	deepEqual(b.t, "older title", b.searched("gamma"), []string{})
	deepEqual(b.t, "newest title", b.searched("delta"), []string{"c"})
	wantNil(b.t, "pin", b.db.PinConversation(b.ctx, "c", false))
	deepEqual(b.t, "after a pin", b.searched("delta"), []string{"c"})
	wantNil(b.t, "chunk status", b.db.UpdateChunkStatus(b.ctx, "k", models.TaskError, "x"))
	deepEqual(b.t, "after a chunk's state", b.searched("alpha"), []string{"k"})

	wantNil(b.t, "delete", b.db.DeleteMessage(b.ctx, "m"))
	deepEqual(b.t, "after a deletion", b.searched("beta"), []string{})
	wantNil(b.t, "delete", b.db.DeleteFile(b.ctx, "kb-file"))
	deepEqual(b.t, "after a file's deletion", b.searched("alpha"), []string{})
	b.message("c", "m", "alpha")
	deepEqual(b.t, "after an id came back", b.searched("alpha"), []string{"m"})
}

func rebuildIndex(b *bench) {
	b.conversation("c")
	b.message("c", "m", "alpha")
	const many = 1100 // more than two batches of a rebuild
	for i := 0; i < many; i += 100 {
		rows := make([]string, 100)
		for j := range rows {
			rows[j] = fmt.Sprintf("('p%d', 'c', 'user', 'plain%d', 1, %d)", i+j, i+j, i+j+2)
		}
		b.exec("INSERT INTO messages (msg_id, conversation_id, role, content, created_at, order_seq) VALUES " + strings.Join(rows, ", "))
	}
	b.exec("UPDATE messages SET content = 'omega' WHERE msg_id = 'm'")
	b.exec("UPDATE conversations SET title = 'psi'")
	deepEqual(b.t, "a word that plain SQL replaced", b.searched("alpha"), []string{})
	deepEqual(b.t, "a word that plain SQL wrote", b.searched("plain7"), []string{})
	for range 2 {
		n, err := b.db.RebuildTextIndex(b.ctx)
		wantNil(b.t, "rebuild", err)
		equal(b.t, "rows indexed", n, many+2)
		for query, want := range map[string][]string{"plain7": {"p7"}, "plain1099": {"p1099"}, "omega": {"m"}, "psi": {"c"}, "alpha": {}, "title": {}} {
			deepEqual(b.t, "after a rebuild: "+query, b.searched(query), want)
		}
	}
	_, err := b.db.UpdateMessage(b.ctx, "p7", repo.MessageUpdate{Content: ptr("chi")})
	wantNil(b.t, "update", err)
	deepEqual(b.t, "after an update", append(b.searched("plain7"), b.searched("chi")...), []string{"p7"})
}

func searchFilters(b *bench) {
	for i, id := range []string{"old", "new"} {
		at := int64(i+1) * 1000
		_, err := b.db.CreateConversation(b.ctx, models.Conversation{ConvID: id, Title: "harbour " + id, CreatedAt: at})
		wantNil(b.t, "create", err)
		_, err = b.db.InsertMessage(b.ctx, models.Message{MsgID: id + "-m", ConversationID: id, Role: models.RoleUser, Content: "the harbour", CreatedAt: at + 10})
		wantNil(b.t, "insert", err)
		b.base("kb-"+id, 3, models.MetricCosine)
		status := []models.TaskStatus{models.TaskPaused, models.TaskProcessed}[i]
		_, err = b.db.InsertFile(b.ctx, models.KnowledgeFile{ID: id + "-f", BaseID: "kb-" + id, Name: "n", Path: "p", Status: status, UploadedAt: at + 20})
		wantNil(b.t, "insert file", err)
		_, err = b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{
			{ID: id + "-k", FileID: id + "-f", Content: "a harbour", Status: models.TaskProcessed},
			{ID: id + "-l", FileID: id + "-f", Content: "another harbour", Status: models.TaskPending},
		})
		wantNil(b.t, "insert chunks", err)
	}
	for _, c := range []struct {
		name string
		q    repo.TextQuery
		want string
	}{
		{"none", repo.TextQuery{}, "new new-k new-l new-m old old-k old-l old-m"},
		{"from", repo.TextQuery{CreatedFrom: 1010}, "new new-k new-l new-m old-k old-l old-m"},
		{"from a millisecond later", repo.TextQuery{CreatedFrom: 1011}, "new new-k new-l new-m old-k old-l"},
		{"before", repo.TextQuery{CreatedBefore: 2010}, "new old old-k old-l old-m"},
		{"before a millisecond later", repo.TextQuery{CreatedBefore: 2011}, "new new-m old old-k old-l old-m"},
		{"between", repo.TextQuery{CreatedFrom: 1020, CreatedBefore: 2001}, "new old-k old-l"},
		{"a base", repo.TextQuery{BaseIDs: []string{"kb-old"}}, "old-k old-l"},
		{"a base and a time", repo.TextQuery{BaseIDs: []string{"kb-old"}, CreatedFrom: 1021}, ""},
		{"an unknown base", repo.TextQuery{BaseIDs: []string{"nothing"}}, ""},
		{"file status", repo.TextQuery{Files: repo.FileFilter{Status: []models.TaskStatus{models.TaskPaused, models.TaskError}}}, "old-k old-l"},
		{"processed chunks", repo.TextQuery{Processed: true}, "new-k old-k"},
		{"processed chunks of a base", repo.TextQuery{Processed: true, BaseIDs: []string{"kb-new"}}, "new-k"},
		{"a role and a time", repo.TextQuery{Role: models.RoleUser, CreatedBefore: 2000}, "old-m"},
		{"a conversation and a base", repo.TextQuery{ConversationID: "old", BaseIDs: []string{"kb-old"}}, ""},
		{"a base's titles", repo.TextQuery{BaseIDs: []string{"kb-old"}, In: []repo.HitKind{repo.HitConversation}}, ""},
	} {
		c.q.Query = "harbour"
		hits, err := b.db.SearchText(b.ctx, c.q)
		wantNil(b.t, c.name, err)
		got := ids(hits, func(h repo.TextHit) string { return h.ID })
		slices.Sort(got)
		equal(b.t, c.name, strings.Join(got, " "), c.want)
	}
	_, err := b.db.SearchText(b.ctx, repo.TextQuery{Query: "harbour", Files: repo.FileFilter{Status: []models.TaskStatus{"lost"}}})
	wantErr(b.t, "unknown status", err, repo.ErrInvalid)
}

func searchAnyWord(b *bench) {
	b.conversation("c")
	for id, content := range map[string]string{
		"pool": "A pool closes idle connections.", "idle": "The engine is idle.", "how": "How are you, and what is it?", "zh": "如何防止连接泄漏", "en": "stop",
	} {
		b.message("c", id, content)
	}
	for query, want := range map[string][]string{
		"How do I stop idle connections?": {"en", "idle", "pool"},
		"idle -engine":                    {"pool"},
		"how is it":                       {"how", "idle"},
		"连接池耗尽":                           {"zh"},
		`"连接池"`:                           {},
		`"idle engine" zebra`:             {},
	} {
		hits, err := b.db.SearchText(b.ctx, repo.TextQuery{Query: query, AnyWord: true})
		wantNil(b.t, query, err)
		got := ids(hits, func(h repo.TextHit) string { return h.ID })
		slices.Sort(got)
		deepEqual(b.t, query, got, want)
	}
	_, err := b.db.SearchText(b.ctx, repo.TextQuery{Query: "-idle", AnyWord: true})
	wantErr(b.t, "an exclusion alone", err, repo.ErrInvalid)
}

func searchRanking(b *bench) {
	b.conversation("c")
	b.message("c", "often", "penguin penguin penguin on the ice")
	b.message("c", "once", "a penguin was on the ice today")
	b.message("c", "lost", "a penguin "+strings.Repeat("and many other words about the weather ", 40))
	deepEqual(b.t, "by frequency and length", b.searched("penguin", repo.HitMessage), []string{"often", "once", "lost"})
	b.message("c", "both", "the walrus met a penguin today")
	hits, err := b.db.SearchText(b.ctx, repo.TextQuery{Query: "walrus penguin", AnyWord: true})
	wantNil(b.t, "search", err)
	equal(b.t, "first by the number of words", hits[0].ID, "both")
	for i := range hits[1:] {
		if hits[i].Score < hits[i+1].Score {
			b.t.Errorf("scores: got %v before %v, want them to fall", hits[i].Score, hits[i+1].Score)
		}
	}
	for _, id := range []string{"z", "a", "M"} { // the same text: by id
		b.message("c", id, "identical quokka")
	}
	deepEqual(b.t, "ties", b.searched("quokka", repo.HitMessage), []string{"M", "a", "z"})
}

func analyserVersion(b *bench) {
	version := func() (v string) {
		b.scan([]any{&v}, "SELECT value FROM talkbase_meta WHERE key = ?", models.MetaTextAnalyser)
		return v
	}
	now := version()
	b.exec("UPDATE talkbase_meta SET value = 'older' WHERE key = ?", models.MetaTextAnalyser)
	_, err := b.db.RebuildTextIndex(b.ctx)
	wantNil(b.t, "rebuild", err)
	equal(b.t, "the version after a rebuild", version(), now)
	b.exec("DELETE FROM talkbase_meta")
	_, err = b.db.RebuildTextIndex(b.ctx)
	wantNil(b.t, "rebuild", err)
	equal(b.t, "the version after another rebuild", version(), now)
}

func searchHan(b *bench) {
	b.conversation("c")
	r := rand.New(rand.NewPCG(2, 3))
	han := []rune("数据库向量搜索消息，a 1")
	var ms []models.Message
	for i := range 400 {
		content := make([]rune, 3+r.IntN(20))
		for j := range content {
			content[j] = han[r.IntN(len(han))]
		}
		ms = append(ms, models.Message{MsgID: fmt.Sprintf("m%03d", i), ConversationID: "c", Role: models.RoleUser, Content: string(content)})
	}
	_, err := b.db.InsertMessages(b.ctx, ms)
	wantNil(b.t, "insert", err)
	for range 25 {
		word := string([]rune{han[r.IntN(9)], han[r.IntN(9)]})
		var want []string
		db := must[*gorm.DB](b.t)(b.db.Gorm(b.ctx))
		wantNil(b.t, "scan", db.Raw("SELECT msg_id FROM messages WHERE content LIKE ?", "%"+word+"%").Scan(&want).Error)
		got := b.searched(word)
		slices.Sort(got)
		slices.Sort(want)
		deepEqual(b.t, word, got, want)
		if len(want) == 0 {
			b.t.Errorf("%s: nothing is there to be found", word)
		}
	}
}
