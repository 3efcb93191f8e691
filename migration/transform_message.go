package migration

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/talkbase/talkbase/models"
)

// messageColumns are the columns of messages that have a place in the target.
var messageColumns = []string{
	"id", "msg_id", "conversation_id", "parent_id", "role", "content", "created_at", "order_seq",
	"token_count", "status", "metadata", "is_context_edge", "is_variant",
}

// messageRules is what the transformation of messages needs to know of the file.
type messageRules struct {
	// unknown are the columns to keep under metadata._legacy.
	unknown []string
	// order holds the new order_seq of rows whose conversation is renumbered.
	order map[int64]int64
	// emptyConversation is the id that stands for a conversation without one.
	emptyConversation string
	// pendingAsError marks interrupted answers.
	pendingAsError bool
}

// transformMessage makes a message of a row. A row with an unusable time is timeless.
func transformMessage(r record, rules messageRules) transformed[models.Message] {
	t := transformed[models.Message]{src: r.row}
	n := &t.notes
	m := &t.row
	m.ConversationID = n.clean(plainText(n, r.get("conversation_id")))
	m.MsgID = n.clean(plainText(n, r.get("msg_id")))
	if m.MsgID == "" {
		m.MsgID = messageOriginID(r.row.RowID, m.ConversationID)
		n.add(ReasonIDDerived)
	}
	t.key = m.MsgID
	if m.ConversationID == "" {
		m.ConversationID = rules.emptyConversation
	}
	m.ParentID = n.optionalText(r.get("parent_id"))
	m.Role = readRole(r.get("role"), n)
	if !m.Role.Valid() {
		t.reject = ReasonRole
		return t
	}
	m.Content = n.text(r.get("content"))
	ms, ok := n.time(r.get("created_at"))
	m.CreatedAt, t.timeless = ms, !ok
	if seq, ok := rules.order[r.row.RowID]; ok {
		if had, isInt := r.get("order_seq").(int64); !isInt || had != seq {
			n.add(ReasonOrderRenumbered)
		}
		m.OrderSeq = seq
	} else {
		m.OrderSeq = n.int(r.get("order_seq"), 0)
	}
	m.Metadata = n.object(r.get("metadata"))
	m.TokenCount = n.int(r.get("token_count"), 0)
	if m.TokenCount == 0 {
		if total := totalTokens(m.Metadata); total > 0 {
			m.TokenCount = total
			n.add(ReasonTokenCount)
		}
	}
	m.Status = readMessageStatus(r.get("status"), r.has("status"), n)
	if rules.pendingAsError && m.Status == models.StatusPending && m.Role == models.RoleAssistant {
		m.Status = models.StatusError
		n.add(ReasonPendingAsError)
	}
	m.IsContextEdge = models.Flag(r.has("is_context_edge") && n.flag(r.get("is_context_edge")))
	m.IsVariant = models.Flag(r.has("is_variant") && n.flag(r.get("is_variant")))
	if legacy := legacyValues(r, rules.unknown, n); len(legacy) > 0 {
		m.Metadata = withMember(m.Metadata, keyLegacy, legacy)
	}
	return t
}

// messageOriginID is the id of a message that has none.
func messageOriginID(rowID int64, conversation string) string {
	return derivedID("messages", conversation, strconv.FormatInt(rowID, 10))
}

// legacyValues collects the values of columns without a place, NULL left out.
func legacyValues(r record, columns []string, n *notes) map[string]any {
	var out map[string]any
	for _, c := range columns {
		v := r.get(strings.ToLower(c))
		if v == nil {
			continue
		}
		if out == nil {
			out = map[string]any{}
		}
		out[n.clean(c)] = n.plainValue(v)
	}
	return out
}

func readRole(v any, n *notes) models.Role {
	raw := n.optionalText(v)
	role := models.Role(raw)
	if !role.Valid() {
		if role = models.Role(strings.ToLower(strings.TrimSpace(raw))); role.Valid() {
			n.add(ReasonRoleCoerced)
		}
	}
	return role
}

func readMessageStatus(v any, there bool, n *notes) models.MessageStatus {
	s := models.MessageStatus(n.optionalText(v))
	if s.Valid() {
		return s
	}
	if there {
		n.add(ReasonStatusReplaced)
	}
	return models.StatusSent
}

// totalTokens returns metadata.totalTokens, 0 when it is not there or no number.
func totalTokens(metadata models.JSON) int64 {
	value, ok := metadata.Member("totalTokens")
	if !ok || value[0] != '-' && (value[0] < '0' || value[0] > '9') {
		return 0
	}
	i, _, _ := textInt(string(value))
	return i
}

