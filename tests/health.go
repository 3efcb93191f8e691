package tests

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "modernc.org/sqlite" // for damage that talkbase's own connections refuse to do

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
	"github.com/talkbase/talkbase/services"
)

func healthCases() []testCase {
	cases := []testCase{
		{name: "an empty database is sound", run: func(b *bench) { b.sound("when empty") }},
		{name: "a used database is sound", run: soundAfterUse},
		{name: "an imported database is sound", run: soundAfterImport},
		{name: "checks write nothing", run: checksWriteNothing},
		{name: "a repair makes a copy first", run: repairCopies},
		{name: "damaged pages are not repaired", run: repairRefusesDamage},
		{name: "orphans that somebody wrote go only when asked", run: repairOrphans},
		{name: "an unfinished import keeps its text and indexes", run: unfinishedImport},
		{name: "a text index that is lost is made anew", run: lostText},
		{name: "a text index with gaps keeps what it holds", run: gapsInText},
		{name: "sequences are looked at without vectors", configure: func(c *talkbase.Config) { c.Vector.Disabled = true }, run: sequencesWithoutVectors},
		{name: "an older schema is a finding", run: olderSchema},
	}
	for _, p := range plants() {
		cases = append(cases, testCase{name: "finds " + p.name, run: func(b *bench) {
			if own := b.pickAll(p); len(own)+len(p.both) > 0 || p.prepare != nil && len(p.sqlite)+len(p.postgres) == 0 {
				b.planted(p)
			}
		}})
	}
	return cases
}

// plant is damage done by plain SQL, and the finding that names it.
type plant struct {
	name string
	// sqlite and postgres are the statements, both where they are the same; none where an engine cannot be
	// damaged so.
	both, sqlite, postgres []string
	// prepare runs before.
	prepare func(b *bench)

	code     string
	severity repo.Severity
	table    string
	count    int64
	example  string // "" is not looked at
	// repaired says that Repair puts it right.
	repaired bool
}

// numbers is the beginning of a statement that has the numbers from 1 to n in n(i).
func (b *bench) numbers(n int) string {
	return fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) ", n)
}

// someVectors is from how many on a base has an index of its vectors, and some more.
func (b *bench) someVectors() int {
	if b.postgres() {
		return 1200
	}
	return 300
}

// many makes more vectors in kb than a query compares one by one, by plain SQL.
func many(b *bench) {
	n := b.someVectors()
	b.exec(b.numbers(n) + "INSERT INTO knowledge_chunks (id, file_id, chunk_index, content, status) SELECT 'k' || i, 'kb-file', i, 'plum', 'processed' FROM n")
	b.exec(b.numbers(n) + "INSERT INTO knowledge_vectors (id, base_id, file_id, chunk_id, embedding) SELECT 'k' || i, 'kb', 'kb-file', 'k' || i, " +
		b.pick("CAST(unhex('0000803f') || unhex(printf('0000%02x40', i % 128)) AS blob)", "('[1,' || 2 + i % 128 || ']')::vector") + " FROM n")
	equal(b.t, "vectors", b.number("SELECT count(*) FROM knowledge_vectors WHERE base_id = 'kb' AND id LIKE 'k%'"), int64(n))
}

func indexed(b *bench) {
	many(b)
	_, err := b.db.CreateOptimalIndexes(b.ctx)
	wantNil(b.t, "create indexes", err)
}

// replica leaves out Postgres' foreign keys and triggers for the statement after it.
const replica = "SET LOCAL session_replication_role = replica"

