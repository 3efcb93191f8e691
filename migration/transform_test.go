package migration

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/models"
)

// rowOf makes a record of columns and values in turn.
func rowOf(pairs ...any) record {
	r := record{columns: columnSet{}, row: SourceRow{RowID: 7}}
	for i := 0; i < len(pairs); i += 2 {
		r.columns[pairs[i].(string)] = i / 2
		r.row.Values = append(r.row.Values, pairs[i+1])
	}
	return r
}

const someTime = int64(1740816012000)

func conversationRow(pairs ...any) record {
	return rowOf(append([]any{"conv_id", "c", "title", "t", "created_at", someTime, "updated_at", someTime}, pairs...)...)
}

func TestTransformSettings(t *testing.T) {
	t.Parallel()
	exist := func(id string) bool { return !strings.HasPrefix(id, "gone") }
	for name, c := range map[string]struct {
		row    record
		level5 bool
		want   string
		why    notes
	}{
		"every column": {
			conversationRow("system_prompt", "be brief", "temperature", 0.7, "context_length", int64(10), "max_tokens", int64(2000),
				"provider_id", "openai", "model_id", "gpt-4", "artifacts", int64(1), "enabled_mcp_tools", `["t1"]`, "thinking_budget", int64(5),
				"reasoning_effort", "low", "verbosity", "high", "enable_search", int64(1), "forced_search", int64(0), "search_strategy", "max",
				"context_chain", `{"m1":"m2"}`), true,
			`{"artifacts":1,"contextLength":10,"enableSearch":true,"enabledMcpTools":["t1"],"forcedSearch":false,"maxTokens":2000,"modelId":"gpt-4",` +
				`"providerId":"openai","reasoningEffort":"low","searchStrategy":"max","selectedVariantsMap":{"m1":"m2"},"systemPrompt":"be brief",` +
				`"temperature":0.7,"thinkingBudget":5,"verbosity":"high"}`, nil,
		},
		"NULL is left out":           {conversationRow("verbosity", nil, "enable_search", nil, "context_chain", nil), true, `{"selectedVariantsMap":{}}`, nil},
		"tools: the text NULL":       {conversationRow("enabled_mcp_tools", "NULL"), true, `{"selectedVariantsMap":{}}`, nil},
		"tools: empty":               {conversationRow("enabled_mcp_tools", ""), true, `{"selectedVariantsMap":{}}`, nil},
		"tools: JSON null":           {conversationRow("enabled_mcp_tools", "null"), true, `{"selectedVariantsMap":{}}`, nil},
		"tools: [] means none":       {conversationRow("enabled_mcp_tools", "[]"), true, `{"enabledMcpTools":[],"selectedVariantsMap":{}}`, nil},
		"tools: [] below version 5":  {conversationRow("enabled_mcp_tools", "[]"), false, `{"selectedVariantsMap":{}}`, nil},
		"tools: an object":           {conversationRow("enabled_mcp_tools", "{}"), true, `{"_legacy":{"enabled_mcp_tools":"{}"},"selectedVariantsMap":{}}`, notes{ReasonSettingUnreadable}},
		"tools: rubbish":             {conversationRow("enabled_mcp_tools", "[cut"), true, `{"_legacy":{"enabled_mcp_tools":"[cut"},"selectedVariantsMap":{}}`, notes{ReasonSettingUnreadable}},
		"tools: escapes":             {conversationRow("enabled_mcp_tools", `["a\u0000\ud83d"]`), true, `{"enabledMcpTools":["a` + "\ufffd" + `"],"selectedVariantsMap":{}}`, notes{ReasonJSONNUL, ReasonJSONSurrogate}},
		"variants: old default":      {conversationRow("context_chain", "[]"), true, `{"selectedVariantsMap":{}}`, nil},
		"variants: gone ones":        {conversationRow("context_chain", `{"m1":"gone","gone":"m2","m3":"m4","m5":7}`), true, `{"selectedVariantsMap":{"m3":"m4"}}`, notes{ReasonVariantSelection}},
		"variants: rubbish":          {conversationRow("context_chain", "rubbish"), true, `{"_legacy":{"context_chain":"rubbish"},"selectedVariantsMap":{}}`, notes{ReasonSettingUnreadable}},
		"variants: an array":         {conversationRow("context_chain", `["m1"]`), true, `{"_legacy":{"context_chain":"[\"m1\"]"},"selectedVariantsMap":{}}`, notes{ReasonSettingUnreadable}},
		"unknown columns":            {conversationRow("parent_message_id", "m1", "active_skills", "[]", "acp_workdir_map", nil, "plugin", []byte{0xff, 0}), true, `{"_legacy":{"active_skills":"[]","parent_message_id":"m1","plugin":"/wA="},"selectedVariantsMap":{}}`, nil},
		"numbers as text":            {conversationRow("context_length", "12", "temperature", "0.5"), true, `{"contextLength":12,"selectedVariantsMap":{},"temperature":0.5}`, notes{ReasonNumberCoerced}},
		"numbers that are none":      {conversationRow("max_tokens", "many", "temperature", math.Inf(1)), true, `{"_legacy":{"max_tokens":"many","temperature":"+Inf"},"selectedVariantsMap":{}}`, notes{ReasonSettingUnreadable}},
		"integers beyond a float":    {conversationRow("max_tokens", int64(1<<53+1)), true, `{"maxTokens":9007199254740993,"selectedVariantsMap":{}}`, nil},
		"a fraction of tokens":       {conversationRow("max_tokens", 10.5), true, `{"maxTokens":10.5,"selectedVariantsMap":{}}`, nil},
		"text that cannot be stored": {conversationRow("system_prompt", "a\x00\xed\xa0\xbd"), true, `{"selectedVariantsMap":{},"systemPrompt":"a` + "\ufffd" + `"}`, notes{ReasonNULStripped, ReasonInvalidUTF8}},
	} {
		known := slices.Clone(conversationColumns)
		for _, s := range settingColumns {
			known = append(known, s.column)
		}
		var columns []string
		for col := range c.row.columns {
			columns = append(columns, col)
		}
		got := transformConversation(c.row, conversationRules{unknown: unknownColumns(columns, known...), emptyToolsMean: c.level5, hasMessage: exist})
		if got.row.Settings.String() != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got.row.Settings, c.want)
		}
		if !slices.Equal(got.notes, c.why) {
			t.Errorf("%s: %v, want %v", name, got.notes, c.why)
		}
	}
}

