package migration

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/talkbase/talkbase/models"
)

func TestCoerceTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   any
		want int64
		why  Reason
	}{
		"milliseconds":          {int64(1740816012000), 1740816012000, ""},
		"seconds":               {int64(1740816012), 1740816012000, ReasonTimestampSeconds},
		"the smallest ms":       {int64(100_000_000_000), 100_000_000_000, ""},
		"the largest seconds":   {int64(99_999_999_999), 99_999_999_999_000, ReasonTimestampSeconds},
		"a real":                {1740816012000.5, 1740816012001, ReasonTimestampReal},
		"a real of seconds":     {1740816012.25, 1740816012250, ReasonTimestampSeconds},
		"text of ms":            {"1740816012000", 1740816012000, ReasonTimestampText},
		"text of seconds":       {" 1740816012 ", 1740816012000, ReasonTimestampSeconds},
		"text of a real":        {"1.740816012e12", 1740816012000, ReasonTimestampReal},
		"a BLOB of text":        {[]byte("1740816012000"), 1740816012000, ReasonTimestampText},
		"ISO with Z":            {"2025-03-01T08:00:12.000Z", 1740816012000, ReasonTimestampISO},
		"ISO with a zone":       {"2025-03-01T10:00:12+02:00", 1740816012000, ReasonTimestampISO},
		"ISO, zone in short":    {"2025-03-01T10:00:12+0200", 1740816012000, ReasonTimestampISO},
		"ISO without a zone":    {"2025-03-01T08:00:12", 1740816012000, ReasonTimestampISO},
		"as SQLite writes it":   {"2025-03-01 08:00:12.250", 1740816012250, ReasonTimestampISO},
		"a day":                 {"2025-03-01", 1740787200000, ReasonTimestampISO},
		"a BLOB of ISO and NUL": {[]byte("2025-03-01T08:00:12Z\x00"), 1740816012000, ReasonTimestampISO},
	} {
		if ms, why, ok := coerceTime(c.in); !ok || ms != c.want || why != c.why {
			t.Errorf("%s: %d %q %v, want %d %q", name, ms, why, ok, c.want, c.why)
		}
	}
	for name, in := range map[string]any{
		"NULL": nil, "zero": int64(0), "negative": int64(-1), "beyond": int64(1<<53 + 1), "the largest integer": int64(math.MaxInt64),
		"NaN": math.NaN(), "infinite": math.Inf(1), "a negative real": -0.5, "words": "soon", "nothing": "", "before the epoch": "1969-12-31",
		"a flag": true, "long": strings.Repeat("1", 100), "the text of zero": "0", "almost nothing": 1e-9,
	} {
		if ms, why, ok := coerceTime(in); ok {
			t.Errorf("%s is the time %d %q", name, ms, why)
		}
	}
}

func FuzzCoerceTime(f *testing.F) {
	for _, s := range []string{"1740816012", "2025-03-01T08:00:12Z", "1e300", "-1", "0x1p10", "2025-03-01 25:00:00", "NaN"} {
		f.Add(s, int64(5), 0.0002)
	}
	f.Fuzz(func(t *testing.T, s string, i int64, r float64) {
		for _, v := range []any{s, []byte(s), i, r} {
			ms, why, ok := coerceTime(v)
			if ok && (ms <= 0 || ms > maxMillis) {
				t.Errorf("%v is the time %d", v, ms)
			}
			if !ok && (ms != 0 || why != "") {
				t.Errorf("%v is no time and gives %d %q", v, ms, why)
			}
		}
	})
}

func TestCleanText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain 会话":           "plain 会话",
		"a\x00b":             "ab",
		"\x00\x00":           "",
		"a\xed\xa0\xbdb":     "a\ufffdb",
		"\xff\xfe\xfdx\xff":  "\ufffdx\ufffd",
		"\xc3\x00\xa9":       "\ufffd\ufffd",
		"was \ufffd already": "was \ufffd already",
	} {
		got, nul, invalid := cleanText(in)
		if got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
		if nul != strings.Contains(in, "\x00") || invalid != !utf8.ValidString(in) {
			t.Errorf("%q: nul %v, invalid %v", in, nul, invalid)
		}
	}
}

