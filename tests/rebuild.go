package tests

import (
	"errors"
	"fmt"
	"sync"

	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// indexesAtOnce builds the same indexes from several goroutines.
func indexesAtOnce(b *bench) {
	b.conversation("c")
	b.message("c", "m", "walnut")
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() { _, errs[i] = b.db.CreateOptimalIndexes(b.ctx) })
	}
	wg.Wait()
	wantNil(b.t, "create indexes", errors.Join(errs...))
	r, err := b.db.CreateOptimalIndexes(b.ctx)
	wantNil(b.t, "create indexes again", err)
	equal(b.t, "indexes created again", len(r.Created), 0)
}

// rebuildAmongWriters makes the text index anew while others insert, change and delete what it indexes.
func rebuildAmongWriters(b *bench) {
	b.conversation("c")
	const writers, rounds = 4, 12
	for w := range writers {
		for i := range rounds {
			b.message("c", fmt.Sprintf("%d-%d", w, i), "before")
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, writers+1)
	done := make(chan struct{})
	wg.Go(func() {
		for {
			_, err := b.db.RebuildTextIndex(b.ctx)
			errs[writers] = errors.Join(errs[writers], err)
			select {
			case <-done:
				return
			default:
			}
		}
	})
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range rounds {
				id := fmt.Sprintf("%d-%d", w, i)
				_, err := b.db.InsertMessage(b.ctx, models.Message{MsgID: id + "-new", ConversationID: "c", Role: models.RoleUser, Content: "after"})
				if i%3 == 0 {
					err = errors.Join(err, b.db.DeleteMessage(b.ctx, id))
				} else {
					_, uerr := b.db.UpdateMessage(b.ctx, id, repo.MessageUpdate{Content: ptr("after")})
					err = errors.Join(err, uerr)
				}
				errs[w] = errors.Join(errs[w], err)
			}
		})
	}
	writing.Wait()
	close(done)
	wg.Wait()
	wantNil(b.t, "writing and rebuilding", errors.Join(errs...))
	equal(b.t, "found of before", len(b.searched("before")), 0)
	equal(b.t, "found of after", len(b.searched("after")), writers*(rounds+rounds*2/3))
	missing, err := b.db.Bulk().TextMissing(b.ctx)
	wantNil(b.t, "look for rows without index", err)
	deepEqual(b.t, "rows without index", missing, map[string]int64{})
}