func plants() []plant {
	return []plant{
		{
			name: "a message without its conversation", code: repo.FindingOrphanRows, severity: repo.SeverityError, table: "messages", count: 1, example: "n1",
			sqlite: []string{"DELETE FROM conversations WHERE conv_id = 'd'"}, postgres: []string{replica, "DELETE FROM conversations WHERE conv_id = 'd'"},
		},
		{
			name: "an attachment without its message", code: repo.FindingOrphanRows, severity: repo.SeverityError, table: "message_attachments", count: 1, example: "a",
			sqlite: []string{"DELETE FROM messages WHERE msg_id = 'm1'"}, postgres: []string{replica, "DELETE FROM messages WHERE msg_id = 'm1'"},
		},
		{
			name: "a file without its base", code: repo.FindingOrphanRows, severity: repo.SeverityError, table: "knowledge_files", count: 1, example: "kc-file",
			sqlite: []string{"DELETE FROM knowledge_bases WHERE id = 'kc'"}, postgres: []string{replica, "DELETE FROM knowledge_bases WHERE id = 'kc'"},
		},
		{
			name: "a chunk without its file", code: repo.FindingOrphanRows, severity: repo.SeverityError, table: "knowledge_chunks", count: 1, example: "w",
			sqlite: []string{"DELETE FROM knowledge_files WHERE id = 'kc-file'"}, postgres: []string{replica, "DELETE FROM knowledge_files WHERE id = 'kc-file'"},
		},
		{
			name: "a vector without its chunk", code: repo.FindingOrphanRows, severity: repo.SeverityError, table: "knowledge_vectors", count: 1, example: "v", repaired: true,
			sqlite: []string{"DELETE FROM knowledge_chunks WHERE id = 'v'"}, postgres: []string{replica, "DELETE FROM knowledge_chunks WHERE id = 'v'"},
		},
		{
			name: "a parent that is not there", code: repo.FindingParentMissing, severity: repo.SeverityInfo, table: "messages", count: 1, example: "m2",
			both: []string{"UPDATE messages SET parent_id = 'nobody' WHERE msg_id = 'm2'"},
		},
		{
			name: "a parent in another conversation", code: repo.FindingParentWrong, severity: repo.SeverityWarning, table: "messages", count: 1, example: "m2",
			both: []string{"UPDATE messages SET parent_id = 'n1' WHERE msg_id = 'm2'"},
		},
		{
			name: "a message that answers itself", code: repo.FindingParentWrong, severity: repo.SeverityWarning, table: "messages", count: 1, example: "m2",
			both: []string{"UPDATE messages SET parent_id = 'm2' WHERE msg_id = 'm2'"},
		},
		{
			name: "messages at the same place", code: repo.FindingOrderDuplicate, severity: repo.SeverityInfo, table: "messages", count: 1, example: "c",
			both: []string{"UPDATE messages SET order_seq = 1 WHERE conversation_id = 'c'"},
		},
		{
			name: "a wrong count of messages", code: repo.FindingMessageCount, severity: repo.SeverityError, table: "conversations", count: 1, example: "c", repaired: true,
			both: []string{"UPDATE conversations SET message_count = 77 WHERE conv_id = 'c'"},
		},
		{
			name: "JSON that is no object", code: repo.FindingNotObject, severity: repo.SeverityError, table: "messages", count: 1, example: "m1",
			sqlite:   []string{"UPDATE messages SET metadata = '[1]' WHERE msg_id = 'm1'"},
			postgres: []string{"ALTER TABLE messages DROP CONSTRAINT chk_messages_metadata", "UPDATE messages SET metadata = '[1]' WHERE msg_id = 'm1'"},
		},
		{
			name: "JSON that is none", code: repo.FindingNotObject, severity: repo.SeverityError, table: "conversations", count: 1, example: "c",
			sqlite: []string{"UPDATE conversations SET settings = '{' WHERE conv_id = 'c'"},
		},
		{
			name: "a role that is none", code: repo.FindingValueInvalid, severity: repo.SeverityError, table: "messages", count: 1, example: "m1",
			sqlite:   []string{"UPDATE messages SET role = 'admin' WHERE msg_id = 'm1'"},
			postgres: []string{"ALTER TABLE messages DROP CONSTRAINT chk_messages_role", "UPDATE messages SET role = 'admin' WHERE msg_id = 'm1'"},
		},
		{
			name: "a processed chunk without a vector", code: repo.FindingChunkWithoutVector, severity: repo.SeverityWarning, table: "knowledge_chunks", count: 1, example: "v",
			both: []string{"DELETE FROM knowledge_vectors WHERE id = 'v'"},
		},
		{
			name: "a vector whose chunk is not processed", code: repo.FindingVectorUnprocessed, severity: repo.SeverityWarning, table: "knowledge_vectors", count: 1, example: "v",
			both: []string{"UPDATE knowledge_chunks SET status = 'pending' WHERE id = 'v'"},
		},
		{
			name: "a vector of other dimensions", code: repo.FindingVectorDimensions, severity: repo.SeverityError, table: "knowledge_vectors", count: 1, example: "v",
			sqlite:   []string{"UPDATE knowledge_vectors SET embedding = x'0000803f' WHERE id = 'v'"},
			postgres: []string{"UPDATE knowledge_vectors SET embedding = '[1,2,3]' WHERE id = 'v'"},
		},
		{
			name: "a vector in another base than its file", code: repo.FindingVectorMisplaced, severity: repo.SeverityError, table: "knowledge_vectors", count: 1, example: "v",
			both: []string{"UPDATE knowledge_vectors SET base_id = 'kc' WHERE id = 'v'"},
		},
		{
			name: "rows that are not in the text index", code: repo.FindingTextMissing, severity: repo.SeverityError, table: "messages", count: 1, example: "m9", repaired: true,
			both: []string{"INSERT INTO messages (msg_id, conversation_id, role, content, created_at, order_seq) VALUES ('m9', 'c', 'user', 'a medlar', 1, 9)"},
		},
		{
			name: "entries of the text index without rows", code: repo.FindingTextStale, severity: repo.SeverityWarning, table: "messages", count: 1, example: "999999", repaired: true,
			sqlite:   []string{"INSERT INTO message_terms (rowid, terms) VALUES (999999, 'x')"},
			postgres: []string{replica, "INSERT INTO message_terms (id, terms) VALUES (999999, '''x'':1')"},
		},
		{
			name: "a text index that cannot be read", code: repo.FindingTextDamaged, severity: repo.SeverityError, table: "message_terms", count: 1, repaired: true,
			sqlite: []string{"UPDATE message_terms_data SET block = zeroblob(length(block)) WHERE id > 10"},
		},
		{
			name: "a text index of another analyser", code: repo.FindingTextAnalyser, severity: repo.SeverityWarning, count: 1, repaired: true,
			both: []string{"UPDATE talkbase_meta SET value = '0' WHERE key = 'text_analyser_version'"},
		},
		{name: "vectors without an index", code: repo.FindingVectorIndexMissing, severity: repo.SeverityInfo, table: "knowledge_vectors", count: 1, prepare: many},
		{
			name: "an index made for another metric", code: repo.FindingVectorIndexStale, severity: repo.SeverityWarning, table: "knowledge_vectors", count: 1, repaired: true, prepare: indexed,
			both: []string{"UPDATE knowledge_bases SET metric = 'l2' WHERE id = 'kb'"},
		},
		{
			name: "an index with too many lists", code: repo.FindingVectorIndexStale, severity: repo.SeverityWarning, table: "knowledge_vectors", count: 1, repaired: true, prepare: indexed,
			postgres: []string{`DO $$ DECLARE def text; BEGIN
				SELECT indexdef INTO def FROM pg_indexes WHERE schemaname = current_schema() AND indexname LIKE 'idx_knowledge_vectors_base_%';
				EXECUTE 'DROP INDEX ' || (SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND indexname LIKE 'idx_knowledge_vectors_base_%');
				EXECUTE replace(regexp_replace(def, ' WITH \(.*?\)', ' WITH (lists = 100)'), 'USING hnsw', 'USING ivfflat');
			END $$`},
		},
		{
			name: "an index of vectors that cannot be read", code: repo.FindingVectorIndexDamaged, severity: repo.SeverityWarning, table: "knowledge_vectors", count: 1, repaired: true, prepare: indexed,
			sqlite: []string{"UPDATE knowledge_sketch_blocks SET data = x'00' WHERE list >= 0"},
		},
		{
			name: "an index of vectors that misses some", code: repo.FindingVectorIndexIncomplete, severity: repo.SeverityError, table: "knowledge_vectors", count: 301, repaired: true, prepare: indexed,
			sqlite: []string{"DELETE FROM knowledge_sketch_blocks WHERE list >= 0"},
		},
		{
			name: "a number that is in use", code: repo.FindingSequenceBehind, severity: repo.SeverityError, table: "messages", count: 1, repaired: true,
			sqlite: []string{"UPDATE sqlite_sequence SET seq = 1 WHERE name = 'messages'"}, postgres: []string{"SELECT setval('messages_id_seq', 1)"},
		},
		{
			name: "an import that was cut off", code: repo.FindingImportUnfinished, severity: repo.SeverityWarning, table: "talkbase_import_runs", count: 1, example: "r",
			both: []string{"INSERT INTO talkbase_import_runs (id, state, phase, owner, started_at) VALUES ('r', 'running', 'data', 'o', 1)"},
		},
		{
			name: "a missing index", code: repo.FindingIndexMissing, severity: repo.SeverityWarning, table: "messages", count: 1, repaired: true,
			both: []string{"DROP INDEX idx_messages_parent"},
		},
		{
			name: "a missing index of words", code: repo.FindingIndexMissing, severity: repo.SeverityWarning, table: "message_terms", count: 1, repaired: true,
			postgres: []string{"DROP INDEX idx_message_terms"},
		},
		{
			name: "a missing trigger", code: repo.FindingSchemaDrift, severity: repo.SeverityError, table: "messages", count: 1, example: "trigger trg_messages_insert is missing",
			sqlite: []string{"DROP TRIGGER trg_messages_insert"}, postgres: []string{"DROP TRIGGER trg_messages_insert ON messages"},
		},
		{
			name: "another version of the schema", code: repo.FindingSchemaVersion, severity: repo.SeverityError, count: 1,
			both: []string{"INSERT INTO talkbase_schema_version (version_id, is_applied) VALUES (99, true)"},
		},
		{
			name: "a column of another name", code: repo.FindingCheckFailed, severity: repo.SeverityError, count: 2,
			both: []string{"ALTER TABLE messages RENAME COLUMN parent_id TO answers"},
		},
		{
			name: "a missing table", code: repo.FindingSchemaDrift, severity: repo.SeverityError, table: "message_attachments", count: 1,
			both: []string{"DROP TABLE message_attachments"},
		},
		{
			name: "an index whose building was cut off", code: repo.FindingIndexInvalid, severity: repo.SeverityWarning, count: 1, repaired: true,
			postgres: []string{"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_messages_parent'::regclass"},
		},
		{
			name: "what a rebuild left behind", code: repo.FindingIndexInvalid, severity: repo.SeverityWarning, count: 1, repaired: true,
			postgres: []string{"CREATE INDEX idx_messages_parent_ccnew ON messages (parent_id)", "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_messages_parent_ccnew'::regclass"},
		},
		{
			name: "an index that misses a row", code: repo.FindingIndexDamaged, severity: repo.SeverityError, count: 1, repaired: true, prepare: amcheck,
			sqlite: []string{
				"PRAGMA writable_schema = 1", "CREATE TEMP TABLE kept AS SELECT * FROM sqlite_master WHERE name = 'idx_messages_parent'",
				"DELETE FROM sqlite_master WHERE name = 'idx_messages_parent'", "PRAGMA writable_schema = RESET",
				"INSERT INTO messages (msg_id, conversation_id, role, content, created_at, order_seq) VALUES ('m9', 'c', 'user', 'a medlar', 1, 9)",
				"PRAGMA writable_schema = 1", "INSERT INTO sqlite_master SELECT * FROM kept", "PRAGMA writable_schema = RESET",
			},
			postgres: []string{
				"UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'idx_messages_parent'::regclass",
				"UPDATE messages SET content = 'changed', parent_id = 'm2' WHERE msg_id = 'm3'",
				"UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 'idx_messages_parent'::regclass",
			},
		},
		{
			name: "damaged pages", code: repo.FindingStorageDamaged, severity: repo.SeverityError, count: 1, prepare: amcheck,
			sqlite: []string{pageDamage},
			postgres: []string{
				"ALTER TABLE messages ALTER COLUMN content SET STORAGE EXTERNAL", "UPDATE messages SET content = repeat('x', 9000) WHERE msg_id = 'm1'",
				"SELECT heap_force_kill((SELECT reltoastrelid FROM pg_class WHERE oid = 'messages'::regclass)::regclass, ARRAY['(0,1)']::tid[])",
			},
		},
	}
}

