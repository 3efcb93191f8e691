package tests

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/migration/duckdb"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// orphans rejects the orphaned messages of a chat and returns what they are rejected for.
func (b *bench) orphans() (dir string, first *migration.ImportReport, lost []migration.Reject) {
	b.t.Helper()
	chat := small()
	chat.Quirks = fixtures.QuirkOrphans | fixtures.QuirkBadText | fixtures.QuirkUntyped
	dir = legacySet(b, 1, chat)
	first = b.imported(migration.ImportOptions{Paths: []string{dir}, OnReject: func(r migration.Reject) error {
		if r.Reason == migration.ReasonOrphan && r.Table == "messages" {
			lost = append(lost, r)
		}
		return nil
	}})
	if len(lost) == 0 {
		b.t.Fatal("no message was rejected as an orphan, want some")
	}
	return dir, first, lost
}

// valueOf is a column of a rejected row.
func valueOf(r migration.Reject, column string) string {
	s, _ := r.Values[slices.Index(r.Columns, column)].(string)
	return s
}

func importReplayed(b *bench) {
	_, first, lost := b.orphans()
	for _, r := range lost {
		id := valueOf(r, "conversation_id")
		if _, err := b.db.GetConversation(b.ctx, id); errors.Is(err, repo.ErrNotFound) {
			_, err := b.db.CreateConversation(b.ctx, models.Conversation{ConvID: id, Title: "made again"})
			wantNil(b.t, "create", err)
		}
	}
	before := b.digests()
	replayed := b.imported(migration.ImportOptions{Replay: first.RejectFile, NoBackup: true})
	for _, r := range lost {
		m := b.getMessage(r.ID)
		equal(b.t, "conversation", m.ConversationID, valueOf(r, "conversation_id"))
	}
	if n := reasons(replayed)[migration.ReasonOrphan]; n != reasons(first)[migration.ReasonOrphan]-int64(len(lost)) && n >= reasons(first)[migration.ReasonOrphan] {
		b.t.Errorf("orphans that are left: got %d of %d, want those of messages placed", n, reasons(first)[migration.ReasonOrphan])
	}
	placed := b.digests()
	again := b.imported(migration.ImportOptions{Replay: first.RejectFile, NoBackup: true})
	for _, c := range counts(again) {
		equal(b.t, "written by replaying again to "+c.Table, c.Written, 0)
	}
	deepEqual(b.t, "digests after replaying again", b.digests(), placed)
	_, err := b.db.RollbackImport(b.ctx, replayed.Run, migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)
	deepEqual(b.t, "digests after the rollback", b.digests(), before)
}

func importReplayedVector(b *bench) {
	path := filepath.Join(b.t.TempDir(), "kb")
	content := b.knowledge(path, duckdb.LegacyKnowledge{Dimensions: 4, Files: 1, ChunksPerFile: 3, Quirks: []duckdb.Quirk{duckdb.QuirkNullVector}})
	chunk := content.Touched[duckdb.QuirkNullVector][0]
	var lost migration.Reject
	first := b.imported(migration.ImportOptions{Paths: []string{path}, OnReject: func(r migration.Reject) error {
		lost = r
		return nil
	}})
	equal(b.t, "reason", lost.Reason, migration.ReasonVectorNull)
	before := b.digests()

	mended := models.Vector{0.5, 0.25, 0.1, -0.3}
	rejects, err := os.ReadFile(first.RejectFile)
	wantNil(b.t, "read", err)
	null := `"values":["` + lost.ID + `",null`
	equal(b.t, "vectors to mend", strings.Count(string(rejects), null), 1)
	file := filepath.Join(b.t.TempDir(), "mended.jsonl")
	blob := base64.StdEncoding.EncodeToString(mended.Blob())
	wantNil(b.t, "write", os.WriteFile(file, []byte(strings.Replace(string(rejects), null, strings.Replace(null, "null", `{"vector":"`+blob+`"}`, 1), 1)), 0o600))
	replayed := b.imported(migration.ImportOptions{Replay: file, NoBackup: true})
	equal(b.t, "second vectors", reasons(replayed)[migration.ReasonSecondVector], 0)
	equal(b.t, "chunks that were processed", reasons(replayed)[migration.ReasonChunkProcessed], 1)
	found, err := b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: "kb", Vector: mended, Limit: 1})
	wantNil(b.t, "similarity query", err)
	if len(found) != 1 || found[0].ChunkID != chunk || found[0].VectorID != lost.ID {
		b.t.Errorf("nearest: got %s, want the vector %s of the chunk %s", show(found), lost.ID, chunk)
	}
	again := b.imported(migration.ImportOptions{Replay: file, NoBackup: true})
	for _, c := range counts(again) {
		equal(b.t, "written by replaying again to "+c.Table, c.Written, 0)
	}
	_, err = b.db.RollbackImport(b.ctx, replayed.Run, migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)
	deepEqual(b.t, "digests after the rollback", b.digests(), before)
}

