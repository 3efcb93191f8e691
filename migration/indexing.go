package migration

import (
	"context"

	"github.com/talkbase/talkbase/internal/engine"
)

// createIndex creates an index while nobody else does, neither in this process nor in another.
func (s *Schema) createIndex(ctx context.Context, ix engine.IndexSpec) (created bool, err error) {
	if err := s.building.Acquire(ctx, 1); err != nil {
		return false, engine.Ended(ctx)
	}
	defer s.building.Release(1)
	err = s.eng().Exclusive(ctx, func(ctx context.Context) error {
		created, err = s.eng().CreateIndex(ctx, ix)
		return err
	})
	return created, err
}
