package repo

import (
	"context"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
)

// Stats says what a database holds.
type Stats struct {
	// Engine is sqlite or postgres.
	Engine string `json:"engine"`
	// SchemaVersion is the number of the last step of the schema that was applied.
	SchemaVersion int64 `json:"schema_version"`
	// Tables holds the number of rows of each table.
	Tables map[string]int64 `json:"tables"`
}

// Stats counts the rows of every table as of one moment. Its cost grows with their number.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	st := Stats{Engine: s.Engine(), Tables: map[string]int64{}}
	err := s.snapshot(ctx, func(ctx context.Context, db *gorm.DB) error {
		var err error
		st.SchemaVersion, err = engine.One(ctx, db, engine.Value[int64], "SELECT coalesce(max(version_id), 0) FROM "+engine.VersionTable+" WHERE is_applied")
		if err != nil {
			return err
		}
		for _, t := range engine.Tables() {
			if t == "knowledge_vectors" && s.eng().Vectors() != nil {
				continue
			}
			if st.Tables[t], err = engine.One(ctx, db, engine.Value[int64], "SELECT count(*) FROM "+t); err != nil {
				return err
			}
		}
		return nil
	})
	return st, wrap("stats", err)
}