func importReplayedConflicts(b *bench) {
	dir := legacySet(b, 1, small())
	b.imported(migration.ImportOptions{Paths: []string{dir}})
	m := must[[]models.Message](b.t)(b.someMessages(1))[0]
	_, err := b.db.UpdateMessage(b.ctx, m.MsgID, repo.MessageUpdate{Content: ptr("the target's own")})
	wantNil(b.t, "edit", err)
	second := b.imported(migration.ImportOptions{Paths: []string{dir}})
	equal(b.t, "content", b.getMessage(m.MsgID).Content, "the target's own")
	replayed := b.imported(migration.ImportOptions{Replay: second.RejectFile, PreferSource: true, NoBackup: true})
	if n := reasons(replayed)[migration.ReasonReplaced]; n < 1 {
		b.t.Errorf("replaced: got %d, want the conflict", n)
	}
	got := b.getMessage(m.MsgID)
	equal(b.t, "content", got.Content, m.Content)
	equal(b.t, "place in the conversation", got.OrderSeq, m.OrderSeq)
}

func importRejectFiles(b *bench) {
	dir := legacySet(b, 1, small())
	mine := filepath.Join(b.t.TempDir(), "notes.txt")
	wantNil(b.t, "write", os.WriteFile(mine, []byte("not to be lost"), 0o600))
	_, err := b.importing(migration.ImportOptions{Paths: []string{dir}, RejectFile: mine})
	wantErr(b.t, "a reject file that exists", err, fs.ErrExist)
	kept, err := os.ReadFile(mine)
	wantNil(b.t, "read", err)
	equal(b.t, "the file", string(kept), "not to be lost")
	runs, err := b.db.ImportRuns(b.ctx)
	wantNil(b.t, "runs", err)
	equal(b.t, "runs", len(runs), 0)
	_, err = b.importing(migration.ImportOptions{Replay: mine})
	wantErr(b.t, "replay something else", err, migration.ErrRejectFile)
	_, err = b.importing(migration.ImportOptions{Replay: mine + ".not"})
	wantErr(b.t, "replay nothing", err, fs.ErrNotExist)
	if b.number("SELECT count(*) FROM conversations") != 0 {
		b.t.Error("conversations were written, want none")
	}
}

func importDry(b *bench) {
	dir := legacySet(b, 1, small())
	_, err := b.importing(migration.ImportOptions{Resume: true, DryRun: true})
	wantErr(b.t, "resuming as a dry run", err, repo.ErrInvalid)
	for _, what := range []string{"into an empty database", "again", "with edits"} {
		before := b.digests()
		runs, err := b.db.ImportRuns(b.ctx)
		wantNil(b.t, "runs", err)
		opts := migration.ImportOptions{Paths: []string{dir}, PreferSource: what == "with edits"}
		dry := opts
		dry.DryRun = true
		said, err := b.importing(dry)
		wantNil(b.t, "dry run "+what, err)
		accounted(b.t, said)
		equal(b.t, "dry run", said.DryRun, true)
		deepEqual(b.t, "digests after a dry run "+what, b.digests(), before)
		after, err := b.db.ImportRuns(b.ctx)
		wantNil(b.t, "runs", err)
		equal(b.t, "runs after a dry run", len(after), len(runs))
		did := b.imported(opts)
		deepEqual(b.t, "counts of a dry run "+what, counts(said), counts(did))
		deepEqual(b.t, "target of a dry run "+what, said.Target, did.Target)
		m := must[[]models.Message](b.t)(b.someMessages(2))[1]
		_, err = b.db.UpdateMessage(b.ctx, m.MsgID, repo.MessageUpdate{Content: ptr("edited")})
		wantNil(b.t, "edit", err)
	}
}

