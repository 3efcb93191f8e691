package text

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// This is a reader of JSON that copies nothing it does not need: a message can hold megabytes of
// pictures beside a line of text, and encoding/json would decode them all.

// maxDepth is how deeply JSON may be nested to be taken for a message.
const maxDepth = 64

// validJSON reports whether s is one JSON value and nothing else.
func validJSON(s string) bool {
	i := skipValue(s, skipSpace(s, 0), maxDepth)
	return i >= 0 && skipSpace(s, i) == len(s)
}

func skipSpace(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the end of the value at i, or -1 if there is none.
func skipValue(s string, i, depth int) int {
	if i >= len(s) || depth == 0 {
		return -1
	}
	switch c := s[i]; c {
	case '{', '[':
		closing := c + 2 // so it is in ASCII
		i = skipSpace(s, i+1)
		if i < len(s) && s[i] == closing {
			return i + 1
		}
		for {
			if c == '{' {
				if i = skipString(s, i); i < 0 {
					return -1
				}
				if i = skipSpace(s, i); i >= len(s) || s[i] != ':' {
					return -1
				}
				i = skipSpace(s, i+1)
			}
			if i = skipValue(s, i, depth-1); i < 0 {
				return -1
			}
			if i = skipSpace(s, i); i >= len(s) {
				return -1
			}
			if s[i] == closing {
				return i + 1
			}
			if s[i] != ',' {
				return -1
			}
			i = skipSpace(s, i+1)
		}
	case '"':
		return skipString(s, i)
	case 't':
		return skipWord(s, i, "true")
	case 'f':
		return skipWord(s, i, "false")
	case 'n':
		return skipWord(s, i, "null")
	}
	return skipNumber(s, i)
}

func skipWord(s string, i int, word string) int {
	if strings.HasPrefix(s[i:], word) {
		return i + len(word)
	}
	return -1
}

func skipNumber(s string, i int) int {
	digits := func() bool {
		a := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > a
	}
	if s[i] == '-' {
		i++
	}
	zero := i < len(s) && s[i] == '0'
	if a := i; !digits() || zero && i > a+1 {
		return -1
	}
	if i < len(s) && s[i] == '.' {
		i++
		if !digits() {
			return -1
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return -1
		}
	}
	return i
}

func skipString(s string, i int) int {
	if i >= len(s) || s[i] != '"' {
		return -1
	}
	for i++; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			i++
			if i >= len(s) {
				return -1
			}
			if s[i] == 'u' {
				if i+4 >= len(s) || hex4(s[i+1:]) < 0 {
					return -1
				}
				i += 4
			} else if strings.IndexByte(`"\/bfnrt`, s[i]) < 0 {
				return -1
			}
		case c < ' ':
			return -1
		}
	}
	return -1
}

// hex4 returns the value of the four hexadecimal digits s begins with, or -1.
func hex4(s string) rune {
	if len(s) < 4 {
		return -1
	}
	n, err := strconv.ParseUint(s[:4], 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

// object calls f for the members of a valid object, with their values as JSON.
func object(s string, f func(key, val string)) {
	for i := skipSpace(s, 1); s[i] != '}'; {
		k := skipString(s, i)
		key := unquote(s[i:k])
		i = skipSpace(s, skipSpace(s, k)+1)
		v := skipValue(s, i, maxDepth)
		f(key, s[i:v])
		if i = skipSpace(s, v); s[i] == ',' {
			i = skipSpace(s, i+1)
		}
	}
}

// array calls f for the values of a valid array, as JSON, until it returns false.
func array(s string, f func(val string) bool) {
	for i := skipSpace(s, 1); s[i] != ']'; {
		v := skipValue(s, i, maxDepth)
		if !f(s[i:v]) {
			return
		}
		if i = skipSpace(s, v); s[i] == ',' {
			i = skipSpace(s, i+1)
		}
	}
}

// unquote returns what a valid JSON string says. Halves of surrogate pairs become U+FFFD.
func unquote(s string) string {
	s = s[1 : len(s)-1]
	i := strings.IndexByte(s, '\\')
	if i < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i >= 0 {
		b = append(b, s[:i]...)
		c := s[i+1]
		s = s[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(s)
			s = s[4:]
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if strings.HasPrefix(s, `\u`) {
					low = hex4(s[2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					s = s[6:]
				}
			}
			if r == 0 {
				r = ' ' // no database takes a NUL
			}
			b = utf8.AppendRune(b, r)
			i = strings.IndexByte(s, '\\')
			continue
		}
		b = append(b, c)
		i = strings.IndexByte(s, '\\')
	}
	return string(append(b, s...))
}

// isString and the like tell what a JSON value is by its first byte.
func isString(v string) bool { return v != "" && v[0] == '"' }
func isObject(v string) bool { return v != "" && v[0] == '{' }
func isArray(v string) bool  { return v != "" && v[0] == '[' }
