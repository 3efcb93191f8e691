package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/migration/duckdb"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func importCases() []testCase {
	cases := []testCase{
		{name: "every quirk at once is accounted for and verified", run: importQuirks},
		{name: "an import that is cut off anywhere is resumed", run: importResumed},
		{name: "an unfinished import is in the way of another", run: importUnfinished},
		{name: "a source that changed is not resumed", run: importSourceChanged},
		{name: "rollback leaves what was there before", run: importRolledBack},
		{name: "a rollback that is cut off anywhere goes on", run: rollbackResumed},
		{name: "edits are in the way of a rollback", run: rollbackEdited},
		{name: "a replaced row that was deleted since stays deleted", run: rollbackOfDeleted},
		{name: "edits are told from damage", run: importEdited},
		{name: "knowledge bases without documents or times", run: importEmptyBases},
		{name: "the target or the source is preferred", run: importPrefers},
		{name: "a file is preferred to another of the same import", run: importPrefersAmong},
		{name: "rows that a later import replaced are no damage", run: verifyReplaced},
		{name: "rows of another import that was rolled back are no damage", run: verifyRolledBack},
		{name: "a base that made ids necessary is rolled back", run: verifyDerived},
		{name: "a part of the journal that is lost is missed beside an edit", run: journalLost},
		{name: "an import that lost its turn stops", run: importTaken},
		{name: "an import under way is resumed by another", run: importTakenUp},
		{name: "an import is rolled back while it is resumed", run: resumeRolledBack},
		{name: "a number of the journal is taken once", run: journalTwice},
		{name: "somebody else writes while an empty database is loaded", run: importOverlapped},
		{name: "rejected rows are placed once the cause is mended", run: importReplayed},
		{name: "a mended vector is replayed and its chunk found", run: importReplayedVector},
		{name: "conflicts are replayed for the source", run: importReplayedConflicts},
		{name: "a reject file overwrites nothing", run: importRejectFiles},
		{name: "a dry run says what an import does and writes nothing", run: importDry},
		{name: "the backup is whole and the sources are untouched", run: importBackedUp},
		{name: "several folders into one database", run: importSeveral},
		{name: "damaged sources are named and nothing is written", run: importDamagedSources},
	}
	for _, d := range damages {
		cases = append(cases, testCase{name: "verification finds " + d.name, run: func(b *bench) { importDamaged(b, d) }})
	}
	return cases
}

// legacySets are folders of legacy files, each made once: importing does not change them.
type legacySets struct {
	dir  string
	mu   sync.Mutex
	made map[string]string
}

// legacySet returns a user-data folder with a chat.db and, where the reader is linked, two knowledge
// bases. It is shared: see ownLegacySet.
func legacySet(b *bench, seed uint64, chat fixtures.LegacyChat) string {
	b.t.Helper()
	b.legacy.mu.Lock()
	defer b.legacy.mu.Unlock()
	chat.Seed = seed
	key := fmt.Sprint(chat)
	if dir, ok := b.legacy.made[key]; ok {
		return dir
	}
	dir := filepath.Join(b.legacy.dir, fmt.Sprint(len(b.legacy.made)))
	writeLegacySet(b, dir, chat)
	if b.legacy.made == nil {
		b.legacy.made = map[string]string{}
	}
	b.legacy.made[key] = dir
	return dir
}

// ownLegacySet is a legacySet that the case may change.
func ownLegacySet(b *bench, chat fixtures.LegacyChat) string {
	b.t.Helper()
	dir := filepath.Join(b.t.TempDir(), "own")
	chat.Seed = 38
	writeLegacySet(b, dir, chat)
	return dir
}

func writeLegacySet(b *bench, dir string, chat fixtures.LegacyChat) {
	b.t.Helper()
	app := filepath.Join(dir, "app_db")
	wantNil(b.t, "folder", os.MkdirAll(filepath.Join(app, "KnowledgeBase"), 0o700))
	_, err := chat.Write(b.ctx, filepath.Join(app, "chat.db"))
	wantNil(b.t, "chat.db", err)
	for i, k := range []duckdb.LegacyKnowledge{
		{Seed: chat.Seed, Dimensions: 8, Files: 7, ChunksPerFile: 7, Quirks: duckdb.AllQuirks()},
		{Seed: chat.Seed + 1, Dimensions: 16, Files: 2, ChunksPerFile: 9, InWAL: 1},
	} {
		_, err := k.Write(b.ctx, filepath.Join(app, "KnowledgeBase", fmt.Sprintf("kb%d-%d", chat.Seed, i)))
		if errors.Is(err, migration.ErrNoReader) {
			return
		}
		wantNil(b.t, "knowledge base", err)
	}
}

