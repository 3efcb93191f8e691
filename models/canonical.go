package models

import "encoding/binary"

// canon appends fields so that no two different rows come out alike: texts behind their length,
// integers as 8 bytes.
type canon []byte

func (c canon) text(s string) canon {
	return append(binary.AppendUvarint(c, uint64(len(s))), s...)
}

func (c canon) integer(n int64) canon { return binary.BigEndian.AppendUint64(c, uint64(n)) } //nolint:gosec // the bits are what counts

func (c canon) flag(f Flag) canon {
	if f {
		return append(c, 1)
	}
	return append(c, 0)
}

// AppendCanonical appends the row's canonical form: equal on every engine for equal rows, different
// for different ones. The keys that a database assigns, and the counts it keeps, are not part of it.
func (c *Conversation) AppendCanonical(b []byte) []byte {
	return canon(b).text(c.ConvID).text(c.Title).integer(c.CreatedAt).integer(c.UpdatedAt).flag(c.IsPinned).flag(c.IsNew).text(c.Settings.String())
}

// AppendCanonical appends the row's canonical form; see Conversation.AppendCanonical.
func (m *Message) AppendCanonical(b []byte) []byte {
	return canon(b).text(m.MsgID).text(m.ConversationID).text(m.ParentID).text(string(m.Role)).text(m.Content).integer(m.CreatedAt).
		integer(m.OrderSeq).integer(m.TokenCount).text(string(m.Status)).text(m.Metadata.String()).flag(m.IsContextEdge).flag(m.IsVariant)
}

// AppendCanonical appends the row's canonical form; see Conversation.AppendCanonical.
func (a *MessageAttachment) AppendCanonical(b []byte) []byte {
	return canon(b).text(a.AttachmentID).text(a.MessageID).text(a.Type).text(a.Data).integer(a.CreatedAt)
}

// AppendCanonical appends the row's canonical form; see Conversation.AppendCanonical.
func (k *KnowledgeBase) AppendCanonical(b []byte) []byte {
	return canon(b).text(k.ID).text(k.Name).integer(k.Dimensions).text(string(k.Metric)).text(k.EmbeddingModel).text(k.Settings.String()).integer(k.CreatedAt)
}

// AppendCanonical appends the row's canonical form; see Conversation.AppendCanonical.
func (f *KnowledgeFile) AppendCanonical(b []byte) []byte {
	return canon(b).text(f.ID).text(f.BaseID).text(f.Name).text(f.Path).text(f.MimeType).text(string(f.Status)).integer(f.UploadedAt).text(f.Metadata.String())
}

// AppendCanonical appends the row's canonical form; see Conversation.AppendCanonical.
func (c *KnowledgeChunk) AppendCanonical(b []byte) []byte {
	return canon(b).text(c.ID).text(c.FileID).integer(c.ChunkIndex).text(c.Content).text(string(c.Status)).text(c.Error)
}

// AppendCanonical appends the row's canonical form, the embedding bit for bit; see
// Conversation.AppendCanonical.
func (v *KnowledgeVector) AppendCanonical(b []byte) []byte {
	c := canon(b).text(v.ID).text(v.BaseID).text(v.FileID).text(v.ChunkID)
	c = v.Embedding.AppendBlob(binary.AppendUvarint(c, uint64(4*len(v.Embedding)))) // as a text is
	return c.integer(v.CreatedAt)
}
