package tests

import (
	"strings"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func valueCases() []testCase {
	return []testCase{
		{name: "text of every kind comes back from every column", run: textRoundTrip},
		{name: "zero values are kept", run: zeroValues},
		{name: "JSON has one form", run: canonicalJSON},
		{name: "JSON that is no object is refused", run: refusedJSON},
		{name: "keys compare bytewise", run: bytewiseKeys},
		{name: "stats count every table", run: stats},
	}
}

// texts are hard to keep exactly.
var texts = map[string]string{
	"chinese":      "数据库迁移：你好，世界！",
	"zwj emoji":    "👩‍👩‍👧‍👦🏳️‍🌈👨🏽‍💻🇨🇳",
	"combining":    "e\u0301 a\u0308\u0323 नमस्ते Z\u0351\u036b\u0343",
	"composed":     "\u00e9 \u1e9b\u0323",
	"arabic":       "السَّلامُ عَلَيْكُم \u202eoverride\u202c",
	"astral":       "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010FFFF \U0001F9FF",
	"controls":     "tab\tline\nreturn\r\x01\x7f\u0085\u2028\u2029",
	"specials":     "\ufeffBOM \ufffd \uffff \ue000",
	"quotes":       `'single' "double" ` + "`back`" + ` \backslash\ $1 ? %s @x ;--`,
	"spaces":       "  leading and trailing  ",
	"empty":        "",
	"json in it":   `{"a":"\u0041"}`,
	"looks blob":   `\x0001`,
	"looks null":   "NULL",
	"looks like 1": "1",
}

func textRoundTrip(b *bench) {
	for name, s := range texts {
		key := "k" + s // a key is not empty
		c, err := b.db.CreateConversation(b.ctx, models.Conversation{ConvID: key, Title: s, Settings: must[models.JSON](b.t)(models.NewJSON(map[string]string{"k" + s: s}))})
		wantNil(b.t, name, err)
		m := models.Message{MsgID: key, ConversationID: key, ParentID: s, Role: models.RoleUser, Content: s, Metadata: c.Settings}
		_, err = b.db.InsertMessage(b.ctx, m)
		wantNil(b.t, name, err)
		_, err = b.db.AddAttachment(b.ctx, models.MessageAttachment{AttachmentID: key, MessageID: key, Type: s, Data: s})
		wantNil(b.t, name, err)
		_, err = b.db.CreateBase(b.ctx, models.KnowledgeBase{ID: key, Name: "n" + s, Dimensions: 2, EmbeddingModel: s, Settings: c.Settings})
		wantNil(b.t, name, err)
		_, err = b.db.InsertFile(b.ctx, models.KnowledgeFile{ID: key, BaseID: key, Name: s, Path: s, MimeType: s, Metadata: c.Settings})
		wantNil(b.t, name, err)
		_, err = b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: key, FileID: key, Content: s, Status: models.TaskProcessed, Error: s}})
		wantNil(b.t, name, err)
		_, err = b.db.UpsertVectors(b.ctx, []models.KnowledgeVector{{ID: key, FileID: key, ChunkID: key, Embedding: []float32{1, 0}}})
		wantNil(b.t, name, err)
	}
	for name, s := range texts {
		key := "k" + s
		cm, err := b.db.ConversationWithMessages(b.ctx, key)
		wantNil(b.t, name, err)
		equal(b.t, name+": conv_id", cm.Conversation.ConvID, key)
		equal(b.t, name+": title", cm.Conversation.Title, s)
		inside, _ := cm.Conversation.Settings.Get("k" + s)
		equal(b.t, name+": value in settings", inside, any(s))
		m := cm.Messages[0]
		equal(b.t, name+": message", strings.Join([]string{m.MsgID, m.ConversationID, m.ParentID, m.Content}, "|"), strings.Join([]string{key, key, s, s}, "|"))
		equal(b.t, name+": metadata", m.Metadata.String(), cm.Conversation.Settings.String())
		as, err := b.db.ListAttachments(b.ctx, key, s)
		wantNil(b.t, name, err)
		equal(b.t, name+": attachment", strings.Join([]string{as[0].AttachmentID, as[0].MessageID, as[0].Type, as[0].Data}, "|"), strings.Join([]string{key, key, s, s}, "|"))
		k, err := b.db.GetBase(b.ctx, key)
		wantNil(b.t, name, err)
		equal(b.t, name+": base", strings.Join([]string{k.ID, k.Name, k.EmbeddingModel, k.Settings.String()}, "|"),
			strings.Join([]string{key, "n" + s, s, m.Metadata.String()}, "|"))
		f, err := b.db.GetFile(b.ctx, key)
		wantNil(b.t, name, err)
		equal(b.t, name+": file", strings.Join([]string{f.ID, f.BaseID, f.Name, f.Path, f.MimeType, f.Metadata.String()}, "|"),
			strings.Join([]string{key, key, s, s, s, m.Metadata.String()}, "|"))
		ks, err := b.db.QueryChunks(b.ctx, repo.ChunkQuery{FileID: key})
		wantNil(b.t, name, err)
		equal(b.t, name+": chunk", strings.Join([]string{ks[0].ID, ks[0].FileID, ks[0].Content, ks[0].Error}, "|"), strings.Join([]string{key, key, s, s}, "|"))
		sim := b.similar(repo.SimilarityQuery{BaseID: key, Vector: []float32{1, 0}})
		equal(b.t, name+": similar", strings.Join([]string{sim[0].VectorID, sim[0].ChunkID, sim[0].FileID, sim[0].BaseID, sim[0].Content, sim[0].FileName, sim[0].FilePath}, "|"),
			strings.Join([]string{key, key, key, key, s, s, s}, "|"))
	}
}

