package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func backupCases() []testCase {
	return []testCase{
		{name: "a dump is restored whole", run: backupRestored},
		{name: "what an import left behind goes along", run: backupOfImports},
		{name: "a dump is of one moment while others write", run: backupWhileWriting},
		{name: "only an empty database is restored into", run: backupNotEmpty},
		{name: "a damaged dump writes nothing", run: backupDamaged},
		{name: "a restore that is cut off writes nothing", run: backupCutOff},
		{name: "rows that cannot be stored again", run: backupFaulty},
		{name: "a database is compared with its dump", run: backupCompared},
		{name: "rolling backups remove their own and nothing else", run: backupRolling},
		{name: "backups are made by themselves", run: backupAutomatic},
		{name: "a snapshot does not wait for writers", run: backupSnapshot},
	}
}

// everything fills the database with rows of every table, awkward values among them.
func (b *bench) everything() map[string]migration.Digest {
	b.t.Helper()
	b.few()
	wantNil(b.t, "load", fixtures.Load(b.ctx, b.db, "branches"))
	if !testing.Short() {
		wantNil(b.t, "load", fixtures.Load(b.ctx, b.db, "long"))
	}
	// Integer keys with a gap behind them, as deleting leaves it.
	b.conversation("gone")
	b.message("gone", "gone", "gone")
	wantNil(b.t, "delete", b.db.DeleteConversation(b.ctx, "gone"))
	b.conversation("values \t\u2028 🚀")
	for i, text := range []string{"", " ", "\x01\x7f\u200b\ufeff\ufffd", "𝔘𝔫𝔦 " + strings.Repeat("长", 4_000), `{"data":"` + strings.Repeat("A", 1_500_000) + `"}`} {
		b.message("values \t\u2028 🚀", fmt.Sprint("value-", i), text)
	}
	var rows []models.KnowledgeVector
	var chunks []models.KnowledgeChunk
	for i := range 300 { // enough for codes
		id := fmt.Sprint("many-", i)
		chunks = append(chunks, models.KnowledgeChunk{ID: id, FileID: "notes-file-1", Content: "number " + fmt.Sprint(i), Status: models.TaskProcessed})
		rows = append(rows, models.KnowledgeVector{ID: id, FileID: "notes-file-1", ChunkID: id, Embedding: []float32{float32(i) / 3, 1e-38, -1.5, 0, 1, 2, 3, 1.0 / 3}})
	}
	_, err := b.db.InsertChunks(b.ctx, chunks)
	wantNil(b.t, "chunks", err)
	_, err = b.db.UpsertVectors(b.ctx, rows)
	wantNil(b.t, "vectors", err)
	return b.digests()
}

// few fills the database with a few rows.
func (b *bench) few() map[string]migration.Digest {
	b.t.Helper()
	for _, name := range []string{"chats", "knowledge"} {
		wantNil(b.t, "load", fixtures.Load(b.ctx, b.db, name))
	}
	return b.digests()
}

func (b *bench) dumped() (path string, info *migration.DumpInfo) {
	b.t.Helper()
	path = filepath.Join(b.t.TempDir(), "talk.dump")
	info, err := b.db.Backup(b.ctx, path, migration.DumpOptions{})
	wantNil(b.t, "backup", err)
	return path, info
}

// on is the bench with another database.
func (b *bench) on(db *talkbase.DB) *bench {
	c := *b
	c.db = db
	return &c
}

func (b *bench) empty(when string) {
	b.t.Helper()
	for table, d := range b.digests() {
		if d.Rows != 0 {
			b.t.Errorf("%s %s: got %d rows, want none", table, when, d.Rows)
		}
	}
}

// integerKeys lists the keys that the database assigned.
func (b *bench) integerKeys() (out []int64) {
	b.t.Helper()
	for _, q := range []string{"SELECT id FROM conversations ORDER BY conv_id", "SELECT id FROM messages ORDER BY msg_id", "SELECT id FROM message_attachments ORDER BY attachment_id"} {
		var ids []int64
		wantNil(b.t, q, must[*gorm.DB](b.t)(b.db.Gorm(b.ctx)).Raw(q).Scan(&ids).Error)
		out = append(out, ids...)
	}
	return out
}