// pageDamage overwrites the page of a table that no call reads here.
const pageDamage = "UPDATE sqlite_dbpage SET data = zeroblob(length(data)) WHERE pgno = (SELECT rootpage FROM sqlite_master WHERE name = 'talkbase_import_edits')"

// amcheck makes the extensions of Postgres available that find and do damage.
func amcheck(b *bench) {
	if b.postgres() {
		extension(b, "amcheck")
		extension(b, "pg_surgery")
	}
}

// extension makes an extension of Postgres available to all. Others do so at this moment, and one lock
// is for all of them.
func extension(b *bench, name string) {
	b.t.Helper()
	wantNil(b.t, name, b.db.WithTransaction(b.ctx, func(_ context.Context, tx *repo.Tx) error {
		for _, s := range []string{"SET LOCAL lock_timeout = '60s'", "SELECT pg_advisory_xact_lock(4711)", "CREATE EXTENSION IF NOT EXISTS " + name + " SCHEMA public"} {
			if err := tx.Gorm().Exec(s).Error; err != nil {
				return err
			}
		}
		return nil
	}))
}

// stocked fills the database with a little of everything.
func (b *bench) stocked() {
	b.t.Helper()
	for _, id := range []string{"c", "d"} {
		b.conversation(id)
	}
	for _, m := range []models.Message{
		{MsgID: "m1", ConversationID: "c", Role: models.RoleUser, Content: "a ripe quince"},
		{MsgID: "m2", ConversationID: "c", Role: models.RoleAssistant, ParentID: "m1", Content: "a medlar"},
		{MsgID: "m3", ConversationID: "c", Role: models.RoleAssistant, ParentID: "m1", IsVariant: true, Content: "a plum"},
		{MsgID: "n1", ConversationID: "d", Role: models.RoleUser, Content: "a pear"},
	} {
		_, err := b.db.InsertMessage(b.ctx, m)
		wantNil(b.t, "insert "+m.MsgID, err)
	}
	_, err := b.db.AddAttachment(b.ctx, models.MessageAttachment{AttachmentID: "a", MessageID: "m1"})
	wantNil(b.t, "attach", err)
	b.base("kb", 2, models.MetricCosine)
	b.vectors("kb-file", []string{"v"}, map[string][]float32{"v": {1, 2}})
	b.base("kc", 2, models.MetricL2)
	b.vectors("kc-file", []string{"w"}, map[string][]float32{"w": {3, 4}})
}