func zeroValues(b *bench) {
	one := int64(1)
	_, err := b.db.CreateConversation(b.ctx, models.Conversation{ConvID: "c", Title: "", IsPinned: false, IsNew: false, Settings: nil, CreatedAt: one, UpdatedAt: one})
	wantNil(b.t, "create", err)
	_, err = b.db.InsertMessage(b.ctx, models.Message{
		MsgID: "m", ConversationID: "c", ParentID: "", Role: models.RoleUser, Content: "", CreatedAt: one, OrderSeq: one,
		TokenCount: 0, Metadata: nil, IsContextEdge: false, IsVariant: false,
	})
	wantNil(b.t, "insert", err)
	c := b.getConversation("c")
	deepEqual(b.t, "conversation", c, models.Conversation{ID: c.ID, ConvID: "c", CreatedAt: 1, UpdatedAt: 1, Settings: models.JSON("{}"), MessageCount: 1})
	m := b.getMessage("m")
	deepEqual(b.t, "message", m, models.Message{
		ID: m.ID, MsgID: "m", ConversationID: "c", Role: models.RoleUser, CreatedAt: 1, OrderSeq: 1, Status: models.StatusSent, Metadata: models.JSON("{}"),
	})
	// Set everything, then set it back to zero.
	_, err = b.db.UpdateConversation(b.ctx, "c", repo.ConversationUpdate{Title: ptr("t"), IsPinned: ptr(true), IsNew: ptr(true), Settings: ptr(models.JSON(`{"a":1}`)), UpdatedAt: ptr(int64(9))})
	wantNil(b.t, "update", err)
	c, err = b.db.UpdateConversation(b.ctx, "c", repo.ConversationUpdate{Title: ptr(""), IsPinned: ptr(false), IsNew: ptr(false), Settings: ptr(models.JSON(`{}`)), UpdatedAt: ptr(int64(0))})
	wantNil(b.t, "update to zero", err)
	deepEqual(b.t, "conversation at zero", c, models.Conversation{ID: c.ID, ConvID: "c", CreatedAt: 1, Settings: models.JSON("{}"), MessageCount: 1})
	deepEqual(b.t, "conversation at zero as read", b.getConversation("c"), c)

	_, err = b.db.CreateBase(b.ctx, models.KnowledgeBase{ID: "kb", Dimensions: 2})
	wantNil(b.t, "create base", err)
	f, err := b.db.InsertFile(b.ctx, models.KnowledgeFile{ID: "f", BaseID: "kb", UploadedAt: one})
	wantNil(b.t, "insert file", err)
	deepEqual(b.t, "file", f, models.KnowledgeFile{ID: "f", BaseID: "kb", Status: models.TaskProcessing, UploadedAt: 1, Metadata: models.JSON("{}")})
	_, err = b.db.InsertChunks(b.ctx, []models.KnowledgeChunk{{ID: "k", FileID: "f", ChunkIndex: 0, Content: "", Error: ""}})
	wantNil(b.t, "insert chunk", err)
	ks, err := b.db.QueryChunks(b.ctx, repo.ChunkQuery{})
	wantNil(b.t, "query", err)
	deepEqual(b.t, "chunk", ks[0], models.KnowledgeChunk{Seq: ks[0].Seq, ID: "k", FileID: "f", Status: models.TaskProcessing})

	// The bulk loader fills in nothing, so that every number can be zero.
	zero := models.Message{MsgID: "z", ConversationID: "z", Role: models.RoleUser, Status: models.StatusSent, Metadata: models.JSON("{}")}
	wantNil(b.t, "load", b.db.Bulk().InsertConversations(b.ctx, []models.Conversation{{ConvID: "z"}}))
	wantNil(b.t, "load", b.db.Bulk().InsertMessages(b.ctx, []models.Message{zero}))
	wantNil(b.t, "load", b.db.Bulk().InsertAttachments(b.ctx, []models.MessageAttachment{{AttachmentID: "z", MessageID: "z"}}))
	wantNil(b.t, "load", b.db.Bulk().InsertFiles(b.ctx, []models.KnowledgeFile{{ID: "z", BaseID: "kb", Status: models.TaskError}}))
	z := b.getMessage("z")
	zero.ID = z.ID
	deepEqual(b.t, "loaded message", z, zero)
	c = b.getConversation("z")
	deepEqual(b.t, "loaded conversation", c, models.Conversation{ID: c.ID, ConvID: "z", Settings: models.JSON("{}"), MessageCount: 1})
	as, err := b.db.ListAttachments(b.ctx, "z", "")
	wantNil(b.t, "list", err)
	deepEqual(b.t, "loaded attachment", as[0], models.MessageAttachment{ID: as[0].ID, AttachmentID: "z", MessageID: "z"})
	f, err = b.db.GetFile(b.ctx, "z")
	wantNil(b.t, "get", err)
	deepEqual(b.t, "loaded file", f, models.KnowledgeFile{ID: "z", BaseID: "kb", Status: models.TaskError, Metadata: models.JSON("{}")})
}