func FuzzCleanText(f *testing.F) {
	f.Add("a\x00b\xed\xa0\xbd")
	f.Fuzz(func(t *testing.T, s string) {
		got, nul, invalid := cleanText(s)
		if !utf8.ValidString(got) || strings.ContainsRune(got, 0) {
			t.Fatalf("%q is not clean", got)
		}
		if again, _, _ := cleanText(got); again != got {
			t.Fatalf("cleaning again gives %q of %q", again, got)
		}
		if !nul && !invalid && got != s {
			t.Fatalf("%q changed without a word to %q", s, got)
		}
	})
}

func TestSanitizeJSON(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"a":"x\u0000y"}`:                  `{"a":"xy"}`,
		`{"a":"\ud83d"}`:                    `{"a":"\ufffd"}`,
		`{"a":"\ude00"}`:                    `{"a":"\ufffd"}`,
		`{"a":"\ud83d\ude00"}`:              `{"a":"\ud83d\ude00"}`,
		`{"a":"\uD83D\u0000\uDE00"}`:        `{"a":"\ufffd\ufffd"}`,
		`{"a":"\ud83d\ud83d\ude00"}`:        `{"a":"\ufffd\ud83d\ude00"}`,
		`{"a":"\\u0000 \\ud83d"}`:           `{"a":"\\u0000 \\ud83d"}`,
		`{"a":"\\\u0000"}`:                  `{"a":"\\"}`,
		`{"a":"\u00e9\u00"}`:                `{"a":"\u00e9\u00"}`,
		`{"\u0000k\u0000":1}`:               `{"k":1}`,
		`nothing to see`:                    `nothing to see`,
		`\`:                                 `\`,
		`\u`:                                `\u`,
		`{"a":"\u+123"}`:                    `{"a":"\u+123"}`,
		`{"a":"\ud83d\u0041\udbff\udfff."}`: `{"a":"\ufffd\u0041\udbff\udfff."}`,
	} {
		got, nul, surrogate := sanitizeJSON(in)
		if got != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
		if (got != in) != (nul || surrogate) {
			t.Errorf("%s: nul %v, surrogate %v", in, nul, surrogate)
		}
	}
}

func FuzzSanitizeJSON(f *testing.F) {
	for _, s := range []string{`0\u0000`, `{"a":"\ud83d\u0000\ude00"}`, `"\\u0000"`, `\u00`, `{"\udc00":"\ud800\ud800"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, _, _ := sanitizeJSON(s)
		if again, nul, surrogate := sanitizeJSON(got); again != got || nul || surrogate {
			t.Fatalf("sanitizing again gives %q of %q", again, got)
		}
		if json.Valid([]byte(s)) && !json.Valid([]byte(got)) {
			t.Fatalf("%q is no longer JSON: %q", s, got)
		}
		var n notes
		if kept := n.sanitize(s); !json.Valid([]byte(s)) && kept != s {
			t.Fatalf("%q is no JSON and became %q", s, kept)
		}
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return
		}
		wrapped := `{"v":` + got + `}`
		if _, err := models.ParseJSON([]byte(wrapped)); err != nil && json.Valid([]byte(got)) && !strings.Contains(err.Error(), "out of range") {
			t.Fatalf("%q cannot be stored: %v", got, err)
		}
	})
}

