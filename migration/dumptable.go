package migration

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/internal/sqlitefile"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// The kinds of columns in a dump: a text, JSON and bytes are a length (uvarint) and bytes, an integer is
// a varint, a flag is one byte, a vector is a length in elements and little-endian float32.
const (
	kindText    = "text"
	kindJSON    = "json"
	kindBytes   = "bytes"
	kindInteger = "integer"
	kindFlag    = "flag"
	kindVector  = "vector"
)

// dumpColumn says how a column of T is written and read.
type dumpColumn[T any] struct {
	name, kind string
	put        func(b []byte, row *T) []byte
	get        func(r *rowReader, row *T) error
	// text is set for texts, which one of the engines may not be able to store.
	text func(row *T) string
	// value is what a reject file holds.
	value func(row *T) any
	// set takes a value of whatever type as well as it can be read.
	set func(row *T, v any, n *notes) error
}

func textColumn[T any, S ~string](name string, at func(*T) *S) dumpColumn[T] {
	return dumpColumn[T]{
		name: name, kind: kindText,
		put: func(b []byte, row *T) []byte {
			s := *at(row)
			return append(binary.AppendUvarint(b, uint64(len(s))), s...)
		},
		get: func(r *rowReader, row *T) error {
			s, err := r.bytes(1)
			*at(row) = S(s)
			return err
		},
		text:  func(row *T) string { return string(*at(row)) },
		value: func(row *T) any { return string(*at(row)) },
		set: func(row *T, v any, n *notes) error {
			*at(row) = S(n.text(v))
			return nil
		},
	}
}

func bytesColumn[T any, B ~[]byte](name, kind string, at func(*T) *B) dumpColumn[T] {
	c := dumpColumn[T]{
		name: name, kind: kind,
		put: func(b []byte, row *T) []byte {
			s := *at(row)
			return append(binary.AppendUvarint(b, uint64(len(s))), s...)
		},
		get: func(r *rowReader, row *T) error {
			s, err := r.bytes(1)
			*at(row) = s
			return err
		},
		value: func(row *T) any { return []byte(*at(row)) },
		set: func(row *T, v any, _ *notes) error {
			b, ok := v.([]byte)
			if !ok {
				return fmt.Errorf("%s is no BLOB", name)
			}
			*at(row) = b
			return nil
		},
	}
	if kind == kindJSON {
		c.text = func(row *T) string { return string(*at(row)) }
		c.value = func(row *T) any { return string(*at(row)) }
		c.set = func(row *T, v any, n *notes) error {
			*at(row) = B(n.object(v))
			return nil
		}
	}
	return c
}

func integerColumn[T any](name string, at func(*T) *int64) dumpColumn[T] {
	return dumpColumn[T]{
		name: name, kind: kindInteger,
		put: func(b []byte, row *T) []byte { return binary.AppendVarint(b, *at(row)) },
		get: func(r *rowReader, row *T) (err error) {
			*at(row), err = r.integer()
			return err
		},
		value: func(row *T) any { return *at(row) },
		set: func(row *T, v any, n *notes) error {
			*at(row) = n.int(v, 0)
			return nil
		},
	}
}

func flagColumn[T any](name string, at func(*T) *models.Flag) dumpColumn[T] {
	return dumpColumn[T]{
		name: name, kind: kindFlag,
		put: func(b []byte, row *T) []byte {
			if *at(row) {
				return append(b, 1)
			}
			return append(b, 0)
		},
		get: func(r *rowReader, row *T) error {
			b, err := r.ReadByte()
			if err == nil && b > 1 {
				err = damagedf("a flag is %d, before byte %d", b, r.f.at)
			}
			*at(row) = b == 1
			return err
		},
		value: func(row *T) any {
			if *at(row) {
				return int64(1)
			}
			return int64(0)
		},
		set: func(row *T, v any, n *notes) error {
			*at(row) = models.Flag(n.flag(v))
			return nil
		},
	}
}