func TestTransformConversation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		row  record
		want models.Conversation
		why  notes
	}{
		"plain":                {conversationRow("is_pinned", int64(1), "is_new", int64(1)), models.Conversation{ConvID: "c", Title: "t", CreatedAt: someTime, UpdatedAt: someTime, IsPinned: true, IsNew: true}, nil},
		"before is_new":        {conversationRow(), models.Conversation{ConvID: "c", Title: "t", CreatedAt: someTime, UpdatedAt: someTime}, nil},
		"NULL flags":           {conversationRow("is_pinned", nil, "is_new", nil), models.Conversation{ConvID: "c", Title: "t", CreatedAt: someTime, UpdatedAt: someTime}, notes{ReasonFlagCoerced}},
		"flags as text":        {conversationRow("is_pinned", "1", "is_new", "true"), models.Conversation{ConvID: "c", Title: "t", CreatedAt: someTime, UpdatedAt: someTime, IsPinned: true, IsNew: true}, notes{ReasonFlagCoerced}},
		"no creation":          {rowOf("conv_id", "c", "title", "t", "created_at", "never", "updated_at", someTime), models.Conversation{ConvID: "c", Title: "t", CreatedAt: someTime, UpdatedAt: someTime}, notes{ReasonTimestampReplaced}},
		"no update":            {rowOf("conv_id", "c", "title", "t", "created_at", int64(1740816012), "updated_at", nil), models.Conversation{ConvID: "c", Title: "t", CreatedAt: someTime, UpdatedAt: someTime}, notes{ReasonTimestampSeconds, ReasonTimestampReplaced}},
		"no title":             {rowOf("conv_id", "c", "title", nil, "created_at", someTime, "updated_at", someTime), models.Conversation{ConvID: "c", CreatedAt: someTime, UpdatedAt: someTime}, notes{ReasonNullText}},
		"a BLOB for a title":   {rowOf("conv_id", "c", "title", []byte("t\xff"), "created_at", someTime, "updated_at", someTime), models.Conversation{ConvID: "c", Title: "t\ufffd", CreatedAt: someTime, UpdatedAt: someTime}, notes{ReasonBlobText, ReasonInvalidUTF8}},
		"a number for a title": {rowOf("conv_id", "c", "title", int64(5), "created_at", someTime, "updated_at", someTime), models.Conversation{ConvID: "c", Title: "5", CreatedAt: someTime, UpdatedAt: someTime}, notes{ReasonNumberText}},
	} {
		got := transformConversation(c.row, conversationRules{})
		c.want.Settings = models.JSON(`{"selectedVariantsMap":{}}`)
		if got.row.ConvID != c.want.ConvID || got.row.Title != c.want.Title || got.row.CreatedAt != c.want.CreatedAt || got.row.UpdatedAt != c.want.UpdatedAt ||
			got.row.IsPinned != c.want.IsPinned || got.row.IsNew != c.want.IsNew || got.row.Settings.String() != c.want.Settings.String() {
			t.Errorf("%s: %+v, want %+v", name, got.row, c.want)
		}
		if !slices.Equal(got.notes, c.why) || got.timeless {
			t.Errorf("%s: %v, want %v", name, got.notes, c.why)
		}
	}
	if got := transformConversation(rowOf("conv_id", "", "title", "t"), conversationRules{}); !got.timeless || len(got.key) != 36 || !slices.Contains(got.notes, ReasonIDDerived) {
		t.Errorf("%+v", got)
	}
}

