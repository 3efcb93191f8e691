package engine

import (
	"strings"
)

// What is read of a statement, and what is kept of its shape, in bytes. A statement of a host may hold a
// whole file as a literal.
const (
	maxShapeSource = 64 << 10
	maxShape       = 4 << 10
)

// statementShape is what may be shown of a statement.
type statementShape struct {
	// text is the statement with ? for every parameter, string and number, and … for more of the same.
	text string
	// parameters is how many values are bound to it.
	parameters int
	// operation is its first word in capitals, table the first table it names.
	operation, table string
}

// normalise takes everything out of a statement that may be a user's: literals and comments. Two
// statements that differ in nothing else have the same shape. What is between double quotes is a name
// in Postgres, and in SQLite a name or, by an old mistake of it, a string; quotedNames says that it is
// a name.
func normalise(query string, quotedNames bool) statementShape {
	cut := len(query) > maxShapeSource
	if cut {
		query = query[:maxShapeSource]
	}
	s := shaper{in: query, quotedNames: quotedNames}
	for s.at < len(s.in) && len(s.out) < maxShape {
		s.token()
	}
	text := strings.TrimSpace(string(s.out))
	if cut || s.at < len(s.in) {
		text += " …"
	}
	return statementShape{text: text, parameters: max(s.bound, s.highest), operation: s.operation, table: s.table}
}

// shaper reads a statement token by token. What it does not understand it leaves out.
type shaper struct {
	in          string
	at          int
	out         []byte
	quotedNames bool

	bound, highest   int // placeholders seen, the highest numbered one
	operation, table string
	wantTable        bool
}

// peek is the byte at a distance, 0 beyond the end.
func (s *shaper) peek(ahead int) byte {
	if s.at+ahead < len(s.in) {
		return s.in[s.at+ahead]
	}
	return 0
}