func vectorColumn[T any](name string, at func(*T) *models.Vector) dumpColumn[T] {
	return dumpColumn[T]{
		name: name, kind: kindVector,
		put: func(b []byte, row *T) []byte {
			v := *at(row)
			b = binary.AppendUvarint(b, uint64(len(v)))
			for _, x := range v {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
			}
			return b
		},
		get: func(r *rowReader, row *T) error {
			b, err := r.bytes(4)
			if err != nil {
				return err
			}
			v := make(models.Vector, len(b)/4)
			for i := range v {
				v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
			}
			*at(row) = v
			return nil
		},
		value: func(row *T) any { return []float32(*at(row)) },
		set: func(row *T, v any, _ *notes) error {
			b, ok := v.([]byte)
			if !ok || len(b) == 0 || len(b)%4 != 0 {
				return fmt.Errorf("%s is no vector", name)
			}
			return at(row).Scan(b)
		},
	}
}

// skipValue reads a value of a column that this version does not have any more.
func skipValue(r *rowReader, kind string) error {
	var err error
	switch kind {
	case kindText, kindJSON, kindBytes:
		_, err = r.bytes(1)
	case kindVector:
		_, err = r.bytes(4)
	case kindInteger:
		_, err = r.integer()
	case kindFlag:
		_, err = r.ReadByte()
	default:
		err = damagedf("a column of the kind %.40q", kind)
	}
	return err
}

// dumpTable says how a table is dumped, restored and copied.
type dumpTable[T any] struct {
	name    string
	columns []dumpColumn[T]
	rows    func(v *repo.View, ctx context.Context, f func(*T) error) error
	load    func(b *repo.Bulk, ctx context.Context, rows []T) error
	// canonical is what the digest is of; the dumped row where it is nil.
	canonical func(row *T, b []byte) []byte
	// key names the row.
	key func(row *T) string
	// number sets the integer key, which the digest leaves out; nil where there is none.
	number func(row *T) *int64
	// stored are the columns of the table in the order in which SQLite stores them, where they are not
	// those of columns.
	stored []string
	// likely reports whether the values of a row are of the kind that this table holds, where their types
	// alone do not tell.
	likely func(row *T) bool
}

// anyTable is a dumpTable of whatever rows.
type anyTable interface {
	table() string
	head() tableHead
	// dump writes the rows of v.
	dump(ctx context.Context, v *repo.View, s *dumping) (Digest, error)
	// check reads the rows of a dump.
	check(ctx context.Context, r *rowReader, columns [][2]string, s *checking) (Digest, error)
	// restore stores the rows of a dump, copy those of v.
	restore(ctx context.Context, r *rowReader, columns [][2]string, l *loader) error
	copy(ctx context.Context, v *repo.View, l *loader) error
	// digest is that of the rows of v.
	digest(ctx context.Context, v *repo.View) (Digest, error)
	// fits reports whether a row of an SQLite file may be of this table.
	fits(row sqlitefile.Row) bool
	// salvage stores what can be read of a damaged SQLite file.
	salvage(ctx context.Context, s *salvager) error
}

func (t *dumpTable[T]) table() string { return t.name }

func (t *dumpTable[T]) head() tableHead {
	h := tableHead{Table: t.name}
	for _, c := range t.columns {
		h.Columns = append(h.Columns, [2]string{c.name, c.kind})
	}
	return h
}

func (t *dumpTable[T]) append(b []byte, row *T) []byte {
	for i := range t.columns {
		b = t.columns[i].put(b, row)
	}
	return b
}

// hash is the SHA-256 of the row's canonical form, buf room to make it in.
func (t *dumpTable[T]) hash(row *T, buf *[]byte) rowHash {
	if t.canonical != nil {
		*buf = t.canonical(row, (*buf)[:0])
	} else {
		*buf = t.append((*buf)[:0], row)
	}
	return sha256.Sum256(*buf)
}

// fault describes the first text of a row that not every database can store, "" when there is none.
func (t *dumpTable[T]) fault(row *T) string {
	for i := range t.columns {
		c := &t.columns[i]
		if c.text == nil {
			continue
		}
		s := c.text(row)
		switch {
		case strings.IndexByte(s, 0) >= 0:
			return c.name + " holds a NUL"
		case !utf8.ValidString(s):
			return c.name + " is not valid UTF-8"
		}
	}
	return ""
}