// contents are the files of a folder, byte for byte, with their times.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	wantNil(t, "walk", filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = info.ModTime().String() + info.Mode().String() + string(b)
		return err
	}))
	return out
}

func importBackedUp(b *bench) {
	b.earlier()
	chat := small()
	chat.Log = fixtures.LogRows
	dir := legacySet(b, 1, chat)
	before := contents(b.t, dir)
	r := b.imported(migration.ImportOptions{Paths: []string{dir}})
	for path, was := range before {
		if now := contents(b.t, dir)[path]; now != was {
			b.t.Errorf("%s changed, want the sources as they were", filepath.Base(path))
		}
	}
	equal(b.t, "files", len(contents(b.t, dir)), len(before))
	m, err := migration.ReadManifest(r.Backup)
	wantNil(b.t, "manifest", err)
	equal(b.t, "sources in the backup", len(m.Sources), len(r.Sources))
	equal(b.t, "run of the backup", m.Run, r.Run)
	equal(b.t, "the database is in the backup", m.Target != nil, b.pick("yes", "no") == "yes")
	wantNil(b.t, "check", m.Check(b.ctx, r.Backup))
	names := map[string]bool{}
	for _, s := range m.Sources {
		for _, f := range s.Files {
			names[filepath.Base(f.Path)] = true
			copied, err := os.ReadFile(filepath.Join(r.Backup, f.Name))
			wantNil(b.t, "copy", err)
			if !strings.HasSuffix(before[f.Path], string(copied)) {
				b.t.Errorf("the copy of %s differs, want it the same", f.Path)
			}
		}
	}
	if !names["chat.db"] || !names["chat.db-wal"] {
		b.t.Errorf("backup: got %v, want chat.db with its log", names)
	}

	damaged := filepath.Join(r.Backup, m.Sources[0].Files[0].Name)
	f, err := os.OpenFile(damaged, os.O_WRONLY, 0)
	wantNil(b.t, "open", err)
	_, err = f.WriteAt([]byte{'x'}, 30)
	wantNil(b.t, "damage", errors.Join(err, f.Close()))
	wantErr(b.t, "check a damaged backup", m.Check(b.ctx, r.Backup), migration.ErrBackupDamaged)
	v, err := b.db.VerifyImport(b.ctx, r.Run, migration.VerifyOptions{})
	wantNil(b.t, "verify", err)
	if v.OK || !slices.ContainsFunc(v.Findings, func(f migration.Finding) bool { return f.Kind == migration.FindingBackup }) {
		b.t.Errorf("verification: got %s, want the damaged backup", show(v))
	}
	wantNil(b.t, "remove", os.RemoveAll(r.Backup))
	v, err = b.db.VerifyImport(b.ctx, r.Run, migration.VerifyOptions{})
	wantNil(b.t, "verify", err)
	equal(b.t, "ok without a backup", v.OK, true)
	equal(b.t, "compared with a backup", v.Backup, false)
}

// importSeveral imports knowledge bases and chats from several folders beside each other.
func importSeveral(b *bench) {
	one, two := legacySet(b, 1, small()), legacySet(b, 4, small())
	first := b.imported(migration.ImportOptions{Paths: []string{one}})
	alone := b.digests()
	both := b.imported(migration.ImportOptions{Paths: []string{two, one}})
	equal(b.t, "sources", len(both.Sources), 2*len(first.Sources))
	for _, s := range both.Sources {
		for _, c := range s.Tables {
			if strings.HasPrefix(s.Path, one) && c.Written != 0 {
				b.t.Errorf("%s of %s: written %d, want what is there merged", c.Table, s.Path, c.Written)
			}
		}
	}
	_, err := b.db.RollbackImport(b.ctx, both.Run, migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)
	deepEqual(b.t, "digests after the rollback", b.digests(), alone)
}