// path is that of the SQLite database under test, also of one in memory.
func (b *bench) path() string {
	b.t.Helper()
	var path string
	b.scan([]any{&path}, "SELECT file FROM pragma_database_list WHERE name = 'main'")
	return path
}

// damage runs statements as a program would that keeps to no rule: on SQLite on a connection without
// foreign keys and checks, on Postgres in one transaction.
func (b *bench) damage(p plant) {
	b.t.Helper()
	if p.prepare != nil {
		p.prepare(b)
	}
	all := slices.Concat(p.both, b.pickAll(p))
	if b.postgres() {
		wantNil(b.t, p.name, b.db.WithTransaction(b.ctx, func(_ context.Context, tx *repo.Tx) error {
			for _, s := range all {
				if _, err := tx.Gorm().Statement.ConnPool.ExecContext(b.ctx, s); err != nil {
					return fmt.Errorf("%s: %w", s, err)
				}
			}
			return nil
		}))
		return
	}
	conn := b.raw("_pragma=ignore_check_constraints(1)")
	for _, s := range all {
		_, err := conn.ExecContext(b.ctx, s)
		wantNil(b.t, s, err)
	}
}

// pickAll returns the statements for the engine under test alone.
func (b *bench) pickAll(p plant) []string {
	if b.postgres() {
		return p.postgres
	}
	return p.sqlite
}