func TestObject(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   any
		want string
		why  notes
	}{
		"an object":          {`{"b":1, "a":"x"}`, `{"a":"x","b":1}`, nil},
		"NULL":               {nil, `{}`, nil},
		"empty":              {"", `{}`, nil},
		"blank":              {" \n", `{}`, nil},
		"invalid":            {`{cut`, `{"_legacy_raw":"{cut"}`, notes{ReasonJSONReplaced}},
		"an array":           {`["a"]`, `{"_legacy_raw":"[\"a\"]"}`, notes{ReasonJSONReplaced}},
		"a string":           {`"s"`, `{"_legacy_raw":"\"s\""}`, notes{ReasonJSONReplaced}},
		"null":               {`null`, `{"_legacy_raw":"null"}`, notes{ReasonJSONReplaced}},
		"two values":         {`{} {}`, `{"_legacy_raw":"{} {}"}`, notes{ReasonJSONReplaced}},
		"NaN":                {`{"a":NaN}`, `{"_legacy_raw":"{\"a\":NaN}"}`, notes{ReasonJSONReplaced}},
		"a huge number":      {`{"a":1e999999}`, `{"_legacy_raw":"{\"a\":1e999999}"}`, notes{ReasonJSONReplaced}},
		"duplicate keys":     {`{"a":1,"a":2}`, `{"_legacy_raw":"{\"a\":1,\"a\":2}","a":2}`, notes{ReasonJSONDuplicateKeys}},
		"inner duplicates":   {`{"a":{"b":1,"b":":"}}`, `{"_legacy_raw":"{\"a\":{\"b\":1,\"b\":\":\"}}","a":{"b":":"}}`, notes{ReasonJSONDuplicateKeys}},
		"colons in strings":  {`{"a:b":"c:\"d\":"}`, `{"a:b":"c:\"d\":"}`, nil},
		"a NUL escape":       {`{"a":"x\u0000y"}`, `{"a":"xy"}`, notes{ReasonJSONNUL}},
		"half a pair":        {`{"a":"\ud83d!"}`, `{"a":"` + "\ufffd" + `!"}`, notes{ReasonJSONSurrogate}},
		"raw NUL":            {"{\"a\":\"x\x00y\"}", `{"a":"xy"}`, notes{ReasonNULStripped}},
		"invalid UTF-8":      {"{\"a\":\"\xed\xa0\xbd\"}", `{"a":"` + "\ufffd" + `"}`, notes{ReasonInvalidUTF8}},
		"a BLOB":             {[]byte(`{"a":1}`), `{"a":1}`, notes{ReasonBlobText}},
		"a number":           {int64(17), `{"_legacy_raw":"17"}`, notes{ReasonNumberText, ReasonJSONReplaced}},
		"keys made the same": {`{"a\u0000":1,"a":2}`, `{"_legacy_raw":"{\"a\\u0000\":1,\"a\":2}","a":2}`, notes{ReasonJSONNUL, ReasonJSONDuplicateKeys}},
		"escapes elsewhere":  {`{"a":0\u0000}`, `{"_legacy_raw":"{\"a\":0\\u0000}"}`, notes{ReasonJSONReplaced}},
		"invalid, escapes":   {`{"\u0000`, `{"_legacy_raw":"{\"\\u0000"}`, notes{ReasonJSONReplaced}},
		"HTML and separators": {
			`{"a":"<b>&` + "\u2028" + `","a":1}`,
			`{"_legacy_raw":"{\"a\":\"<b>&\u2028\",\"a\":1}","a":1}`,
			notes{ReasonJSONDuplicateKeys},
		},
	} {
		var n notes
		got := n.object(c.in)
		if got.String() != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if len(n) != len(c.why) {
			t.Errorf("%s: %v, want %v", name, n, c.why)
			continue
		}
		for i := range n {
			if n[i] != c.why[i] {
				t.Errorf("%s: %v, want %v", name, n, c.why)
			}
		}
	}
}

// anyValue draws what a column of SQLite can hold.
func anyValue() *rapid.Generator[any] {
	return rapid.OneOf(
		rapid.Just[any](nil),
		rapid.Map(rapid.Int64(), func(i int64) any { return i }),
		rapid.Map(rapid.Float64(), func(f float64) any { return f }),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) any { return string(b) }),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) any { return b }),
		rapid.SampledFrom([]any{
			"", "0", "1", "true", "NULL", "[]", "{}", "null", `["a"]`, `{"a":1,"a":2}`, `{"totalTokens":7}`, `{"totalTokens":1e30}`, "\x00", "\xed\xa0\xbd",
			"user", "ASSISTANT", "sent", "completed", "2025-03-01", `{"a":"\u0000\ud83d"}`, math.Inf(1), math.Inf(-1), int64(math.MinInt64), int64(1<<53 + 1),
		}),
	)
}

