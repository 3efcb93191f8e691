package repo

import (
	"context"
	"strings"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
)

const fileColumns = "id, base_id, name, path, mime_type, status, uploaded_at, metadata"

func scanFile(s engine.Scanner, f *models.KnowledgeFile) error {
	return s.Scan(&f.ID, &f.BaseID, &f.Name, &f.Path, &f.MimeType, &f.Status, &f.UploadedAt, &f.Metadata)
}

func checkFile(f *models.KnowledgeFile) error {
	if err := checkKey("file id", f.ID); err != nil {
		return err
	}
	if err := checkKey("base_id", f.BaseID); err != nil {
		return err
	}
	if err := checkText(field{"name", f.Name}, field{"path", f.Path}, field{"mime_type", f.MimeType}); err != nil {
		return err
	}
	if len(f.Path) > maxPath {
		return engine.Invalidf("path is %d bytes long; at most %d can be indexed", len(f.Path), maxPath)
	}
	if err := checkTask(f.Status); err != nil {
		return err
	}
	var err error
	f.Metadata, err = checkJSON("metadata", f.Metadata)
	return err
}

// maxPath is what an index entry on Postgres holds.
const maxPath = 2600

func checkTask(s models.TaskStatus) error {
	if !s.Valid() {
		return engine.Invalidf("status %.40q: use pending, processing, paused, processed or error", string(s))
	}
	return nil
}

// InsertFile stores f and returns it as stored. An empty ID becomes a new UUIDv7, an empty BaseID
// models.DefaultBase, which is created if need be, an empty Status processing, an UploadedAt of 0 the
// present. An unknown base is ErrReference, a known ID ErrConflict.
func (r *Knowledge) InsertFile(ctx context.Context, f models.KnowledgeFile) (models.KnowledgeFile, error) {
	const op = "insert file"
	if err := r.s.eng().Vectors(); err != nil {
		return models.KnowledgeFile{}, wrap(op, err)
	}
	if f.ID == "" {
		f.ID = newID()
	}
	if f.BaseID == "" {
		f.BaseID = models.DefaultBase
	}
	if f.Status == "" {
		f.Status = models.TaskProcessing
	}
	if f.UploadedAt == 0 {
		f.UploadedAt = r.s.nowMS()
	}
	f.Base = nil
	if err := checkFile(&f); err != nil {
		return models.KnowledgeFile{}, wrap(op, err)
	}
	err := r.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		if f.BaseID == models.DefaultBase {
			if _, err := r.shape(ctx, db, f.BaseID, true); err != nil {
				return err
			}
		}
		if err := db.Create(&f).Error; err != nil {
			return named(err, "file", f.ID)
		}
		return nil
	})
	if err != nil {
		return models.KnowledgeFile{}, err
	}
	return f, nil
}

// FileUpdate names the fields to change; nil leaves a field as it is.
type FileUpdate struct {
	Name     *string
	Path     *string
	MimeType *string
	Status   *models.TaskStatus
	// Metadata replaces the whole object.
	Metadata *models.JSON
}

// UpdateFile changes the given fields and returns the file as it is then.
func (r *Knowledge) UpdateFile(ctx context.Context, id string, u FileUpdate) (models.KnowledgeFile, error) {
	const op = "update file"
	if err := r.s.eng().Vectors(); err != nil {
		return models.KnowledgeFile{}, wrap(op, err)
	}
	var f models.KnowledgeFile
	err := r.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		var err error
		f, err = engine.One(ctx, db, scanFile, "SELECT "+fileColumns+" FROM knowledge_files WHERE id = ?"+r.s.eng().LockSuffix(), id)
		if err != nil {
			return named(err, "file", id)
		}
		for _, c := range []struct{ from, to *string }{{u.Name, &f.Name}, {u.Path, &f.Path}, {u.MimeType, &f.MimeType}} {
			if c.from != nil {
				*c.to = *c.from
			}
		}
		if u.Status != nil {
			f.Status = *u.Status
		}
		if u.Metadata != nil {
			f.Metadata = *u.Metadata
		}
		if err := checkFile(&f); err != nil {
			return err
		}
		if err := r.s.noteEdit(ctx, db, "knowledge_files", "id = ?", id); err != nil {
			return err
		}
		return db.Save(&f).Error
	})
	if err != nil {
		return models.KnowledgeFile{}, err
	}
	return f, nil
}