// importDamagedSources gives sources that are damaged or no legacy files, beside one that is whole: what
// is wrong is said by name, and nothing is written.
func importDamagedSources(b *bench) {
	dir := ownLegacySet(b, small())
	chat, err := os.ReadFile(filepath.Join(dir, "app_db", "chat.db"))
	wantNil(b.t, "read", err)
	files := map[string]func() ([]byte, error){
		"truncated chat.db":           func() ([]byte, error) { return chat[:len(chat)/2], migration.ErrSourceDamaged },
		"chat.db with corrupt pages":  func() ([]byte, error) { return overwritten(chat, 4096), migration.ErrSourceDamaged },
		"picture":                     func() ([]byte, error) { return []byte("\x89PNG\r\n\x1a\n rest"), migration.ErrNotLegacy },
		"empty file":                  func() ([]byte, error) { return nil, migration.ErrNotLegacy },
		"encrypted or random content": func() ([]byte, error) { return overwritten(make([]byte, 8192), 1), migration.ErrNotLegacy },
	}
	if kb, err := os.ReadFile(filepath.Join(dir, "app_db", "KnowledgeBase", "kb38-0")); err == nil {
		files["truncated knowledge base"] = func() ([]byte, error) { return kb[:len(kb)/2], migration.ErrSourceDamaged }
		files["knowledge base with corrupt blocks"] = func() ([]byte, error) { return overwritten(kb, 4096*4), migration.ErrSourceDamaged }
	}
	for name, file := range files {
		content, want := file()
		path := filepath.Join(b.t.TempDir(), name)
		wantNil(b.t, "write", os.WriteFile(path, content, 0o600))
		b.refusesSource(name, []string{dir, path}, path, want)
	}
	if _, there := files["truncated knowledge base"]; there {
		foreign := filepath.Join(b.t.TempDir(), "kb")
		k := duckdb.LegacyKnowledge{Seed: 99, Dimensions: 4, Files: 2, InWAL: 2}
		_, err := k.Write(b.ctx, foreign)
		wantNil(b.t, "write", err)
		wantNil(b.t, "a foreign log", os.Rename(foreign+".wal", filepath.Join(dir, "app_db", "KnowledgeBase", "kb38-0.wal")))
		b.refusesSource("a foreign log", []string{dir}, "kb38-0", migration.ErrSourceDamaged)
	}
}

// overwritten is a copy of b with every third block of a size overwritten, from the second on.
func overwritten(b []byte, block int) []byte {
	b = slices.Clone(b)
	for i := block; i < len(b); i++ {
		if i/block%3 == 1 {
			b[i] = byte(i*7 + 3)
		}
	}
	return b
}

func (b *bench) refusesSource(what string, paths []string, names string, want error) {
	b.t.Helper()
	backups := filepath.Join(b.t.TempDir(), "backup")
	r, err := b.importing(migration.ImportOptions{Paths: paths, BackupDir: backups})
	wantErr(b.t, what, err, want)
	if err == nil || !strings.Contains(err.Error(), names) || r.OK {
		b.t.Errorf("%s: got error %v, want it to name %s", what, err, names)
	}
	var me *migration.MigrationError
	if !errors.As(err, &me) || me.Recoverable || me.Run != "" {
		b.t.Errorf("%s: got %+v, want an error from before anything was recorded", what, me)
	}
	runs, err := b.db.ImportRuns(b.ctx)
	wantNil(b.t, "runs", err)
	equal(b.t, what+": runs", len(runs), 0)
	equal(b.t, what+": rows", b.number("SELECT (SELECT count(*) FROM conversations) + (SELECT count(*) FROM knowledge_bases)"), 0)
	if left, err := os.ReadDir(backups); err == nil && len(left) > 0 {
		b.t.Errorf("%s: the backup's folder holds %v, want nothing left", what, left)
	}
}