// raw is a connection of its own to the SQLite file under test, without foreign keys.
func (b *bench) raw(params string) *sql.Conn {
	b.t.Helper()
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(b.path()), RawQuery: "_pragma=busy_timeout(10000)&" + params}
	db, err := sql.Open("sqlite", u.String())
	wantNil(b.t, "open", err)
	b.t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(b.ctx)
	wantNil(b.t, "connect", err)
	b.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (b *bench) validate() repo.IntegrityReport {
	b.t.Helper()
	r, err := b.db.ValidateIntegrity(b.ctx)
	wantNil(b.t, "validate integrity", err)
	return r
}

// sound checks that nothing is wrong with the database: what is found are notes.
func (b *bench) sound(when string) {
	b.t.Helper()
	r := b.validate()
	if !r.OK {
		b.t.Errorf("integrity %s: got %s, want no error", when, show(r.Findings))
	}
	for _, f := range r.Findings {
		if f.Severity == repo.SeverityError || f.Code == repo.FindingCheckFailed {
			b.t.Errorf("integrity %s: got %s, want none", when, show(f))
		}
	}
}

// planted does damage, and checks that it is found, and repaired or left.
func (b *bench) planted(p plant) {
	b.stocked()
	b.damage(p)
	var r repo.IntegrityReport
	rep, err := b.db.Repair(b.ctx, services.RepairOptions{NoBackup: true})
	switch r = rep.Before; p.code {
	case repo.FindingStorageDamaged, repo.FindingSchemaVersion:
		r = b.validate()
	default:
		wantNil(b.t, "repair", err)
	}
	found := r.Find(p.code)
	concerned := func(f repo.Finding) bool { return p.table == "" || f.Table == p.table }
	i := slices.IndexFunc(found, concerned)
	if i < 0 {
		b.t.Fatalf("after the damage: got %s, want %s of %q", show(r.Findings), p.code, p.table)
	}
	f := found[i]
	equal(b.t, "severity", f.Severity, p.severity)
	switch p.code {
	case repo.FindingCheckFailed:
		equal(b.t, "checks that failed", len(found) >= int(p.count), true)
	case repo.FindingStorageDamaged, repo.FindingIndexDamaged, repo.FindingTextDamaged: // lines of the engine's checker
		equal(b.t, "lines", f.Count >= p.count, true)
	default:
		equal(b.t, "count", f.Count, p.count)
	}
	equal(b.t, "ok", r.OK, r.Errors() == 0)
	if p.example != "" && !slices.Contains(f.Examples, p.example) {
		b.t.Errorf("examples: got %v, want %q among them", f.Examples, p.example)
	}
	if f.Message == "" || f.Action == "" {
		b.t.Errorf("finding: got %s, want words of what is wrong and what to do", show(f))
	}
	equal(b.t, "repairable", f.Repairable, p.repaired)
	if err != nil {
		return
	}
	equal(b.t, "repaired", !slices.ContainsFunc(rep.After.Find(p.code), concerned), p.repaired)
	for _, f := range rep.After.Findings {
		equal(b.t, f.Code+" could be repaired and was not", f.Repairable, false)
	}
	for _, a := range rep.Actions {
		equal(b.t, "error of "+a.Code, a.Error, "")
	}
	if p.repaired {
		if !slices.ContainsFunc(rep.Actions, func(a services.RepairAction) bool { return a.Code == p.code }) {
			b.t.Errorf("actions: got %s, want %s among them", show(rep.Actions), p.code)
		}
		b.works("after the repair")
	}
}