func messageRow(pairs ...any) record {
	return rowOf(append([]any{"msg_id", "m", "conversation_id", "c", "role", "user", "content", "hi", "created_at", someTime}, pairs...)...)
}

func TestTransformMessage(t *testing.T) {
	t.Parallel()
	plain := models.Message{MsgID: "m", ConversationID: "c", Role: models.RoleUser, Content: "hi", CreatedAt: someTime, Status: models.StatusSent}
	with := func(f func(*models.Message)) models.Message {
		m := plain
		f(&m)
		return m
	}
	for name, c := range map[string]struct {
		row  record
		want models.Message
		why  notes
	}{
		"plain": {messageRow(), plain, nil},
		"every column": {
			messageRow("parent_id", "p", "order_seq", int64(4), "token_count", int64(9), "status", "error", "metadata", `{"totalTokens":7}`, "is_context_edge", int64(1), "is_variant", int64(1)),
			with(func(m *models.Message) {
				m.ParentID, m.OrderSeq, m.TokenCount, m.Status, m.IsContextEdge, m.IsVariant = "p", 4, 9, models.StatusError, true, true
				m.Metadata = models.JSON(`{"totalTokens":7}`)
			}), nil,
		},
		"NULLs":                 {messageRow("parent_id", nil, "status", nil, "metadata", nil, "is_variant", nil, "token_count", nil), plain, notes{ReasonStatusReplaced, ReasonFlagCoerced}},
		"tokens in metadata":    {messageRow("token_count", int64(0), "metadata", `{"totalTokens":12.0}`), with(func(m *models.Message) { m.TokenCount = 12; m.Metadata = models.JSON(`{"totalTokens":12.0}`) }), notes{ReasonTokenCount}},
		"tokens that are words": {messageRow("metadata", `{"totalTokens":"12"}`), with(func(m *models.Message) { m.Metadata = models.JSON(`{"totalTokens":"12"}`) }), nil},
		"content as a BLOB":     {messageRow("content", []byte("hi")), plain, notes{ReasonBlobText}},
		"escapes in content":    {messageRow("content", `{"a":"\u0000\ud83d"}`), with(func(m *models.Message) { m.Content = `{"a":"\u0000\ud83d"}` }), nil},
		"NUL in content":        {messageRow("content", "h\x00i"), plain, notes{ReasonNULStripped}},
		"surrogates in content": {messageRow("content", "\xed\xa0\xbd\xed\xa0\xbdhi"), with(func(m *models.Message) { m.Content = "\ufffdhi" }), notes{ReasonInvalidUTF8}},
		"role in capitals":      {messageRow("role", " User"), plain, notes{ReasonRoleCoerced}},
		"unknown status":        {messageRow("status", "lost"), plain, notes{ReasonStatusReplaced}},
		"order as text":         {messageRow("order_seq", "3"), with(func(m *models.Message) { m.OrderSeq = 3 }), notes{ReasonNumberCoerced}},
		"tokens as rubbish":     {messageRow("token_count", "some"), plain, notes{ReasonNumberReplaced}},
		"large numbers":         {messageRow("order_seq", int64(1<<53+1), "token_count", 1e300), with(func(m *models.Message) { m.OrderSeq, m.TokenCount = 1<<53+1, math.MaxInt64 }), notes{ReasonNumberCoerced}},
		"time in seconds":       {rowOf("msg_id", "m", "conversation_id", "c", "role", "user", "content", "hi", "created_at", int64(1740816012)), plain, notes{ReasonTimestampSeconds}},
		"unknown column":        {messageRow("odd", "x"), with(func(m *models.Message) { m.Metadata = models.JSON(`{"_legacy":{"odd":"x"}}`) }), nil},
	} {
		got := transformMessage(c.row, messageRules{unknown: []string{"odd"}})
		if got.reject != "" || !sameMessage(&got.row, &c.want) || got.row.MsgID != c.want.MsgID {
			t.Errorf("%s: %+v, want %+v", name, got.row, c.want)
		}
		if !slices.Equal(got.notes, c.why) {
			t.Errorf("%s: %v, want %v", name, got.notes, c.why)
		}
	}
	if got := transformMessage(rowOf("msg_id", "m", "role", "tool"), messageRules{}); got.reject != ReasonRole {
		t.Errorf("unknown role: %+v", got)
	}
	if got := transformMessage(rowOf("msg_id", "m", "role", "user", "created_at", "soon"), messageRules{}); !got.timeless {
		t.Errorf("a time that is none: %+v", got)
	}
	a, b := transformMessage(rowOf("msg_id", "", "role", "user", "conversation_id", "c"), messageRules{}), transformMessage(rowOf("msg_id", nil, "role", "user", "conversation_id", "d"), messageRules{})
	if len(a.key) != 36 || a.key == b.key {
		t.Errorf("derived ids %s %s", a.key, b.key)
	}
	pending := messageRules{pendingAsError: true}
	if got := transformMessage(messageRow("status", "pending"), pending); got.row.Status != models.StatusPending {
		t.Errorf("a question of the user is no interrupted answer: %+v", got.row)
	}
	if got := transformMessage(rowOf("msg_id", "m", "role", "assistant", "status", "pending"), pending); got.row.Status != models.StatusError || !slices.Contains(got.notes, ReasonPendingAsError) {
		t.Errorf("%+v", got.row)
	}
}

