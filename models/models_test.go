package models

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseJSONIsCanonical(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                              `{}`,
		" \n":                           `{}`,
		"{}":                            `{}`,
		`{"b":1, "a":[ 1,2 ]}`:          `{"a":[1,2],"b":1}`,
		`{"a":1,"a":2}`:                 `{"a":2}`,
		`{"n":1e2}`:                     `{"n":100}`,
		`{"n":1.5e-3}`:                  `{"n":0.0015}`,
		`{"n":1.50}`:                    `{"n":1.50}`,
		`{"n":1.5E1}`:                   `{"n":15}`,
		`{"n":-0}`:                      `{"n":0}`,
		`{"n":-0.00}`:                   `{"n":0.00}`,
		`{"n":9007199254740993}`:        `{"n":9007199254740993}`,
		`{"s":"<&>\u4e2d\ud83d\ude00"}`: `{"s":"<&>中😀"}`,
		`{"a":{"d":null,"c":true}}`:     `{"a":{"c":true,"d":null}}`,
	} {
		got, err := ParseJSON([]byte(in))
		if err != nil || string(got) != want {
			t.Errorf("ParseJSON(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestParseJSONRefusesWhatJsonbRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		`[]`, `"x"`, `1`, `null`, `true`, `{`, `{"a":1}{}`, `{"a":NaN}`, "{\"a\":\"\xff\"}",
		`{"a":"\u0000"}`, `{"a":"\ud83d"}`, `{"a":"\ude00"}`, `{"a":"\ud83dx"}`, `{"n":1e99999}`, `{"a":"\\\u0000"}`,
	} {
		if got, err := ParseJSON([]byte(in)); !errors.Is(err, ErrNotObject) {
			t.Errorf("ParseJSON(%q) = %q, %v; want ErrNotObject", in, got, err)
		}
	}
	if _, err := ParseJSON([]byte(`{"a":"\\u0000"}`)); err != nil {
		t.Errorf("an escaped backslash before u0000 is text: %v", err)
	}
}

func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{`{"a":1e3}`, `{"a":"\ud83d\ude00"}`, `{"a":{"b":[1,2,{"c":-0.0}]}}`, `{`, `{"":""}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseJSON(b)
		if err != nil {
			return
		}
		if !json.Valid(got) || !utf8.Valid(got) || strings.Contains(string(got), `\u0000`) && !strings.Contains(string(got), `\\u0000`) {
			t.Fatalf("ParseJSON(%q) = %q: not storable", b, got)
		}
		again, err := ParseJSON(got)
		if err != nil || string(again) != string(got) {
			t.Fatalf("ParseJSON(%q) = %q, %v: not a fixed point", got, again, err)
		}
	})
}

func TestJSONScan(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		src  any
		want string
	}{{nil, "{}"}, {`{"b": 1, "a": 2}`, `{"a":2,"b":1}`}, {[]byte(`{"a":1}`), `{"a":1}`}, {`[1]`, `[1]`}} {
		var j JSON
		if err := j.Scan(c.src); err != nil || j.String() != c.want {
			t.Errorf("Scan(%v) = %s, %v; want %s", c.src, j, err, c.want)
		}
	}
	var j JSON
	if err := j.Scan(1); err == nil {
		t.Error("Scan(1): got no error")
	}
}

func TestJSONValueAndDecode(t *testing.T) {
	t.Parallel()
	j, err := NewJSON(map[string]any{"theme": "dark", "n": 1})
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := j.Get("theme"); !ok || v != "dark" {
		t.Errorf("Get = %v, %v; want dark", v, ok)
	}
	var zero JSON
	if v, err := zero.Value(); err != nil || v != "{}" {
		t.Errorf("the zero value is stored as %v, %v; want {}", v, err)
	}
	if _, err := NewJSON([]int{1}); !errors.Is(err, ErrNotObject) {
		t.Errorf("NewJSON of an array: %v; want ErrNotObject", err)
	}
	b, err := json.Marshal(struct{ J JSON }{j})
	if err != nil || string(b) != `{"J":{"n":1,"theme":"dark"}}` {
		t.Errorf("Marshal = %s, %v", b, err)
	}
	var back struct{ J JSON }
	if err := json.Unmarshal(b, &back); err != nil || back.J.String() != j.String() {
		t.Errorf("Unmarshal = %s, %v; want %s", back.J, err, j)
	}
}

func TestVectorRoundTrips(t *testing.T) {
	t.Parallel()
	v := Vector{0, 1, -1.5, math.SmallestNonzeroFloat32, math.MaxFloat32, 0.1, 1.0 / 3}
	for name, stored := range map[string]any{"blob": v.Blob(), "text": v.Text()} {
		var got Vector
		if err := got.Scan(stored); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range v {
			if math.Float32bits(got[i]) != math.Float32bits(v[i]) {
				t.Errorf("%s: element %d is %v, want %v", name, i, got[i], v[i])
			}
		}
	}
	var got Vector
	if err := got.Scan(nil); err != nil || got != nil {
		t.Errorf("Scan(nil) = %v, %v; want nil", got, err)
	}
	for _, bad := range []any{"", "[", "[a]", "1,2", []byte{1, 2, 3}, 7} {
		if err := new(Vector).Scan(bad); err == nil {
			t.Errorf("Scan(%v): got no error", bad)
		}
	}
}

// sameVector compares bit for bit, but for which NaN a NaN is.
func sameVector(a, b Vector) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool {
		return math.Float32bits(x) == math.Float32bits(y) || x != x && y != y
	})
}

func FuzzVectorText(f *testing.F) {
	f.Add("[1,2.5,-3e-7]")
	f.Add("[]")
	f.Add("[ 1 ,-0,1e-45, 3.4028235e38]")
	f.Fuzz(func(t *testing.T, s string) {
		var v Vector
		if v.Scan(s) != nil {
			return
		}
		var again Vector
		if err := again.Scan(v.Text()); err != nil || !sameVector(v, again) {
			t.Fatalf("Scan(%q) is %v, and its Text() reads as %v, %v", s, v, again, err)
		}
	})
}

func FuzzVectorBlob(f *testing.F) {
	f.Add([]byte{})
	f.Add(Vector{1, -0.5, float32(math.NaN())}.Blob())
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		var v Vector
		if err := v.Scan(b); err != nil || len(b)%4 != 0 {
			if (err == nil) != (len(b)%4 == 0) {
				t.Fatalf("Scan of %d bytes: got error %v", len(b), err)
			}
			return
		}
		if !bytes.Equal(v.Blob(), b) {
			t.Fatalf("Scan(%x).Blob(): got %x", b, v.Blob())
		}
		var text Vector
		if err := text.Scan(v.Text()); err != nil && !slices.ContainsFunc(v, func(x float32) bool { return x != x }) || err == nil && !sameVector(v, text) {
			t.Fatalf("Scan(%x).Text() reads as %v, %v", b, text, err)
		}
	})
}

func TestEnumsKnowTheirValues(t *testing.T) {
	t.Parallel()
	for _, r := range Roles() {
		if !r.Valid() {
			t.Errorf("role %q is not valid", r)
		}
	}
	if Role("tool").Valid() || MessageStatus("").Valid() || TaskStatus("completed").Valid() || Metric("hamming").Valid() {
		t.Error("an unknown value is valid")
	}
}

func TestFlagScans(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		src  any
		want Flag
	}{{nil, false}, {int64(0), false}, {int64(1), true}, {int64(7), true}, {true, true}} {
		f := !c.want
		if err := f.Scan(c.src); err != nil || f != c.want {
			t.Errorf("Scan(%v) = %v, %v; want %v", c.src, f, err, c.want)
		}
	}
	if err := new(Flag).Scan("1"); err == nil {
		t.Error(`Scan("1"): got no error`)
	}
}