// small is a legacy chat with every quirk but the huge message.
func small() fixtures.LegacyChat {
	return fixtures.LegacyChat{Version: 9, Conversations: 6, MessagesPer: 12, Quirks: fixtures.AllQuirks &^ fixtures.QuirkHuge}
}

func (b *bench) importing(opts migration.ImportOptions) (*migration.ImportReport, error) {
	if opts.BackupDir == "" {
		opts.BackupDir = filepath.Join(b.t.TempDir(), "backup")
	}
	if opts.BatchRows == 0 {
		opts.BatchRows = 9
	}
	return b.db.Import(b.ctx, opts)
}

// imported imports and checks that every row is accounted for.
func (b *bench) imported(opts migration.ImportOptions) *migration.ImportReport {
	b.t.Helper()
	r, err := b.importing(opts)
	wantNil(b.t, "import", err)
	accounted(b.t, r)
	if r.Verification == nil || !r.Verification.OK {
		b.t.Errorf("verification: got %s, want ok", show(r.Verification))
	}
	return r
}

func accounted(t testing.TB, r *migration.ImportReport) {
	t.Helper()
	for _, s := range r.Sources {
		for _, c := range s.Tables {
			if c.Read != c.Written+c.Merged+c.Rejected {
				t.Errorf("%s of %s: read %d, want the sum of written %d, merged %d, rejected %d", c.Table, s.Path, c.Read, c.Written, c.Merged, c.Rejected)
			}
		}
	}
}

func (b *bench) digests() map[string]migration.Digest {
	b.t.Helper()
	d, err := b.db.Digests(b.ctx)
	wantNil(b.t, "digests", err)
	return d
}

// counts are the accounts of an import without what changes from run to run.
func counts(r *migration.ImportReport) []migration.TableReport {
	var out []migration.TableReport
	for _, s := range r.Sources {
		for _, t := range s.Tables {
			out = append(out, *t)
		}
	}
	return out
}

func importQuirks(b *bench) {
	dir := legacySet(b, 1, small())
	first := b.imported(migration.ImportOptions{Paths: []string{dir}})
	rejects, err := os.ReadFile(first.RejectFile)
	wantNil(b.t, "reject file", err)
	if len(rejects) == 0 {
		b.t.Error("the reject file is empty, want the rejected rows")
	}
	before := b.digests()
	again := b.imported(migration.ImportOptions{Paths: []string{dir}})
	for _, c := range counts(again) {
		if c.Written != 0 {
			b.t.Errorf("%s: imported again: written %d, want none", c.Table, c.Written)
		}
	}
	deepEqual(b.t, "digests after importing again", b.digests(), before)
	valid, err := b.db.ValidateSchema(b.ctx)
	wantNil(b.t, "validate schema", err)
	if !valid.OK {
		b.t.Errorf("the schema after an import: got %s, want every index back", show(valid))
	}
	v, err := b.db.VerifyImport(b.ctx, first.Run, migration.VerifyOptions{})
	wantNil(b.t, "verify", err)
	equal(b.t, "verified later", v.OK, true)
	equal(b.t, "compared with the backup", v.Backup, true)
}

// errCut ends imports on the way.
var errCut = errors.New("cut off")

// cutting returns a context that ends at the nth report of progress, and what to report to.
func cutting(ctx context.Context, n int) (context.Context, func(migration.Progress)) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, func(migration.Progress) {
		if n--; n == 0 {
			cancel(errCut)
		}
	}
}

