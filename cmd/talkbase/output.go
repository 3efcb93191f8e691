package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// answer prints v as JSON, or what human writes.
func (a *app) answer(v any, human func(w *page)) error {
	if a.json {
		return a.writeJSON(v)
	}
	w := a.page()
	human(w)
	return w.flush()
}

// writeJSON prints the one JSON document of a run.
func (a *app) writeJSON(v any) error {
	a.answered = true
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	_, err := a.stdout.Write(escapeUnsafe(b.Bytes()))
	return written(err)
}

// escapeUnsafe escapes what JSON allows in strings and a terminal may obey or be misled by.
func escapeUnsafe(b []byte) []byte {
	if bytes.IndexFunc(b, unsafeRune) < 0 {
		return b
	}
	var out bytes.Buffer
	for _, r := range string(b) {
		if unsafeRune(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.Bytes()
}

func written(err error) error {
	if err == nil {
		return nil
	}
	return &failure{code: "OUTPUT", message: "the answer could not be written: " + err.Error(), err: err}
}

// page is output for people. The first error of writing stays until flush.
type page struct {
	*bufio.Writer
	// width is the terminal's, 0 where there is none.
	width int
	// bold says that escape sequences may be written.
	bold bool
}

func (a *app) page() *page {
	width, isTerminal := terminal(a.stdout)
	return &page{Writer: bufio.NewWriter(a.stdout), width: width, bold: isTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// terminal returns the width of the terminal that w is, and whether it is one.
func terminal(w io.Writer) (width int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	return width, true
}

func (p *page) flush() error { return written(p.Flush()) }

// line writes a line. Arguments of chats must have gone through clean or oneLine.
func (p *page) line(format string, args ...any) {
	_, _ = p.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

// heading is a line of its own weight.
func (p *page) heading(s string) {
	if p.bold {
		s = text.Bold.EscapeSeq() + s + text.Reset.EscapeSeq()
	}
	p.line("%s", s)
}

// mark emphasises the parts of a text that the byte offsets name, in bold on a terminal and in
// guillemets elsewhere, and cleans all of it.
func (p *page) mark(s string, spans [][2]int) string {
	left, right := "«", "»"
	if p.bold {
		left, right = text.Bold.EscapeSeq(), text.Reset.EscapeSeq()
	}
	var b strings.Builder
	at := 0
	for _, span := range spans {
		from, to := span[0], span[1]
		if from < at || to < from || to > len(s) {
			continue // not offsets into this text
		}
		b.WriteString(oneLine(s[at:from]))
		b.WriteString(left + oneLine(s[from:to]) + right)
		at = to
	}
	b.WriteString(oneLine(s[at:]))
	return b.String()
}

// column is one column of a table.
type column struct {
	name  string
	right bool
}

// fallbackWidth bounds the last column of a table where there is no terminal to fit.
const fallbackWidth = 100

// table writes rows under headings. Cells are cleaned; the last column is cut to fit the terminal,
// all others are whole, so that ids can be copied.
func (p *page) table(columns []column, rows [][]string) {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.Options{SeparateHeader: true, DrawBorder: false, SeparateColumns: false}
	style.Format.Header = text.FormatDefault
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	head := make(table.Row, len(columns))
	configs := make([]table.ColumnConfig, len(columns))
	widths := make([]int, len(columns))
	for i, c := range columns {
		head[i] = c.name
		configs[i] = table.ColumnConfig{Number: i + 1}
		if c.right {
			configs[i].Align, configs[i].AlignHeader = text.AlignRight, text.AlignRight
		}
		widths[i] = text.StringWidthWithoutEscSequences(c.name)
	}
	cells := make([][]string, len(rows))
	for n, row := range rows {
		cells[n] = make([]string, len(row))
		for i, cell := range row {
			cells[n][i] = oneLine(cell)
			widths[i] = max(widths[i], text.StringWidthWithoutEscSequences(cells[n][i]))
		}
	}
	last := len(columns) - 1
	room := fallbackWidth
	if p.width > 0 {
		room = p.width - 2
		for _, w := range widths[:last] {
			room -= w + 2
		}
		room = max(room, 16)
	}
	t.AppendHeader(head)
	t.SetColumnConfigs(configs)
	for _, row := range cells {
		row[last] = cut(row[last], room)
		out := make(table.Row, len(row))
		for i, cell := range row {
			out[i] = cell
		}
		t.AppendRow(out)
	}
	for l := range strings.Lines(t.Render()) {
		p.line("%s", strings.TrimRight(l, "\n"))
	}
}

// cut shortens a line to a width in columns of a terminal.
func cut(s string, width int) string {
	// Snip looks at every character; what is far longer than any terminal need not be.
	if len(s) > 16*width {
		s = strings.ToValidUTF8(s[:16*width], "") + "…"
	}
	return text.Snip(s, width, "…")
}

// clean makes text of any origin safe for a terminal: control characters, which could move the
// cursor or set titles and clipboards, become their pictures; overrides of the direction of writing,
// which could make text look like another, go. Newlines and tabs stay.
func clean(s string) string {
	if !strings.ContainsFunc(s, unsafeRune) && utf8.ValidString(s) {
		return s
	}
	s = strings.ReplaceAll(s, "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < 0x20:
			return 0x2400 + r
		case r == 0x7f:
			return 0x2421
		case r >= 0x80 && r <= 0x9f:
			return utf8.RuneError
		case unsafeRune(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
}

// unsafeRune tells control characters, but for newline and tab, and overrides of the direction of
// writing.
func unsafeRune(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case r < 0x20, r >= 0x7f && r <= 0x9f:
		return true
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// oneLine is clean for a cell of a table: every run of space is one space.
func oneLine(s string) string {
	var b strings.Builder
	space := false
	for _, r := range clean(s) {
		switch r {
		case ' ', '\n', '\t', '\u2028', '\u2029':
			if !space {
				b.WriteByte(' ')
			}
			space = true
		default:
			b.WriteRune(r)
			space = false
		}
	}
	return b.String()
}

// when writes a time in ms since the epoch for people, in their own time zone.
func when(ms int64) string { return time.UnixMilli(ms).Local().Format("2006-01-02 15:04") }

// list makes a nil slice empty, for JSON's sake.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// plural writes a number with its noun.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}
