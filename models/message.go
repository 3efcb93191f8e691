package models

// Role says who speaks in a message.
type Role string

// The roles a message can have.
const (
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleSystem    Role = "system"
	RoleFunction  Role = "function"
)

// Roles lists every role.
func Roles() []Role { return []Role{RoleUser, RoleAssistant, RoleSystem, RoleFunction} }

// Valid reports whether r is one of Roles.
func (r Role) Valid() bool {
	switch r {
	case RoleUser, RoleAssistant, RoleSystem, RoleFunction:
		return true
	}
	return false
}

// MessageStatus says how far a message has come.
type MessageStatus string

// The states of a message.
const (
	StatusSent    MessageStatus = "sent"
	StatusPending MessageStatus = "pending"
	StatusError   MessageStatus = "error"
)

// Valid reports whether s is one of the three states.
func (s MessageStatus) Valid() bool {
	switch s {
	case StatusSent, StatusPending, StatusError:
		return true
	}
	return false
}

// Message is one message of a conversation. A conversation's order is (OrderSeq, ID).
type Message struct {
	ID             int64  `gorm:"column:id;primaryKey;autoIncrement;index:idx_messages_conversation,priority:3" json:"id"`
	MsgID          string `gorm:"column:msg_id;not null;unique" json:"msg_id"`
	ConversationID string `gorm:"column:conversation_id;not null;index:idx_messages_conversation,priority:1" json:"conversation_id"`
	// ParentID is the MsgID this message answers, "" for none. It is not a foreign key: the
	// parent may have been deleted.
	ParentID string `gorm:"column:parent_id;not null;sqldefault:'';index:idx_messages_parent" json:"parent_id"`
	Role     Role   `gorm:"column:role;type:text;not null;check:chk_messages_role,role IN ('user', 'assistant', 'system', 'function')" json:"role"`
	// Content is kept exactly as given: plain text, or the JSON a chat application writes.
	Content string `gorm:"column:content;type:text;not null" json:"content"`
	// CreatedAt is in milliseconds since the Unix epoch.
	CreatedAt  int64         `gorm:"column:created_at;not null;autoCreateTime:false;index:idx_messages_timeline,sort:desc" json:"created_at"`
	OrderSeq   int64         `gorm:"column:order_seq;not null;sqldefault:0;index:idx_messages_conversation,priority:2" json:"order_seq"`
	TokenCount int64         `gorm:"column:token_count;not null;sqldefault:0" json:"token_count"`
	Status     MessageStatus `gorm:"column:status;type:text;not null;sqldefault:'sent';check:chk_messages_status,status IN ('sent', 'pending', 'error')" json:"status"`
	Metadata   JSON          `gorm:"column:metadata;not null;sqldefault:'{}'" json:"metadata"`
	// IsContextEdge marks where the context sent to a model begins anew.
	IsContextEdge Flag `gorm:"column:is_context_edge;not null;sqldefault:0;index:idx_messages_context_edge" json:"is_context_edge"`
	// IsVariant marks another answer to the same parent.
	IsVariant Flag `gorm:"column:is_variant;not null;sqldefault:0" json:"is_variant"`

	Conversation *Conversation `gorm:"foreignKey:ConversationID;references:ConvID;constraint:OnDelete:CASCADE" json:"-"`
}

// TableName is messages.
func (Message) TableName() string { return "messages" }

// MessageAttachment is something that belongs to a message: a search result, a file, an image.
type MessageAttachment struct {
	ID           int64  `gorm:"column:id;primaryKey;autoIncrement" json:"id"`
	AttachmentID string `gorm:"column:attachment_id;not null;unique;sqldefault:unique" json:"attachment_id"`
	MessageID    string `gorm:"column:message_id;not null;index:idx_message_attachments_message,priority:1" json:"message_id"`
	Type         string `gorm:"column:attachment_type;type:text;not null;index:idx_message_attachments_message,priority:2" json:"attachment_type"`
	Data         string `gorm:"column:attachment_data;type:text;not null" json:"attachment_data"`
	// CreatedAt is in milliseconds since the Unix epoch.
	CreatedAt int64 `gorm:"column:created_at;not null;autoCreateTime:false;sqldefault:now" json:"created_at"`

	Message *Message `gorm:"foreignKey:MessageID;references:MsgID;constraint:OnDelete:CASCADE" json:"-"`
}

// TableName is message_attachments.
func (MessageAttachment) TableName() string { return "message_attachments" }