// attachmentColumns are the columns of message_attachments that have a place in the target.
var attachmentColumns = []string{"id", "attachment_id", "message_id", "type", "content", "created_at"}

// attachmentRules is what the transformation of attachments needs to know of the file.
type attachmentRules struct {
	// columns are those of the table.
	columns []string
	// unknown are the columns to keep inside the data.
	unknown []string
	// messageOf returns the id of the message that the table attachments refers to by number.
	messageOf func(ref string) (id string, ok bool)
	// emptyMessage is the id that stands for a message without one.
	emptyMessage string
}

// transformMessageAttachment makes an attachment of a row of message_attachments. Its content
// stays as it is, unless there are values without a place of their own.
func transformMessageAttachment(r record, rules attachmentRules) transformed[models.MessageAttachment] {
	t := transformed[models.MessageAttachment]{src: r.row}
	n := &t.notes
	a := &t.row
	a.MessageID = n.clean(plainText(n, r.get("message_id")))
	a.AttachmentID = n.clean(plainText(n, r.get("attachment_id")))
	if a.AttachmentID == "" {
		a.AttachmentID = derivedID("message_attachments", a.MessageID, strconv.FormatInt(r.row.RowID, 10))
		n.add(ReasonIDDerived)
	}
	t.key = a.AttachmentID
	if a.MessageID == "" {
		a.MessageID = rules.emptyMessage
	}
	a.Type = n.text(r.get("type"))
	a.Data = n.text(r.get("content"))
	ms, ok := n.time(r.get("created_at"))
	a.CreatedAt, t.timeless = ms, !ok
	if legacy := legacyValues(r, rules.unknown, n); len(legacy) > 0 {
		if data, err := dataWithLegacy(a.Data, legacy); err == nil {
			a.Data = data
			n.add(ReasonAttachmentMetadata)
		}
	}
	return t
}

// dataWithLegacy adds values to an attachment's data under _legacy. The text of a JSON object stays
// as it is before that member; other data moves to the member content.
func dataWithLegacy(data string, legacy map[string]any) (string, error) {
	b, err := json.Marshal(legacy)
	if err != nil {
		return "", err
	}
	trimmed := strings.TrimSpace(data)
	if strings.HasPrefix(trimmed, "{") && json.Valid([]byte(trimmed)) {
		body := strings.TrimSpace(strings.TrimSuffix(trimmed, "}"))
		comma := ","
		if body == "{" {
			comma = ""
		}
		return body + comma + `"` + keyLegacy + `":` + string(b) + "}", nil
	}
	content, err := json.Marshal(data)
	if err != nil {
		return "", err
	}
	return `{"content":` + string(content) + `,"` + keyLegacy + `":` + string(b) + "}", nil
}

// transformAttachment makes an attachment of a row of the table attachments, which names its
// message by number. Its data is a JSON object of all columns, the thumbnail in base64.
func transformAttachment(r record, rules attachmentRules) transformed[models.MessageAttachment] {
	t := transformed[models.MessageAttachment]{src: r.row}
	n := &t.notes
	a := &t.row
	ref := messageRef(r.get("message_id"))
	var ok bool
	if a.MessageID, ok = rules.messageOf(ref); !ok {
		a.MessageID = ref
	}
	a.AttachmentID = n.clean(plainText(n, r.get("attach_id")))
	if a.AttachmentID == "" {
		a.AttachmentID = derivedID("attachments", a.MessageID, strconv.FormatInt(r.row.RowID, 10))
		n.add(ReasonIDDerived)
	}
	t.key = a.AttachmentID
	a.Type = n.text(r.get("attachment_type"))
	ms, ok := n.time(r.get("created_at"))
	a.CreatedAt, t.timeless = ms, !ok
	data := make(map[string]any, len(rules.columns))
	for _, column := range rules.columns {
		v := r.get(strings.ToLower(column))
		if s, isText := v.(string); isText && strings.EqualFold(column, "thumbnail") {
			v = base64.StdEncoding.EncodeToString([]byte(s))
		}
		data[n.clean(column)] = n.plainValue(v)
	}
	b, err := marshalPlain(data)
	if err != nil { // plainValue leaves nothing that cannot be encoded
		t.reject, t.detail = ReasonRefused, err.Error()
		return t
	}
	a.Data = b
	return t
}

// messageRef reads the number of a message that the table attachments keeps as text.
func messageRef(v any) string {
	if f, ok := v.(float64); ok {
		if i, exact, _ := clampFloat(f); exact {
			return strconv.FormatInt(i, 10)
		}
	}
	return strings.TrimSpace(plainID(v))
}

// marshalPlain encodes v without escaping HTML.
func marshalPlain(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