func TestEveryRowCanBeStored(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func(columns []string) record {
			values := make([]any, len(columns))
			for i, c := range columns {
				values[i] = anyValue().Draw(t, c)
			}
			return record{columns: newColumnSet(columns), row: SourceRow{RowID: rapid.Int64().Draw(t, "rowid"), Values: values}}
		}
		text := func(what string, texts ...string) {
			for _, s := range texts {
				if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
					t.Fatalf("%s %q cannot be stored", what, s)
				}
			}
		}
		object := func(what string, j models.JSON) {
			if err := canonical(j); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		columns := append([]string{"odd \x00 column"}, conversationColumns...)
		for _, s := range settingColumns {
			columns = append(columns, s.column)
		}
		c := transformConversation(draw(columns), conversationRules{unknown: columns[:1], hasMessage: func(string) bool { return false }})
		text("conversation", c.row.ConvID, c.row.Title, c.key)
		object("settings", c.row.Settings)
		if c.key == "" || (!c.timeless && (c.row.CreatedAt <= 0 || c.row.UpdatedAt <= 0)) {
			t.Fatalf("conversation %+v", c)
		}
		m := transformMessage(draw(append([]string{"odd"}, messageColumns...)), messageRules{unknown: []string{"odd"}, emptyConversation: nowhere})
		if m.reject == "" {
			text("message", m.row.MsgID, m.row.ParentID, m.row.Content, m.row.ConversationID)
			object("metadata", m.row.Metadata)
			if m.key == "" || m.row.ConversationID == "" || !m.row.Role.Valid() || !m.row.Status.Valid() {
				t.Fatalf("message %+v", m)
			}
		}
		columns = append([]string{"metadata"}, attachmentColumns...)
		a := transformMessageAttachment(draw(columns), attachmentRules{columns: columns, unknown: columns[:1]})
		text("attachment", a.row.AttachmentID, a.row.Type, a.row.Data, a.row.MessageID)
		columns = []string{"id", "attach_id", "message_id", "attachment_type", "thumbnail", "file_name", "created_at"}
		a = transformAttachment(draw(columns), attachmentRules{columns: columns, messageOf: func(string) (string, bool) { return "", false }})
		text("attachment", a.row.AttachmentID, a.row.Type, a.row.Data, a.row.MessageID)
		if !json.Valid([]byte(a.row.Data)) {
			t.Fatalf("data %s", a.row.Data)
		}
		f := transformFile(draw([]string{"id", "name", "path", "mime_type", "status", "uploaded_at", "metadata"}), "base")
		text("file", f.row.ID, f.row.Name, f.row.Path, f.row.MimeType)
		object("file metadata", f.row.Metadata)
		k := transformChunk(draw([]string{"id", "file_id", "content", "status", "chunk_index", "error"}), func(string) bool { return true })
		text("chunk", k.row.ID, k.row.Content, k.row.Error, k.row.FileID)
		if !f.row.Status.Valid() || !k.row.Status.Valid() {
			t.Fatalf("status %q %q", f.row.Status, k.row.Status)
		}
	})
}

func TestTransformIsRepeatable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		values := make([]any, len(messageColumns))
		for i, c := range messageColumns {
			values[i] = anyValue().Draw(t, c)
		}
		r := record{columns: newColumnSet(messageColumns), row: SourceRow{RowID: 3, Values: values}}
		a, b := transformMessage(r, messageRules{}), transformMessage(r, messageRules{})
		if a.key != b.key || !sameMessage(&a.row, &b.row) || a.reject != b.reject {
			t.Fatalf("%+v and %+v", a, b)
		}
	})
}