// read calls f for every row of a dump whose columns are these.
func (t *dumpTable[T]) read(ctx context.Context, r *rowReader, columns [][2]string, f func(*T) error) error {
	order := make([]*dumpColumn[T], len(columns))
	for i, c := range columns {
		at := slices.IndexFunc(t.columns, func(have dumpColumn[T]) bool { return have.name == c[0] })
		if at < 0 {
			continue
		}
		if order[i] = &t.columns[at]; order[i].kind != c[1] {
			return damagedf("column %s of %s is of the kind %.40q", c[0], t.name, c[1])
		}
	}
	if len(order) == 0 {
		return damagedf("table %s has no columns", t.name)
	}
	for {
		more, err := r.more()
		if err != nil || !more {
			return err
		}
		if err := engine.Ended(ctx); err != nil {
			return err
		}
		var row T
		for i, c := range order {
			if c == nil {
				err = skipValue(r, columns[i][1])
			} else {
				err = c.get(r, &row)
			}
			if err != nil {
				return err
			}
		}
		if err := f(&row); err != nil {
			return err
		}
	}
}

func (t *dumpTable[T]) dump(ctx context.Context, v *repo.View, s *dumping) (Digest, error) {
	if err := s.w.json(frameTable, t.head()); err != nil {
		return Digest{}, err
	}
	var d Digest
	var buf, enc []byte
	err := t.rows(v, ctx, func(row *T) error {
		d.add(t.hash(row, &buf))
		if fault := t.fault(row); fault != "" {
			s.info.faulty(t.name, t.key(row), fault)
		}
		enc = t.append(enc[:0], row)
		s.step(t.name, d.Rows)
		return s.w.row(enc)
	})
	return d, err
}

func (t *dumpTable[T]) check(ctx context.Context, r *rowReader, columns [][2]string, s *checking) (Digest, error) {
	var d Digest
	var buf []byte
	err := t.read(ctx, r, columns, func(row *T) error {
		h := t.hash(row, &buf)
		d.add(h)
		if fault := t.fault(row); fault != "" {
			s.info.faulty(t.name, t.key(row), fault)
		}
		s.step(t.name, d.Rows)
		if s.each == nil {
			return nil
		}
		return s.each(t.name, t.key(row), h)
	})
	return d, err
}

func (t *dumpTable[T]) restore(ctx context.Context, r *rowReader, columns [][2]string, l *loader) error {
	b := newLoadBatch(t, l)
	if err := t.read(ctx, r, columns, func(row *T) error { return b.add(ctx, row) }); err != nil {
		return err
	}
	return b.flush(ctx)
}

func (t *dumpTable[T]) copy(ctx context.Context, v *repo.View, l *loader) error {
	b := newLoadBatch(t, l)
	if err := t.rows(v, ctx, func(row *T) error { return b.add(ctx, row) }); err != nil {
		return err
	}
	return b.flush(ctx)
}

func (t *dumpTable[T]) digest(ctx context.Context, v *repo.View) (Digest, error) {
	var d Digest
	var buf []byte
	err := t.rows(v, ctx, func(row *T) error {
		d.add(t.hash(row, &buf))
		return nil
	})
	return d, err
}

// Tables of what imports leave behind.
const (
	tableImportRuns    = "talkbase_import_runs"
	tableImportSources = "talkbase_import_sources"
	tableImportBatches = "talkbase_import_batches"
	tableImportMarks   = "talkbase_import_marks"
	tableImportEdits   = "talkbase_import_edits"
)

// dumpTables are all tables of a dump, parents before children. What a database makes of its rows is not
// among them: the index of words, the codes of vectors, counts, and talkbase_meta, which is about these.
var dumpTables = []anyTable{
	&dumpConversations, &dumpMessages, &dumpAttachments, &dumpBases, &dumpFiles, &dumpChunks, &dumpVectors,
	&dumpImportRuns, &dumpImportSources, &dumpImportBatches, &dumpImportMarks, &dumpImportEdits,
}

var dumpConversations = dumpTable[models.Conversation]{
	name: tableConversations, rows: (*repo.View).Conversations, load: (*repo.Bulk).InsertConversations,
	canonical: (*models.Conversation).AppendCanonical,
	key:       func(c *models.Conversation) string { return c.ConvID },
	number:    func(c *models.Conversation) *int64 { return &c.ID },
	stored:    []string{"id", "conv_id", "title", "created_at", "updated_at", "is_pinned", "is_new", "settings", "message_count"},
	columns: []dumpColumn[models.Conversation]{
		integerColumn("id", func(c *models.Conversation) *int64 { return &c.ID }),
		textColumn("conv_id", func(c *models.Conversation) *string { return &c.ConvID }),
		textColumn("title", func(c *models.Conversation) *string { return &c.Title }),
		integerColumn("created_at", func(c *models.Conversation) *int64 { return &c.CreatedAt }),
		integerColumn("updated_at", func(c *models.Conversation) *int64 { return &c.UpdatedAt }),
		flagColumn("is_pinned", func(c *models.Conversation) *models.Flag { return &c.IsPinned }),
		flagColumn("is_new", func(c *models.Conversation) *models.Flag { return &c.IsNew }),
		bytesColumn("settings", kindJSON, func(c *models.Conversation) *models.JSON { return &c.Settings }),
	},
}