func TestTransformAttachments(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		content  any
		metadata any
		want     string
		why      notes
	}{
		"as it is":                   {`{"title": "t" }`, nil, `{"title": "t" }`, nil},
		"metadata into an object":    {`{"title": "t" }`, `{"e":1}`, `{"title": "t","_legacy":{"metadata":"{\"e\":1}"}}`, notes{ReasonAttachmentMetadata}},
		"metadata into an empty one": {`{}`, "x", `{"_legacy":{"metadata":"x"}}`, notes{ReasonAttachmentMetadata}},
		"metadata beside text":       {"plain", "x", `{"content":"plain","_legacy":{"metadata":"x"}}`, notes{ReasonAttachmentMetadata}},
		"NUL in content":             {"a\x00b", nil, "ab", notes{ReasonNULStripped}},
	} {
		r := rowOf("attachment_id", "a", "message_id", "m", "type", "search_result", "content", c.content, "created_at", someTime, "metadata", c.metadata)
		got := transformMessageAttachment(r, attachmentRules{unknown: []string{"metadata"}})
		if got.row.Data != c.want || !slices.Equal(got.notes, c.why) {
			t.Errorf("%s: %s %v, want %s %v", name, got.row.Data, got.notes, c.want, c.why)
		}
		if got.row.AttachmentID != "a" || got.row.MessageID != "m" || got.row.Type != "search_result" || got.row.CreatedAt != someTime {
			t.Errorf("%s: %+v", name, got.row)
		}
	}
	columns := []string{"id", "attach_id", "message_id", "attachment_type", "file_name", "file_size", "storage_path", "thumbnail", "created_at"}
	rules := attachmentRules{columns: columns, messageOf: func(ref string) (string, bool) { return "m-" + ref, ref == "12" }}
	r := rowOf("id", int64(1), "attach_id", "a", "message_id", "12", "attachment_type", "image", "file_name", "<图>\x00", "file_size", int64(1<<53+1),
		"storage_path", nil, "thumbnail", []byte{0xff, 0, 1}, "created_at", someTime)
	got := transformAttachment(r, rules)
	want := `{"attach_id":"a","attachment_type":"image","created_at":1740816012000,"file_name":"<图>","file_size":9007199254740993,"id":1,"message_id":"12","storage_path":null,"thumbnail":"/wAB"}`
	if got.row.Data != want || got.row.MessageID != "m-12" || got.row.Type != "image" || got.key != "a" || !slices.Equal(got.notes, notes{ReasonNULStripped}) {
		t.Errorf("%+v %v", got.row, got.notes)
	}
	if got := transformAttachment(rowOf("attach_id", "a", "message_id", "m-direct"), rules); got.row.MessageID != "m-direct" {
		t.Errorf("%+v", got.row)
	}
}
