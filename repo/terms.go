package repo

import (
	"context"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
)

// The tables of the text index.
const (
	termsOfTitles   = "conversation_terms"
	termsOfMessages = "message_terms"
	termsOfChunks   = "chunk_terms"
)

// addTerms puts documents into the text index. The schema's triggers have taken out what was
// there.
func (s *Store) addTerms(ctx context.Context, db *gorm.DB, table string, docs ...engine.TermDoc) error {
	if len(docs) == 0 {
		return nil
	}
	return s.eng().AddTerms(ctx, db, table, docs)
}
