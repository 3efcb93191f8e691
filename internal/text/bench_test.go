package text_test

import (
	"strings"
	"testing"

	"github.com/talkbase/talkbase/internal/text"
)

var benchTexts = map[string]string{
	"english": "The presenter returns the messages of a conversation in their order, and a search finds those that contain all of the words; nothing is lost when the connection is closed. ",
	"code":    "func (r *messageRepo) ListMessages(ctx context.Context, convID string, opts ListOptions) ([]models.Message, error) {\n\treturn r.db.WithContext(ctx).Where(\"conversation_id = ?\", convID).Find(&rows).Error\n}\n",
	"chinese": "我们的知识库使用向量数据库来存储文档，并支持全文搜索。用户可以随时导入旧数据，不会丢失任何内容。",
	"russian": "Быстрая коричневая лиса перепрыгивает через ленивую собаку, а затем возвращается домой. ",
	"french":  "Élève très doué, il préfère étudier à la bibliothèque plutôt qu'à la maison, même l'été. ",
	"korean":  "우리의 지식 베이스는 벡터 데이터베이스를 사용하여 문서를 저장합니다. ",
	"thai":    "ภาษาไทยเป็นภาษาที่ไม่มีช่องว่างระหว่างคำ ",
	"base64":  "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4+/9/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg==",
}

func BenchmarkDoc(b *testing.B) {
	for name, s := range benchTexts {
		for size, n := range map[string]int{"1K": 1 << 10, "1M": 1 << 20} {
			s := strings.Repeat(s, n/len(s)+1)
			b.Run(name+"/"+size, func(b *testing.B) {
				b.SetBytes(int64(len(s)))
				b.ReportAllocs()
				for b.Loop() {
					text.Doc(s)
				}
			})
		}
	}
}

func BenchmarkTokens(b *testing.B) {
	s := strings.Repeat(benchTexts["english"], 6)
	b.SetBytes(int64(len(s)))
	b.ReportAllocs()
	for b.Loop() {
		text.Tokens(s)
	}
}

func BenchmarkFTS5(b *testing.B) {
	d := text.Doc(strings.Repeat(benchTexts["english"], 6))
	b.ReportAllocs()
	for b.Loop() {
		_ = d.FTS5()
	}
}

func BenchmarkTSVector(b *testing.B) {
	d := text.Doc(strings.Repeat(benchTexts["english"], 6))
	b.ReportAllocs()
	for b.Loop() {
		_ = d.TSVector()
	}
}

func BenchmarkParseQuery(b *testing.B) {
	for b.Loop() {
		q, err := text.ParseQuery(`running "full text" 数据库 -draft getUser*`)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = q.FTS5(), q.TSQuery()
	}
}

func BenchmarkSnippet(b *testing.B) {
	q, err := text.ParseQuery("needle OR hay*")
	if err != nil {
		b.Fatal(err)
	}
	for name, s := range map[string]string{
		"2K":    strings.Repeat(benchTexts["english"], 6) + " the needle " + strings.Repeat(benchTexts["english"], 6),
		"1M":    strings.Repeat(benchTexts["english"], 3000) + " the needle " + strings.Repeat(benchTexts["english"], 3000),
		"dense": strings.Repeat("needle in a haystack, ", 50000),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(s)))
			b.ReportAllocs()
			for b.Loop() {
				q.Snippet(s, text.SnippetOptions{})
			}
		})
	}
}

func BenchmarkWords(b *testing.B) {
	picture := strings.Repeat(benchTexts["base64"], 6<<20/len(benchTexts["base64"]))
	for name, s := range map[string]string{
		"plain":   "a short question",
		"message": `{"text":"` + benchTexts["english"] + `","files":[],"links":[],"search":false,"think":false,"content":[{"type":"text","content":"` + benchTexts["english"] + `"}]}`,
		"image6M": `[{"type":"content","content":"here it is"},{"type":"image","image_data":{"data":"` + picture + `","mimeType":"image/png"}}]`,
		"text6M":  `{"text":"` + strings.Repeat(benchTexts["english"]+`\n`, 6<<20/len(benchTexts["english"])) + `"}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(s)))
			b.ReportAllocs()
			for b.Loop() {
				text.Words(s)
			}
		})
	}
}