var dumpMessages = dumpTable[models.Message]{
	name: tableMessages, rows: (*repo.View).Messages, load: (*repo.Bulk).InsertMessages,
	canonical: (*models.Message).AppendCanonical,
	key:       func(m *models.Message) string { return m.MsgID },
	number:    func(m *models.Message) *int64 { return &m.ID },
	likely:    func(m *models.Message) bool { return m.Role.Valid() && m.Status.Valid() },
	columns: []dumpColumn[models.Message]{
		integerColumn("id", func(m *models.Message) *int64 { return &m.ID }),
		textColumn("msg_id", func(m *models.Message) *string { return &m.MsgID }),
		textColumn("conversation_id", func(m *models.Message) *string { return &m.ConversationID }),
		textColumn("parent_id", func(m *models.Message) *string { return &m.ParentID }),
		textColumn("role", func(m *models.Message) *models.Role { return &m.Role }),
		textColumn("content", func(m *models.Message) *string { return &m.Content }),
		integerColumn("created_at", func(m *models.Message) *int64 { return &m.CreatedAt }),
		integerColumn("order_seq", func(m *models.Message) *int64 { return &m.OrderSeq }),
		integerColumn("token_count", func(m *models.Message) *int64 { return &m.TokenCount }),
		textColumn("status", func(m *models.Message) *models.MessageStatus { return &m.Status }),
		bytesColumn("metadata", kindJSON, func(m *models.Message) *models.JSON { return &m.Metadata }),
		flagColumn("is_context_edge", func(m *models.Message) *models.Flag { return &m.IsContextEdge }),
		flagColumn("is_variant", func(m *models.Message) *models.Flag { return &m.IsVariant }),
	},
}

var dumpAttachments = dumpTable[models.MessageAttachment]{
	name: tableMessageAttachments, rows: (*repo.View).Attachments, load: (*repo.Bulk).InsertAttachments,
	canonical: (*models.MessageAttachment).AppendCanonical,
	key:       func(a *models.MessageAttachment) string { return a.AttachmentID },
	number:    func(a *models.MessageAttachment) *int64 { return &a.ID },
	columns: []dumpColumn[models.MessageAttachment]{
		integerColumn("id", func(a *models.MessageAttachment) *int64 { return &a.ID }),
		textColumn("attachment_id", func(a *models.MessageAttachment) *string { return &a.AttachmentID }),
		textColumn("message_id", func(a *models.MessageAttachment) *string { return &a.MessageID }),
		textColumn("attachment_type", func(a *models.MessageAttachment) *string { return &a.Type }),
		textColumn("attachment_data", func(a *models.MessageAttachment) *string { return &a.Data }),
		integerColumn("created_at", func(a *models.MessageAttachment) *int64 { return &a.CreatedAt }),
	},
}

var dumpBases = dumpTable[models.KnowledgeBase]{
	name: tableBases, rows: (*repo.View).Bases, load: (*repo.Bulk).LoadBases,
	canonical: (*models.KnowledgeBase).AppendCanonical,
	key:       func(k *models.KnowledgeBase) string { return k.ID },
	likely:    func(k *models.KnowledgeBase) bool { return k.Metric.Valid() },
	columns: []dumpColumn[models.KnowledgeBase]{
		textColumn("id", func(k *models.KnowledgeBase) *string { return &k.ID }),
		textColumn("name", func(k *models.KnowledgeBase) *string { return &k.Name }),
		integerColumn("dimensions", func(k *models.KnowledgeBase) *int64 { return &k.Dimensions }),
		textColumn("metric", func(k *models.KnowledgeBase) *models.Metric { return &k.Metric }),
		textColumn("embedding_model", func(k *models.KnowledgeBase) *string { return &k.EmbeddingModel }),
		bytesColumn("settings", kindJSON, func(k *models.KnowledgeBase) *models.JSON { return &k.Settings }),
		integerColumn("created_at", func(k *models.KnowledgeBase) *int64 { return &k.CreatedAt }),
	},
}