func canonicalJSON(b *bench) {
	nested := strings.Repeat(`{"a":[`, 200) + strings.Repeat(`]}`, 200)
	for in, want := range map[string]string{
		``:                                     `{}`,
		` { } `:                                `{}`,
		`{"n":1e2}`:                            `{"n":100}`,
		`{"n":1.50}`:                           `{"n":1.50}`,
		`{"n":1.50e1}`:                         `{"n":15.0}`,
		`{"n":-0}`:                             `{"n":0}`,
		`{"n":-0.00}`:                          `{"n":0.00}`,
		`{"n":1E-3}`:                           `{"n":0.001}`,
		`{"n":-12.5e-1}`:                       `{"n":-1.25}`,
		`{"n":123456789012345678901234567890}`: `{"n":123456789012345678901234567890}`,
		`{"n":0.1000000000000000055511151231}`: `{"n":0.1000000000000000055511151231}`,
		`{"b":1,"a":2,"aa":3,"B":4}`:           `{"B":4,"a":2,"aa":3,"b":1}`,
		`{"中":1,"é":2,"z":3,"😀":4,"\uffff":5}`: `{"z":3,"é":2,"中":1,"` + "\uffff" + `":5,"😀":4}`,
		`{"a":1,"a":2}`:                      `{"a":2}`,
		`{"a":{"x":1},"a":{"y":2}}`:          `{"a":{"y":2}}`,
		`{"a":"\u00e9\u4e2d\ud83d\ude00\/"}`: `{"a":"é中😀/"}`,
		`{"a":"<b>&\u003c"}`:                 `{"a":"<b>&<"}`,
		`{"a":"\b\f\n\r\t\u0001\"\\"}`:       `{"a":"\b\f\n\r\t\u0001\"\\"}`,
		`{"a":"\u2028"}`:                     `{"a":"\u2028"}`,
		`{"a":[true,false,null,[],{}]}`:      `{"a":[true,false,null,[],{}]}`,
		`{"":{"":{"":""}}}`:                  `{"":{"":{"":""}}}`,
		`{"$ref":"%s ? @x ''"}`:              `{"$ref":"%s ? @x ''"}`,
		nested:                               nested,
	} {
		c, err := b.db.CreateConversation(b.ctx, models.Conversation{Settings: models.JSON(in)})
		wantNil(b.t, in, err)
		equal(b.t, show(in)+" as returned", c.Settings.String(), want)
		equal(b.t, show(in)+" as read", b.getConversation(c.ConvID).Settings.String(), want)
	}
	// What plain SQL writes reads in the same form.
	b.exec(`UPDATE conversations SET settings = '{"b": 1.50, "a": [1E2, {"z": "\u00e9", "y": null}]}'`)
	page, err := b.db.RecentConversations(b.ctx, 1)
	wantNil(b.t, "recent", err)
	equal(b.t, "JSON written by plain SQL", page[0].Settings.String(), `{"a":[100,{"y":null,"z":"é"}],"b":1.50}`)
}

