package tests

import (
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// importTakenUp resumes an import that is under way, which stores more while that is prepared.
func importTakenUp(b *bench) {
	dir := legacySet(b, 1, small())
	whole := b.imported(migration.ImportOptions{Paths: []string{dir}})
	want := b.digests()
	_, err := b.db.RollbackImport(b.ctx, whole.Run, migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)

	waits, goOn, ended := make(chan bool), make(chan bool), make(chan error)
	go func() {
		n := 0
		_, err := b.importing(migration.ImportOptions{Paths: []string{dir}, NoBackup: true, Progress: func(p migration.Progress) {
			if p.Phase == migration.PhaseConversations {
				if n++; n == 4 {
					waits <- true
					<-goOn
				}
			}
		}})
		ended <- err
	}()
	select {
	case <-waits:
	case err := <-ended:
		b.t.Fatalf("import: ended with error %v, want it to wait on the way", err)
	}
	prepared := false
	second := b.imported(migration.ImportOptions{Resume: true, Progress: func(p migration.Progress) {
		if p.Phase == migration.PhaseBackup && !prepared {
			prepared = true
			close(goOn)
			wantErr(b.t, "the import that was under way", <-ended, repo.ErrTaken)
		}
	}})
	equal(b.t, "resumed while the other was under way", prepared, true)
	deepEqual(b.t, "counts", counts(second), counts(whole))
	deepEqual(b.t, "digests", b.digests(), want)
}

// resumeRolledBack rolls an import back while it is being resumed.
func resumeRolledBack(b *bench) {
	before := b.earlier()
	b.cutOff(migration.ImportOptions{Paths: []string{legacySet(b, 1, small())}}, 4)
	state := func() models.ImportRun {
		return must[[]models.ImportRun](b.t)(b.db.ImportRuns(b.ctx))[0]
	}
	run := state().ID
	done := false
	_, err := b.importing(migration.ImportOptions{Resume: true, Progress: func(p migration.Progress) {
		if p.Phase == migration.PhaseBackup && !done {
			done = true
			_, err := b.db.RollbackImport(b.ctx, run, migration.RollbackOptions{})
			wantNil(b.t, "rollback", err)
		}
	}})
	wantErr(b.t, "resume", err, repo.ErrTaken)
	equal(b.t, "state", state().State, models.ImportRolledBack)
	deepEqual(b.t, "digests", b.digests(), before)
}

// journalTwice writes a number of an import's journal twice: that is never the fault of rows.
func journalTwice(b *bench) {
	bulk := b.db.Bulk()
	wantNil(b.t, "save", bulk.SaveRun(b.ctx, models.ImportRun{ID: "r", State: models.ImportRunning}))
	batch := models.ImportBatch{RunID: "r", Seq: 1, Table: "messages"}
	wantNil(b.t, "append", bulk.AppendBatch(b.ctx, batch))
	err := bulk.AppendBatch(b.ctx, batch)
	wantErr(b.t, "append again", err, repo.ErrTaken)
	equal(b.t, "the rows' fault", bulk.Refused(err), false)
}
