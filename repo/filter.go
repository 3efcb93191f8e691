package repo

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

// FileFilter limits an answer to the chunks of files for which all of its fields hold. A field that is
// empty or 0 is no limit; so the zero value lets every file pass. What cannot be compared is ErrInvalid.
type FileFilter struct {
	// IDs are those of the files.
	IDs []string
	// Status are the states that a file may be in.
	Status []models.TaskStatus
	// MimeTypes are the types that a file may have, as they were stored.
	MimeTypes []string
	// Metadata gives the values that a file's metadata may hold under a key: strings, numbers, booleans
	// or nil, which is null. Keys are those of the object itself, whatever characters they have. Values are
	// equal as JSON's are: 1 and 1.0 are the same number, and numbers of any size are compared exactly; true, 1
	// and "1" are three values. A missing key, an object and an array are equal to none. A float64 is the number
	// that JSON writes for it; a json.Number holds what it cannot.
	Metadata map[string][]any
	// UploadedFrom and UploadedBefore let files pass that were uploaded at or after the one and before the
	// other, in milliseconds since the Unix epoch.
	UploadedFrom, UploadedBefore int64
}

// check returns the filter as the engines take it.
func (f FileFilter) check() (engine.FileFilter, error) {
	out := engine.FileFilter{IDs: f.IDs, MimeTypes: f.MimeTypes, From: f.UploadedFrom, Before: f.UploadedBefore}
	for _, s := range f.Status {
		if err := checkTask(s); err != nil {
			return out, err
		}
		out.Status = append(out.Status, string(s))
	}
	for name, values := range map[string][]string{"file id": f.IDs, "mime type": f.MimeTypes} {
		for _, v := range values {
			if err := checkText(field{name, v}); err != nil {
				return out, err
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(f.Metadata)) {
		if err := checkText(field{"metadata key", key}); err != nil {
			return out, err
		}
		m := engine.MetadataFilter{Key: key}
		if len(f.Metadata[key]) == 0 {
			return out, engine.Invalidf("metadata filter %.40q allows no value: give one or more, or leave the key out", key)
		}
		for _, v := range f.Metadata[key] {
			if err := addScalar(&m, v); err != nil {
				return out, fmt.Errorf("metadata filter %.40q: %w", key, err)
			}
		}
		out.Metadata = append(out.Metadata, m)
	}
	return out, nil
}

// addScalar adds a value to those that m lets pass, in the spelling that metadata are stored in.
func addScalar(m *engine.MetadataFilter, v any) error {
	if s, ok := v.(string); ok {
		if err := checkText(field{"the value", s}); err != nil {
			return err
		}
	}
	stored, err := models.NewJSON(map[string]any{"v": v})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var scalar struct{ V any }
	dec := json.NewDecoder(strings.NewReader(stored.String()))
	dec.UseNumber()
	if err := dec.Decode(&scalar); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	switch t := scalar.V.(type) {
	case nil:
		m.Null = true
	case bool:
		m.True, m.False = m.True || t, m.False || !t
	case string:
		m.Strings = append(m.Strings, t)
	case json.Number:
		n := t.String()
		if strings.Contains(n, ".") {
			n = strings.TrimRight(strings.TrimRight(n, "0"), ".")
		}
		m.Numbers = append(m.Numbers, n)
	default:
		return engine.Invalidf("a value of type %T: use a string, a number, a boolean or nil", v)
	}
	return nil
}