func backupRestored(b *bench) {
	want := b.everything()
	path, info := b.dumped()
	fi, err := os.Stat(path)
	wantNil(b.t, "stat", err)
	equal(b.t, "mode", fi.Mode().Perm(), 0o600)
	equal(b.t, "bytes", info.Bytes, fi.Size())
	equal(b.t, "engine", info.Engine, b.db.Engine())
	equal(b.t, "schema", info.SchemaVersion, b.db.LatestSchemaVersion())
	for table, d := range want {
		equal(b.t, "digest of "+table+" in the dump", info.Tables[table], d)
	}
	_, err = b.db.Backup(b.ctx, path, migration.DumpOptions{})
	wantErr(b.t, "the same name again", err, fs.ErrExist)

	r := b.on(b.another(nil))
	phases := map[migration.Phase]bool{}
	report, err := r.db.Restore(b.ctx, path, migration.RestoreOptions{Progress: func(p migration.Progress) { phases[p.Phase] = true }})
	wantNil(b.t, "restore", err)
	equal(b.t, "verified", report.Verified, true)
	for _, p := range []migration.Phase{migration.PhaseCheck, migration.PhaseRestore, migration.PhaseIndex, migration.PhaseValidate} {
		equal(b.t, "progress of "+string(p), phases[p], true)
	}
	deepEqual(b.t, "digests", r.digests(), want)
	deepEqual(b.t, "integer keys", r.integerKeys(), b.integerKeys())
	r.valid("after a restore")
	deepEqual(b.t, "text index", must[map[string]int64](b.t)(r.db.Bulk().TextMissing(b.ctx)), map[string]int64{})
	deepEqual(b.t, "found", r.searched("数据库"), b.searched("数据库"))
	q := repo.SimilarityQuery{BaseID: "notes", Vector: []float32{50, 0, -1.5, 0, 1, 2, 3, 0}, Limit: 20}
	deepEqual(b.t, "similar", r.similar(q), b.similar(q))
	deepEqual(b.t, "conversation", r.getConversation("branches"), b.getConversation("branches"))
	if m := r.message("branches", "after", "after"); m.ID <= b.getMessage("value-4").ID {
		b.t.Errorf("a new message: got key %d, want one behind those restored", m.ID)
	}
	r.works("after a restore")
	again, err := migration.CheckDump(b.ctx, bytes.NewReader(must[[]byte](b.t)(os.ReadFile(path))), migration.DumpOptions{})
	wantNil(b.t, "check", err)
	deepEqual(b.t, "what the check says", again, info)
}

func backupOfImports(b *bench) {
	before := b.earlier()
	dir := legacySet(b, 1, small())
	run := b.imported(migration.ImportOptions{Paths: []string{dir}}).Run
	path, _ := b.dumped()
	r := b.on(b.another(nil))
	_, err := r.db.Restore(b.ctx, path, migration.RestoreOptions{})
	wantNil(b.t, "restore", err)
	v, err := r.db.VerifyImport(b.ctx, run, migration.VerifyOptions{})
	wantNil(b.t, "verify", err)
	if !v.OK || !v.Backup {
		b.t.Errorf("verification: got %s, want ok with the backup", show(v))
	}
	_, err = r.db.RollbackImport(b.ctx, run, migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)
	deepEqual(b.t, "digests after the rollback", r.digests(), before)
}

func backupWhileWriting(b *bench) {
	b.conversation("c")
	ctx, stop := context.WithCancel(b.ctx)
	defer stop()
	var wg sync.WaitGroup
	started := make(chan struct{})
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			// Each transaction adds a conversation with two messages: a dump of one moment has both or none.
			err := b.db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error {
				c, err := b.db.CreateConversation(ctx, models.Conversation{ConvID: fmt.Sprint("pair-", i)})
				if err != nil {
					return err
				}
				_, err = b.db.InsertMessages(ctx, []models.Message{{ConversationID: c.ConvID, Role: models.RoleUser}, {ConversationID: c.ConvID, Role: models.RoleUser}})
				return err
			})
			if err != nil && ctx.Err() == nil {
				b.t.Errorf("writing: got error %v, want none", err)
				return
			}
			if i == 5 {
				close(started)
			}
		}
	})
	<-started
	for range 3 {
		var buf bytes.Buffer
		info, err := b.db.Dump(b.ctx, &buf, migration.DumpOptions{})
		wantNil(b.t, "dump", err)
		if c, m := info.Tables["conversations"].Rows, info.Tables["messages"].Rows; m != 2*(c-1) || c < 6 {
			b.t.Errorf("dump: got %d conversations and %d messages, want two for each but one", c, m)
		}
	}
	stop()
	wg.Wait()
}