var dumpFiles = dumpTable[models.KnowledgeFile]{
	name: tableFiles, rows: (*repo.View).Files, load: (*repo.Bulk).LoadFiles,
	canonical: (*models.KnowledgeFile).AppendCanonical,
	key:       func(f *models.KnowledgeFile) string { return f.ID },
	likely:    func(f *models.KnowledgeFile) bool { return f.Status.Valid() },
	columns: []dumpColumn[models.KnowledgeFile]{
		textColumn("id", func(f *models.KnowledgeFile) *string { return &f.ID }),
		textColumn("base_id", func(f *models.KnowledgeFile) *string { return &f.BaseID }),
		textColumn("name", func(f *models.KnowledgeFile) *string { return &f.Name }),
		textColumn("path", func(f *models.KnowledgeFile) *string { return &f.Path }),
		textColumn("mime_type", func(f *models.KnowledgeFile) *string { return &f.MimeType }),
		textColumn("status", func(f *models.KnowledgeFile) *models.TaskStatus { return &f.Status }),
		integerColumn("uploaded_at", func(f *models.KnowledgeFile) *int64 { return &f.UploadedAt }),
		bytesColumn("metadata", kindJSON, func(f *models.KnowledgeFile) *models.JSON { return &f.Metadata }),
	},
}

var dumpChunks = dumpTable[models.KnowledgeChunk]{
	name: tableChunks, rows: (*repo.View).Chunks, load: (*repo.Bulk).LoadChunks,
	canonical: (*models.KnowledgeChunk).AppendCanonical,
	key:       func(c *models.KnowledgeChunk) string { return c.ID },
	number:    func(c *models.KnowledgeChunk) *int64 { return &c.Seq },
	likely:    func(c *models.KnowledgeChunk) bool { return c.Status.Valid() },
	columns: []dumpColumn[models.KnowledgeChunk]{
		integerColumn("seq", func(c *models.KnowledgeChunk) *int64 { return &c.Seq }),
		textColumn("id", func(c *models.KnowledgeChunk) *string { return &c.ID }),
		textColumn("file_id", func(c *models.KnowledgeChunk) *string { return &c.FileID }),
		integerColumn("chunk_index", func(c *models.KnowledgeChunk) *int64 { return &c.ChunkIndex }),
		textColumn("content", func(c *models.KnowledgeChunk) *string { return &c.Content }),
		textColumn("status", func(c *models.KnowledgeChunk) *models.TaskStatus { return &c.Status }),
		textColumn("error", func(c *models.KnowledgeChunk) *string { return &c.Error }),
	},
}

// The seq of vectors is not kept: it orders them, and they are dumped in that order.
var dumpVectors = dumpTable[models.KnowledgeVector]{
	name: tableVectors, rows: (*repo.View).Vectors, load: (*repo.Bulk).LoadVectors,
	canonical: (*models.KnowledgeVector).AppendCanonical,
	key:       func(v *models.KnowledgeVector) string { return v.ID },
	stored:    []string{"seq", "id", "base_id", "file_id", "chunk_id", "embedding", "created_at"},
	columns: []dumpColumn[models.KnowledgeVector]{
		textColumn("id", func(v *models.KnowledgeVector) *string { return &v.ID }),
		textColumn("base_id", func(v *models.KnowledgeVector) *string { return &v.BaseID }),
		textColumn("file_id", func(v *models.KnowledgeVector) *string { return &v.FileID }),
		textColumn("chunk_id", func(v *models.KnowledgeVector) *string { return &v.ChunkID }),
		vectorColumn("embedding", func(v *models.KnowledgeVector) *models.Vector { return &v.Embedding }),
		integerColumn("created_at", func(v *models.KnowledgeVector) *int64 { return &v.CreatedAt }),
	},
}

