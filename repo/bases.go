package repo

import (
	"context"
	"errors"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

// BaseDefaults are the dimensions and the metric of the base named models.DefaultBase.
type BaseDefaults struct {
	Dimensions int64
	Metric     models.Metric
}

// Knowledge reads and writes knowledge bases, their files, chunks and vectors. Where vectors cannot
// be stored, every call returns ErrUnsupported.
type Knowledge struct{ s *Store }

// NewKnowledge returns the repository of knowledge in s.
func NewKnowledge(s *Store) *Knowledge { return &Knowledge{s} }

const baseColumns = "id, name, dimensions, metric, embedding_model, settings, created_at"

func scanBase(s engine.Scanner, b *models.KnowledgeBase) error {
	return s.Scan(&b.ID, &b.Name, &b.Dimensions, &b.Metric, &b.EmbeddingModel, &b.Settings, &b.CreatedAt)
}

// maxDimensions is what pgvector's type vector holds.
const maxDimensions = 16000

func (r *Knowledge) checkBase(b *models.KnowledgeBase) error {
	if err := checkKey("base id", b.ID); err != nil {
		return err
	}
	if err := checkText(field{"name", b.Name}, field{"embedding_model", b.EmbeddingModel}); err != nil {
		return err
	}
	if b.Dimensions < 1 || b.Dimensions > maxDimensions {
		return engine.Invalidf("a knowledge base of %d dimensions: give 1 to %d", b.Dimensions, maxDimensions)
	}
	if !b.Metric.Valid() {
		return engine.Invalidf("metric %.40q: use cosine, l2 or ip", string(b.Metric))
	}
	var err error
	b.Settings, err = checkJSON("settings", b.Settings)
	return err
}

func (r *Knowledge) fill(b *models.KnowledgeBase) {
	if b.ID == "" {
		b.ID = newID()
	}
	if b.Name == "" {
		b.Name = b.ID
	}
	if b.Dimensions == 0 {
		b.Dimensions = r.s.defaults.Dimensions
	}
	if b.Metric == "" {
		b.Metric = r.s.defaults.Metric
	}
}

// CreateBase stores b and returns it as stored. An empty ID becomes a new UUIDv7, an empty Name the
// ID; Dimensions of 0 and an empty Metric become the configuration's, a CreatedAt of 0 the present. A
// known ID is ErrConflict.
func (r *Knowledge) CreateBase(ctx context.Context, b models.KnowledgeBase) (models.KnowledgeBase, error) {
	if b.CreatedAt == 0 {
		b.CreatedAt = r.s.nowMS()
	}
	return r.createBase(ctx, b)
}

// createBase is CreateBase for a base whose time is known, or known to be unknown.
func (r *Knowledge) createBase(ctx context.Context, b models.KnowledgeBase) (models.KnowledgeBase, error) {
	const op = "create knowledge base"
	if err := r.s.eng().Vectors(); err != nil {
		return models.KnowledgeBase{}, wrap(op, err)
	}
	r.fill(&b)
	if err := r.checkBase(&b); err != nil {
		return models.KnowledgeBase{}, wrap(op, err)
	}
	err := r.s.write(ctx, op, func(_ context.Context, db *gorm.DB) error {
		if err := db.Create(&b).Error; err != nil {
			return named(err, "knowledge base", b.ID)
		}
		return nil
	})
	if err != nil {
		return models.KnowledgeBase{}, err
	}
	return b, nil
}

// OpenBase returns the base b.ID, creating it as CreateBase does when it is missing. A base that is
// there with other dimensions or another metric than b asks for is ErrConflict.
func (r *Knowledge) OpenBase(ctx context.Context, b models.KnowledgeBase) (models.KnowledgeBase, error) {
	const op = "open knowledge base"
	have, err := r.GetBase(ctx, b.ID)
	if errors.Is(err, ErrNotFound) {
		created, cerr := r.CreateBase(ctx, b)
		if !errors.Is(cerr, ErrConflict) {
			return created, cerr
		}
		have, err = r.GetBase(ctx, b.ID) // somebody else created it meanwhile
	}
	if err != nil {
		return models.KnowledgeBase{}, err
	}
	if b.Dimensions != 0 && b.Dimensions != have.Dimensions || b.Metric != "" && b.Metric != have.Metric {
		return models.KnowledgeBase{}, wrap(op, &engine.DatabaseError{
			Op: op, Code: "CONFLICT", Details: map[string]any{"want": b.Dimensions, "have": have.Dimensions},
			Err: errors.Join(ErrConflict, engine.Invalidf("knowledge base %q has %d dimensions and metric %s: open it as such, or use another id", have.ID, have.Dimensions, have.Metric)),
		})
	}
	return have, nil
}

// GetBase returns one knowledge base; an unknown id is ErrNotFound.
func (r *Knowledge) GetBase(ctx context.Context, id string) (models.KnowledgeBase, error) {
	const op = "get knowledge base"
	db, err := r.reader(ctx)
	if err != nil {
		return models.KnowledgeBase{}, wrap(op, err)
	}
	b, err := r.getBase(ctx, db, id)
	if err != nil {
		return models.KnowledgeBase{}, wrap(op, err)
	}
	return b, nil
}

func (r *Knowledge) getBase(ctx context.Context, db *gorm.DB, id string) (models.KnowledgeBase, error) {
	b, err := engine.One(ctx, db, scanBase, "SELECT "+baseColumns+" FROM knowledge_bases WHERE id = ?", id)
	if err != nil {
		return b, named(err, "knowledge base", id)
	}
	return b, nil
}

// ListBases returns all knowledge bases by id.
func (r *Knowledge) ListBases(ctx context.Context) ([]models.KnowledgeBase, error) {
	const op = "list knowledge bases"
	db, err := r.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	bs, err := engine.Collect(ctx, db, scanBase, "SELECT "+baseColumns+" FROM knowledge_bases ORDER BY id")
	return bs, wrap(op, err)
}

// BaseUpdate names the fields to change; nil leaves a field as it is. Dimensions and metric belong
// to the vectors and never change.
type BaseUpdate struct {
	Name           *string
	EmbeddingModel *string
	// Settings replaces the whole object.
	Settings *models.JSON
}

// UpdateBase changes the given fields and returns the base as it is then.
func (r *Knowledge) UpdateBase(ctx context.Context, id string, u BaseUpdate) (models.KnowledgeBase, error) {
	const op = "update knowledge base"
	if err := r.s.eng().Vectors(); err != nil {
		return models.KnowledgeBase{}, wrap(op, err)
	}
	if err := checkText(field{"base id", id}); err != nil {
		return models.KnowledgeBase{}, wrap(op, err)
	}
	set := map[string]any{}
	for name, v := range map[string]*string{"name": u.Name, "embedding_model": u.EmbeddingModel} {
		if v == nil {
			continue
		}
		if err := checkText(field{name, *v}); err != nil {
			return models.KnowledgeBase{}, wrap(op, err)
		}
		set[name] = *v
	}
	if u.Settings != nil {
		j, err := checkJSON("settings", *u.Settings)
		if err != nil {
			return models.KnowledgeBase{}, wrap(op, err)
		}
		set["settings"] = j
	}
	var b models.KnowledgeBase
	err := r.s.write(ctx, op, func(ctx context.Context, db *gorm.DB) error {
		if len(set) > 0 {
			if err := r.s.noteEdit(ctx, db, "knowledge_bases", "id = ?", id); err != nil {
				return err
			}
			if err := db.Model(&models.KnowledgeBase{}).Where("id = ?", id).Updates(set).Error; err != nil {
				return named(err, "knowledge base", id)
			}
		}
		var err error
		b, err = r.getBase(ctx, db, id)
		return err
	})
	if err != nil {
		return models.KnowledgeBase{}, err
	}
	return b, nil
}

// DeleteBase deletes a knowledge base with its files, chunks and vectors.
func (r *Knowledge) DeleteBase(ctx context.Context, id string) error {
	const op = "delete knowledge base"
	if err := r.s.eng().Vectors(); err != nil {
		return wrap(op, err)
	}
	return r.s.deleteOne(ctx, op, "knowledge base", id, "knowledge_bases")
}

// DestroyKnowledge deletes every knowledge base with all that is in them, and returns how many
// bases there were.
func (r *Knowledge) DestroyKnowledge(ctx context.Context) (int64, error) {
	const op = "destroy knowledge"
	if err := r.s.eng().Vectors(); err != nil {
		return 0, wrap(op, err)
	}
	return r.s.deleteMany(ctx, op, "knowledge_bases", "1 = 1")
}

func (r *Knowledge) reader(ctx context.Context) (*gorm.DB, error) {
	if err := r.s.eng().Vectors(); err != nil {
		return nil, err
	}
	return r.s.reader(ctx)
}

// shape returns a base's id, dimensions and metric. The default base is created when it is first
// asked for by a writer.
func (r *Knowledge) shape(ctx context.Context, db *gorm.DB, id string, create bool) (models.KnowledgeBase, error) {
	if id == "" {
		id = models.DefaultBase
	}
	b, err := r.getBase(ctx, db, id)
	if errors.Is(err, ErrNotFound) && create && id == models.DefaultBase {
		b = models.KnowledgeBase{ID: id, CreatedAt: r.s.nowMS()}
		r.fill(&b)
		if err := r.checkBase(&b); err != nil {
			return b, err
		}
		_, err = engine.Exec(ctx, db, "INSERT INTO knowledge_bases (id, name, dimensions, metric, created_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
			b.ID, b.Name, b.Dimensions, string(b.Metric), b.CreatedAt)
		if err != nil {
			return b, err
		}
		return r.getBase(ctx, db, id)
	}
	return b, err
}