func soundAfterUse(b *bench) {
	b.stocked()
	for i := range 20 {
		b.message("c", fmt.Sprint("x", i), "a ripe quince "+fmt.Sprint(i))
	}
	_, err := b.db.UpdateMessage(b.ctx, "x3", repo.MessageUpdate{Content: ptr("")})
	wantNil(b.t, "update", err)
	wantNil(b.t, "rename", b.db.RenameConversation(b.ctx, "d", ""))
	wantNil(b.t, "delete", b.db.DeleteMessage(b.ctx, "x1"))
	vs := map[string][]float32{}
	var order []string
	for i := range 400 {
		id := fmt.Sprint("y", i)
		order, vs[id] = append(order, id), []float32{float32(i % 17), float32(i)}
	}
	vs["y0"] = []float32{1, 0}
	b.vectors("kb-file", order, vs)
	_, err = b.db.CreateOptimalIndexes(b.ctx)
	wantNil(b.t, "create indexes", err)
	_, err = b.db.UpsertVectors(b.ctx, []models.KnowledgeVector{{FileID: "kb-file", ChunkID: "y5", Embedding: []float32{7, 7}}})
	wantNil(b.t, "replace a vector", err)
	b.exec("DELETE FROM knowledge_chunks WHERE id = 'y6'")
	wantNil(b.t, "delete base", b.db.DeleteBase(b.ctx, "kc"))
	_, err = b.db.Optimize(b.ctx, services.OptimizeOptions{})
	wantNil(b.t, "optimize", err)
	b.sound("after use")
	r := b.validate()
	for _, f := range r.Findings {
		if f.Code != repo.FindingEngineFault {
			b.t.Errorf("after use: got %s, want nothing", show(f))
		}
	}
	wantErr(b.t, "inside a transaction", b.db.WithTransaction(b.ctx, func(ctx context.Context, _ *repo.Tx) error {
		_, err := b.db.ValidateIntegrity(ctx)
		return err
	}), repo.ErrInvalid)
}

func soundAfterImport(b *bench) {
	b.imported(migration.ImportOptions{Paths: []string{legacySet(b, 38, small())}})
	b.sound("after an import")
}

func checksWriteNothing(b *bench) {
	b.stocked()
	before := b.digests()
	version := func() (v int64) { return 0 }
	if !b.postgres() {
		// It changes on this connection when any other one writes.
		conn := b.raw("")
		version = func() (v int64) {
			wantNil(b.t, "version of the data", conn.QueryRowContext(b.ctx, "PRAGMA data_version").Scan(&v))
			return v
		}
	}
	was := version()
	b.validate()
	_, err := b.db.GetStatistics(b.ctx)
	wantNil(b.t, "statistics", err)
	_, err = b.db.AnalyzeQuery(b.ctx, "SELECT * FROM messages")
	wantNil(b.t, "analyze", err)
	equal(b.t, "version of the data", version(), was)
	deepEqual(b.t, "rows", b.digests(), before)
}