func importResumed(b *bench) {
	dir := legacySet(b, 1, small())
	opts := migration.ImportOptions{Paths: []string{dir}, RecoverOrphans: true, BackupDir: filepath.Join(b.t.TempDir(), "backup"), BatchRows: 9}
	whole := b.imported(opts)
	want := b.digests()
	wantCounts := counts(whole)
	_, err := b.db.RollbackImport(b.ctx, whole.Run, migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)
	equal(b.t, "left by the rollback", b.number("SELECT (SELECT count(*) FROM conversations) + (SELECT count(*) FROM knowledge_bases)"), 0)

	cuts := 0
	for tries := 0; ; tries++ {
		o := opts
		o.Resume = cuts > 0
		ctx, report := cutting(b.ctx, 2+tries*tries/4) // verifying begins anew each time
		o.Progress = report
		got, err := b.db.Import(ctx, o)
		if err == nil {
			accounted(b.t, got)
			deepEqual(b.t, "counts", counts(got), wantCounts)
			break
		}
		var failed *migration.MigrationError
		if !errors.As(err, &failed) || !errors.Is(err, errCut) {
			b.t.Fatalf("cut off: got error %v, want a MigrationError of what cut it off", err)
		}
		if failed.Recoverable {
			cuts++
		} else if cuts > 0 {
			b.t.Fatalf("cut off: got %v, want it recoverable", failed)
		}
		if tries > 200 {
			b.t.Fatal("the import does not come to an end")
		}
	}
	if cuts < 5 { // more with knowledge bases, which need their reader
		b.t.Errorf("cut off: %d times, want more", cuts)
	}
	deepEqual(b.t, "digests after resuming", b.digests(), want)
	valid, err := b.db.ValidateSchema(b.ctx)
	wantNil(b.t, "validate schema", err)
	equal(b.t, "schema", valid.OK, true)
}

// cutOff leaves an unfinished import behind.
func (b *bench) cutOff(opts migration.ImportOptions, after int) {
	b.t.Helper()
	ctx, report := cutting(b.ctx, after)
	opts.BatchRows = 9
	opts.Progress = func(p migration.Progress) {
		if p.Phase == migration.PhaseConversations {
			report(p)
		}
	}
	if opts.BackupDir == "" {
		opts.NoBackup = true
	}
	if _, err := b.db.Import(ctx, opts); !errors.Is(err, errCut) {
		b.t.Fatalf("import: got error %v, want it cut off", err)
	}
}

func importUnfinished(b *bench) {
	dir := legacySet(b, 1, small())
	other := legacySet(b, 4, small())
	opts := migration.ImportOptions{Paths: []string{dir}}
	_, err := b.importing(migration.ImportOptions{Resume: true})
	wantErr(b.t, "resume nothing", err, migration.ErrNothingToResume)
	b.cutOff(opts, 3)
	_, err = b.importing(migration.ImportOptions{Paths: []string{other}})
	wantErr(b.t, "another import", err, migration.ErrUnfinished)
	runs, err := b.db.ImportRuns(b.ctx)
	wantNil(b.t, "runs", err)
	_, err = b.db.VerifyImport(b.ctx, runs[0].ID, migration.VerifyOptions{})
	wantErr(b.t, "verify an unfinished import", err, migration.ErrUnfinished)
	b.imported(migration.ImportOptions{Paths: []string{other}, Restart: true})
	runs, err = b.db.ImportRuns(b.ctx)
	wantNil(b.t, "runs", err)
	equal(b.t, "the last run", runs[0].State, models.ImportDone)
	equal(b.t, "the run before", runs[1].State, models.ImportRolledBack)
	_, err = b.db.RollbackImport(b.ctx, runs[1].ID, migration.RollbackOptions{})
	wantErr(b.t, "roll back again", err, migration.ErrRolledBack)
	_, err = b.db.RollbackImport(b.ctx, "none", migration.RollbackOptions{})
	wantErr(b.t, "roll back an unknown run", err, repo.ErrNotFound)
}

func importSourceChanged(b *bench) {
	dir := ownLegacySet(b, small())
	b.cutOff(migration.ImportOptions{Paths: []string{dir}}, 4)
	chat := filepath.Join(dir, "app_db", "chat.db")
	f, err := os.OpenFile(chat, os.O_APPEND|os.O_WRONLY, 0)
	wantNil(b.t, "open", err)
	_, err = f.Write(make([]byte, 4096))
	wantNil(b.t, "change", errors.Join(err, f.Close()))
	_, err = b.importing(migration.ImportOptions{Resume: true})
	wantErr(b.t, "resume", err, migration.ErrSourceChanged)
}

