package models

import (
	"bytes"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// JSON is the text of one JSON object, in a canonical form that is the same on every engine: no
// insignificant space, keys in bytewise order, the last of duplicate keys, numbers without an
// exponent and otherwise as they were written. The zero value stands for {}.
type JSON []byte

// maxExponent bounds how many digits a number like 1e400 may expand to.
const maxExponent = 1000

// maxDepth is how deep SQLite's JSON functions look.
const maxDepth = 1000

// ErrNotObject is wrapped by every error about a value that cannot be stored as a JSON object.
var ErrNotObject = errors.New("not a storable JSON object")

// NewJSON encodes v, which must marshal to a JSON object. A nil v is {}.
func NewJSON(v any) (JSON, error) {
	if v == nil {
		return JSON("{}"), nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("models: %w: %w", ErrNotObject, err)
	}
	return ParseJSON(b)
}

// ParseJSON checks that b is one JSON object that every engine can store and returns it in
// canonical form. Empty input is {}. It refuses what jsonb refuses: invalid UTF-8, the escape
// \u0000 and halves of surrogate pairs. The error wraps ErrNotObject.
func ParseJSON(b []byte) (JSON, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return JSON("{}"), nil
	}
	if string(b) == "{}" {
		return JSON("{}"), nil
	}
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("models: %w: invalid UTF-8", ErrNotObject)
	}
	if out, ok := canonical(b); ok {
		return out, nil
	}
	return decodeJSON(b)
}

// decodeJSON is ParseJSON for all that the one-pass writer leaves to it.
func decodeJSON(b []byte) (JSON, error) {
	if err := checkEscapes(b); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("models: %w: %w", ErrNotObject, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("models: %w: more than one value", ErrNotObject)
	}
	if _, ok := v.(map[string]any); !ok {
		return nil, fmt.Errorf("models: %w: it is %s", ErrNotObject, kindOf(v))
	}
	v, err := plainNumbers(v, 1)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("models: %w: %w", ErrNotObject, err)
	}
	return JSON(bytes.TrimSuffix(out.Bytes(), []byte("\n"))), nil
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case []any:
		return "an array"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	default:
		return "a number"
	}
}

// checkEscapes refuses \u0000 and unpaired surrogate escapes, which encoding/json would turn into
// other characters without a word.
func checkEscapes(b []byte) error {
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		i++
		if i >= len(b) || b[i] != 'u' {
			continue
		}
		u, ok := hex4(b, i+1)
		if !ok {
			continue // not valid JSON; the decoder says so
		}
		i += 4
		switch {
		case u == 0:
			return fmt.Errorf(`models: %w: it contains \u0000`, ErrNotObject)
		case u >= 0xDC00 && u <= 0xDFFF:
			return fmt.Errorf("models: %w: half of a surrogate pair", ErrNotObject)
		case u >= 0xD800 && u <= 0xDBFF:
			if i+2 < len(b) && b[i+1] == '\\' && b[i+2] == 'u' {
				if low, ok := hex4(b, i+3); ok && low >= 0xDC00 && low <= 0xDFFF {
					i += 6
					continue
				}
			}
			return fmt.Errorf("models: %w: half of a surrogate pair", ErrNotObject)
		}
	}
	return nil
}

func hex4(b []byte, i int) (uint64, bool) {
	if i+4 > len(b) {
		return 0, false
	}
	u, err := strconv.ParseUint(string(b[i:i+4]), 16, 32)
	return u, err == nil
}

func plainNumbers(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("models: %w: it is nested more than %d deep", ErrNotObject, maxDepth)
	}
	switch t := v.(type) {
	case map[string]any:
		for k, e := range t {
			n, err := plainNumbers(e, depth+1)
			if err != nil {
				return nil, err
			}
			t[k] = n
		}
	case []any:
		for i, e := range t {
			n, err := plainNumbers(e, depth+1)
			if err != nil {
				return nil, err
			}
			t[i] = n
		}
	case json.Number:
		n, err := plainNumber(string(t))
		if err != nil {
			return nil, err
		}
		return json.Number(n), nil
	}
	return v, nil
}

