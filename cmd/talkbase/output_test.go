package main

import (
	"bufio"
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/repo"
)

func TestCleanMakesTextSafeForATerminal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, clean, oneLine string }{
		"plain":             {"plain text", "plain text", "plain text"},
		"every script":      {"向量 école 🚀 👩‍👩‍👧 العربية", "向量 école 🚀 👩‍👩‍👧 العربية", "向量 école 🚀 👩‍👩‍👧 العربية"},
		"escape sequence":   {"\x1b[31mred\x1b[0m", "␛[31mred␛[0m", "␛[31mred␛[0m"},
		"title and bell":    {"\x1b]0;owned\x07", "␛]0;owned␇", "␛]0;owned␇"},
		"C1 control":        {"a\u009b2Jb\u0085", "a\ufffd2Jb\ufffd", "a\ufffd2Jb\ufffd"},
		"delete":            {"a\x7fb", "a␡b", "a␡b"},
		"carriage return":   {"one\r\ntwo\rthree", "one\ntwo␍three", "one two␍three"},
		"NUL":               {"a\x00b", "a␀b", "a␀b"},
		"direction":         {"a\u202eb\u2066c\u2069", "abc", "abc"},
		"invalid UTF-8":     {"a\xffb", "a\ufffdb", "a\ufffdb"},
		"newlines and tabs": {"a\n\n b\tc  d", "a\n\n b\tc  d", "a b c d"},
		"line separator":    {"a\u2028b", "a\u2028b", "a b"},
		"empty":             {"", "", ""},
	} {
		if got := clean(c.in); got != c.clean {
			t.Errorf("%s: clean(%q): got %q, want %q", name, c.in, got, c.clean)
		}
		if got := oneLine(c.in); got != c.oneLine {
			t.Errorf("%s: oneLine(%q): got %q, want %q", name, c.in, got, c.oneLine)
		}
	}
}

// paper is a page that is read again.
func paper(width int, bold bool) (*page, func() string) {
	var b bytes.Buffer
	p := &page{Writer: bufio.NewWriter(&b), width: width, bold: bold}
	return p, func() string {
		if err := p.flush(); err != nil {
			return err.Error()
		}
		return b.String()
	}
}

func TestHighlightsAreBoldOnATerminalAndQuotedElsewhere(t *testing.T) {
	t.Parallel()
	spans := [][2]int{{2, 5}, {6, 12}}
	const text = "a pool 向量\x1b"
	terminal, _ := paper(80, true)
	if got, want := terminal.mark(text, spans[:1]), "a \x1b[1mpoo\x1b[0ml 向量␛"; got != want {
		t.Errorf("on a terminal: got %q, want %q", got, want)
	}
	plain, _ := paper(0, false)
	if got, want := plain.mark(text, [][2]int{{2, 6}, {7, 13}}), "a «pool» «向量»␛"; got != want {
		t.Errorf("elsewhere: got %q, want %q", got, want)
	}
	if got, want := plain.mark("short", [][2]int{{3, 99}, {4, 2}, {0, 2}}), "«sh»ort"; got != want {
		t.Errorf("offsets beyond the text: got %q, want %q", got, want)
	}
}

func TestTablesFitTheTerminalAndKeepIDsWhole(t *testing.T) {
	t.Parallel()
	id := "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
	p, read := paper(70, true)
	p.table([]column{{name: "ID"}, {name: "N", right: true}, {name: "Title"}}, [][]string{
		{id, "1", strings.Repeat("向量检索", 40)}, {"short", "12,345", "a\nb\x1b"},
	})
	out := read()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if got, want := len(lines), 4; got != want {
		t.Fatalf("lines: got %d, want %d:\n%s", got, want, out)
	}
	if !strings.HasPrefix(lines[2], id+"       1  向量") || !strings.HasSuffix(lines[2], "…") {
		t.Errorf("got %q, want the whole ID and a title that is cut", lines[2])
	}
	if got, want := lines[3], "short                                 12,345  a b␛"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHugeTitlesAreCutQuickly(t *testing.T) {
	t.Parallel()
	if got := cut(strings.Repeat("向", 5_000_000), 20); len([]rune(got)) > 12 || !strings.HasSuffix(got, "…") {
		t.Errorf("got %d characters, want about ten and an ellipsis", len([]rune(got)))
	}
}

func TestJSONHoldsNothingATerminalObeys(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := &app{stdout: &out}
	if err := a.writeJSON(map[string]string{"k": "\x1b\u009b\x7f\u202e<é向>"}); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "{\n  \"k\": \"\\u001b\\u009b\\u007f\\u202e<é向>\"\n}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLogLinesArePlain(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(&plainHandler{w: &out, level: slog.LevelInfo}).With("file", "a\x1bb")
	log.Debug("not this")
	log.Info("copied", slog.Int("pages", 3))
	if got, want := out.String(), "talkbase: note: copied (file a␛b, pages 3)\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestArgumentsAreQuotedForAShell(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"sample-pool": "sample-pool", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "向量": "'向量'", "$HOME": "'$HOME'",
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q): got %s, want %s", in, got, want)
		}
	}
}

func TestHitsOfAnUnknownKindAreShown(t *testing.T) {
	t.Parallel()
	p, read := paper(0, false)
	p.hits([]repo.TextHit{{Kind: "other", Title: "t", Snippet: "s"}})
	if got, want := read(), "other    s\n         file t\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