// earlier fills the database with rows that no import may change.
func (b *bench) earlier() map[string]migration.Digest {
	b.t.Helper()
	wantNil(b.t, "load", fixtures.Load(b.ctx, b.db, "chats"))
	wantNil(b.t, "load", fixtures.Load(b.ctx, b.db, "knowledge"))
	return b.digests()
}

func importRolledBack(b *bench) {
	before := b.earlier()
	dir := legacySet(b, 1, small())
	r := b.imported(migration.ImportOptions{Paths: []string{dir}})
	if r.Backup == "" || !r.RollbackPossible {
		b.t.Errorf("report: got %s, want a backup and that a rollback is possible", show(r))
	}
	undone, err := b.db.RollbackImport(b.ctx, r.Run, migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)
	if undone.Deleted["messages"] == 0 {
		b.t.Errorf("rollback: got %s, want deleted messages", show(undone))
	}
	deepEqual(b.t, "digests after the rollback", b.digests(), before)
	_, err = b.db.VerifyImport(b.ctx, r.Run, migration.VerifyOptions{})
	wantErr(b.t, "verify what was rolled back", err, migration.ErrRolledBack)
	b.imported(migration.ImportOptions{Paths: []string{dir}})
}

func rollbackResumed(b *bench) {
	before := b.earlier()
	r := b.imported(migration.ImportOptions{Paths: []string{legacySet(b, 1, small())}})
	cuts := 0
	for {
		ctx, report := cutting(b.ctx, 3)
		_, err := b.db.RollbackImport(ctx, r.Run, migration.RollbackOptions{Progress: report})
		if err == nil {
			break
		}
		wantErr(b.t, "rollback", err, errCut)
		if cuts++; cuts == 1 {
			_, err := b.importing(migration.ImportOptions{Paths: []string{"/nowhere"}})
			wantErr(b.t, "import during a rollback", err, migration.ErrUnfinished)
		}
	}
	if cuts < 2 {
		b.t.Errorf("rollback: cut off %d times, want more", cuts)
	}
	deepEqual(b.t, "digests after the rollback", b.digests(), before)
}

func rollbackEdited(b *bench) {
	before := b.earlier()
	r := b.imported(migration.ImportOptions{Paths: []string{legacySet(b, 1, small())}})
	var conv, msg string
	b.scan([]any{&conv, &msg}, "SELECT conversation_id, msg_id FROM messages ORDER BY id DESC LIMIT 1")
	_, err := b.db.UpdateMessage(b.ctx, msg, repo.MessageUpdate{Content: ptr("edited")})
	wantNil(b.t, "edit", err)
	b.message(conv, "added", "since")
	with := b.digests()
	report, err := b.db.RollbackImport(b.ctx, r.Run, migration.RollbackOptions{})
	wantErr(b.t, "rollback", err, migration.ErrEdited)
	var named []string
	for _, f := range report.Edited {
		named = append(named, f.ID)
	}
	slices.Sort(named)
	want := []string{"added", msg}
	slices.Sort(want)
	deepEqual(b.t, "edited rows", named, want)
	deepEqual(b.t, "digests after the refusal", b.digests(), with)
	report, err = b.db.RollbackImport(b.ctx, r.Run, migration.RollbackOptions{Force: true})
	wantNil(b.t, "forced rollback", err)
	equal(b.t, "edits lost", report.Lost, 2)
	deepEqual(b.t, "digests after the rollback", b.digests(), before)
}