// GetFile returns one file; an unknown id is ErrNotFound.
func (r *Knowledge) GetFile(ctx context.Context, id string) (models.KnowledgeFile, error) {
	const op = "get file"
	db, err := r.reader(ctx)
	if err != nil {
		return models.KnowledgeFile{}, wrap(op, err)
	}
	f, err := engine.One(ctx, db, scanFile, "SELECT "+fileColumns+" FROM knowledge_files WHERE id = ?", id)
	if err != nil {
		return models.KnowledgeFile{}, wrap(op, named(err, "file", id))
	}
	return f, nil
}

// FileQuery asks for files; an empty field matches every file.
type FileQuery struct {
	BaseID   string
	Name     string
	Path     string
	MimeType string
	Status   models.TaskStatus
	// Limit is how many to return, all when 0.
	Limit int
}

// QueryFiles returns the files that match every field given, by upload time, then id.
func (r *Knowledge) QueryFiles(ctx context.Context, q FileQuery) ([]models.KnowledgeFile, error) {
	const op = "query files"
	db, err := r.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	w := where{}
	w.eq("base_id", q.BaseID)
	w.eq("name", q.Name)
	w.eq("path", q.Path)
	w.eq("mime_type", q.MimeType)
	w.eq("status", string(q.Status))
	fs, err := engine.Collect(ctx, db, scanFile, "SELECT "+fileColumns+" FROM knowledge_files"+w.sql()+" ORDER BY uploaded_at, id"+w.limit(q.Limit), w.args...)
	return fs, wrap(op, err)
}

// ListFiles returns all files of a base, by upload time, then id.
func (r *Knowledge) ListFiles(ctx context.Context, baseID string) ([]models.KnowledgeFile, error) {
	if baseID == "" {
		baseID = models.DefaultBase
	}
	return r.QueryFiles(ctx, FileQuery{BaseID: baseID})
}

// DeleteFile deletes a file with its chunks and vectors.
func (r *Knowledge) DeleteFile(ctx context.Context, id string) error {
	const op = "delete file"
	if err := r.s.eng().Vectors(); err != nil {
		return wrap(op, err)
	}
	return r.s.deleteOne(ctx, op, "file", id, "knowledge_files")
}

// where collects conditions on columns of this program's choosing.
type where struct {
	conds []string
	args  []any
}

func (w *where) eq(col, value string) {
	if value != "" {
		w.conds = append(w.conds, col+" = ?")
		w.args = append(w.args, value)
	}
}

func (w *where) sql() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conds, " AND ")
}

func (w *where) limit(n int) string {
	if n <= 0 {
		return ""
	}
	w.args = append(w.args, n)
	return " LIMIT ?"
}

const chunkColumns = "seq, id, file_id, chunk_index, content, status, error"

func scanChunk(s engine.Scanner, c *models.KnowledgeChunk) error {
	return s.Scan(&c.Seq, &c.ID, &c.FileID, &c.ChunkIndex, &c.Content, &c.Status, &c.Error)
}

func checkChunk(c *models.KnowledgeChunk) error {
	if err := checkKey("chunk id", c.ID); err != nil {
		return err
	}
	if err := checkKey("file_id", c.FileID); err != nil {
		return err
	}
	if err := checkTask(c.Status); err != nil {
		return err
	}
	return checkText(field{"content", c.Content}, field{"error", c.Error})
}