func backupNotEmpty(b *bench) {
	path, _ := b.dumped()
	b.conversation("c")
	before := b.digests()
	_, err := b.db.Restore(b.ctx, path, migration.RestoreOptions{})
	wantErr(b.t, "restore", err, migration.ErrNotEmpty)
	wantErr(b.t, "copy", second(talkbase.Copy(b.ctx, b.another(nil), b.db, migration.RestoreOptions{})), migration.ErrNotEmpty)
	wantErr(b.t, "copy to itself", second(talkbase.Copy(b.ctx, b.db, b.db, migration.RestoreOptions{})), migration.ErrNotEmpty)
	deepEqual(b.t, "digests", b.digests(), before)
	wantErr(b.t, "no file", second(b.db.Restore(b.ctx, path+"x", migration.RestoreOptions{})), fs.ErrNotExist)
	r := b.another(nil)
	_, err = r.Restore(b.ctx, path, migration.RestoreOptions{})
	wantNil(b.t, "restore of nothing", err)
}

func second[T any](_ T, err error) error { return err }

func backupDamaged(b *bench) {
	b.few()
	path, _ := b.dumped()
	whole, err := os.ReadFile(path)
	wantNil(b.t, "read", err)
	r := b.on(b.another(nil))
	try := func(what string, content []byte, want ...error) {
		b.t.Helper()
		_, err := migration.Restore(b.ctx, r.db.Bulk(), bytes.NewReader(content), migration.RestoreOptions{})
		if err == nil || !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
			b.t.Errorf("%s: got error %v, want one of %v", what, err, want)
		}
	}
	any := []error{migration.ErrBackupDamaged, migration.ErrNotDump, migration.ErrNewerDump}
	step := len(whole)/60 + 1
	for i := 0; i < len(whole); i += step {
		flip := bytes.Clone(whole)
		flip[i] ^= 1 << (i % 8)
		try(fmt.Sprint("a flip at ", i), flip, any...)
		try(fmt.Sprint("cut at ", i), whole[:i], any...)
	}
	try("more at the end", append(bytes.Clone(whole), 0), migration.ErrBackupDamaged)
	try("twice", append(bytes.Clone(whole), whole...), migration.ErrBackupDamaged)
	try("the last byte missing", whole[:len(whole)-1], migration.ErrBackupDamaged)
	try("a newer format", bytes.Replace(whole, []byte("dump 1"), []byte("dump 2"), 1), migration.ErrNewerDump)
	try("an SQLite file", []byte("SQLite format 3\x00"), migration.ErrNotDump)
	try("nothing", nil, migration.ErrNotDump)
	r.empty("after all that")
	_, err = migration.Restore(b.ctx, r.db.Bulk(), bytes.NewReader(whole), migration.RestoreOptions{})
	wantNil(b.t, "the whole", err)
	deepEqual(b.t, "digests", r.digests(), b.digests())
}

func backupCutOff(b *bench) {
	b.few()
	path, _ := b.dumped()
	r := b.on(b.another(nil))
	n := 0
	for cut := 1; ; cut += 5 {
		ctx, report := cutting(b.ctx, cut)
		_, err := r.db.Restore(ctx, path, migration.RestoreOptions{Progress: report})
		if err == nil {
			break
		}
		n++
		wantErr(b.t, "restore", err, context.Canceled)
		r.empty("after a cut")
	}
	if n < 3 {
		b.t.Errorf("cuts: got %d, want more", n)
	}
	deepEqual(b.t, "digests", r.digests(), b.digests())
	r.valid("after cuts")
}

