package migration

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"strconv"
	"unicode/utf8"

	"github.com/talkbase/talkbase/models"
)

// rejectFormat is the version of the reject file.
const rejectFormat = 1

// maxRejectLine bounds one line of a reject file: SQLite's largest row in base64.
const maxRejectLine = 2 << 30

// ErrRejectFile means that a reject file cannot be understood.
var ErrRejectFile = errors.New("not a reject file")

// rejectHeader is the first line of a reject file.
type rejectHeader struct {
	Format int    `json:"talkbase_rejects"`
	Notice string `json:"notice"`
}

// rejectLine is a rejected row in a reject file.
type rejectLine struct {
	Run string `json:"run"`
	Reject
	// Base is what is known of the knowledge base, so that the rows can be imported without the file.
	Base    *BaseConfig   `json:"base_config,omitempty"`
	Columns []string      `json:"columns"`
	Values  []rejectValue `json:"values"`
}

// rejectValue is a value with its type, so that every one of them comes back bit for bit: null, text
// and JSON booleans as they are, and otherwise an object with one member: int, real (the shortest
// decimal, NaN, +Inf or -Inf), bytes (text that is no UTF-8, base64), blob (base64), vector (base64 of
// little-endian float32) or list.
type rejectValue struct{ v any }

type taggedValue struct {
	Int    *string        `json:"int,omitempty"`
	Real   *string        `json:"real,omitempty"`
	Bytes  *string        `json:"bytes,omitempty"`
	Blob   *string        `json:"blob,omitempty"`
	Vector *string        `json:"vector,omitempty"`
	List   *[]rejectValue `json:"list,omitempty"`
}

// MarshalJSON writes the value with its type.
func (r rejectValue) MarshalJSON() ([]byte, error) {
	tag := func(s string) *string { return &s }
	b64 := base64.StdEncoding.EncodeToString
	switch v := r.v.(type) {
	case nil:
		return []byte("null"), nil
	case bool:
		return strconv.AppendBool(nil, v), nil
	case string:
		if utf8.ValidString(v) {
			return plainJSON(v)
		}
		return json.Marshal(taggedValue{Bytes: tag(b64([]byte(v)))})
	case int64:
		return json.Marshal(taggedValue{Int: tag(strconv.FormatInt(v, 10))})
	case float64:
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if math.IsNaN(v) {
			s = "NaN:" + strconv.FormatUint(math.Float64bits(v), 16)
		}
		return json.Marshal(taggedValue{Real: &s})
	case []byte:
		return json.Marshal(taggedValue{Blob: tag(b64(v))})
	case []float32:
		return json.Marshal(taggedValue{Vector: tag(b64(models.Vector(v).Blob()))})
	case float32:
		return json.Marshal(taggedValue{Vector: tag("1:" + strconv.FormatUint(uint64(math.Float32bits(v)), 16))})
	case []any:
		list := make([]rejectValue, len(v))
		for i, x := range v {
			list[i] = rejectValue{x}
		}
		return json.Marshal(taggedValue{List: &list})
	}
	return nil, fmt.Errorf("migration: a value of type %T cannot be written to a reject file", r.v)
}

// plainJSON writes a text without escaping what only HTML needs escaped.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *rejectValue) UnmarshalJSON(b []byte) error {
	if b[0] != '{' {
		switch err := json.Unmarshal(b, &r.v); r.v.(type) {
		case nil, bool, string:
			return err
		}
		return fmt.Errorf("%w: the value %.40s has no type; write {\"int\":\"1\"} or {\"real\":\"1\"} for a number", ErrRejectFile, b)
	}
	var t taggedValue
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return fmt.Errorf("%w: %w", ErrRejectFile, err)
	}
	var err error
	r.v, err = t.value()
	if err != nil {
		return fmt.Errorf("%w: the value %.80s: %w", ErrRejectFile, b, err)
	}
	return nil
}

func (t taggedValue) value() (any, error) {
	b64 := base64.StdEncoding.Strict().DecodeString
	switch {
	case t.Int != nil:
		return strconv.ParseInt(*t.Int, 10, 64)
	case t.Real != nil:
		if hex, ok := bytes.CutPrefix([]byte(*t.Real), []byte("NaN:")); ok {
			bits, err := strconv.ParseUint(string(hex), 16, 64)
			return math.Float64frombits(bits), err
		}
		return strconv.ParseFloat(*t.Real, 64)
	case t.Bytes != nil:
		b, err := b64(*t.Bytes)
		return string(b), err
	case t.Blob != nil:
		return b64(*t.Blob)
	case t.Vector != nil:
		if hex, ok := bytes.CutPrefix([]byte(*t.Vector), []byte("1:")); ok {
			bits, err := strconv.ParseUint(string(hex), 16, 32)
			return math.Float32frombits(uint32(bits)), err
		}
		b, err := b64(*t.Vector)
		if err == nil && len(b)%4 != 0 {
			err = errors.New("its length is no multiple of 4 bytes")
		}
		if err != nil {
			return nil, err
		}
		v := make([]float32, len(b)/4)
		for i := range v {
			v[i] = math.Float32frombits(uint32(b[4*i]) | uint32(b[4*i+1])<<8 | uint32(b[4*i+2])<<16 | uint32(b[4*i+3])<<24)
		}
		return v, nil
	case t.List != nil:
		out := make([]any, len(*t.List))
		for i, x := range *t.List {
			out[i] = x.v
		}
		return out, nil
	}
	return nil, errors.New("it has none of the members int, real, bytes, blob, vector and list")
}