func importEdited(b *bench) {
	r := b.imported(migration.ImportOptions{Paths: []string{legacySet(b, 1, small())}})
	rows := must[[]models.Message](b.t)(b.someMessages(4))
	_, err := b.db.UpdateMessage(b.ctx, rows[0].MsgID, repo.MessageUpdate{Content: ptr("edited by the user")})
	wantNil(b.t, "edit", err)
	wantNil(b.t, "delete", b.db.DeleteMessage(b.ctx, rows[1].MsgID))
	wantNil(b.t, "rename", b.db.RenameConversation(b.ctx, rows[2].ConversationID, "renamed"))
	b.message(rows[3].ConversationID, "added", "a word that is new")
	v, err := b.db.VerifyImport(b.ctx, r.Run, migration.VerifyOptions{})
	wantNil(b.t, "verify", err)
	if !v.OK {
		b.t.Errorf("verification: got %s, want ok with edits", show(v))
	}
	found := map[string]migration.FindingKind{}
	for _, f := range v.Findings {
		found[f.ID] = f.Kind
	}
	for id, kind := range map[string]migration.FindingKind{
		rows[0].MsgID: migration.FindingEdited, rows[1].MsgID: migration.FindingEdited,
		rows[2].ConversationID: migration.FindingEdited, "added": migration.FindingExtra,
	} {
		equal(b.t, "finding of "+id, found[id], kind)
	}
}

// someMessages returns n messages of the conversation that has most of them.
func (b *bench) someMessages(n int) ([]models.Message, error) {
	var conv string
	b.scan([]any{&conv}, "SELECT conv_id FROM conversations ORDER BY message_count DESC, conv_id LIMIT 1")
	page, err := b.db.ListMessages(b.ctx, repo.MessageList{ConversationID: conv, Limit: n})
	return page.Messages, err
}

type damage struct {
	name string
	// do damages the database and returns the id to be named, "" when there is none.
	do    func(b *bench) string
	kinds []migration.FindingKind
}

var damages = []damage{
	{"a damaged message", func(b *bench) string {
		m := must[[]models.Message](b.t)(b.someMessages(1))[0]
		b.exec("UPDATE messages SET token_count = token_count + 1 WHERE msg_id = ?", m.MsgID)
		return m.MsgID
	}, []migration.FindingKind{migration.FindingDiffers}},
	{"a lost message", func(b *bench) string {
		m := must[[]models.Message](b.t)(b.someMessages(1))[0]
		b.exec("DELETE FROM messages WHERE msg_id = ?", m.MsgID)
		return m.MsgID
	}, []migration.FindingKind{migration.FindingMissing}},
	{"an extra message that nobody wrote through talkbase", func(b *bench) string {
		m := must[[]models.Message](b.t)(b.someMessages(1))[0]
		b.exec("INSERT INTO messages (msg_id, conversation_id, role, content, created_at) VALUES ('stray', ?, 'user', 'from nowhere', 1)", m.ConversationID)
		return "stray"
	}, []migration.FindingKind{migration.FindingExtra, migration.FindingText}},
	{"a changed setting", func(b *bench) string {
		m := must[[]models.Message](b.t)(b.someMessages(1))[0]
		b.exec("UPDATE conversations SET settings = '{\"a\":1}' WHERE conv_id = ?", m.ConversationID)
		return m.ConversationID
	}, []migration.FindingKind{migration.FindingDiffers}},
	{"text that is not indexed", func(b *bench) string {
		b.exec("DELETE FROM message_terms WHERE " + b.pick("rowid", "id") + " = (SELECT max(id) FROM messages)")
		return ""
	}, []migration.FindingKind{migration.FindingText}},
	{"a flipped bit in a vector", func(b *bench) string {
		if b.number("SELECT count(*) FROM knowledge_vectors") == 0 {
			return "none"
		}
		var id string
		b.scan([]any{&id}, "SELECT id FROM knowledge_vectors ORDER BY id LIMIT 1")
		var v []models.KnowledgeVector
		g, err := b.db.Gorm(b.ctx)
		wantNil(b.t, "gorm", err)
		wantNil(b.t, "read vector", g.Where("id = ?", id).Find(&v).Error)
		v[0].Embedding[3] = flipped(v[0].Embedding[3])
		wantNil(b.t, "flip", b.db.WithTransaction(b.ctx, func(_ context.Context, tx *repo.Tx) error {
			return tx.Gorm().Model(&models.KnowledgeVector{}).Where("id = ?", id).Update("embedding", v[0].Embedding).Error
		}))
		return id
	}, []migration.FindingKind{migration.FindingDiffers}},
	{"a chunk's text that changed", func(b *bench) string {
		if b.number("SELECT count(*) FROM knowledge_chunks") == 0 {
			return "none"
		}
		var id string
		b.scan([]any{&id}, "SELECT id FROM knowledge_chunks ORDER BY seq LIMIT 1")
		b.exec("UPDATE knowledge_chunks SET error = 'x' WHERE id = ?", id)
		return id
	}, []migration.FindingKind{migration.FindingDiffers}},
}

