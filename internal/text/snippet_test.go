package text_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/internal/text"
)

// mark shows a snippet with its highlights in brackets.
func mark(s text.Snippet) string {
	var b strings.Builder
	at := 0
	for _, h := range s.Highlights {
		fmt.Fprintf(&b, "%s[%s]", s.Text[at:h[0]], s.Text[h[0]:h[1]])
		at = h[1]
	}
	return b.String() + s.Text[at:]
}

func TestSnippet(t *testing.T) {
	lorem := strings.Repeat("lorem ipsum dolor ", 40)
	han := strings.Repeat("甲乙丙丁", 60)
	for _, c := range []struct {
		text, query string
		width       int
		want        string
	}{
		{"Short text.", "text", 0, "Short [text]."},
		{"nothing here", "absent", 0, "nothing here"},
		{"", "absent", 0, ""},
		{"He was Running, she runs.", "run", 0, "He was [Running], she [runs]."},
		{"He was Running, she runs.", `"run"`, 0, "He was Running, she runs."},
		{"He was Running, she runs.", "run*", 0, "He was [Running], she [runs]."},
		{"call getUserName(id) or get_user_name", "getUserName", 0, "call [getUserName](id) or [get_user_name]"},
		{"call getUserName(id)", "user", 0, "call get[User]Name(id)"},
		{"我的数据库里有数据", "数据库", 0, "我的[数据库]里有数据"},
		{"我的数据库里有数据", "数据", 0, "我的[数据]库里有[数据]"},
		{"我的数据库", "库", 0, "我的数据[库]"},
		{"库库 库", "库", 0, "[库库] [库]"},
		{"École et e\u0301cole", "ecole", 0, "[École] et [e\u0301cole]"},
		{"العَرَبِيَّة هنا", "العربية", 0, "[العَرَبِيَّة] هنا"},
		{"bread and -butter- jam", "bread -jam OR butter", 0, "[bread] and -[butter]- jam"},
		{`the "quick brown" fox`, `"quick brown"`, 0, `the "[quick brown]" fox`},
		{"👩‍👩‍👧‍👦family👩‍👩‍👧‍👦", "family", 0, "👩‍👩‍👧‍👦[family]👩‍👩‍👧‍👦"},
		{lorem + "the needle is here " + lorem, "needle", 40, "…dolor the [needle] is here lorem ipsum…"},
		{lorem, "absent", 20, "lorem ipsum dolor…"},
		{lorem + "end", "end", 20, "…ipsum dolor [end]"},
		{lorem + "first " + lorem + "first second " + lorem, "first second", 30, "…dolor [first] [second] lorem ipsum…"},
		{han + "针尖" + han, "针尖", 12, "…乙丙丁[针尖]甲乙丙丁甲乙丙…"},
		{strings.Repeat("数", 50), strings.Repeat("数", 30), 10, "[数数数数数数数数数数]…"},
	} {
		q, err := text.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		got := mark(q.Snippet(c.text, text.SnippetOptions{Runes: c.width}))
		if got != c.want {
			t.Errorf("%s in %.60q\n got %s\nwant %s", c.query, c.text, got, c.want)
		}
	}
}
