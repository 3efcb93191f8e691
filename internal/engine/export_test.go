package engine

import (
	"context"

	"gorm.io/gorm"
)

// Sketching is what tests see and set of SQLite's sketches.
type Sketching struct{ s *sketches }

// SketchesOf returns those of an engine on SQLite.
func SketchesOf(e Engine) Sketching { return Sketching{e.(*sqliteEngine).sketches} }

// Lists makes CreateIndex build lists from n vectors on, and codes from fold on.
func (s Sketching) Lists(n, fold int64) { s.s.tuning.listsFrom, s.s.tuning.foldAt = n, fold }

// Deviations sets how wrong estimates are taken to be.
func (s Sketching) Deviations(d float32) { s.s.tuning.deviations = d }

// Counts returns how many queries sketches answered, and how many vectors were read for them.
func (s Sketching) Counts() (answered, compared int64) {
	return s.s.answered.Load(), s.s.compared.Load()
}

// Cached returns the bytes of codes in memory and their limit.
func (s Sketching) Cached() (used, limit int64) {
	s.s.cache.mu.Lock()
	defer s.s.cache.mu.Unlock()
	return s.s.cache.used, s.s.cache.limit
}

// Forget empties the cache.
func (s Sketching) Forget() { s.s.clear() }

// OnQuery calls f before an engine on Postgres runs a similarity query, in the transaction that it runs
// in; nil calls nothing.
func OnQuery(e Engine, f func(ctx context.Context, db *gorm.DB, query string, args []any)) {
	e.(*postgresEngine).running = f
}

// Narrow sets which filters let so few vectors pass that these are compared one by one.
func Narrow(e Engine, factor float64) {
	switch e := e.(type) {
	case *postgresEngine:
		e.narrow = factor
	case *sqliteEngine:
		e.sketches.tuning.narrow = factor
	}
}
