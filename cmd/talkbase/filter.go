package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/talkbase/talkbase/repo"
)

// fileFlags say which files are searched.
type fileFlags struct{ filter repo.FileFilter }

func (o *fileFlags) register(f *pflag.FlagSet) {
	f.StringArrayVar(&o.filter.IDs, "file", nil, "only the knowledge file with this ID; can be repeated")
	f.StringArrayVar(&o.filter.MimeTypes, "mime", nil, "only files of this type, such as application/pdf; can be repeated")
	f.Var(metaFlag{&o.filter}, "meta", "only files whose metadata have this value; can be repeated")
	f.Var((*dateFlag)(&o.filter.UploadedFrom), "uploaded-from", "only files uploaded then or later: 2025-01-31, or a time such as 2025-01-31T08:00:00Z")
	f.Var((*dateFlag)(&o.filter.UploadedBefore), "uploaded-before", "only files uploaded earlier")
}

// dateFlag is a flag for a time in ms since the epoch.
type dateFlag int64

// String is the value, for pflag.
func (d *dateFlag) String() string {
	if *d == 0 {
		return ""
	}
	return time.UnixMilli(int64(*d)).Format(time.RFC3339)
}

// Type names the value in help.
func (d *dateFlag) Type() string { return "date" }

// Set reads a date as the midnight it begins with here, or a time.
func (d *dateFlag) Set(s string) error {
	t, err := time.ParseInLocation(time.DateOnly, s, time.Local)
	if err != nil {
		t, err = time.Parse(time.RFC3339, s)
	}
	if err != nil {
		return errors.New("use a date such as 2025-01-31, or a time such as 2025-01-31T08:00:00Z")
	}
	*d = dateFlag(t.UnixMilli())
	return nil
}

// metaFlag is a flag for key=value.
type metaFlag struct{ filter *repo.FileFilter }

// String is the value, for pflag.
func (m metaFlag) String() string { return "" }

// Type names the value in help.
func (m metaFlag) Type() string { return "key=value" }

// Set adds a value to those that a key may have.
func (m metaFlag) Set(s string) error {
	key, text, ok := strings.Cut(s, "=")
	if !ok || key == "" {
		return fmt.Errorf("write a key, = and a value, such as lang=en")
	}
	values := []any{text}
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err == nil {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			switch v.(type) {
			case string:
				values = []any{v}
			case nil, bool, json.Number:
				values = append(values, v)
			}
		}
	}
	if m.filter.Metadata == nil {
		m.filter.Metadata = map[string][]any{}
	}
	m.filter.Metadata[key] = append(m.filter.Metadata[key], values...)
	return nil
}
