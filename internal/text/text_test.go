package text_test

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/talkbase/talkbase/internal/text"
)

func TestTokens(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{" \t\n.,;!? — … ", ""},
		{"running fast", "running fast =run"},
		{"Runs, RUNNING; ran!", "runs running ran =run"},
		{"run", "run"},
		{"go is ok", "go is ok"},
		{"=run ~ = 'a' \\b \"c\"", "run a b c"},

		{"getUserName", "getusername get user name =getusernam"},
		{"user_name", "user_name user name"},
		{"HTTPServer2", "httpserver2 http server 2"},
		{"kebab-case foo.bar", "kebab case foo bar"},
		{"__init__ _id **bold** ____", "init id bold"},
		{"a__b", "a__b a b"},
		{"userIDs IDs PDFs", "userids user ids ids pdfs =userid =id"},
		{"iPhone15", "iphone15 i phone 15"},
		{"sha256 utf8 gpt4o i18n k8s 3d", "sha256 sha 256 utf8 utf 8 gpt4o gpt 4o i18n k8s 3d"},
		{"550e8400-e29b-41d4", "550e8400 e29b 41d4"},
		{"MY_CONST_2", "my_const_2 my const 2"},
		{"my_getUserName", "my_getusername my get user name"},
		{"ПользовательИмя", "пользовательимя пользователь имя"},
		{"v1.2.3 1,000", "v1 2 3 1 000"},
		{"don't don’t", "don t don t"},
		{"bob@example.com", "bob example com =exampl"},

		{"École naïve e\u0301cole", "ecole naive ecole =ecol =naiv"},
		{"Ærø ÆØ Łódź Straße STRASSE ŞIŞLI ışık İ", "aero aeo lodz strasse strasse sisli isik i =strass"},
		{"ΣΊΣΥΦΟΣ σίσυφος", "σισυφοσ σισυφοσ"},
		{"Привёт ПРИВЕТ", "привет привет"},
		{"العَرَبِيَّة العـــربية آب", "العربية العربية اب"},
		{"שָׁלוֹם שלום", "שלום שלום"},
		{"हिन्दी नमस्ते", "हिन्दी नमस्ते"},
		{"Tiếng Việt", "tieng viet"},
		{"می‌خواهم", "میخواهم"},

		{"数据库", "数据 据库 库"},
		{"库", "库"},
		{"使用Go语言", "使用 用 go 语言 言"},
		{"你好，世界", "你好 好 世界 界"},
		{"𠮷野家", "𠮷野 野家 家"},
		{"葛\U000E0100城", "葛城 城"},
		{"がん か\u3099ん ｶﾞﾝ", "がん ん がん ん ガン ン"},
		{"コーヒー 人々", "コー ーヒ ヒー ー 人々 々"},
		{"한국어", "한국 국어 어"},
		{"\u1112\u1161\u11ab국어", "한국 국어 어"},
		{"ภาษา", "ภา าษ ษา า"},
		{"ภา\u200bษา", "ภา าษ ษา า"},
		{"ສະບາຍ", "ສະ ະບ ບາ າຍ ຍ"},
		{"ខ្មែរ", "ខ្ ្ម មែ ែរ រ"},
		{"မြန်", "မြ ြန န် ်"},
		{"ㄅㄆ", "ㄅㄆ ㄆ"},

		{"Ｇｏ ﬁne ㍿ 5㎏ x² ①", "go fine 株式 式会 会社 社 5kg 5 kg x2 1"},
		{"👩‍👩‍👧‍👦 hi 🇨🇳 1️⃣ ❤️ 👍🏽", "hi"},
		{"Windows™ ©2024", "windows 2024 =window"},
		{"foo\u00adbar a\u200bb", "foobar a b"},
		{"a\xffb \xc3\x28", "a b"},
		{"a\x00b", "a b"},
	} {
		if got := strings.Join(text.Tokens(c.in), " "); got != c.want {
			t.Errorf("Tokens(%q)\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

// TestTokensStable checks that a token of any character is found again when it is asked for.
func TestTokensStable(t *testing.T) {
	for r := rune(1); r <= utf8.MaxRune; r++ {
		if r >= 0x3400 && r < 0xD7A4 && r%16 != 0 || r >= 0x20000 && r%256 != 0 || !unicode.IsGraphic(r) && !unicode.IsMark(r) {
			continue // ideographs and syllables are all alike, and most code points are none
		}
		for _, s := range []string{string(r), "a" + string(r) + "b", "数" + string(r) + "库"} {
			d := text.Doc(s)
			for tok := range strings.FieldsSeq(d.FTS5()) {
				if tok[0] == '=' {
					continue
				}
				q, err := text.ParseQuery(tok)
				if err != nil || !q.Match(d) {
					t.Fatalf("%U: %q gives %q, which does not find it: %v", r, s, tok, err)
				}
			}
		}
	}
}

func TestLimits(t *testing.T) {
	many := func(n int, f func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(f(i))
			b.WriteByte(' ')
		}
		return b.String()
	}
	num := func(i int) string { // a word without a stem, of letters that never repeat
		return "z" + strings.Map(func(r rune) rune { return r - '0' + 'а' }, "1"+strings.Repeat("0", i%3)) + string(rune(0x4E00+i%20000))
	}
	long := strings.Repeat("x", text.MaxToken+1)
	for name, c := range map[string]struct {
		in             string
		finds, notFind []string
	}{
		"occurrences": {
			in:      strings.Repeat("same ", 300) + "other",
			finds:   []string{"same", "other", `"same same"`},
			notFind: []string{`"same other"`},
		},
		"positions": {
			in:      many(text.MaxPositions, num) + "beyond the limits " + many(3, num) + " again beyond",
			finds:   []string{"beyond", "limit", "limi*"},
			notFind: []string{`"beyond the"`, `"the limits"`},
		},
		"long word": {
			in:      "before " + long + " after",
			finds:   []string{"before", "after", long, "x" + long + " after", "before-" + long + "-after"},
			notFind: []string{"before-after"},
		},
		"longest word": {
			in:    long[1:],
			finds: []string{long[1:], "xxx*"},
		},
		"long identifier": {
			in:    strings.Repeat("some_thing_", 400) + "end",
			finds: []string{"some", `"thing some"`, "some_thing_some_thing", "end"},
		},
		"long identifier with accents": {
			in:    strings.Repeat("sömé_thing_", 400) + "end",
			finds: []string{"some", `"thing some"`, "some_thing_some_thing", "end"},
		},
		"input": {
			in:      "first " + strings.Repeat("filling ", text.MaxInput/8) + "last",
			finds:   []string{"first", "fill"},
			notFind: []string{"last"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := text.Doc(c.in)
			for _, s := range c.finds {
				if q, err := text.ParseQuery(s); len(s) < text.MaxQuery && err != nil && s != long {
					t.Errorf("%.40q: %v", s, err)
				} else if err == nil && !q.Match(d) {
					t.Errorf("%.40q finds nothing", s)
				}
			}
			for _, s := range c.notFind {
				if q, err := text.ParseQuery(s); err == nil && q.Match(d) {
					t.Errorf("%.40q is found", s)
				}
			}
			if n := len(strings.Fields(d.TSVector())); n == 0 {
				t.Error("no lexemes")
			}
		})
	}
}

func TestTSVector(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"a b a running", "'a':1,3 'b':2 'running':4 '=run'"},
		{`it's a \ back'slash`, `'it':1 's':2 'a':3 'back':4 'slash':5`},
	} {
		if got := text.Doc(c.in).TSVector(); got != c.want {
			t.Errorf("TSVector(%q) = %s, want %s", c.in, got, c.want)
		}
	}
	if !text.Doc("…").Empty() || text.Doc("a").Empty() {
		t.Error("Empty is wrong")
	}
}

