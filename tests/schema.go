package tests

import (
	"context"
	"fmt"
	"slices"

	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func schemaCases() []testCase {
	return []testCase{
		{name: "up, down and up to each version", run: everyVersion},
		{name: "rows of an older version are read by the newest", run: olderRows},
		{name: "versions that do not exist", run: unknownVersions},
		{name: "indexes are created once", run: optimalIndexes},
		{name: "reset makes the same schema and loads", run: reset},
		{name: "a host's tables are left alone", run: hostTables},
	}
}

func (b *bench) version() int64 {
	b.t.Helper()
	v, err := b.db.SchemaVersion(b.ctx)
	wantNil(b.t, "schema version", err)
	return v
}

// valid checks that the schema is what it should be.
func (b *bench) valid(when string) {
	b.t.Helper()
	r, err := b.db.ValidateSchema(b.ctx)
	wantNil(b.t, "validate "+when, err)
	deepEqual(b.t, "drift "+when, r.Drift, []migration.Drift{})
	equal(b.t, "ok "+when, r.OK, true)
	equal(b.t, "version "+when, r.Version, b.db.LatestSchemaVersion())
	equal(b.t, "latest "+when, r.Latest, b.db.LatestSchemaVersion())
}

// works writes and reads a row of everything.
func (b *bench) works(when string) {
	b.t.Helper()
	id := "works " + when
	b.conversation(id)
	b.message(id, id, "persimmon")
	equal(b.t, "count "+when, b.getConversation(id).MessageCount, 1)
	deepEqual(b.t, "found "+when, b.searched("persimmon"), []string{id})
	b.base(id, 2, models.MetricL2)
	b.vectors(id+"-file", []string{id}, map[string][]float32{id: {1, 2}})
	deepEqual(b.t, "similar "+when, similarIDs(b.similar(repo.SimilarityQuery{BaseID: id, Vector: []float32{1, 2}})), []string{id})
	wantNil(b.t, "delete "+when, b.db.DeleteConversation(b.ctx, id))
	wantNil(b.t, "delete "+when, b.db.DeleteBase(b.ctx, id))
}

func everyVersion(b *bench) {
	latest := b.db.LatestSchemaVersion()
	equal(b.t, "version of a new database", b.version(), latest)
	b.valid("when new")
	for target := int64(0); target < latest; target++ {
		when := fmt.Sprint("after down to ", target)
		wantNil(b.t, when, b.db.MigrateSchema(b.ctx, target))
		equal(b.t, "version "+when, b.version(), target)
		r, err := b.db.ValidateSchema(b.ctx)
		wantNil(b.t, "validate "+when, err)
		same := b.postgres() && target == 3 // step 4 makes what only SQLite needs
		if r.OK || len(r.Drift) == 0 && !same {
			b.t.Errorf("validate %s: got ok %t and %d differences, want some", when, r.OK, len(r.Drift))
		}
		equal(b.t, "version reported "+when, r.Version, target)
		for up := target + 1; up <= latest; up++ { // step by step
			wantNil(b.t, fmt.Sprint("up to ", up), b.db.MigrateSchema(b.ctx, up))
			equal(b.t, "version", b.version(), up)
		}
		b.valid("up again from " + fmt.Sprint(target))
		b.works(when)
		wantNil(b.t, when, b.db.MigrateSchema(b.ctx, target))
		wantNil(b.t, "up at once", b.db.MigrateSchema(b.ctx, latest))
		b.valid("up at once from " + fmt.Sprint(target))
		wantNil(b.t, "to where it is", b.db.MigrateSchema(b.ctx, latest))
	}
	wantNil(b.t, "down", b.db.MigrateSchema(b.ctx, 0))
	own := b.number(b.pick(
		"SELECT count(*) FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name <> 'talkbase_schema_version'",
		"SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname NOT LIKE 'talkbase_schema_version%') + (SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace)",
	))
	equal(b.t, "objects left at version 0", own, 0)
}

func olderRows(b *bench) {
	wantNil(b.t, "down", b.db.MigrateSchema(b.ctx, 1))
	b.exec("INSERT INTO conversations (conv_id, title, created_at, updated_at) VALUES ('c', 'an older quince', 1, 2)")
	b.exec("INSERT INTO messages (msg_id, conversation_id, role, content, created_at, order_seq) VALUES ('m', 'c', 'user', 'a ripe quince', 3, 4)")
	b.exec("INSERT INTO message_attachments (attachment_id, message_id, attachment_type, attachment_data) VALUES ('a', 'm', 't', 'd')")
	wantNil(b.t, "up", b.db.MigrateSchema(b.ctx, b.db.LatestSchemaVersion()))
	m := b.getMessage("m")
	deepEqual(b.t, "message", m, models.Message{
		ID: m.ID, MsgID: "m", ConversationID: "c", Role: models.RoleUser, Content: "a ripe quince", CreatedAt: 3, OrderSeq: 4, Status: models.StatusSent, Metadata: models.JSON("{}"),
	})
	equal(b.t, "count of rows that were there before", b.getConversation("c").MessageCount, 1)
	_, err := b.db.RebuildTextIndex(b.ctx)
	wantNil(b.t, "rebuild", err)
	deepEqual(b.t, "found", b.searched("quince"), []string{"c", "m"})
	// Down and up again keeps what the tables of the older version hold.
	wantNil(b.t, "down", b.db.MigrateSchema(b.ctx, 1))
	wantNil(b.t, "up", b.db.MigrateSchema(b.ctx, b.db.LatestSchemaVersion()))
	deepEqual(b.t, "message after down and up", b.getMessage("m"), m)
	equal(b.t, "count after down and up", b.getConversation("c").MessageCount, 1)
	b.message("c", "n", "a fresh quince")
	deepEqual(b.t, "found of what was written since", b.searched("fresh"), []string{"n"})
	equal(b.t, "count", b.getConversation("c").MessageCount, 2)
	wantNil(b.t, "to nothing", b.db.MigrateSchema(b.ctx, 0))
	wantNil(b.t, "and back", b.db.MigrateSchema(b.ctx, b.db.LatestSchemaVersion()))
	n, err := b.db.CountConversations(b.ctx)
	wantNil(b.t, "count", err)
	equal(b.t, "conversations after everything was removed", n, 0)
}

func unknownVersions(b *bench) {
	for _, v := range []int64{-1, b.db.LatestSchemaVersion() + 1, 1 << 40} {
		err := b.db.MigrateSchema(b.ctx, v)
		wantErr(b.t, fmt.Sprint("version ", v), err, repo.ErrInvalid)
		wantTyped(b.t, fmt.Sprint("version ", v), err)
	}
	equal(b.t, "version", b.version(), b.db.LatestSchemaVersion())
}

func optimalIndexes(b *bench) {
	b.exec("DROP INDEX idx_messages_parent")
	first, err := b.db.CreateOptimalIndexes(b.ctx)
	wantNil(b.t, "create", err)
	for _, name := range []string{"idx_messages_parent", "idx_conversations_timeline", "idx_messages_conversation_timeline", "idx_messages_status"} {
		if !slices.Contains(first.Created, name) {
			b.t.Errorf("created: got %v, want %s among them", first.Created, name)
		}
	}
	b.valid("with all indexes")
	second, err := b.db.CreateOptimalIndexes(b.ctx)
	wantNil(b.t, "create again", err)
	deepEqual(b.t, "created again", second.Created, []string{})
	all := append(slices.Clone(first.Created), first.Present...)
	slices.Sort(all)
	slices.Sort(second.Present)
	deepEqual(b.t, "present", second.Present, all)
	b.works("with all indexes")
}

func reset(b *bench) {
	b.conversation("old")
	b.message("old", "old", "persimmon")
	loaded := false
	wantNil(b.t, "reset", b.db.Reset(b.ctx, func(ctx context.Context) error {
		loaded = true
		return b.create(ctx, "loaded")
	}))
	equal(b.t, "loaded", loaded, true)
	equal(b.t, "old row", b.exists(b.ctx, "old"), false)
	equal(b.t, "loaded row", b.exists(b.ctx, "loaded"), true)
	equal(b.t, "version", b.version(), b.db.LatestSchemaVersion())
	b.valid("after reset")
	b.works("after reset")
	wantNil(b.t, "reset again", b.db.Reset(b.ctx, nil))
	b.valid("after another reset")
	wantErr(b.t, "a loader that fails", b.db.Reset(b.ctx, func(context.Context) error { return errUndo }), errUndo)
	wantNil(b.t, "down", b.db.MigrateSchema(b.ctx, 0))
	wantNil(b.t, "reset of nothing", b.db.Reset(b.ctx, nil))
	b.valid("after a reset of nothing")
	for _, target := range []int64{0, 1, b.db.LatestSchemaVersion()} {
		wantNil(b.t, "migrate after reset", b.db.MigrateSchema(b.ctx, target))
	}
	b.valid("migrated after reset")
}

func hostTables(b *bench) {
	b.exec("CREATE TABLE host_orders (id integer PRIMARY KEY, conv_id text NOT NULL)")
	b.exec("CREATE INDEX host_orders_conv ON host_orders (conv_id)")
	b.exec("INSERT INTO host_orders VALUES (1, 'c')")
	b.valid("with a host's table")
	wantNil(b.t, "down", b.db.MigrateSchema(b.ctx, 0))
	wantNil(b.t, "up", b.db.MigrateSchema(b.ctx, b.db.LatestSchemaVersion()))
	wantNil(b.t, "reset", b.db.Reset(b.ctx, nil))
	b.valid("with a host's table after all")
	equal(b.t, "rows of the host's table", b.number("SELECT count(*) FROM host_orders"), 1)
}
