package models

// Conversation is one chat. ConvID is its key for callers; ID is assigned by the database.
type Conversation struct {
	ID     int64  `gorm:"column:id;primaryKey;autoIncrement;index:idx_conversations_recent,priority:3,sort:desc;index:idx_conversations_updated,priority:2,sort:desc" json:"id"`
	ConvID string `gorm:"column:conv_id;not null;unique" json:"conv_id"`
	Title  string `gorm:"column:title;type:text;not null" json:"title"`
	// CreatedAt is in milliseconds since the Unix epoch.
	CreatedAt int64 `gorm:"column:created_at;not null;autoCreateTime:false" json:"created_at"`
	// UpdatedAt is in milliseconds since the Unix epoch.
	UpdatedAt int64 `gorm:"column:updated_at;not null;autoUpdateTime:false;index:idx_conversations_recent,priority:2,sort:desc;index:idx_conversations_updated,priority:1,sort:desc" json:"updated_at"`
	IsPinned  Flag  `gorm:"column:is_pinned;not null;sqldefault:0;index:idx_conversations_recent,priority:1,sort:desc" json:"is_pinned"`
	// IsNew is true until the conversation is renamed or the host clears it.
	IsNew    Flag `gorm:"column:is_new;not null;sqldefault:1" json:"is_new"`
	Settings JSON `gorm:"column:settings;not null;sqldefault:'{}'" json:"settings"`
	// MessageCount is kept by the database's own triggers, so that plain SQL keeps it true as
	// well. What a caller writes into it is ignored.
	MessageCount int64 `gorm:"column:message_count;->;not null;sqldefault:0" json:"message_count"`
}

// TableName is conversations.
func (Conversation) TableName() string { return "conversations" }

// NewConversation returns a conversation with a title that is marked new, as a chat application
// starts one.
func NewConversation(title string) Conversation {
	return Conversation{Title: title, IsNew: true}
}