func repairCopies(b *bench) {
	b.stocked()
	b.exec("UPDATE conversations SET message_count = 77 WHERE conv_id = 'c'")
	copied := filepath.Join(b.t.TempDir(), "copy.db")
	r, err := b.db.Repair(b.ctx, services.RepairOptions{Backup: copied})
	if b.postgres() {
		wantErr(b.t, "repair without a backup", err, repo.ErrUnsupported)
		equal(b.t, "count", b.getConversation("c").MessageCount, 77)
		return
	}
	wantNil(b.t, "repair", err)
	equal(b.t, "backup", r.Backup, copied)
	info, err := os.Stat(copied)
	wantNil(b.t, "stat", err)
	if info.Mode().Perm()&0o077 != 0 {
		b.t.Errorf("mode of the copy: got %v, want it for its owner only", info.Mode())
	}
	db, err := sql.Open("sqlite", copied)
	wantNil(b.t, "open", err)
	defer func() { _ = db.Close() }()
	var n int64
	wantNil(b.t, "read", db.QueryRow("SELECT message_count FROM conversations WHERE conv_id = 'c'").Scan(&n))
	equal(b.t, "count in the copy", n, 77)
	equal(b.t, "count", b.getConversation("c").MessageCount, 3)

	// A copy that cannot be made stops it before anything changes.
	b.exec("UPDATE conversations SET message_count = 78 WHERE conv_id = 'c'")
	_, err = b.db.Repair(b.ctx, services.RepairOptions{Backup: copied})
	if err == nil {
		b.t.Error("repair with a copy in the way: got no error, want one")
	}
	equal(b.t, "count", b.getConversation("c").MessageCount, 78)
	_, err = b.db.Repair(b.ctx, services.RepairOptions{})
	wantNil(b.t, "repair", err)
	equal(b.t, "count", b.getConversation("c").MessageCount, 3)
	if st, _ := b.db.Bulk().File(b.ctx); st != "" {
		made, err := filepath.Glob(st + ".repair-*.bak")
		if err != nil || len(made) != 1 {
			b.t.Errorf("copies beside the database: got %v (%v), want one", made, err)
		}
	}
}

func repairRefusesDamage(b *bench) {
	if b.postgres() {
		return // damage of pages lasts, and others use this server
	}
	b.stocked()
	b.exec("UPDATE conversations SET message_count = 77 WHERE conv_id = 'c'")
	b.damage(plant{name: "damage", sqlite: []string{pageDamage}})
	_, err := b.db.Repair(b.ctx, services.RepairOptions{})
	wantErr(b.t, "repair", err, repo.ErrCorrupt)
	wantTyped(b.t, "repair", err)
	if !strings.Contains(err.Error(), "talkbase salvage") {
		b.t.Errorf("repair: got %v, want it to say what helps", err)
	}
}

func repairOrphans(b *bench) {
	b.stocked()
	gone := "DELETE FROM conversations WHERE conv_id = 'c'"
	b.damage(plant{name: "orphans", sqlite: []string{gone, "DELETE FROM knowledge_bases WHERE id = 'kb'"}, postgres: []string{replica, gone, "DELETE FROM knowledge_bases WHERE id = 'kb'"}})
	r, err := b.db.Repair(b.ctx, services.RepairOptions{NoBackup: true})
	wantNil(b.t, "repair", err)
	equal(b.t, "ok", r.After.OK, false)
	equal(b.t, "messages left", b.number("SELECT count(*) FROM messages WHERE conversation_id = 'c'"), 3)
	equal(b.t, "files left", b.number("SELECT count(*) FROM knowledge_files WHERE base_id = 'kb'"), 1)
	equal(b.t, "vectors left", b.number("SELECT count(*) FROM knowledge_vectors WHERE base_id = 'kb'"), 0)
	r, err = b.db.Repair(b.ctx, services.RepairOptions{NoBackup: true, DeleteOrphans: true})
	wantNil(b.t, "repair", err)
	equal(b.t, "ok", r.After.OK, true)
	for table, n := range map[string]int64{"messages": 1, "message_attachments": 0, "knowledge_files": 1, "knowledge_chunks": 1, "knowledge_vectors": 1} {
		equal(b.t, "rows of "+table, b.number("SELECT count(*) FROM "+table), n)
	}
	deepEqual(b.t, "found", b.searched("pear"), []string{"n1"})
}