// plainNumber writes a JSON number as Postgres' numeric does: without an exponent, with the
// fraction digits it was given, and without a sign on zero.
func plainNumber(s string) (string, error) {
	mantissa, exponent, hasExp := strings.Cut(strings.ToLower(s), "e")
	exp := 0
	if hasExp {
		var err error
		exp, err = strconv.Atoi(exponent)
		if err != nil || exp > maxExponent || exp < -maxExponent {
			return "", fmt.Errorf("models: %w: number %.40s is out of range", ErrNotObject, s)
		}
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	neg := strings.HasPrefix(whole, "-")
	whole = strings.TrimPrefix(whole, "-")
	switch {
	case exp > 0:
		for len(frac) < exp {
			frac += "0"
		}
		whole, frac = whole+frac[:exp], frac[exp:]
	case exp < 0:
		for len(whole) <= -exp {
			whole = "0" + whole
		}
		cut := len(whole) + exp
		whole, frac = whole[:cut], whole[cut:]+frac
	}
	whole = strings.TrimLeft(whole, "0")
	if whole == "" {
		whole = "0"
	}
	out := whole
	if frac != "" {
		out += "." + frac
	}
	if neg && strings.Trim(out, "0.") != "" {
		out = "-" + out
	}
	return out, nil
}

// Decode unmarshals the object into v, as json.Unmarshal does.
func (j JSON) Decode(v any) error { return json.Unmarshal([]byte(j.String()), v) }

// Get returns the value under key and whether it is there.
func (j JSON) Get(key string) (any, bool) {
	var m map[string]any
	if err := j.Decode(&m); err != nil {
		return nil, false
	}
	v, ok := m[key]
	return v, ok
}

// Member returns the text of the value under a key of the object itself, and whether it is there. It
// decodes nothing: the object must be in canonical form, and the key one that needs no escapes.
func (j JSON) Member(key string) (value []byte, ok bool) {
	depth, from := 0, -1
	for i := 0; i < len(j); i++ {
		switch j[i] {
		case '"':
			end := endOfString(j, i)
			if depth == 1 && from < 0 && end < len(j) && j[end] == ':' && string(j[i+1:end-1]) == key {
				from = end + 1
			}
			i = end - 1
		case '{', '[':
			depth++
		case '}', ']', ',':
			if depth == 1 && from >= 0 {
				return j[from:i], i > from
			}
			if j[i] != ',' {
				depth--
			}
		}
	}
	return nil, false
}

// endOfString is the place behind the string that begins at i.
func endOfString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// String returns the object's text; the zero value is "{}".
func (j JSON) String() string {
	if len(j) == 0 {
		return "{}"
	}
	return string(j)
}

// Value checks and canonicalises j and returns it as text.
func (j JSON) Value() (driver.Value, error) {
	c, err := ParseJSON(j)
	if err != nil {
		return nil, err
	}
	return string(c), nil
}

// Scan reads text or bytes into canonical form. NULL reads as {}. What another program stored
// and is not an object is kept as it is, so that reading never fails on it.
func (j *JSON) Scan(src any) error {
	var b []byte
	switch v := src.(type) {
	case nil:
	case string:
		b = []byte(v)
	case []byte:
		b = v
	default:
		return fmt.Errorf("models: cannot read JSON from %T", src)
	}
	c, err := ParseJSON(b)
	if err != nil {
		c = JSON(bytes.Clone(b)) // a driver may use its bytes again
	}
	*j = c
	return nil
}

// MarshalJSON writes the object itself, not a string.
func (j JSON) MarshalJSON() ([]byte, error) {
	if !json.Valid([]byte(j.String())) {
		return json.Marshal(string(j))
	}
	return []byte(j.String()), nil
}

// UnmarshalJSON reads an object; null is {}.
func (j *JSON) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*j = JSON("{}")
		return nil
	}
	c, err := ParseJSON(b)
	if err != nil {
		return err
	}
	*j = c
	return nil
}

// GormDataType names the logical type: jsonb on Postgres, text on SQLite.
func (JSON) GormDataType() string { return "json" }
