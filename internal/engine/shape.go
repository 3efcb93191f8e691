package engine

import (
	"regexp"
	"strings"
)

var (
	dollarQuote = regexp.MustCompile(`^\$[\pL_]*[\pL_0-9]*\$`)
	literal     = regexp.MustCompile(`(^|[^\w$.])\d[\d.]*(?:[eE][+-]?\d+)?\b`)
)

// shapeOf takes the values out of a statement: texts and numbers become ?, comments go, and space is one
// space. Postgres' own record of queries leaves values in some texts. What is not closed is a value to its
// end.
func shapeOf(query string) string {
	var b strings.Builder
	plain := 0 // where what is not written yet begins
	flush := func(end int) {
		b.WriteString(literal.ReplaceAllString(query[plain:end], "${1}?"))
	}
	for i := 0; i < len(query); {
		rest := query[i:]
		var skip int // bytes of a text or comment
		with := "?"
		switch {
		case rest[0] == '\'':
			// A backslash escapes in E'' only; where it does not, what follows is taken for a value, too.
			skip = closing(rest, '\'', i > 0 && (query[i-1] == 'E' || query[i-1] == 'e'))
		case rest[0] == '"':
			skip, with = closing(rest, '"', false), ""
		case strings.HasPrefix(rest, "--"):
			skip, with = upTo(rest, "\n"), " "
		case strings.HasPrefix(rest, "/*"):
			skip, with = upTo(rest, "*/"), " "
		case rest[0] == '$':
			if tag := dollarQuote.FindString(rest); tag != "" {
				skip = len(tag) + upTo(rest[len(tag):], tag)
			}
		}
		if skip == 0 {
			i++
			continue
		}
		flush(i)
		if with == "" { // a name
			with = rest[:skip]
		}
		b.WriteString(with)
		i += skip
		plain = i
	}
	flush(len(query))
	return strings.TrimSpace(spaces.ReplaceAllString(b.String(), " "))
}

// closing is the length of what a quote begins.
func closing(s string, quote byte, escapes bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

func upTo(s, end string) int {
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}
