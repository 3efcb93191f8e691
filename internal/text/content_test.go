package text_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/talkbase/talkbase/internal/text"
)

func TestWords(t *testing.T) {
	base64 := strings.Repeat("iVBORw0KGgo", 40)
	for _, c := range []struct{ name, in, want string }{
		{"plain", "just text", "just text"},
		{"empty", "", ""},
		{"user", `{"text":"hi v7","files":[],"links":[],"search":false,"think":false,"content":[{"type":"text","content":"hi v7"}]}`, "hi v7"},
		{
			"user with all", `{"text":"see @doc","files":[{"name":"a.pdf","path":"/tmp/x","mimeType":"application/pdf","token":5,"content":"inside"}],` +
				`"links":["https://go.dev"],"content":[{"type":"text","content":"see "},{"type":"mention","id":"m1","category":"files","content":"report.md"}]}`,
			"see @doc\na.pdf\ninside\nhttps://go.dev\nreport.md",
		},
		{"only text", `{"text":"q"}`, "q"},
		{"only blocks", ` {"content":[{"type":"text","content":"q"}]} `, "q"},
		{"order of keys", `{"content":[{"type":"text","content":"q"}],"text":"the q"}`, "the q"},
		{
			"assistant", `[{"type":"reasoning_content","content":"hmm","status":"success","timestamp":1,"reasoning_time":{"start":1,"end":2}},
			{"type":"content","content":"answer\n\"quoted\" \u00e9 \ud83d\ude80 \ud83d","status":"success","timestamp":1},{"type":"error","content":"failed"}]`,
			"hmm\nanswer\n\"quoted\" é 🚀 \ufffd\nfailed",
		},
		{
			"tool", `[{"type":"tool_call","content":"","status":"success","tool_call":{"id":"call_1","name":"search_web","params":"{\"q\":\"привет\",\"n\":3,\"deep\":[{\"k\":\"v\"}]}",` +
				`"response":"plain.\nresult","server_name":"s","server_icons":"i"}}]`,
			"search_web\nпривет\nv\nplain.\nresult",
		},
		{
			"tool's response in JSON", `[{"type":"tool_call","tool_call":{"name":"n","params":"{bad","response":"[{\"type\":\"text\",\"text\":\"found\"},{\"mimeType\":\"a/b\",\"data\":\"` + base64 + `\"}]"}}]`,
			"n\n{bad\nfound",
		},
		{"tool's response as an object", `[{"type":"tool_call","tool_call":{"name":"n","params":{"a":"b"},"response":null}}]`, "n\nb"},
		{"image", `[{"type":"content","content":"look"},{"type":"image","content":"image","image_data":{"data":"` + base64 + `","mimeType":"image/png"}}]`, "look"},
		{"search", `[{"type":"search","content":"","extra":{"total":3}}]`, ""},
		{"picture as a file", `{"text":"t","files":[{"name":"p.png","content":"data:image/png;base64,` + base64 + `"}]}`, "t\np.png\n "},
		{"base64 as a file", `{"text":"t","files":[{"name":"p.png","content":"` + base64 + `"}]}`, "t\np.png"},
		{"data URL in text", "before ![x](data:image/png;base64," + base64 + ") after", "before ![x]( ) after"},
		{"data URL in the way", "a;base64,b data:x/y;base64,QQ== c;base64,", "a;base64,b   c;base64,"},
		{"no blocks", "[]", ""},
		{"other object", `{"a":1}`, `{"a":1}`},
		{"other array", `["a",{"type":"x"}]`, `["a",{"type":"x"}]`},
		{"half an array", `[{"type":"content","content":"a"},{"b":1}]`, `[{"type":"content","content":"a"},{"b":1}]`},
		{"truncated", `[{"type":"content","content":"cut of`, `[{"type":"content","content":"cut of`},
		{"followed", `{"text":"a"} b`, `{"text":"a"} b`},
		{"number", "42", "42"},
		{"string", `"text"`, `"text"`},
		{"bad number", `{"text":"a","n":01}`, `{"text":"a","n":01}`},
		{"bad escape", `{"text":"a\x"}`, `{"text":"a\x"}`},
		{"NUL", `{"text":"a\u0000b"}`, "a b"},
		{"deep", `{"text":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, `{"text":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`},
	} {
		if got := text.Words(c.in); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestWordsCopiesNothing checks that a picture costs time only, and little of it.
func TestWordsCopiesNothing(t *testing.T) {
	s := `[{"type":"content","content":"a"},{"type":"image","image_data":{"data":"` + strings.Repeat("A", 6<<20) + `"}}]`
	if n := testing.AllocsPerRun(3, func() { text.Words(s) }); n > 20 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzWords(f *testing.F) {
	for _, s := range []string{
		`{"text":"hi","files":[{"name":"n","content":"c"}],"links":["l"],"content":[{"type":"text","content":"hi"}]}`,
		`[{"type":"tool_call","tool_call":{"name":"n","params":"{\"q\":\"v\"}","response":"[\"r\"]"}},{"type":"content","content":"\u00e9\ud83d"}]`,
		`{"a":[1,2.5e-3,true,null]}`, `"`, "data:;base64,", `[{"type":"content","content":[{"type":"text","text":"x"}]}]`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := text.Words(s)
		if utf8.ValidString(s) && !utf8.ValidString(got) {
			t.Fatalf("Words(%q) = %q", s, got)
		}
		if !json.Valid([]byte(s)) && got != s && !strings.Contains(s, ";base64,") {
			t.Fatalf("%q is not JSON, but became %q", s, got)
		}
		// What a user types is found, whatever it looks like.
		typed, _ := json.Marshal(map[string]string{"text": s})
		if utf8.ValidString(s) && len(s) < 200 && !strings.Contains(s, ";base64,") && !strings.Contains(s, "\x00") && text.Words(string(typed)) != s {
			t.Fatalf("%s became %q", typed, text.Words(string(typed)))
		}
	})
}
