package migration

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/talkbase/talkbase/models"
)

// settingKind says how a column of settings is to be read.
type settingKind int

const (
	settingText settingKind = iota
	settingInt
	settingReal
	settingBool
	settingTools
	settingVariants
)

// settingColumns are the columns of conversations that are keys of its settings.
var settingColumns = []struct {
	column, key string
	kind        settingKind
}{
	{"system_prompt", "systemPrompt", settingText},
	{"temperature", "temperature", settingReal},
	{"context_length", "contextLength", settingInt},
	{"max_tokens", "maxTokens", settingInt},
	{"provider_id", "providerId", settingText},
	{"model_id", "modelId", settingText},
	{"artifacts", "artifacts", settingInt},
	{"enabled_mcp_tools", "enabledMcpTools", settingTools},
	{"thinking_budget", "thinkingBudget", settingInt},
	{"reasoning_effort", "reasoningEffort", settingText},
	{"verbosity", "verbosity", settingText},
	{"enable_search", "enableSearch", settingBool},
	{"forced_search", "forcedSearch", settingBool},
	{"search_strategy", "searchStrategy", settingText},
	{"context_chain", "selectedVariantsMap", settingVariants},
}

// conversationColumns are the columns of conversations that are columns of the target as well.
var conversationColumns = []string{"id", "conv_id", "title", "created_at", "updated_at", "is_pinned", "is_new"}

// unknownColumns returns the columns of a table that are not among known.
func unknownColumns(columns []string, known ...string) []string {
	k := newColumnSet(known)
	var out []string
	for _, c := range columns {
		if _, ok := k[strings.ToLower(c)]; !ok {
			out = append(out, c)
		}
	}
	return out
}

// conversationRules is what the transformation of conversations needs to know of the file.
type conversationRules struct {
	// unknown are the columns to keep under settings._legacy.
	unknown []string
	// emptyToolsMean says that [] in enabled_mcp_tools means none; before version 5 it meant
	// unset.
	emptyToolsMean bool
	// hasMessage reports whether a message exists in the file.
	hasMessage func(id string) bool
}

// transformed is a row on its way into the target.
type transformed[T any] struct {
	row    T
	key    string
	notes  notes
	reject Reason
	detail string
	// timeless says that the row's time was unusable and has to be set.
	timeless bool
	// link is for what the table's own steps have to tell each other of a row.
	link string
	src  SourceRow
	// hash is that of the row as it was transformed.
	hash rowHash
}

// transformConversation makes a conversation of a row. When both its times are unusable they are
// left 0 and the result is timeless.
func transformConversation(r record, rules conversationRules) transformed[models.Conversation] {
	t := transformed[models.Conversation]{src: r.row}
	n := &t.notes
	c := &t.row
	c.ConvID = n.clean(plainText(n, r.get("conv_id")))
	if c.ConvID == "" {
		c.ConvID = conversationOriginID(r.row.RowID, r.get("created_at"))
		n.add(ReasonIDDerived)
	}
	t.key = c.ConvID
	c.Title = n.text(r.get("title"))
	created, okCreated := n.time(r.get("created_at"))
	updated, okUpdated := n.time(r.get("updated_at"))
	switch {
	case !okCreated && !okUpdated:
		t.timeless = true
	case !okCreated:
		created = updated
	case !okUpdated:
		updated = created
	}
	c.CreatedAt, c.UpdatedAt = created, updated
	c.IsPinned = models.Flag(r.has("is_pinned") && n.flag(r.get("is_pinned")))
	// The application's own upgrade marks conversations from before the column as not new.
	c.IsNew = models.Flag(r.has("is_new") && n.flag(r.get("is_new")))
	c.Settings = transformSettings(r, rules, n)
	return t
}

// conversationOriginID is the id of a conversation that has none.
func conversationOriginID(rowID int64, createdAt any) string {
	return derivedID("conversations", strconv.FormatInt(rowID, 10), plainID(createdAt))
}

// plainText is rawText for columns in which NULL needs no word of its own.
func plainText(n *notes, v any) string {
	s, _ := n.rawText(v)
	return s
}

