package migration

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// legacyIDs is the name space of the ids the importer makes.
var legacyIDs = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/talkbase/talkbase/legacy"))

// derivedID makes an id of a row's origin, the same every time.
func derivedID(origin ...string) string {
	return uuid.NewSHA1(legacyIDs, []byte(strings.Join(origin, "\x1f"))).String()
}

// record is a source row whose values are found by column name.
type record struct {
	columns columnSet
	row     SourceRow
}

// columnSet finds a column's place by its name in lower case.
type columnSet map[string]int

func newColumnSet(names []string) columnSet {
	c := make(columnSet, len(names))
	for i, n := range names {
		c[strings.ToLower(n)] = i
	}
	return c
}

// get returns the value of a column, nil when the file has no such column.
func (r record) get(column string) any {
	if i, ok := r.columns[column]; ok && i < len(r.row.Values) {
		return r.row.Values[i]
	}
	return nil
}

func (r record) has(column string) bool {
	_, ok := r.columns[column]
	return ok
}

// notes collects what was done to one row, each reason once.
type notes []Reason

func (n *notes) add(r Reason) {
	if r != "" && !slices.Contains(*n, r) {
		*n = append(*n, r)
	}
}

// changed reports whether any reason altered the row.
func (n notes) changed() bool {
	return slices.ContainsFunc(n, func(r Reason) bool { return !r.remark() })
}

// cleanText makes s storable on every engine: each run of invalid UTF-8 becomes one U+FFFD, and NUL
// is taken out.
func cleanText(s string) (out string, nul, invalid bool) {
	if !utf8.ValidString(s) {
		s, invalid = strings.ToValidUTF8(s, "\ufffd"), true
	}
	if strings.IndexByte(s, 0) >= 0 {
		s, nul = strings.ReplaceAll(s, "\x00", ""), true
	}
	return s, nul, invalid
}

func (n *notes) clean(s string) string {
	s, nul, invalid := cleanText(s)
	if nul {
		n.add(ReasonNULStripped)
	}
	if invalid {
		n.add(ReasonInvalidUTF8)
	}
	return s
}

// rawText returns the characters of any value; null is true for nil.
func (n *notes) rawText(v any) (s string, null bool) {
	switch t := v.(type) {
	case nil:
		return "", true
	case string:
		return t, false
	case []byte:
		n.add(ReasonBlobText)
		return string(t), false
	default:
		n.add(ReasonNumberText)
		return numberText(t), false
	}
}

// text reads any value as a text that can be stored.
func (n *notes) text(v any) string {
	s, null := n.rawText(v)
	if null {
		n.add(ReasonNullText)
	}
	return n.clean(s)
}

// optionalText is text for a column in which NULL and the empty text mean the same.
func (n *notes) optionalText(v any) string {
	s, _ := n.rawText(v)
	return n.clean(s)
}

