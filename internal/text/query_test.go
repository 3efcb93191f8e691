package text_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/internal/text"
)

func TestParseQuery(t *testing.T) {
	for _, c := range []struct{ in, fts5, tsquery string }{
		{"running", `("run" OR "=run")`, `('run' | '=run')`},
		{"go", `"go"`, `'go'`},
		{"fo*", `"fo" *`, `'fo':*`},
		{"a b", `"a" AND "b"`, `'a' & 'b'`},
		{"a OR b c", `("a" OR "b") AND "c"`, `('a' | 'b') & 'c'`},
		{"a -b", `"a" NOT "b"`, `'a' & !'b'`},
		{`a c -b -"d e"`, `("a" AND "c") NOT ("b" OR "d e")`, `('a' & 'c') & !('b' | ('d' <-> 'e'))`},
		{`"running fast"`, `"running fast"`, `('running' <-> 'fast')`},
		{`"x y"*`, `"x y" *`, `('x' <-> 'y':*)`},
		{`“x y”`, `"x y"`, `('x' <-> 'y')`},
		{`"x y`, `"x y"`, `('x' <-> 'y')`},
		{"foo.bar", `"foo bar"`, `('foo' <-> 'bar')`},
		{"user_id", `("user_id" OR "user id")`, `('user_id' | ('user' <-> 'id'))`},
		{"user_i*", `("user_i" * OR "user i" *)`, `('user_i':* | ('user' <-> 'i':*))`},
		{"数据库", `"数据 据库"`, `('数据' <-> '据库')`},
		{"库", `"库" *`, `'库':*`},
		{"用Go写", `"用 go 写" *`, `('用' <-> 'go' <-> '写':*)`},
		{"a OR -b", `"a" NOT "b"`, `'a' & !'b'`},
		{"OR", `"or"`, `'or'`},
		{"a AND b", `"a" AND "b"`, `'a' & 'b'`},
		{"a and b", `"a" AND ("and" OR "=and") AND "b"`, `'a' & ('and' | '=and') & 'b'`},
		{"-b OR a", `"a" NOT "b"`, `'a' & !'b'`},
		{"a -b OR c", `("a" OR "c") NOT "b"`, `('a' | 'c') & !'b'`},
		{"a OR", `"a" AND "or"`, `'a' & 'or'`},
		{"a OR OR b", `("a" OR "b")`, `('a' | 'b')`},
		{"a - b --c", `"a" AND "b" AND "c"`, `'a' & 'b' & 'c'`},
		{"*a* ** .*", `"a" *`, `'a':*`},
		{`' OR 1=1; --`, `"or" AND "1 1"`, `'or' & ('1' <-> '1')`},
		{`"getUserName"`, `"getusername"`, `'getusername'`},
		{`a" NOT "b`, `"a" AND "not" AND "b"`, ``},
	} {
		q, err := text.ParseQuery(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if got := q.FTS5(); got != c.fts5 && c.tsquery != "" {
			t.Errorf("%q: FTS5 %s, want %s", c.in, got, c.fts5)
		}
		if got := q.TSQuery(); got != c.tsquery && c.tsquery != "" {
			t.Errorf("%q: TSQuery %s, want %s", c.in, got, c.tsquery)
		}
	}
	for _, s := range []string{"", "  ", `""`, `"`, "-", "*", "🚀 …", "-a", `-"a b" -c`, strings.Repeat("x", 3000), "\u0301", "\xff"} {
		if q, err := text.ParseQuery(s); !errors.Is(err, text.ErrEmptyQuery) || !q.IsZero() {
			t.Errorf("%.20q: %v, %v", s, q, err)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		text, query string
		want        bool
	}{
		{"He runs", "running", true},
		{"He is running", "run", true},
		{"He is running", `"run"`, false},
		{"He is running", "runn*", true},
		{"He is running", "=run", true},
		{"universe", "univ*", true},
		{"getUserName", "getusername", true},
		{"getUserName", "get_user_name", true},
		{"get_user_name", "getUserName", true},
		{"GETUSERNAME", "getUserName", true},
		{"getUserName", "user name", true},
		{"getUserName", "getUser*", true},
		{"getUserNames", "name", true},
		{"a b c", `"a c"`, false},
		{"a b c", `"b c"`, true},
		{"a b c", "a -c", false},
		{"a b c", "x OR c", true},
		{"我的数据库", "据库", true},
		{"我的数据库", "数库", false},
		{"我的数据库", "的", true},
		{"我的数据库Go语言", "库go", true},
		{"我的数据库Go语言", "数据库Go语", true},
		{"我的数据库", "数据 我的", true},
		{"ÉCOLE", "école", true},
		{"écoles", "ecole", true},
		{"ｶﾞ", "が", false},
		{"ｶﾞ", "ガ", true},
		{"한국어", "국어", true},
		{"don’t", "don't", true},
		{"ＡＢＣ", "abc", true},
		{"x", "x OR y OR z", true},
		{"z", "x OR y OR z", true},
	} {
		q, err := text.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		if got := q.Match(text.Doc(c.text)); got != c.want {
			t.Errorf("%q in %q: %v (%s)", c.query, c.text, got, q.FTS5())
		}
	}
	if (text.Query{}).Match(text.Doc("a")) {
		t.Error("the zero Query finds something")
	}
}

func TestAny(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{"fox", `("fox" OR "=fox")`},
		{"how do I stop idle pools", `(("stop" OR "=stop") OR ("idl" OR "=idl") OR ("pool" OR "=pool"))`},
		{"the how", `(("the" OR "=the") OR ("how" OR "=how"))`},
		{`"the end" of -days`, `"the end" NOT ("day" OR "=day")`},
		{"连接池", `("连接" OR "接池")`},
		{`"连接池"`, `"连接 接池"`},
		{"库", `"库" *`},
		{"使用Go语言", `("使用" OR "go" OR "语言")`},
		{"foo.bar", `"foo bar"`},
		{"the*", `"the" *`},
	} {
		q, err := text.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		if got := q.Any().FTS5(); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.query, got, c.want)
		}
	}
	if q := (text.Query{}).Any(); !q.IsZero() {
		t.Error("the zero query finds something")
	}
}
