package text

import (
	"unicode"
	"unicode/utf8"
)

// Sample returns a word of s to search s by: the first plain one of at least three ASCII letters, or
// the first characters of a run of Han; "" when there is none near the beginning.
func Sample(s string) string {
	const near = 4096
	s = s[:min(len(s), near)]
	start, han := -1, false
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		isHan := unicode.Is(unicode.Han, r)
		plain := r < utf8.RuneSelf && (r|0x20 >= 'a' && r|0x20 <= 'z')
		switch {
		case start < 0 && (plain || isHan) && !joined(s, i, isHan):
			start, han = i, isHan
		case start >= 0 && (han && !isHan || !han && !plain):
			if w := s[start:i]; han && len(w) >= 6 {
				return cutRunes(w, 8)
			} else if !han && len(w) >= 3 && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && r != '_' && r != '\'' {
				return w
			}
			start = -1
			continue
		}
		i += size
	}
	return ""
}

// joined reports whether the character before i would be part of the same word.
func joined(s string, i int, han bool) bool {
	if i == 0 || han {
		return false
	}
	r, _ := utf8.DecodeLastRuneInString(s[:i])
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || r == '_' || r == '\''
}

func cutRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