func numberText(v any) string {
	switch t := v.(type) {
	case int64:
		return strconv.FormatInt(t, 10)
	case float64:
		return strconv.FormatFloat(t, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(t)
	default:
		return ""
	}
}

// plainID reads an id without keeping notes: the same characters notes.text would give.
func plainID(v any) string {
	var n notes
	return n.optionalText(v)
}

// The times that count as good, in milliseconds: what is smaller was written in seconds, and what
// is larger is beyond what a JavaScript Date holds.
const (
	minMillis = 100_000_000_000
	maxMillis = 8_640_000_000_000_000
)

// coerceTime reads a time in milliseconds since the Unix epoch from whatever a file holds:
// milliseconds, seconds, fractions, text of either, a BLOB of that text or an ISO 8601 date. ok is
// false when there is no telling.
func coerceTime(v any) (ms int64, why Reason, ok bool) {
	switch t := v.(type) {
	case int64:
		switch {
		case t <= 0 || t > maxMillis:
			return 0, "", false
		case t < minMillis:
			return t * 1000, ReasonTimestampSeconds, true
		}
		return t, "", true
	case float64:
		return realTime(t)
	case string:
		return textTime(t)
	case []byte:
		return textTime(string(t))
	default:
		return 0, "", false
	}
}

func realTime(f float64) (int64, Reason, bool) {
	switch {
	case math.IsNaN(f) || f <= 0 || f > maxMillis:
		return 0, "", false
	case f < minMillis:
		ms := int64(math.Round(f * 1000))
		if ms == 0 {
			return 0, "", false
		}
		return ms, ReasonTimestampSeconds, true
	}
	return int64(math.Round(f)), ReasonTimestampReal, true
}

// isoLayouts are the spellings of a date that are understood, besides RFC 3339. Without a zone
// they are UTC. A fraction of a second is accepted after each of the seconds.
var isoLayouts = []string{
	"2006-01-02T15:04:05Z0700",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05 Z0700",
	"2006-01-02T15:04:05",
	"2006-01-02 15:04:05",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04",
	"2006-01-02 15:04",
	"2006-01-02",
}

// maxTimeText bounds the text worth reading as a time.
const maxTimeText = 64

func textTime(s string) (int64, Reason, bool) {
	if len(s) > maxTimeText {
		return 0, "", false
	}
	s = strings.TrimSpace(strings.ReplaceAll(s, "\x00", ""))
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		ms, why, ok := coerceTime(i)
		if ok && why == "" {
			why = ReasonTimestampText
		}
		return ms, why, ok
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return realTime(f)
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	for i := 0; err != nil && i < len(isoLayouts); i++ {
		at, err = time.Parse(isoLayouts[i], s)
	}
	if err != nil {
		return 0, "", false
	}
	ms := at.UnixMilli()
	if ms <= 0 || ms > maxMillis {
		return 0, "", false
	}
	return ms, ReasonTimestampISO, true
}

// time reads a time and notes how; ok is false when the caller has to find another.
func (n *notes) time(v any) (ms int64, ok bool) {
	ms, why, ok := coerceTime(v)
	if ok {
		n.add(why)
	} else {
		n.add(ReasonTimestampReplaced)
	}
	return ms, ok
}

// coerceInt reads an integer. exact is false when a text, a fraction or a number beyond int64 had
// to be bent, ok is false when there is no number.
func coerceInt(v any) (i int64, exact, ok bool) {
	switch t := v.(type) {
	case int64:
		return t, true, true
	case bool:
		if t {
			return 1, false, true
		}
		return 0, false, true
	case float64:
		return clampFloat(t)
	case string:
		return textInt(t)
	case []byte:
		return textInt(string(t))
	default:
		return 0, false, false
	}
}

func textInt(s string) (int64, bool, bool) {
	if len(s) > maxTimeText {
		return 0, false, false
	}
	s = strings.TrimSpace(strings.ReplaceAll(s, "\x00", ""))
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, false, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, false, false
	}
	i, _, ok := clampFloat(f)
	return i, false, ok
}

func clampFloat(f float64) (int64, bool, bool) {
	switch {
	case math.IsNaN(f):
		return 0, false, false
	case f >= math.MaxInt64:
		return math.MaxInt64, false, true
	case f <= math.MinInt64:
		return math.MinInt64, false, true
	}
	return int64(f), f == math.Trunc(f), true
}

// int reads an integer column; NULL is the default without a word.
func (n *notes) int(v any, def int64) int64 {
	if v == nil {
		return def
	}
	i, exact, ok := coerceInt(v)
	switch {
	case !ok:
		n.add(ReasonNumberReplaced)
		return def
	case !exact:
		n.add(ReasonNumberCoerced)
	}
	return i
}

// flag reads a column of 0 and 1.
func (n *notes) flag(v any) bool {
	if i, ok := v.(int64); ok && (i == 0 || i == 1) {
		return i == 1
	}
	if b, ok := v.(bool); ok {
		return b
	}
	n.add(ReasonFlagCoerced)
	if s, ok := v.(string); ok && strings.EqualFold(strings.TrimSpace(s), "true") {
		return true
	}
	i, _, ok := coerceInt(v)
	return ok && i != 0
}

// plainValue turns a column's value into one that JSON can hold: BLOBs in base64, infinities as
// text.
func (n *notes) plainValue(v any) any {
	switch t := v.(type) {
	case string:
		return n.clean(t)
	case []byte:
		return base64.StdEncoding.EncodeToString(t)
	case float64:
		if math.IsInf(t, 0) || math.IsNaN(t) {
			return numberText(t)
		}
	}
	return v
}
