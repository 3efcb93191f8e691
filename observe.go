package talkbase

import (
	"github.com/talkbase/talkbase/memory"
	"github.com/talkbase/talkbase/repo"
)

// Memory is what the calls of this database that need much memory share; its Usage says how much they
// do. A host may set memory aside of it for work of its own.
func (db *DB) Memory() *memory.Manager { return db.late.Memory }

// SlowQueries returns the shapes of this process's statements on which most time was spent, the most
// first; at most limit of them, all that are remembered when limit is 0. A shape has ? in place of every
// value.
func (db *DB) SlowQueries(limit int) []repo.SlowQuery { return db.store.SlowQueries(limit) }