// backupFaulty is about rows that plain SQL or damage made.
func backupFaulty(b *bench) {
	if b.postgres() { // it takes no such text
		return
	}
	b.conversation("c")
	b.message("c", "good", "good")
	b.message("c", "bad", "bad")
	b.conversation("worse")
	b.message("worse", "orphan", "orphan")
	b.exec("UPDATE messages SET content = CAST(x'62ff61' AS TEXT) WHERE msg_id = 'bad'")
	b.exec("UPDATE conversations SET title = CAST(x'610062' AS TEXT) WHERE conv_id = 'worse'")
	path, info := b.dumped()
	equal(b.t, "faulty rows", info.FaultyRows, 2)
	r := b.on(b.another(nil))
	_, err := r.db.Restore(b.ctx, path, migration.RestoreOptions{})
	wantErr(b.t, "restore", err, repo.ErrText)
	r.empty("after a row was refused")
	rejects := filepath.Join(b.t.TempDir(), "rejects.jsonl")
	report, err := r.db.Restore(b.ctx, path, migration.RestoreOptions{RejectFile: rejects})
	wantNil(b.t, "restore with a reject file", err)
	deepEqual(b.t, "rejected", report.Rejected, map[string]int64{"conversations": 1, "messages": 2})
	equal(b.t, "verified", report.Verified, true)
	content, err := os.ReadFile(rejects)
	wantNil(b.t, "reject file", err)
	equal(b.t, "lines", strings.Count(string(content), "\n"), 4)
	deepEqual(b.t, "found", r.searched("good"), []string{"good"})
	_, err = b.another(nil).Restore(b.ctx, path, migration.RestoreOptions{RejectFile: rejects})
	wantErr(b.t, "a reject file that is there", err, fs.ErrExist)
	wantErr(b.t, "copy", second(talkbase.Copy(b.ctx, b.db, b.another(nil), migration.RestoreOptions{})), repo.ErrText)
}

func backupCompared(b *bench) {
	b.few()
	path, _ := b.dumped()
	c, err := b.db.CompareBackup(b.ctx, path, migration.DumpOptions{})
	wantNil(b.t, "compare", err)
	equal(b.t, "same", c.Same, true)
	b.exec("UPDATE messages SET content = content || '!' WHERE msg_id = 'chat-en-0001'")
	b.exec("DELETE FROM knowledge_vectors WHERE id = 'notes-file-1_1'")
	b.conversation("new")
	c, err = b.db.CompareBackup(b.ctx, path, migration.DumpOptions{})
	wantNil(b.t, "compare", err)
	equal(b.t, "same", c.Same, false)
	deepEqual(b.t, "tables", c.Tables, []migration.TableComparison{
		{Table: "conversations", Added: 1}, {Table: "messages", Differing: 1}, {Table: "knowledge_vectors", Missing: 1},
	})
	deepEqual(b.t, "rows", c.Differences, []migration.DumpDifference{
		{Table: "messages", ID: "chat-en-0001", Kind: migration.FindingDiffers}, {Table: "knowledge_vectors", ID: "notes-file-1_1", Kind: migration.FindingMissing},
	})
}

