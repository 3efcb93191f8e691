package engine

import (
	"encoding/json"
	"strings"
)

// FileFilter limits an answer to chunks of some files. What is empty or 0 is no limit. Its values have
// been checked.
type FileFilter struct {
	IDs       []string
	Status    []string
	MimeTypes []string
	Metadata  []MetadataFilter
	// From and Before bound the time of upload in ms since the epoch, inclusive and exclusive.
	From, Before int64
}

// MetadataFilter lets files pass whose metadata hold one of some JSON scalars under a key.
type MetadataFilter struct {
	Key string
	// Strings are compared bytewise.
	Strings []string
	// Numbers are written without an exponent, without zeros at the end of a fraction and without a sign
	// on 0. They are compared by value, however large.
	Numbers           []string
	True, False, Null bool
}

// IsZero reports whether every file passes.
func (f FileFilter) IsZero() bool {
	return len(f.IDs) == 0 && len(f.Status) == 0 && len(f.MimeTypes) == 0 && len(f.Metadata) == 0 && f.From == 0 && f.Before == 0
}

// conditions are what both engines say alike: in and metadata write what differs. The files have the
// alias f; param binds a value and returns its placeholder. The result begins with AND, or is "".
func (f FileFilter) conditions(param func(any) string, in func(column string, values []string) string, metadata func(MetadataFilter) string) string {
	var b strings.Builder
	and := func(cond string) { b.WriteString(" AND " + cond) }
	for _, c := range []struct {
		column string
		values []string
	}{{"f.id", f.IDs}, {"f.status", f.Status}, {"f.mime_type", f.MimeTypes}} {
		if len(c.values) > 0 {
			and(in(c.column, c.values))
		}
	}
	if f.From != 0 {
		and("f.uploaded_at >= " + param(f.From))
	}
	if f.Before != 0 {
		and("f.uploaded_at < " + param(f.Before))
	}
	for _, m := range f.Metadata {
		and(metadata(m))
	}
	return b.String()
}

// FilterFiles writes f for JSON in a text. A number that JSON's functions would round is compared as it
// is written, which ParseJSON made one spelling of each value but for zeros at a fraction's end; other
// programs may have written other spellings, which are compared as they are rounded.
func (e *sqliteEngine) FilterFiles(f FileFilter, param func(any) string) string {
	list := func(values []string) string { return "(SELECT value FROM json_each(" + param(jsonText(values)) + "))" }
	in := func(column string, values []string) string { return column + " IN " + list(values) }
	return f.conditions(param, in, func(m MetadataFilter) string {
		path := jsonPath(m.Key)
		kind := func() string { return "json_type(f.metadata, " + param(path) + ")" }
		var or []string
		if len(m.Strings) > 0 {
			or = append(or, kind()+" = 'text' AND json_extract(f.metadata, "+param(path)+") IN "+list(m.Strings))
		}
		if len(m.Numbers) > 0 {
			text := func() string { return "(f.metadata -> " + param(path) + ")" }
			or = append(or, kind()+" IN ('integer', 'real') AND CASE"+
				" WHEN "+text()+" GLOB '*[eE]*' OR "+text()+" GLOB '-0*' THEN CAST("+text()+" AS real) IN (SELECT CAST(value AS real) FROM json_each("+param(jsonText(m.Numbers))+"))"+
				" WHEN instr("+text()+", '.') THEN rtrim(rtrim("+text()+", '0'), '.') IN "+list(m.Numbers)+
				" ELSE "+text()+" IN "+list(m.Numbers)+" END")
		}
		for _, k := range []struct {
			on   bool
			kind string
		}{{m.True, "'true'"}, {m.False, "'false'"}, {m.Null, "'null'"}} {
			if k.on {
				or = append(or, kind()+" = "+k.kind)
			}
		}
		return "((" + strings.Join(or, ") OR (") + "))"
	})
}

// jsonPath is the path to a key of an object. The key stands in it as models.ParseJSON writes it.
func jsonPath(key string) string { return "$." + jsonText(key) }

// jsonText writes a string, or some, as models.ParseJSON does.
func jsonText(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // of strings there is no error
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// FilterFiles writes f for jsonb, which compares numbers by their values.
func (e *postgresEngine) FilterFiles(f FileFilter, param func(any) string) string {
	in := func(column string, values []string) string { return column + " = ANY(" + param(values) + "::text[])" }
	return f.conditions(param, in, func(m MetadataFilter) string {
		var values []string
		for _, s := range m.Strings {
			values = append(values, jsonText(s))
		}
		values = append(values, m.Numbers...)
		for _, k := range []struct {
			on   bool
			text string
		}{{m.True, "true"}, {m.False, "false"}, {m.Null, "null"}} {
			if k.on {
				values = append(values, k.text)
			}
		}
		return "f.metadata -> " + param(m.Key) + "::text = ANY(" + param(values) + "::text[]::jsonb[])"
	})
}