func importDamaged(b *bench, d damage) {
	r := b.imported(migration.ImportOptions{Paths: []string{legacySet(b, 1, small())}})
	id := d.do(b)
	if id == "none" {
		b.t.Log("no knowledge base was imported: its reader is not linked")
		return
	}
	v, err := b.db.VerifyImport(b.ctx, r.Run, migration.VerifyOptions{})
	wantNil(b.t, "verify", err)
	equal(b.t, "ok", v.OK, false)
	for _, kind := range d.kinds {
		if !slices.ContainsFunc(v.Findings, func(f migration.Finding) bool {
			return f.Kind == kind && (id == "" || f.ID == id || kind == migration.FindingText)
		}) {
			b.t.Errorf("findings: got %s, want %s of %q", show(v.Findings), kind, id)
		}
	}
}

func importPrefers(b *bench) {
	dir := legacySet(b, 1, small())
	first := b.imported(migration.ImportOptions{Paths: []string{dir}})
	m := must[[]models.Message](b.t)(b.someMessages(1))[0]
	_, err := b.db.UpdateMessage(b.ctx, m.MsgID, repo.MessageUpdate{Content: ptr("the target's own")})
	wantNil(b.t, "edit", err)
	before := b.digests()
	second := b.imported(migration.ImportOptions{Paths: []string{dir}})
	equal(b.t, "conflicts", reasons(second)[migration.ReasonConflict]-reasons(first)[migration.ReasonConflict], 1)
	equal(b.t, "content", b.getMessage(m.MsgID).Content, "the target's own")
	deepEqual(b.t, "digests", b.digests(), before)

	third := b.imported(migration.ImportOptions{Paths: []string{dir}, PreferSource: true})
	if n := reasons(third)[migration.ReasonReplaced]; n < 1 {
		b.t.Errorf("replaced: got %d, want the edited row", n)
	}
	equal(b.t, "content", b.getMessage(m.MsgID).Content, m.Content)
	_, err = b.db.RollbackImport(b.ctx, third.Run, migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)
	deepEqual(b.t, "digests after the rollback", b.digests(), before)
	equal(b.t, "content", b.getMessage(m.MsgID).Content, "the target's own")
	missing, err := b.db.Bulk().TextMissing(b.ctx)
	wantNil(b.t, "text index", err)
	equal(b.t, "rows whose text is not indexed", len(missing), 0)
}

// knowledge writes a knowledge base, and skips the case where its reader is not linked.
func (b *bench) knowledge(path string, k duckdb.LegacyKnowledge) duckdb.LegacyContent {
	b.t.Helper()
	content, err := k.Write(b.ctx, path)
	if errors.Is(err, migration.ErrNoReader) {
		b.t.Skip("the reader of knowledge bases is not linked")
	}
	wantNil(b.t, "knowledge base", err)
	return content
}

func importEmptyBases(b *bench) {
	dir := b.t.TempDir()
	for name, k := range map[string]duckdb.LegacyKnowledge{
		"no-tables": {NoTables: true},
		"no-files":  {Dimensions: 4, Files: -1},
		"no-times":  {Dimensions: 4, Files: 2, ChunksPerFile: 2, Quirks: []duckdb.Quirk{duckdb.QuirkNoTimes}},
	} {
		b.knowledge(filepath.Join(dir, name), k)
	}
	first := b.imported(migration.ImportOptions{Paths: []string{filepath.Join(dir, "no-tables"), filepath.Join(dir, "no-files"), filepath.Join(dir, "no-times")}})
	equal(b.t, "knowledge bases", b.number("SELECT count(*) FROM knowledge_bases WHERE created_at = 0"), 3)
	equal(b.t, "vectors", b.number("SELECT count(*) FROM knowledge_vectors WHERE created_at = 0"), 4)
	_, err := b.db.RollbackImport(b.ctx, first.Run, migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)
	equal(b.t, "left by the rollback", b.number("SELECT count(*) FROM knowledge_bases"), 0)
}