func refusedJSON(b *bench) {
	for name, in := range map[string]string{
		"array": `[1]`, "string": `"s"`, "number": `1`, "true": `true`, "null": `null`, "half": `{"a":`, "two": `{} {}`, "brace behind": `{}}`, "bracket behind": `{"a":1}]`,
		"comma": `{"a":1,}`, "single quotes": `{'a':1}`, "comment": `{/**/}`, "NaN": `{"a":NaN}`, "leading zero": `{"a":01}`, "plus": `{"a":+1}`,
		"NUL": `{"a":"\u0000"}`, "NUL key": `{"\u0000":1}`, "raw NUL": "{\"a\":\"\x00\"}", "invalid UTF-8": "{\"a\":\"\xff\"}",
		"half a pair": `{"a":"\ud83d"}`, "wrong pair": `{"a":"\ud83dx"}`, "low half": `{"a":"\ude00"}`, "raw surrogate": "{\"a\":\"\xed\xa0\xbd\"}",
		"huge exponent": `{"a":1e999999}`, "too deep": strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000),
		"deeper than SQLite": strings.Repeat(`{"a":`, 1500) + "1" + strings.Repeat("}", 1500),
	} {
		_, err := b.db.CreateConversation(b.ctx, models.Conversation{Settings: models.JSON(in)})
		wantErr(b.t, name, err, repo.ErrInvalid)
		_, err = b.db.CreateBase(b.ctx, models.KnowledgeBase{Settings: models.JSON(in)})
		wantErr(b.t, name+" of a base", err, repo.ErrInvalid)
	}
	// Plain SQL cannot write it either.
	b.conversation("c")
	for _, in := range []string{`[1]`, `"s"`, `1`, `null`, `{`} {
		if err := b.tryExec("UPDATE conversations SET settings = '" + in + "'"); err == nil {
			b.t.Errorf("plain SQL writing %s: got no error, want one", in)
		}
	}
	equal(b.t, "settings", b.getConversation("c").Settings.String(), "{}")
}

func bytewiseKeys(b *bench) {
	// A language's rules would sort these in another order, and would take some for equal.
	order := []string{"A", "B", "_", "a", "a ", "a\u0301", "b", "Ä", "á", "ä", "中", "\uffff", "😀"}
	for _, id := range order {
		_, err := b.db.CreateBase(b.ctx, models.KnowledgeBase{ID: id, Dimensions: 2})
		wantNil(b.t, "create "+id, err)
		b.conversation(id)
	}
	list, err := b.db.ListBases(b.ctx)
	wantNil(b.t, "list", err)
	deepEqual(b.t, "order of ids", ids(list, func(k models.KnowledgeBase) string { return k.ID }), order)
	for _, id := range order {
		equal(b.t, "conversation", b.getConversation(id).ConvID, id)
	}
}

func stats(b *bench) {
	b.conversation("c")
	b.message("c", "m1", "")
	b.message("c", "m2", "")
	_, err := b.db.AddAttachment(b.ctx, models.MessageAttachment{MessageID: "m1"})
	wantNil(b.t, "attach", err)
	b.base("kb", 2, models.MetricCosine)
	b.vectors("kb-file", []string{"a", "b", "c"}, map[string][]float32{"a": {1, 0}, "b": {0, 1}, "c": {1, 1}})
	st, err := b.db.GetStatistics(b.ctx)
	wantNil(b.t, "stats", err)
	equal(b.t, "engine", st.Engine, b.db.Engine())
	equal(b.t, "schema version", st.SchemaVersion, b.db.LatestSchemaVersion())
	deepEqual(b.t, "rows", st.Rows(), map[string]int64{
		"conversations": 1, "messages": 2, "message_attachments": 1,
		"knowledge_bases": 1, "knowledge_files": 1, "knowledge_chunks": 3, "knowledge_vectors": 3,
	})
	wantNil(b.t, "vectors", b.db.VectorsSupported())
	wantNil(b.t, "ready", b.db.Ready(b.ctx))
}
