package main

import (
	"encoding/json"
	"fmt"

	"github.com/talkbase/talkbase/fixtures"
)

// start is when the first conversation begins, in ms since the epoch.
const start = 1_741_600_000_000

// chat is one conversation: what was asked and answered, by turns.
type chat struct {
	id, title string
	pinned    bool
	system    string
	turns     []string
	// variant is another answer to the first question.
	variant string
	// source is a page that the first answer cites.
	source string
}

var chats = []chat{
	{
		id: "sample-pool", title: "Sizing a connection pool", pinned: true,
		system: "Answer as an experienced database engineer.",
		turns: []string{
			"How large should the connection pool of a small web service be?",
			"Start with twice the number of cores of the database server and measure.\n\nA larger pool does not make the server faster; it only moves the queue from your program into the database.",
			"And what happens during a deploy, when two versions run side by side?",
			"Both pools are open at once, so the sum of their maxima must stay below `max_connections`. Leave room for an administrator's session as well.",
			"Which metric tells me that the pool is too small?",
			"The time callers wait for a connection. Most pools export it as a histogram; an alert on its 99th percentile is worth more than one on the number of open connections.",
		},
		variant: "Ten connections are enough for most services. Measure how long callers wait for one before you raise it.",
		source:  `{"title":"Connection pooling","url":"https://example.com/docs/connection-pooling","rank":1}`,
	},
	{
		id: "sample-vectors", title: "向量检索应该选多少维度？",
		turns: []string{
			"向量检索的维度越高，结果就越好吗？",
			"不一定。维度更高的模型通常召回率更好，但存储和查询的成本也更高。\n\n先用真实的问题测量召回率，再决定是否值得。",
			"更换嵌入模型之后，旧的向量还能用吗？",
			"不能。不同模型的向量不在同一个空间里，必须重新生成全部向量。把模型的名称和维度和知识库一起保存下来。",
		},
	},
	{
		id: "sample-backup", title: "Sicherung vor der Umstellung des Schemas",
		turns: []string{
			"Reicht es, die SQLite-Datei vor einer Schemaänderung zu kopieren?",
			"Nur wenn niemand schreibt. Im WAL-Modus gehört das Änderungsprotokoll dazu; sicherer ist `VACUUM INTO` oder die Backup-Schnittstelle.",
			"Wie prüfe ich die Kopie?",
			"Mit `PRAGMA integrity_check`, und indem du sie wirklich einmal öffnest und die Zeilen zählst. Eine ungeprüfte Sicherung ist keine.",
		},
	},
	{
		id: "sample-cache", title: "キャッシュの有効期限の決め方",
		turns: []string{
			"キャッシュの有効期限はどのくらいが適切ですか？",
			"データの更新頻度と、古い値をどこまで許容できるかで決まります。まず短めに設定し、ヒット率を見ながら延ばすのが安全です。",
		},
	},
	{
		id: "sample-queue", title: "Una cola de mensajes que no deja de crecer",
		turns: []string{
			"La cola crece cada noche y se vacía a mediodía. ¿Es un problema?",
			"Depende de la edad del mensaje más antiguo. Si a mediodía ya no sirve, sí: añade consumidores por la noche o rechaza trabajo antes.",
		},
	},
	{
		id: "sample-strings", title: "Why is my naïve string cut broken? 🚀",
		turns: []string{
			"In Go, s[:10] sometimes gives me a � at the end. Why?",
			"The index counts bytes, not characters. 🚀 takes four bytes in UTF-8, and a cut inside it leaves an invalid rest.\n\nWalk the string with `range`, or cut at `utf8.RuneStart`.",
			"Is a rune what a reader calls a character?",
			"Not always: é may be two runes, and a family emoji is seven. For what readers see you need grapheme clusters, which packages such as `uniseg` find.",
		},
	},
}

// rows are the conversations as rows of a chat.db.
func rows() []fixtures.LegacyRow {
	var out []fixtures.LegacyRow
	add := func(table string, values map[string]any) {
		out = append(out, fixtures.LegacyRow{Table: table, Values: values})
	}
	for n, c := range chats {
		at := int64(start + n*86_400_000)
		end := at + int64(len(c.turns)-1)*60_000
		pinned := int64(0)
		if c.pinned {
			pinned = 1
		}
		add("conversations", map[string]any{
			"conv_id": c.id, "title": c.title, "created_at": at, "updated_at": end, "is_pinned": pinned, "is_new": int64(0),
			"system_prompt": c.system, "context_chain": "{}", "enabled_mcp_tools": "[]", "model_id": "small-model", "provider_id": "local",
		})
		seq := int64(0)
		message := func(id, parent, role, content string, at, variant int64) {
			seq++
			add("messages", map[string]any{
				"msg_id": id, "conversation_id": c.id, "parent_id": parent, "role": role, "content": content, "created_at": at,
				"order_seq": seq, "token_count": int64(0), "status": "sent", "is_context_edge": int64(0), "is_variant": variant,
				"metadata": encode(map[string]any{"totalTokens": len(content) / 4, "model": "small-model", "provider": "local"}),
			})
		}
		question := ""
		for i, text := range c.turns {
			id, at := fmt.Sprintf("%s-%d", c.id, i+1), at+int64(i)*60_000
			if i%2 == 0 {
				message(id, question, "user", encode(map[string]any{
					"text": text, "files": []any{}, "links": []any{}, "think": false, "search": false,
				}), at, 0)
				question = id
				continue
			}
			message(id, question, "assistant", answer(text, at), at, 0)
			if i == 1 && c.source != "" {
				add("message_attachments", map[string]any{
					"attachment_id": c.id + "-source", "message_id": id, "type": "search_result", "content": c.source, "created_at": at,
				})
			}
			if i == 1 && c.variant != "" {
				message(id+"-again", question, "assistant", answer(c.variant, at+20_000), at+20_000, 1)
			}
		}
	}
	return out
}

func answer(text string, at int64) string {
	return encode([]any{map[string]any{"type": "content", "content": text, "status": "success", "timestamp": at}})
}

// encode writes JSON as the application does.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of texts and numbers always marshal
	}
	return string(b)
}