// rejectLog is a reject file that is being written. What is written becomes part of it with the
// checkpoint that knows its length.
type rejectLog struct {
	f *os.File
	// base is that of the source that is being imported.
	base func(path string) *BaseConfig
}

// openRejectLog opens a reject file for writing behind a length, and cuts off what is there beyond it.
// Only its owner can read it. A run that begins overwrites nothing: what is there is fs.ErrExist.
func openRejectLog(path string, length int64, resumed bool) (*rejectLog, error) {
	_, gone := os.Lstat(path)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("migration: the reject file: %w", err)
	}
	l := &rejectLog{f: f}
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, errors.Join(fmt.Errorf("migration: the reject file %s: %w", path, err), f.Close())
	case !resumed && info.Size() > 0:
		return nil, errors.Join(fmt.Errorf("migration: the reject file %s: %w: remove it or name another", path, fs.ErrExist), f.Close())
	case info.Size() < length:
		if gone != nil { // it was made just now
			_ = os.Remove(path)
		}
		return nil, errors.Join(fmt.Errorf("migration: the reject file %s: %w: rows that were rejected before the import was cut off are gone from it; put it back, or restart the import", path, ErrRejectFile), f.Close())
	}
	if err := f.Truncate(length); err != nil {
		return nil, errors.Join(fmt.Errorf("migration: the reject file %s: %w", path, err), f.Close())
	}
	return l, nil
}

func (l *rejectLog) close() error { return l.f.Close() }

// write writes rows behind a length, and returns the length they end at. They are on the disk then.
func (l *rejectLog) write(at int64, run string, rejects []Reject) (int64, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if at == 0 {
		if err := e.Encode(rejectHeader{Format: rejectFormat, Notice: "This file holds contents of chats. Each line is a row that could not be imported; talkbase import --replay loads them."}); err != nil {
			return at, err
		}
	}
	for _, r := range rejects {
		line := rejectLine{Run: run, Reject: r, Columns: r.Columns, Values: make([]rejectValue, len(r.Values))}
		if l.base != nil {
			line.Base = l.base(r.Path)
		}
		for i, v := range r.Values {
			line.Values[i] = rejectValue{v}
		}
		if err := e.Encode(line); err != nil {
			return at, fmt.Errorf("migration: the reject file: %w", err)
		}
	}
	if _, err := l.f.WriteAt(b.Bytes(), at); err != nil {
		return at, fmt.Errorf("migration: the reject file: %w", err)
	}
	end := at + int64(b.Len())
	if err := l.f.Truncate(end); err != nil { // a batch that is repeated may reject less
		return at, fmt.Errorf("migration: the reject file: %w", err)
	}
	if err := l.f.Sync(); err != nil {
		return at, fmt.Errorf("migration: the reject file: %w", err)
	}
	return end, nil
}

// recent calls f for the rows in the file, as far as a report lists them.
func (l *rejectLog) recent(f func(Reject)) error {
	info, err := l.f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	n := 0
	for line, err := range readRejects(io.NewSectionReader(l.f, 0, info.Size())) {
		if err != nil {
			return err
		}
		f(line.Reject)
		if n++; n >= maxRejects {
			break
		}
	}
	return nil
}

// readRejects reads a reject file line by line.
func readRejects(r io.Reader) iter.Seq2[rejectLine, error] {
	return func(yield func(rejectLine, error) bool) {
		fail := func(n int, format string, args ...any) {
			yield(rejectLine{}, fmt.Errorf("migration: line %d of the reject file: %w: %w", n, ErrRejectFile, fmt.Errorf(format, args...)))
		}
		br := bufio.NewReaderSize(r, 64<<10)
		for n := 1; ; n++ {
			b, err := readLine(br)
			switch {
			case errors.Is(err, io.EOF) && len(b) == 0:
				if n == 1 {
					fail(1, "it is empty")
				}
				return
			case err != nil && !errors.Is(err, io.EOF):
				fail(n, "%w", err)
				return
			}
			if n == 1 {
				var h rejectHeader
				if err := json.Unmarshal(b, &h); err != nil || h.Format != rejectFormat {
					fail(1, "it does not begin with {\"talkbase_rejects\":%d", rejectFormat)
					return
				}
				continue
			}
			if len(bytes.TrimSpace(b)) == 0 {
				continue
			}
			var line rejectLine
			if err := json.Unmarshal(b, &line); err != nil {
				fail(n, "%w", err)
				return
			}
			if len(line.Columns) != len(line.Values) || len(line.Columns) == 0 || line.SourceTable == "" {
				fail(n, "%d columns and %d values of table %q", len(line.Columns), len(line.Values), line.SourceTable)
				return
			}
			line.Reject.Columns = line.Columns
			line.Reject.Values = make([]any, len(line.Values))
			for i, v := range line.Values {
				line.Reject.Values[i] = v.v
			}
			if !yield(line, nil) {
				return
			}
		}
	}
}

func readLine(r *bufio.Reader) ([]byte, error) {
	var out []byte
	for {
		part, err := r.ReadSlice('\n')
		out = append(out, part...)
		if len(out) > maxRejectLine {
			return nil, errors.New("it is too long")
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return out, err
		}
	}
}