func sequencesWithoutVectors(b *bench) {
	b.conversation("c")
	for _, id := range []string{"s1", "s2", "s3"} {
		b.message("c", id, "a quince")
	}
	b.damage(plant{name: "sequence", sqlite: []string{"UPDATE sqlite_sequence SET seq = 1 WHERE name = 'messages'"}, postgres: []string{"SELECT setval('messages_id_seq', 1)"}})
	found := b.validate()
	equal(b.t, "sequences behind", len(found.Find(repo.FindingSequenceBehind)), 1)
	r, err := b.db.Repair(b.ctx, services.RepairOptions{NoBackup: true})
	wantNil(b.t, "repair", err)
	equal(b.t, "sequences behind after the repair", len(r.After.Find(repo.FindingSequenceBehind)), 0)
}

func gapsInText(b *bench) {
	b.conversation("c")
	for _, id := range []string{"g1", "g2", "g3", "g4"} {
		b.message("c", id, "a quince")
	}
	const rows = " IN (SELECT id FROM messages WHERE msg_id IN ('g1', 'g3'))"
	b.damage(plant{name: "gaps", sqlite: []string{"DELETE FROM message_terms WHERE rowid" + rows}, postgres: []string{"DELETE FROM message_terms WHERE id" + rows}})
	equal(b.t, "found before", len(b.searched("quince")), 2)
	r, err := b.db.Repair(b.ctx, services.RepairOptions{NoBackup: true})
	wantNil(b.t, "repair", err)
	equal(b.t, "ok", r.After.OK, true)
	equal(b.t, "found after", len(b.searched("quince")), 4)
}

func unfinishedImport(b *bench) {
	b.stocked()
	b.exec("INSERT INTO talkbase_import_runs (id, state, phase, owner, started_at) VALUES ('r', 'running', 'data', 'o', 1)")
	b.exec("INSERT INTO messages (msg_id, conversation_id, role, content, created_at, order_seq) VALUES ('m9', 'c', 'user', 'a medlar', 1, 9)")
	b.exec("DROP INDEX idx_messages_parent")
	r := b.validate()
	equal(b.t, "ok", r.OK, true)
	rep, err := b.db.Repair(b.ctx, services.RepairOptions{NoBackup: true})
	wantNil(b.t, "repair", err)
	deepEqual(b.t, "actions", rep.Actions, []services.RepairAction{})
	for _, code := range []string{repo.FindingTextMissing, repo.FindingIndexMissing} {
		if f := r.Find(code); len(f) != 1 || !strings.Contains(f[0].Action, "--resume") {
			b.t.Errorf("%s: got %s, want one that says to go on with the import", code, show(f))
		}
	}
}

func olderSchema(b *bench) {
	b.stocked()
	for version := b.db.LatestSchemaVersion() - 1; version >= 0; version-- {
		wantNil(b.t, "down", b.db.MigrateSchema(b.ctx, version))
		r := b.validate()
		equal(b.t, fmt.Sprint("ok at version ", version), r.OK, false)
		equal(b.t, fmt.Sprint("findings of the version at ", version), len(r.Find(repo.FindingSchemaVersion)), 1)
		deepEqual(b.t, fmt.Sprint("checks that failed at version ", version), r.Find(repo.FindingCheckFailed), nil)
	}
}

// lostText loses all of the text index, and what it is about changes meanwhile.
func lostText(b *bench) {
	b.stocked()
	b.damage(plant{
		name: "lost text", both: []string{"DELETE FROM message_terms", "DELETE FROM chunk_terms", "UPDATE talkbase_meta SET value = '0' WHERE key = 'text_analyser_version'"},
	})
	deepEqual(b.t, "found", b.searched("quince"), []string{})
	r, err := b.db.Repair(b.ctx, services.RepairOptions{NoBackup: true})
	wantNil(b.t, "repair", err)
	equal(b.t, "ok", r.After.OK, true)
	deepEqual(b.t, "found", b.searched("quince"), []string{"m1"})
	deepEqual(b.t, "found", b.searched("content"), []string{"v", "w"})
	again, err := b.db.Repair(b.ctx, services.RepairOptions{NoBackup: true})
	wantNil(b.t, "repair again", err)
	deepEqual(b.t, "actions when there is nothing to do", again.Actions, []services.RepairAction{})
}