// What imports leave behind goes along whole: a restored database can be verified and rolled back,
// and an import that was cut off can be resumed where its files are.
var dumpImportRuns = dumpTable[models.ImportRun]{
	name: tableImportRuns, rows: (*repo.View).ImportRuns, load: (*repo.Bulk).LoadImportRuns,
	key: func(r *models.ImportRun) string { return r.ID },
	columns: []dumpColumn[models.ImportRun]{
		textColumn("id", func(r *models.ImportRun) *string { return &r.ID }),
		textColumn("state", func(r *models.ImportRun) *models.ImportState { return &r.State }),
		textColumn("phase", func(r *models.ImportRun) *string { return &r.Phase }),
		textColumn("owner", func(r *models.ImportRun) *string { return &r.Owner }),
		integerColumn("started_at", func(r *models.ImportRun) *int64 { return &r.StartedAt }),
		integerColumn("finished_at", func(r *models.ImportRun) *int64 { return &r.FinishedAt }),
		bytesColumn("options", kindJSON, func(r *models.ImportRun) *models.JSON { return &r.Options }),
		textColumn("backup", func(r *models.ImportRun) *string { return &r.Backup }),
		bytesColumn("progress", kindJSON, func(r *models.ImportRun) *models.JSON { return &r.Progress }),
		bytesColumn("report", kindJSON, func(r *models.ImportRun) *models.JSON { return &r.Report }),
	},
}

var dumpImportSources = dumpTable[models.ImportSource]{
	name: tableImportSources, rows: (*repo.View).ImportSources, load: (*repo.Bulk).LoadImportSources,
	key: func(s *models.ImportSource) string { return s.RunID + " " + strconv.FormatInt(s.Position, 10) },
	columns: []dumpColumn[models.ImportSource]{
		textColumn("run_id", func(s *models.ImportSource) *string { return &s.RunID }),
		integerColumn("position", func(s *models.ImportSource) *int64 { return &s.Position }),
		textColumn("path", func(s *models.ImportSource) *string { return &s.Path }),
		textColumn("kind", func(s *models.ImportSource) *string { return &s.Kind }),
		textColumn("fingerprint", func(s *models.ImportSource) *string { return &s.Fingerprint }),
		bytesColumn("config", kindJSON, func(s *models.ImportSource) *models.JSON { return &s.Config }),
		bytesColumn("progress", kindJSON, func(s *models.ImportSource) *models.JSON { return &s.Progress }),
	},
}

var dumpImportBatches = dumpTable[models.ImportBatch]{
	name: tableImportBatches, rows: (*repo.View).ImportBatches, load: (*repo.Bulk).LoadImportBatches,
	key: func(b *models.ImportBatch) string { return b.RunID + " " + strconv.FormatInt(b.Seq, 10) },
	columns: []dumpColumn[models.ImportBatch]{
		textColumn("run_id", func(b *models.ImportBatch) *string { return &b.RunID }),
		integerColumn("seq", func(b *models.ImportBatch) *int64 { return &b.Seq }),
		textColumn("table_name", func(b *models.ImportBatch) *string { return &b.Table }),
		flagColumn("merged", func(b *models.ImportBatch) *models.Flag { return &b.Merged }),
		bytesColumn("keys", kindBytes, func(b *models.ImportBatch) *[]byte { return &b.Keys }),
		bytesColumn("hashes", kindBytes, func(b *models.ImportBatch) *[]byte { return &b.Hashes }),
		bytesColumn("replaced", kindBytes, func(b *models.ImportBatch) *[]byte { return &b.Replaced }),
	},
}

var dumpImportMarks = dumpTable[models.ImportMark]{
	name: tableImportMarks, rows: (*repo.View).ImportMarks, load: (*repo.Bulk).LoadImportMarks,
	key: func(m *models.ImportMark) string { return m.Table },
	columns: []dumpColumn[models.ImportMark]{
		textColumn("table_name", func(m *models.ImportMark) *string { return &m.Table }),
		integerColumn("last_id", func(m *models.ImportMark) *int64 { return &m.LastID }),
	},
}

var dumpImportEdits = dumpTable[models.ImportEdit]{
	name: tableImportEdits, rows: (*repo.View).ImportEdits, load: (*repo.Bulk).LoadImportEdits,
	key: func(e *models.ImportEdit) string { return e.Table + " " + e.Key },
	columns: []dumpColumn[models.ImportEdit]{
		textColumn("table_name", func(e *models.ImportEdit) *string { return &e.Table }),
		textColumn("row_key", func(e *models.ImportEdit) *string { return &e.Key }),
		integerColumn("edited_at", func(e *models.ImportEdit) *int64 { return &e.At }),
	},
}