func TestTokensIsFTS5(t *testing.T) {
	for _, s := range samples {
		if a, b := text.Tokens(s), strings.Fields(text.Doc(s).FTS5()); !slices.Equal(a, b) {
			t.Errorf("%q: %q and %q", s, a, b)
		}
	}
}

// samples are texts in many languages, for properties and fuzzing.
var samples = []string{
	"The quick brown foxes were running over 12 lazy dogs.",
	"func getUserName(user_id int64) (string, error) { return http.DefaultClient.Get(URL) }",
	"我们的知识库使用 SQLite 数据库，支持向量搜索。",
	"変換サーバーを使って、こんにちは世界。ｶﾞｷﾞｸﾞ か\u3099",
	"한국어 데이터베이스 검색 \u1112\u1161\u11ab",
	"العَرَبِيَّة لغة جميلة، والكتابُ هنا",
	"ภาษาไทยไม่มีช่องว่าง ສະບາຍດີ ភាសាខ្មែរ မြန်မာဘာသာ",
	"École naïve Straße Ærø e\u0301te\u0301 Привёт Σίσυφος",
	"👩‍👩‍👧‍👦 family 🇨🇳 flag 👍🏽 ok 1️⃣ ❤️",
	"हिन्दी नमस्ते தமிழ் বাংলা",
	"C:\\Users\\bob's \"file\" -x --force a*b (c) {d} [e] ^f ~g =h :* & | ! <->",
	"a\u0300\u0301\u0302\u0303 z\u0336\u0337 \u0301\u0302 \ufe0f",
	"OR AND NOT NEAR \"unclosed -\"both",
}
