package migration

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/talkbase/talkbase/models"
)

// Keys under which values are kept that have no place of their own.
const (
	keyLegacy    = "_legacy"
	keyLegacyRaw = "_legacy_raw"
)

// sanitizeJSON makes the escapes of a JSON text storable as jsonb: \u0000 is dropped and half of a
// surrogate pair becomes \ufffd. Other characters stay as they are.
func sanitizeJSON(s string) (out string, nul, surrogate bool) {
	if !strings.Contains(s, `\u`) {
		return s, false, false
	}
	var b strings.Builder
	done := 0 // everything before it is in b
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		u, ok := unicodeEscape(s[i:])
		if !ok {
			i++ // the escaped character, which may be another backslash
			continue
		}
		switch {
		case u == 0:
			b.WriteString(s[done:i])
			nul = true
			done = i + 6
		case u >= 0xD800 && u <= 0xDBFF && pairs(s[i+6:]):
			i += 6
		case u >= 0xD800 && u <= 0xDFFF:
			b.WriteString(s[done:i])
			b.WriteString(`\ufffd`)
			surrogate = true
			done = i + 6
		}
		i += 5
	}
	if done == 0 && !nul && !surrogate {
		return s, false, false
	}
	b.WriteString(s[done:])
	return b.String(), nul, surrogate
}

// pairs reports whether s begins with the second half of a surrogate pair.
func pairs(s string) bool {
	u, ok := unicodeEscape(s)
	return ok && u >= 0xDC00 && u <= 0xDFFF
}

// unicodeEscape reads \uXXXX at the beginning of s.
func unicodeEscape(s string) (uint64, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	for _, c := range []byte(s[2:6]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return 0, false
		}
	}
	u, err := strconv.ParseUint(s[2:6], 16, 32)
	return u, err == nil
}

// sanitize is sanitizeJSON for what is JSON; other text stays as it is.
func (n *notes) sanitize(raw string) string {
	s, nul, surrogate := sanitizeJSON(raw)
	if (nul || surrogate) && !json.Valid([]byte(raw)) {
		return raw
	}
	if nul {
		n.add(ReasonJSONNUL)
	}
	if surrogate {
		n.add(ReasonJSONSurrogate)
	}
	return s
}

// object reads a column that holds a JSON object. NULL and the empty text are {}; what is not an
// object is kept as text under _legacy_raw, and so is the original of an object with duplicate
// keys.
func (n *notes) object(v any) models.JSON {
	if v == nil {
		return models.JSON("{}")
	}
	raw, _ := n.rawText(v)
	raw = n.clean(raw)
	if strings.TrimSpace(raw) == "" {
		return models.JSON("{}")
	}
	var escapes notes // they matter only where the result is used
	text := escapes.sanitize(raw)
	obj, err := models.ParseJSON([]byte(text))
	if err != nil {
		n.add(ReasonJSONReplaced)
		return rawObject(raw)
	}
	for _, r := range escapes {
		n.add(r)
	}
	if countMembers(text) != countMembers(string(obj)) {
		n.add(ReasonJSONDuplicateKeys)
		return withRaw(obj, raw)
	}
	return obj
}

func rawObject(raw string) models.JSON {
	j, err := models.NewJSON(map[string]string{keyLegacyRaw: raw})
	if err != nil { // raw is valid UTF-8 without NUL, which every string may be
		return models.JSON("{}")
	}
	return j
}

func withRaw(obj models.JSON, raw string) models.JSON {
	return withMember(obj, keyLegacyRaw, raw)
}

// withMember returns obj with one member set.
func withMember(obj models.JSON, key string, value any) models.JSON {
	var m map[string]json.RawMessage
	if err := obj.Decode(&m); err != nil {
		return obj
	}
	b, err := json.Marshal(value)
	if err != nil {
		return obj
	}
	m[key] = b
	j, err := models.NewJSON(m)
	if err != nil {
		return obj
	}
	return j
}

// countMembers counts the members of all objects in a valid JSON text: its colons outside of
// strings. A canonical text has fewer than the original only if keys were there twice.
func countMembers(s string) int {
	n, inString := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case c == ':' && !inString:
			n++
		}
	}
	return n
}

// storable reports whether raw is one JSON value that can be part of a stored object.
func storable(raw string) bool {
	if !json.Valid([]byte(raw)) {
		return false
	}
	_, err := models.ParseJSON([]byte(`{"v":` + raw + `}`))
	return err == nil
}