// InsertChunks stores chunks in one transaction, all or none, and returns them as stored. An empty
// ID becomes a new UUIDv7, an empty Status processing. An unknown file is ErrReference, a known ID
// ErrConflict.
func (r *Knowledge) InsertChunks(ctx context.Context, chunks []models.KnowledgeChunk) ([]models.KnowledgeChunk, error) {
	const op = "insert chunks"
	if err := r.s.eng().Vectors(); err != nil {
		return nil, wrap(op, err)
	}
	out := make([]models.KnowledgeChunk, len(chunks))
	copy(out, chunks)
	for i := range out {
		if out[i].ID == "" {
			out[i].ID = newID()
		}
		if out[i].Status == "" {
			out[i].Status = models.TaskProcessing
		}
		out[i].Seq, out[i].File = 0, nil
		if err := checkChunk(&out[i]); err != nil {
			return nil, wrap(op, err)
		}
	}
	if err := loadChunks.store(ctx, r.s, op, out); err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateChunkStatus sets a chunk's status and error text.
func (r *Knowledge) UpdateChunkStatus(ctx context.Context, id string, status models.TaskStatus, errText string) error {
	const op = "update chunk status"
	if err := r.s.eng().Vectors(); err != nil {
		return wrap(op, err)
	}
	if err := checkTask(status); err != nil {
		return wrap(op, err)
	}
	if err := checkText(field{"error", errText}); err != nil {
		return wrap(op, err)
	}
	return r.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		if err := r.s.noteEdit(ctx, db, "knowledge_chunks", "id = ?", id); err != nil {
			return err
		}
		n, err := engine.Exec(ctx, db, "UPDATE knowledge_chunks SET status = ?, error = ? WHERE id = ?", string(status), errText, id)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return named(err, "chunk", id)
		}
		return nil
	})
}

// ChunkQuery asks for chunks; an empty field matches every chunk.
type ChunkQuery struct {
	BaseID string
	FileID string
	Status models.TaskStatus
	// Limit is how many to return, all when 0.
	Limit int
}

// QueryChunks returns the chunks that match every field given, by file, then chunk_index.
func (r *Knowledge) QueryChunks(ctx context.Context, q ChunkQuery) ([]models.KnowledgeChunk, error) {
	const op = "query chunks"
	db, err := r.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	w := where{}
	w.eq("file_id", q.FileID)
	w.eq("status", string(q.Status))
	if q.BaseID != "" {
		w.conds = append(w.conds, "file_id IN (SELECT id FROM knowledge_files WHERE base_id = ?)")
		w.args = append(w.args, q.BaseID)
	}
	cs, err := engine.Collect(ctx, db, scanChunk, "SELECT "+chunkColumns+" FROM knowledge_chunks"+w.sql()+" ORDER BY file_id, chunk_index, seq"+w.limit(q.Limit), w.args...)
	return cs, wrap(op, err)
}

// DeleteChunksByFile deletes a file's chunks with their vectors and returns how many chunks there
// were.
func (r *Knowledge) DeleteChunksByFile(ctx context.Context, fileID string) (int64, error) {
	const op = "delete chunks of file"
	if err := r.s.eng().Vectors(); err != nil {
		return 0, wrap(op, err)
	}
	return r.s.deleteMany(ctx, op, "knowledge_chunks", "file_id = ?", fileID)
}

// Tasks counts the files and chunks that changed state.
type Tasks struct {
	Files  int64 `json:"files"`
	Chunks int64 `json:"chunks"`
}

// PauseRunningTasks sets every file and chunk that is pending or processing to paused.
func (r *Knowledge) PauseRunningTasks(ctx context.Context) (Tasks, error) {
	return r.setTasks(ctx, "pause running tasks", "paused", "status IN ('pending', 'processing')")
}

// ResumePausedTasks sets every paused file and chunk to processing, for the host to take up again.
func (r *Knowledge) ResumePausedTasks(ctx context.Context) (Tasks, error) {
	return r.setTasks(ctx, "resume paused tasks", "processing", "status = 'paused'")
}

func (r *Knowledge) setTasks(ctx context.Context, op, status, where string) (Tasks, error) {
	var t Tasks
	if err := r.s.eng().Vectors(); err != nil {
		return t, wrap(op, err)
	}
	err := r.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		for _, c := range []struct {
			table string
			n     *int64
		}{{"knowledge_files", &t.Files}, {"knowledge_chunks", &t.Chunks}} {
			if err := r.s.noteEdit(ctx, db, c.table, where); err != nil {
				return err
			}
			var err error
			if *c.n, err = engine.Exec(ctx, db, "UPDATE "+c.table+" SET status = ? WHERE "+where, status); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Tasks{}, err
	}
	return t, nil
}

func chunkTerms(c *models.KnowledgeChunk) engine.TermDoc {
	return engine.TermDoc{ID: c.Seq, Doc: text.Doc(c.Content)}
}
