package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/google/uuid"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
)

// The shape of a made database: so many messages in each ordinary conversation, one message in
// longShare in the long one, and about as many pinned conversations as a person pins, however many there
// are.
const (
	perConversation = 18
	longShare       = 10
	pinned          = 12
	longID          = "long"
	epoch           = 1_700_000_000_000 // milliseconds
	loadBatch       = 10_000
	loadCall        = 2_000
)

// id makes the n-th id of a kind: ascending as UUIDv7 is, and the same in every run.
func id(kind byte, n int) string {
	var u uuid.UUID
	binary.BigEndian.PutUint64(u[:8], uint64(epoch+n)<<16|0x7000)
	binary.BigEndian.PutUint64(u[8:], mix(uint64(n)+uint64(kind)<<56))
	u[8] = u[8]&0x3f | 0x80
	return u.String()
}

// mix spreads the bits of x (splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// words is what messages are written with: common words often, rare ones rarely.
var words = func() []string {
	syllables := strings.Fields("ra to mi len dor ka sel un ber tan vi mor de sa ling ex por ti gan ro")
	r := rand.New(rand.NewPCG(1, 2))
	out := strings.Fields("the of and to in is you that it for on with as are this have from or one had by word but not what all were we when your can said there use an each which she do how their if will")
	for len(out) < 4000 {
		var b strings.Builder
		for range 2 + r.IntN(3) {
			b.WriteString(syllables[r.IntN(len(syllables))])
		}
		out = append(out, b.String())
	}
	return out
}()

func sentence(r *rand.Rand, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		x := r.Float64()
		b.WriteString(words[int(x*x*x*float64(len(words)))])
	}
	return b.String()
}

// message makes the n-th message of a database.
func message(r *rand.Rand, n int, conversation string, seq int64) models.Message {
	m := models.Message{
		MsgID: id('m', n), ConversationID: conversation, CreatedAt: epoch + int64(n)*1000, OrderSeq: seq,
		Role: models.RoleUser, Status: models.StatusSent,
	}
	if seq > 1 {
		m.ParentID = id('p', n)
	}
	if seq%2 == 1 {
		m.Content = fmt.Sprintf(`{"text":%q,"files":[],"links":[],"search":false,"think":false}`, sentence(r, 6+r.IntN(12)))
		m.Metadata = models.JSON("{}")
		return m
	}
	words := 15 + r.IntN(25)
	m.Role, m.TokenCount = models.RoleAssistant, int64(words)
	m.Content = fmt.Sprintf(`[{"type":"content","content":%q,"status":"success","timestamp":%d}]`, sentence(r, words), m.CreatedAt)
	m.Metadata = models.JSON(fmt.Sprintf(
		`{"contextUsage":0,"firstTokenTime":%d,"generationTime":%d,"inputTokens":%d,"model":"gpt-4o-mini","outputTokens":%d,"provider":"openai","tokensPerSecond":%d.5}`,
		200+r.IntN(900), 900+r.IntN(9000), 10+r.IntN(500), words, 20+r.IntN(80)))
	return m
}

// Load fills an empty database with so many messages through the bulk loader, always the same
// ones.
func Load(ctx context.Context, db *talkbase.DB, messages int) error {
	bulk := db.Bulk()
	r := rand.New(rand.NewPCG(3, 4))
	conversations := []models.Conversation{{ConvID: longID, Title: "The long one", CreatedAt: epoch, UpdatedAt: epoch}}
	ordinary := (messages - messages/longShare + perConversation - 1) / perConversation
	for i := range ordinary {
		at := int64(epoch + i*perConversation*1000)
		conversations = append(conversations, models.Conversation{
			ConvID: id('c', i), Title: sentence(r, 2+r.IntN(5)), CreatedAt: at, UpdatedAt: at + perConversation*1000,
			IsPinned: models.Flag(i%max(ordinary/pinned, 1) == 0), Settings: models.JSON(`{"model":"gpt-4o-mini","temperature":0.7}`),
		})
	}
	for from := 0; from < len(conversations); from += loadBatch {
		if err := bulk.InsertConversations(ctx, conversations[from:min(from+loadBatch, len(conversations))]); err != nil {
			return err
		}
	}
	var long, other int64
	next := func(n int) models.Message {
		if n%longShare == longShare-1 {
			long++
			return message(r, n, longID, long)
		}
		m := message(r, n, conversations[1+other/perConversation].ConvID, 1+other%perConversation)
		other++
		return m
	}
	rows := make([]models.Message, 0, loadCall)
	for n := 0; n < messages; {
		err := bulk.Batch(ctx, func(ctx context.Context) error {
			for end := min(n+loadBatch, messages); n < end; {
				rows = rows[:0]
				for ; n < end && len(rows) < loadCall; n++ {
					rows = append(rows, next(n))
				}
				if err := bulk.InsertMessages(ctx, rows); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// knowledge makes the base, the file and the chunks that vectors belong to.
func knowledge(ctx context.Context, db *talkbase.DB, n, dimensions int) error {
	base, err := db.CreateBase(ctx, models.KnowledgeBase{ID: "vectors", Dimensions: int64(dimensions), Metric: models.MetricCosine})
	if err != nil {
		return err
	}
	file, err := db.InsertFile(ctx, models.KnowledgeFile{ID: "vectors-file", BaseID: base.ID, Name: "book.md", Path: "/book.md", Status: models.TaskProcessed})
	if err != nil {
		return err
	}
	chunks := make([]models.KnowledgeChunk, n)
	for i := range chunks {
		chunks[i] = models.KnowledgeChunk{ID: id('k', i), FileID: file.ID, ChunkIndex: int64(i), Content: "chunk", Status: models.TaskProcessed}
	}
	for from := 0; from < n; from += loadBatch {
		if err := db.Bulk().InsertChunks(ctx, chunks[from:min(from+loadBatch, n)]); err != nil {
			return err
		}
	}
	return nil
}

// vectors makes n embeddings for the chunks of knowledge.
func vectors(n, dimensions int, seed uint64) []models.KnowledgeVector {
	r := rand.New(rand.NewPCG(5, seed))
	out := make([]models.KnowledgeVector, n)
	for i := range out {
		v := make(models.Vector, dimensions)
		for j := range v {
			v[j] = r.Float32()*2 - 1
		}
		out[i] = models.KnowledgeVector{
			ID: id('v', i), BaseID: "vectors", FileID: "vectors-file", ChunkID: id('k', i), Embedding: v, CreatedAt: epoch,
		}
	}
	return out
}