func backupRolling(b *bench) {
	b.conversation("c")
	dir := filepath.Join(b.t.TempDir(), "backups")
	roll := func(db *talkbase.DB, o migration.RollingOptions) *migration.RollingReport {
		b.t.Helper()
		r, err := db.RollingBackup(b.ctx, dir, o)
		wantNil(b.t, "rolling backup", err)
		return r
	}
	other := b.another(nil)
	first := roll(other, migration.RollingOptions{Keep: 1})
	strangers := map[string]string{
		"talkbase-20200101T000000.000Z.dump": "not a dump at all", "talkbase-mine.dump": "x", "notes.txt": "x",
		filepath.Base(first.Path): string(must[[]byte](b.t)(os.ReadFile(first.Path))),
	}
	path, _ := b.dumped() // without the database's id, under a name like those of rolling backups
	strangers["talkbase-20200102T000000.000Z.dump"] = string(must[[]byte](b.t)(os.ReadFile(path)))
	for name, content := range strangers {
		wantNil(b.t, "write", os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	var made []string
	for i := range 5 {
		b.conversation(fmt.Sprint(i))
		r := roll(b.db, migration.RollingOptions{Keep: 3})
		made = append(made, r.Path)
		equal(b.t, "removed", len(r.Removed), max(0, min(1, i-2)))
		equal(b.t, "kept", len(r.Kept), min(3, i+1))
		equal(b.t, "the newest", r.Kept[0], r.Path)
	}
	for i, p := range made {
		_, err := os.Stat(p)
		equal(b.t, "there "+p, err == nil, i >= 2)
	}
	for name, content := range strangers {
		equal(b.t, name, string(must[[]byte](b.t)(os.ReadFile(filepath.Join(dir, name)))), content)
	}
	r := roll(b.db, migration.RollingOptions{Keep: 3, Every: time.Hour})
	equal(b.t, "made before it is due", r.Path, "")
	// What a killed process left behind goes, of this database only.
	left := filepath.Join(dir, ".talkbase-20200101T000000.000Z.dump.part-1")
	wantNil(b.t, "write", os.WriteFile(left, must[[]byte](b.t)(os.ReadFile(made[4])), 0o600))
	others := filepath.Join(dir, ".talkbase-20200101T000000.000Z.dump.part-2")
	wantNil(b.t, "write", os.WriteFile(others, []byte(strangers[filepath.Base(first.Path)]), 0o600))
	// A damaged newest is neither removed nor counted.
	wantNil(b.t, "write", os.WriteFile(made[4], []byte("damaged"), 0o600))
	r = roll(b.db, migration.RollingOptions{Keep: 1})
	equal(b.t, "kept", len(r.Kept), 1)
	equal(b.t, "left behind", errors.Is(second(os.Stat(left)), fs.ErrNotExist), true)
	equal(b.t, "left behind by another database", second(os.Stat(others)), nil)
	equal(b.t, "the damaged one", second(os.Stat(made[4])), nil)
	restored := b.on(b.another(nil))
	_, err := restored.db.Restore(b.ctx, r.Path, migration.RestoreOptions{})
	wantNil(b.t, "restore", err)
	deepEqual(b.t, "digests", restored.digests(), b.digests())
	// The restored database is another one: it leaves those backups alone.
	equal(b.t, "removed by the restored", len(roll(restored.db, migration.RollingOptions{Keep: 1}).Removed), 0)
}

func backupAutomatic(b *bench) {
	// The case's own database has none: they are asked for when a database is opened.
	dir := filepath.Join(b.t.TempDir(), "backups")
	done := make(chan *migration.RollingReport, 10)
	db := b.another(func(c *talkbase.Config) {
		c.Backup = talkbase.BackupConfig{Dir: dir, Every: 20 * time.Millisecond, Keep: 2, Done: func(r *migration.RollingReport, err error) {
			if err != nil {
				b.t.Errorf("backup: got error %v, want none", err)
			}
			select {
			case done <- r:
			default:
			}
		}}
	})
	var last *migration.RollingReport
	for range 4 {
		last = <-done
	}
	wantNil(b.t, "close", db.Close())
	for len(done) > 0 {
		last = <-done
	}
	entries, err := filepath.Glob(filepath.Join(dir, "*.dump"))
	wantNil(b.t, "list", err)
	slices.Reverse(entries)
	deepEqual(b.t, "backups", entries, last.Kept)

	blocked := filepath.Join(b.t.TempDir(), "a file")
	wantNil(b.t, "write", os.WriteFile(blocked, nil, 0o600))
	failed := make(chan error, 1)
	db = b.another(func(c *talkbase.Config) {
		c.Backup = talkbase.BackupConfig{Dir: blocked, Done: func(_ *migration.RollingReport, err error) { failed <- err }}
	})
	if err := <-failed; err == nil {
		b.t.Error("a backup into what is no folder: got no error, want one")
	}
	wantNil(b.t, "close", db.Close())
}

func backupSnapshot(b *bench) {
	path := filepath.Join(b.t.TempDir(), "copy.db")
	if b.postgres() {
		wantErr(b.t, "snapshot", b.db.Snapshot(b.ctx, path), repo.ErrUnsupported)
		return
	}
	want := b.few()
	tx, err := b.db.Begin(b.ctx)
	wantNil(b.t, "begin", err)
	_, err = b.db.CreateConversation(tx.Context(), models.Conversation{ConvID: "not yet"})
	wantNil(b.t, "create", err)
	wantNil(b.t, "snapshot", b.db.Snapshot(b.ctx, path))
	wantNil(b.t, "commit", tx.Commit())
	fi, err := os.Stat(path)
	wantNil(b.t, "stat", err)
	equal(b.t, "mode", fi.Mode().Perm(), 0o600)
	wantErr(b.t, "the same name again", b.db.Snapshot(b.ctx, path), fs.ErrExist)
	c, err := talkbase.Open(b.ctx, talkbase.Config{DSN: path})
	wantNil(b.t, "open", err)
	deepEqual(b.t, "digests", b.on(c).digests(), want)
	wantNil(b.t, "close", c.Close())
}
