package engine_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

// FuzzMetadataFilter looks for a key and its value, whatever they are, in metadata that hold them, that
// hold another value, and that hold another key.
func FuzzMetadataFilter(f *testing.F) {
	for _, key := range []string{"lang", "", "a.b", `a"b`, `a\"b`, `\`, "$", "$.x", "[0]", "#-1", "键", "\u2028\n\x01", "a'b?", "🎉", `"`} {
		f.Add(key, key)
	}
	v := openVectors(f, "sqlite::memory:", 2, models.MetricL2)
	db, err := v.e.Reader(f.Context())
	check(f, err)
	f.Fuzz(func(t *testing.T, key, value string) {
		if engine.CheckText("", key+value) != nil {
			return
		}
		passes := func(metadata map[string]any, m engine.MetadataFilter) bool {
			text, err := models.NewJSON(metadata)
			check(t, err)
			args := []any{text.String()}
			where := v.e.FilterFiles(engine.FileFilter{Metadata: []engine.MetadataFilter{m}}, func(v any) string {
				args = append(args, v)
				return "?"
			})
			n, err := engine.One(t.Context(), db, engine.Value[int], "SELECT count(*) FROM (SELECT ? AS metadata) f WHERE true"+where, args...)
			check(t, err)
			return n == 1
		}
		filter := engine.MetadataFilter{Key: key, Strings: []string{"no", value}}
		for name, c := range map[string]struct {
			metadata map[string]any
			want     bool
		}{
			"the value":      {map[string]any{key: value, key + "x": 1}, true},
			"another value":  {map[string]any{key: value + "x"}, false},
			"another key":    {map[string]any{key + "x": value, "x" + key: value}, false},
			"nested":         {map[string]any{key: map[string]any{key: value}, "y" + key: []string{value}}, false},
			"a number's key": {map[string]any{key: json.Number("1")}, false},
		} {
			if value+"x" == "no" && name == "another value" {
				continue
			}
			if got := passes(c.metadata, filter); got != c.want {
				t.Errorf("%s: %q = %q: got %t, want %t", name, key, value, got, c.want)
			}
		}
		// The value as a number, if it is one.
		stored, err := models.ParseJSON([]byte(`{"v":` + value + `}`))
		if err != nil {
			return
		}
		var number struct{ V json.Number }
		if json.Unmarshal([]byte(stored), &number) != nil || number.V == "" || strings.HasPrefix(stored.String(), `{"v":"`) {
			return
		}
		text := number.V.String()
		if strings.Contains(text, ".") {
			text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
		}
		byNumber := engine.MetadataFilter{Key: key, Numbers: []string{text}}
		if !passes(map[string]any{key: number.V}, byNumber) || passes(map[string]any{key: value}, byNumber) {
			t.Errorf("%q = %s: got no match of the number, or one of the text", key, text)
		}
	})
}