// rollbackOfDeleted rolls an import back that replaced a message which is gone by then.
func rollbackOfDeleted(b *bench) {
	dir := legacySet(b, 1, small())
	b.imported(migration.ImportOptions{Paths: []string{dir}})
	m := must[[]models.Message](b.t)(b.someMessages(1))[0]
	_, err := b.db.UpdateMessage(b.ctx, m.MsgID, repo.MessageUpdate{Content: ptr("the target's own")})
	wantNil(b.t, "edit", err)
	r := b.imported(migration.ImportOptions{Paths: []string{dir}, PreferSource: true})
	wantNil(b.t, "delete", b.db.DeleteMessage(b.ctx, m.MsgID))
	without := b.digests()
	report, err := b.db.RollbackImport(b.ctx, r.Run, migration.RollbackOptions{})
	wantErr(b.t, "rollback", err, migration.ErrEdited)
	if len(report.Edited) != 1 || report.Edited[0].ID != m.MsgID || report.Edited[0].Kind != migration.FindingMissing {
		b.t.Errorf("in the way of the rollback: got %s, want %s missing", show(report.Edited), m.MsgID)
	}
	deepEqual(b.t, "digests after the refusal", b.digests(), without)
	report, err = b.db.RollbackImport(b.ctx, r.Run, migration.RollbackOptions{Force: true})
	wantNil(b.t, "forced rollback", err)
	equal(b.t, "edits lost", report.Lost, 1)
	deepEqual(b.t, "digests after the rollback", b.digests(), without)
}

// reasons sums the reasons of all tables up.
func reasons(r *migration.ImportReport) map[migration.Reason]int64 {
	out := map[migration.Reason]int64{}
	for _, c := range counts(r) {
		for reason, n := range c.Reasons {
			out[reason] += n
		}
	}
	return out
}

func importTaken(b *bench) {
	dir := legacySet(b, 1, small())
	n := 0
	_, err := b.importing(migration.ImportOptions{Paths: []string{dir}, Progress: func(p migration.Progress) {
		if n++; p.Phase == migration.PhaseConversations && n > 2 {
			runs, err := b.db.ImportRuns(b.ctx)
			wantNil(b.t, "runs", err)
			runs[0].Owner = "another process"
			wantNil(b.t, "take over", b.db.Bulk().SaveRun(b.ctx, runs[0]))
		}
	}})
	wantErr(b.t, "import", err, repo.ErrTaken)
	b.imported(migration.ImportOptions{Resume: true})
}

// importOverlapped stores rows with ids of the source after the import found the database empty.
func importOverlapped(b *bench) {
	dir := legacySet(b, 1, small())
	first := b.imported(migration.ImportOptions{Paths: []string{dir}})
	m := must[[]models.Message](b.t)(b.someMessages(1))[0]
	n := b.getConversation(m.ConversationID).MessageCount
	_, err := b.db.RollbackImport(b.ctx, first.Run, migration.RollbackOptions{})
	wantNil(b.t, "rollback", err)
	done := false
	second := b.imported(migration.ImportOptions{Paths: []string{dir}, Progress: func(p migration.Progress) {
		if p.Phase != migration.PhaseConversations || done {
			return
		}
		done = true
		_, err := b.db.CreateConversation(b.ctx, models.Conversation{ConvID: m.ConversationID, Title: "the target's own"})
		wantNil(b.t, "create", err)
		_, err = b.db.InsertMessage(b.ctx, models.Message{MsgID: m.MsgID, ConversationID: m.ConversationID, Role: models.RoleUser, Content: "the target's own"})
		wantNil(b.t, "insert", err)
	}})
	equal(b.t, "written", done, true)
	equal(b.t, "conflicts", reasons(second)[migration.ReasonConflict]-reasons(first)[migration.ReasonConflict], 2)
	equal(b.t, "refused", reasons(second)[migration.ReasonRefused], reasons(first)[migration.ReasonRefused])
	equal(b.t, "title", b.getConversation(m.ConversationID).Title, "the target's own")
	equal(b.t, "messages counted", b.getConversation(m.ConversationID).MessageCount, n)
	equal(b.t, "content", b.getMessage(m.MsgID).Content, "the target's own")
	b.valid("after the import")
}