func transformSettings(r record, rules conversationRules, n *notes) models.JSON {
	settings := map[string]any{"selectedVariantsMap": map[string]any{}}
	legacy := map[string]any{}
	for _, s := range settingColumns {
		v := r.get(s.column)
		if v == nil {
			continue
		}
		out, use, ok := readSetting(v, s.kind, rules, n)
		if use {
			settings[s.key] = out
		}
		if !ok {
			n.add(ReasonSettingUnreadable)
			legacy[s.column] = n.plainValue(v)
		}
	}
	for _, column := range rules.unknown {
		if v := r.get(strings.ToLower(column)); v != nil {
			legacy[n.clean(column)] = n.plainValue(v)
		}
	}
	if len(legacy) > 0 {
		settings[keyLegacy] = legacy
	}
	j, err := models.NewJSON(settings)
	if err != nil { // every value was made storable above
		n.add(ReasonSettingUnreadable)
		return models.JSON("{}")
	}
	return j
}

// readSetting reads one column of settings. use says whether there is a value, ok whether the
// column held what it should.
func readSetting(v any, kind settingKind, rules conversationRules, n *notes) (out any, use, ok bool) {
	switch kind {
	case settingText:
		return n.text(v), true, true
	case settingInt:
		i, exact, ok := coerceInt(v)
		if f, real := v.(float64); real && ok && !exact {
			// A fraction is kept as it is: JSON has one kind of number.
			return f, !math.IsInf(f, 0), !math.IsInf(f, 0)
		}
		if ok && !exact {
			n.add(ReasonNumberCoerced)
		}
		return i, ok, ok
	case settingReal:
		f, ok := readReal(v, n)
		return f, ok, ok
	case settingBool:
		return n.flag(v), true, true
	case settingTools:
		return readTools(v, rules, n)
	default:
		m, ok := readVariants(v, rules, n)
		return m, true, ok
	}
}

func readReal(v any, n *notes) (any, bool) {
	switch t := v.(type) {
	case int64:
		return t, true
	case float64:
		return t, !math.IsInf(t, 0) && !math.IsNaN(t)
	}
	s := strings.TrimSpace(plainID(v))
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) || len(s) > maxTimeText {
		return nil, false
	}
	n.add(ReasonNumberCoerced)
	return f, true
}

// readTools reads enabled_mcp_tools: an array or nothing. The application wrote the text NULL where
// it meant NULL.
func readTools(v any, rules conversationRules, n *notes) (out any, use, ok bool) {
	raw := strings.TrimSpace(n.clean(plainText(n, v)))
	switch raw {
	case "", "NULL", "null":
		return nil, false, true
	}
	text := n.sanitize(raw)
	if !strings.HasPrefix(text, "[") || !storable(text) {
		return nil, false, false
	}
	var items []any
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&items); err != nil {
		return nil, false, false
	}
	if len(items) == 0 && !rules.emptyToolsMean {
		return nil, false, true
	}
	return items, true, true
}

// variantMap parses context_chain, which holds the chosen variant of each message. ok is false for
// what is neither an object nor the [] of old releases.
func variantMap(raw string) (m map[string]any, ok bool) {
	switch raw = strings.TrimSpace(raw); raw {
	case "", "[]", "{}", "null", "NULL":
		return map[string]any{}, true
	}
	if !strings.HasPrefix(raw, "{") || json.Unmarshal([]byte(raw), &m) != nil || m == nil {
		return map[string]any{}, false
	}
	return m, true
}

// variantIDs returns the ids of the messages that a conversation's context_chain speaks of.
func variantIDs(v any) []string {
	var n notes
	m, _ := variantMap(n.sanitize(n.clean(plainText(&n, v))))
	ids := make([]string, 0, 2*len(m))
	for k, to := range m {
		ids = append(ids, k)
		if s, ok := to.(string); ok {
			ids = append(ids, s)
		}
	}
	return ids
}

func readVariants(v any, rules conversationRules, n *notes) (map[string]any, bool) {
	m, ok := variantMap(n.sanitize(n.clean(plainText(n, v))))
	for k, to := range m {
		s, isText := to.(string)
		if !isText || !rules.hasMessage(k) || !rules.hasMessage(s) {
			delete(m, k)
			n.add(ReasonVariantSelection)
		}
	}
	return m, ok
}
