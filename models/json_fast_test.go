package models

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzCanonical checks that the one-pass writer agrees with the decoder wherever it does not give
// up, and that it refuses nothing: what it gives up on, the decoder judges.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"b": 1, "a": [1, 2.50, -0.5, {"y": null, "x": true}]}`,
		`{"bb":1,"a":2,"a":3}`, `{"a":-0}`, `{"a":-0.00}`, `{"a":1e3}`, `{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":-}`,
		`{"a":"\n\"\\\b\f\r\t"}`, `{"a":"\/"}`, `{"a":"\u0041"}`, `{"\u0061":1,"a":2}`, `{"a":"\u0000"}`, `{"a":"\ud800"}`,
		"{\"a\":\"\u2028\"}", "{\"a\":\"\u2029\u00e2\u2020\"}", "{\"a\":\"\x01\"}", "{\"a\":\"\x7f<&>\"}", `{"a":1}x`, `{"a":1}{}`, `{"a":1,}`,
		`{"":1," ":2}`, `{"a":{"c":1,"b":2},"A":[{"z":1,"y":2},[]]}`, `{"ab":1,"a":2,"a!":3}`, `{"键":"值","a":"é🙂"}`, `[1]`, `null`, `{"a":tru}`, `{"a"}`,
		`{"model": "gpt", "tokens": 12, "provider": "x", "inputTokens": 3}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !utf8.Valid(b) || len(bytes.TrimSpace(b)) == 0 {
			return
		}
		fast, ok := canonical(bytes.Clone(b))
		if !ok {
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(fast, &members); err != nil {
			t.Fatalf("%q: one pass gives %q: %v", b, fast, err)
		}
		for key, want := range members {
			if plain, err := json.Marshal(key); err != nil || string(plain) != `"`+key+`"` {
				continue
			}
			if got, ok := fast.Member(key); !ok || !bytes.Equal(got, want) {
				t.Fatalf("%q: %s is %q, want %q", fast, key, got, want)
			}
		}
		slow, err := decodeJSON(b)
		if err != nil {
			t.Fatalf("%q: one pass gives %q, the decoder %v", b, fast, err)
		}
		if !bytes.Equal(fast, slow) {
			t.Fatalf("%q: one pass gives %q, the decoder %q", b, fast, slow)
		}
	})
}

// TestCanonicalTakesWhatEnginesReturn keeps the usual values on the fast path.
func TestCanonicalTakesWhatEnginesReturn(t *testing.T) {
	for in, want := range map[string]string{
		`{}`:                 `{}`,
		`{"a":1,"b":"x\ny"}`: `{"a":1,"b":"x\ny"}`,
		`{"b": 1.50, "aa": [1, {"d": 2, "cc": false}]}`: `{"aa":[1,{"cc":false,"d":2}],"b":1.50}`,
	} {
		got, ok := canonical([]byte(in))
		if !ok || string(got) != want {
			t.Errorf("canonical(%s) = %s, %v; want %s", in, got, ok, want)
		}
	}
}

func TestMember(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		object, key, want string
		ok                bool
	}{
		{`{"a":1}`, "a", `1`, true},
		{`{"a":{"b":2,"c":[3,{"b":4}]},"b":-5.0}`, "b", `-5.0`, true},
		{`{"a":{"b":2}}`, "b", ``, false},
		{`{"a":[{"b":2},"b"]}`, "b", ``, false},
		{`{"a":"b","b":"x,\"}"}`, "b", `"x,\"}"`, true},
		{`{"a":"\\","b":null}`, "b", `null`, true},
		{`{"a":{"x":[1,2]},"b":[]}`, "a", `{"x":[1,2]}`, true},
		{`{"键":"值"}`, "键", `"值"`, true},
		{`{}`, "a", ``, false},
		{``, "a", ``, false},
		{`{"a`, "a", ``, false},
		{`{"a":`, "a", ``, false},
		{`{"a\`, "a", ``, false},
		{`"a":1`, "a", ``, false},
		{`{"a":}`, "a", ``, false},
	} {
		got, ok := JSON(c.object).Member(c.key)
		if string(got) != c.want || ok != c.ok {
			t.Errorf("%s of %s is %q, %v; want %q, %v", c.key, c.object, got, ok, c.want, c.ok)
		}
	}
}

func BenchmarkParseJSON(b *testing.B) {
	in := []byte(`{"model": "gpt-4o-mini", "provider": "openai", "inputTokens": 120, "contextUsage": 0, "outputTokens": 30, "firstTokenTime": 812, "generationTime": 4021, "tokensPerSecond": 51.5}`)
	for name, f := range map[string]func([]byte) (JSON, error){"parse": ParseJSON, "decoder": decodeJSON} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
