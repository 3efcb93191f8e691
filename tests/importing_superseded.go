package tests

import (
	"encoding/binary"
	"slices"

	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
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
