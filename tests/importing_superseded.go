package tests

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"

	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/migration/duckdb"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// otherwise is a legacy chat with the ids of small and other texts.
func otherwise() fixtures.LegacyChat {
	chat := small()
	chat.ContentBytes = 40
	return chat
}

// findings counts what a verification found, by kind.
func findings(v *migration.Verification) map[migration.FindingKind]int64 {
	out := map[migration.FindingKind]int64{}
	for _, t := range v.Tables {
		for kind, n := range t.Found {
			out[kind] += n
		}
	}
	return out
}

// verified verifies a run and returns what was found.
func (b *bench) verified(what, run string, ok bool) *migration.Verification {
	b.t.Helper()
	v, err := b.db.VerifyImport(b.ctx, run, migration.VerifyOptions{})
	wantNil(b.t, "verify "+what, err)
	if v.OK != ok {
		b.t.Errorf("verification %s: got %s, want ok %t", what, show(v), ok)
	}
	return v
}

// importPrefersAmong gives one import two files that hold the same ids with other content.
func importPrefersAmong(b *bench) {
	before := b.earlier()
	r := b.imported(migration.ImportOptions{Paths: []string{legacySet(b, 1, small()), legacySet(b, 1, otherwise())}, PreferSource: true})
	if reasons(r)[migration.ReasonReplaced] == 0 || findings(r.Verification)[migration.FindingReplaced] == 0 {
		b.t.Errorf("import: got %v and findings %v, want rows replaced", reasons(r), findings(r.Verification))
	}
	b.verified("later", r.Run, true)
	m := must[[]models.Message](b.t)(b.someMessages(1))[0]
	b.exec("UPDATE messages SET token_count = token_count + 1 WHERE msg_id = ?", m.MsgID)
	v := b.verified("of a damaged row", r.Run, false)
	equal(b.t, "differing rows", findings(v)[migration.FindingDiffers], 1)
	b.exec("UPDATE messages SET token_count = token_count - 1 WHERE msg_id = ?", m.MsgID)
	_, err := b.db.RollbackImport(b.ctx, r.Run, migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)
	deepEqual(b.t, "digests after the rollback", b.digests(), before)
}

// verifyReplaced verifies an import after another replaced its rows, and after that was rolled back.
func verifyReplaced(b *bench) {
	first := b.imported(migration.ImportOptions{Paths: []string{legacySet(b, 1, small())}})
	before := b.digests()
	second := b.imported(migration.ImportOptions{Paths: []string{legacySet(b, 1, otherwise())}, PreferSource: true})
	if n := findings(b.verified("of the first", first.Run, true)); n[migration.FindingReplaced] == 0 {
		b.t.Errorf("findings: got %v, want replaced rows", n)
	}
	b.verified("of the second", second.Run, true)
	_, err := b.db.RollbackImport(b.ctx, first.Run, migration.RollbackOptions{})
	wantErr(b.t, "roll the first back", err, migration.ErrEdited)
	_, err = b.db.RollbackImport(b.ctx, second.Run, migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)
	deepEqual(b.t, "digests after the rollback", b.digests(), before)
	b.verified("of the first, which is back", first.Run, true)
}

// verifyRolledBack verifies an import that found the rows of another, which is rolled back. What is known of
// that hides no damage to the rows when they come back.
func verifyRolledBack(b *bench) {
	dir := legacySet(b, 1, small())
	first := b.imported(migration.ImportOptions{Paths: []string{dir}})
	second := b.imported(migration.ImportOptions{Paths: []string{dir}})
	_, err := b.db.RollbackImport(b.ctx, first.Run, migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)
	equal(b.t, "left", b.number("SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM knowledge_bases)"), 0)
	if n := findings(b.verified("of the second", second.Run, true)); n[migration.FindingEdited] == 0 {
		b.t.Errorf("findings: got %v, want rows that were deleted since", n)
	}
	third := b.imported(migration.ImportOptions{Paths: []string{dir}})
	m := must[[]models.Message](b.t)(b.someMessages(1))[0]
	b.exec("UPDATE messages SET token_count = token_count + 1 WHERE msg_id = ?", m.MsgID)
	equal(b.t, "differing rows", findings(b.verified("of the third", third.Run, false))[migration.FindingDiffers], 1)
}

// verifyDerived verifies an import whose ids were made because another base, which is rolled back, had them.
func verifyDerived(b *bench) {
	dir := b.t.TempDir()
	var runs []string
	for _, name := range []string{"one", "two"} {
		k := duckdb.LegacyKnowledge{Seed: 5, Dimensions: 8, Files: 2, ChunksPerFile: 2}
		_, err := k.Write(b.ctx, filepath.Join(dir, name))
		if errors.Is(err, migration.ErrNoReader) {
			b.t.Log("no knowledge base was imported: its reader is not linked")
			return
		}
		wantNil(b.t, "knowledge base", err)
		runs = append(runs, b.imported(migration.ImportOptions{Paths: []string{filepath.Join(dir, name)}}).Run)
	}
	b.verified("of the second", runs[1], true)
	_, err := b.db.RollbackImport(b.ctx, runs[0], migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)
	if n := findings(b.verified("of the second alone", runs[1], true)); n[migration.FindingReread] == 0 {
		b.t.Errorf("findings: got %v, want a backup that reads differently", n)
	}
	b.exec("UPDATE knowledge_chunks SET error = 'x' WHERE chunk_index = 1")
	if n := findings(b.verified("of damaged chunks", runs[1], false)); n[migration.FindingBackup] == 0 {
		b.t.Errorf("findings: got %v, want a backup that differs", n)
	}
}

// journalLost loses a part of an import's journal, and a row that it listed, beside an edit.
func journalLost(b *bench) {
	r := b.imported(migration.ImportOptions{Paths: []string{legacySet(b, 1, small())}})
	m := must[[]models.Message](b.t)(b.someMessages(1))[0]
	_, err := b.db.UpdateMessage(b.ctx, m.MsgID, repo.MessageUpdate{Content: ptr("edited")})
	wantNil(b.t, "edit", err)
	batches, err := b.db.Bulk().ImportBatches(b.ctx, r.Run, -1, false, 1000)
	wantNil(b.t, "journal", err)
	batches = slices.DeleteFunc(batches, func(x models.ImportBatch) bool {
		return x.Table != "messages" || slices.Contains(b.keysOf(x), m.MsgID)
	})
	lost := b.keysOf(batches[0])[0]
	wantNil(b.t, "lose a batch", b.db.Bulk().DeleteBatch(b.ctx, r.Run, batches[0].Seq))
	b.exec("DELETE FROM messages WHERE msg_id = ?", lost)
	v := b.verified("without a part of the journal", r.Run, false)
	equal(b.t, "edits", findings(v)[migration.FindingEdited], 1)
	equal(b.t, "digests that differ", findings(v)[migration.FindingDigest], 1)
}

// keysOf are the keys of a batch of the journal.
func (b *bench) keysOf(x models.ImportBatch) (keys []string) {
	b.t.Helper()
	for k := x.Keys; len(k) > 0; {
		n, used := binary.Uvarint(k)
		if used <= 0 || n > uint64(len(k)-used) {
			b.t.Fatalf("batch %d: got damaged keys, want a length and a key each", x.Seq)
		}
		keys = append(keys, string(k[used:used+int(n)]))
		k = k[used+int(n):]
	}
	return keys
}