func (s *shaper) token() {
	switch c := s.peek(0); {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
		s.at++
		s.space()
	case c == '-' && s.peek(1) == '-':
		s.skipTo("\n")
		s.space()
	case c == '/' && s.peek(1) == '*':
		s.comment()
		s.space()
	case c == '\'':
		s.quoted('\'', false)
		s.hole()
	case c == '"' && !s.quotedNames:
		s.quoted('"', false)
		s.hole()
	case c == '"' || c == '`':
		from := s.at
		s.quoted(c, false)
		s.name(s.in[from:s.at])
	case c == '?':
		s.at++
		s.placeholder(s.number())
	case c == '$':
		s.dollar()
	case c == ':' && s.peek(1) == ':':
		s.out = append(s.out, "::"...)
		s.at += 2
	case (c == ':' || c == '@') && !s.quotedNames && isNameStart(s.peek(1)):
		s.at++
		s.word()
		s.placeholder(0)
	case isDigit(c) || c == '.' && isDigit(s.peek(1)):
		s.numeral()
		s.hole()
	case isNameStart(c):
		s.keywordOrName()
	case c == ')':
		s.at++
		s.out = append(s.out, c)
		s.foldRows()
	default:
		s.at++
		s.out = append(s.out, c)
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNameStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

// space separates tokens.
func (s *shaper) space() {
	if n := len(s.out); n > 0 && s.out[n-1] != ' ' {
		s.out = append(s.out, ' ')
	}
}

// skipTo goes behind the next end, or to the end of the statement.
func (s *shaper) skipTo(end string) {
	if i := strings.Index(s.in[s.at:], end); i >= 0 {
		s.at += i + len(end)
	} else {
		s.at = len(s.in)
	}
}

// comment skips a comment; in Postgres they nest.
func (s *shaper) comment() {
	depth := 0
	for s.at < len(s.in) {
		switch {
		case s.peek(0) == '/' && s.peek(1) == '*':
			depth++
			s.at += 2
		case s.peek(0) == '*' && s.peek(1) == '/':
			s.at += 2
			if depth--; depth == 0 || !s.quotedNames {
				return
			}
		default:
			s.at++
		}
	}
}

// quoted goes behind what begins and ends with a quote, in which a quote is doubled, or escaped.
func (s *shaper) quoted(quote byte, escapes bool) {
	for s.at++; s.at < len(s.in); s.at++ {
		switch c := s.in[s.at]; {
		case c == '\\' && escapes:
			s.at++
		case c == quote && s.peek(1) == quote:
			s.at++
		case c == quote:
			s.at++
			return
		}
	}
	s.at = min(s.at, len(s.in))
}

// dollar reads $1, a string between $tag$ and $tag$, or SQLite's $name.
func (s *shaper) dollar() {
	s.at++
	if isDigit(s.peek(0)) {
		s.placeholder(s.number())
		return
	}
	tag := s.word()
	if s.quotedNames && s.peek(0) == '$' {
		s.at++
		s.skipTo("$" + tag + "$")
		s.hole()
		return
	}
	s.placeholder(0)
}

// number reads digits.
func (s *shaper) number() (n int) {
	for ; isDigit(s.peek(0)); s.at++ {
		n = min(10*n+int(s.peek(0)-'0'), 1<<20)
	}
	return n
}

// numeral goes behind a number: 12, 1_000, .5, 1e-9, 0xff.
func (s *shaper) numeral() {
	for s.at < len(s.in) {
		switch c := s.peek(0); {
		case (c == 'e' || c == 'E') && (s.peek(1) == '+' || s.peek(1) == '-'):
			s.at += 2
		case isDigit(c) || c == '.' || isNameStart(c):
			s.at++
		default:
			return
		}
	}
}

// word goes behind a name without quotes and returns it.
func (s *shaper) word() string {
	from := s.at
	for isNameStart(s.peek(0)) || isDigit(s.peek(0)) {
		s.at++
	}
	return s.in[from:s.at]
}

func (s *shaper) keywordOrName() {
	w := s.word()
	if s.peek(0) == '\'' { // E'…', B'…', X'…', N'…'
		s.quoted('\'', s.quotedNames && (w == "e" || w == "E"))
		s.hole()
		return
	}
	if s.peek(0) == '&' && s.peek(1) == '\'' && (w == "u" || w == "U") {
		s.at++
		s.quoted('\'', false)
		s.hole()
		return
	}
	if s.operation == "" {
		s.operation = strings.ToUpper(w)
	}
	switch strings.ToUpper(w) {
	case "FROM", "INTO", "UPDATE", "TABLE", "JOIN", "COPY":
		s.wantTable = true
		s.out = append(s.out, w...)
	case "ONLY", "IF", "NOT", "EXISTS", "OR", "SELECT":
		s.out = append(s.out, w...)
	default:
		s.name(w)
	}
}

func (s *shaper) name(w string) {
	s.out = append(s.out, w...)
	if s.wantTable && s.table == "" {
		s.table = strings.Trim(w, "`\"")
	}
	s.wantTable = false
}

// placeholder is a bound value; n is its number, 0 for the next.
func (s *shaper) placeholder(n int) {
	s.bound++
	if n > 0 {
		s.bound--
		s.highest = max(s.highest, n)
	}
	s.hole()
}

const more = ", …"

// hole writes ? for a value, and … for the further ones of a list.
func (s *shaper) hole() {
	s.wantTable = false
	list, ok := strings.CutSuffix(strings.TrimSuffix(string(s.tail(8)), " "), ",")
	switch {
	case ok && strings.HasSuffix(list, more): // one more of many
		s.out = s.out[:s.end(",")]
	case ok && strings.HasSuffix(list, "?"):
		s.out = append(s.out[:s.end(",")], more...)
	default:
		s.out = append(s.out, '?')
	}
}

func (s *shaper) tail(n int) []byte { return s.out[max(0, len(s.out)-n):] }

// end is where the last separator begins.
func (s *shaper) end(separator string) int { return strings.LastIndex(string(s.out), separator) }

// foldRows makes … of a row of values like the one before.
func (s *shaper) foldRows() {
	open := strings.LastIndexByte(string(s.out), '(')
	if open < 0 {
		return
	}
	row := string(s.out[open:])
	before, ok := strings.CutSuffix(strings.TrimSuffix(string(s.out[:open]), " "), ",")
	if !ok || !strings.Contains(row, "?") || strings.Contains(row[:len(row)-1], ")") {
		return
	}
	switch {
	case strings.HasSuffix(before, row+more):
		s.out = s.out[:len(before)]
	case strings.HasSuffix(before, row):
		s.out = append(s.out[:len(before)], more...)
	}
}
