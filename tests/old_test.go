package tests_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// testdata/schema holds a database of every version of the schema on each engine, as it was when the
// version was current, a dump of every format, and the digests of the rows that all of them hold. They
// are never made anew: with -update only those that are missing are made.
const oldData = "testdata/schema"

// oldVectors are enough for codes.
const oldVectors = 300

// oldRows are the rows of every fixture, by plain SQL that every version understands.
func oldRows() []string {
	rows := []string{
		`INSERT INTO conversations (conv_id, title, created_at, updated_at, is_pinned, is_new, settings) VALUES
			('old-1', 'A quince tree', 1700000000000, 1700000005000, 1, 0, '{"modelId":"gpt-4"}'), ('old-2', '数据库迁移', 1700000001000, 1700000001000, 0, 1, '{}')`,
		`INSERT INTO messages (msg_id, conversation_id, parent_id, role, content, created_at, order_seq, token_count, status, metadata, is_context_edge, is_variant) VALUES
			('old-m1', 'old-1', '', 'user', 'When are quinces ripe?', 1700000002000, 1, 7, 'sent', '{"totalTokens":7}', 0, 0),
			('old-m2', 'old-1', 'old-m1', 'assistant', '[{"type":"content","content":"In October.","status":"success"}]', 1700000003000, 2, 9, 'sent', '{}', 1, 0),
			('old-m3', 'old-1', 'old-m1', 'assistant', 'Late in autumn.', 1700000004000, 2, 0, 'error', '{}', 0, 1),
			('old-m4', 'old-2', '', 'system', '', 1700000001000, 1, 0, 'pending', '{}', 0, 0)`,
		`INSERT INTO message_attachments (attachment_id, message_id, attachment_type, attachment_data, created_at) VALUES ('old-a1', 'old-m2', 'search_result', '{"url":"orchard"}', 1700000003500)`,
		`INSERT INTO knowledge_bases (id, name, dimensions, metric, embedding_model, settings, created_at) VALUES ('old-base', 'Fruit', 4, 'l2', 'one-hot', '{"a":1}', 1700000000000)`,
		`INSERT INTO knowledge_files (id, base_id, name, path, mime_type, status, uploaded_at, metadata) VALUES ('old-file', 'old-base', 'fruit.md', '/fruit.md', 'text/markdown', 'processed', 1700000000001, '{}')`,
	}
	var chunks []string
	for i := range oldVectors {
		chunks = append(chunks, fmt.Sprintf("('old-c%d', 'old-file', %d, 'chunk %d of fruit', 'processed', '')", i, i, i))
	}
	return append(rows, "INSERT INTO knowledge_chunks (id, file_id, chunk_index, content, status, error) VALUES "+strings.Join(chunks, ", "))
}

func oldVector(i int) models.KnowledgeVector {
	id := fmt.Sprint("old-c", i)
	return models.KnowledgeVector{ID: id, BaseID: "old-base", FileID: "old-file", ChunkID: id, Embedding: models.Vector{float32(i), 1, -2.5, 1.0 / 3}, CreatedAt: 1700000000002}
}

// makeOld makes a database of a version as a program of that version would have.
func makeOld(t *testing.T, o engine.Options, version int64) {
	t.Helper()
	ctx := t.Context()
	o.Logger = slog.New(slog.DiscardHandler)
	e, err := engine.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	late := &engine.Late{}
	late.Set(e)
	store := repo.NewStore(late, repo.BaseDefaults{})
	b := repo.NewBulk(store)
	err = migration.NewSchema(late, "hnsw", o.Logger).MigrateSchema(ctx, version)
	if err == nil {
		err = store.WithTransaction(ctx, func(ctx context.Context, tx *repo.Tx) error {
			for _, s := range oldRows() {
				if err := tx.Gorm().Exec(s).Error; err != nil {
					return err
				}
			}
			vectors := make([]models.KnowledgeVector, oldVectors)
			for i := range vectors {
				vectors[i] = oldVector(i)
			}
			if version >= 4 {
				return b.LoadVectors(ctx, vectors) // with their codes
			}
			for _, v := range vectors {
				value := fmt.Sprintf("x'%x'", v.Embedding.Blob())
				if e.Name() == engine.Postgres {
					value = "'" + v.Embedding.Text() + "'"
				}
				if err := tx.Gorm().Exec(fmt.Sprintf("INSERT INTO knowledge_vectors (id, base_id, file_id, chunk_id, embedding, created_at) VALUES ('%s', '%s', '%s', '%s', %s, %d)",
					v.ID, v.BaseID, v.FileID, v.ChunkID, value, v.CreatedAt)).Error; err != nil {
					return err
				}
			}
			return nil
		})
	}
	for _, table := range []string{"conversations", "messages", "knowledge_chunks"} {
		for after, n := int64(0), 1; err == nil && version >= 2 && n > 0; {
			after, n, err = b.IndexText(ctx, table, after)
		}
	}
	if version >= 3 && err == nil {
		err = b.SaveRun(ctx, models.ImportRun{ID: "01890000-0000-7000-8000-000000000000", State: models.ImportRolledBack, Phase: "validate", Owner: "o", StartedAt: 1700000000000, FinishedAt: 1700000009000})
	}
	if err = errors.Join(err, late.Close()); err != nil {
		t.Fatal(err)
	}
}

// fixture reads a fixture, or makes it when it is missing and -update is given.
func fixture(t *testing.T, name string, content func() []byte) []byte {
	t.Helper()
	path := filepath.Join(oldData, name)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && *update {
		b = content()
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatalf("%v; a new version of the schema or of dumps needs a fixture: go test ./tests -run TestOld -update", err)
	}
	return b
}

func packed(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

func unpacked(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := r.DecodeAll(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// oldDigests are those of the rows of every fixture.
func oldDigests(t *testing.T, have map[string]migration.Digest) map[string]migration.Digest {
	t.Helper()
	b := fixture(t, "digests.json", func() []byte {
		b, err := json.MarshalIndent(have, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return append(b, '\n')
	})
	var want map[string]migration.Digest
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	return want
}

// upgraded checks a database that was brought up to date.
func upgraded(t *testing.T, db *talkbase.DB, version int64) {
	t.Helper()
	ctx := t.Context()
	sound := func(when string) {
		t.Helper()
		got := digestsOf(t, db)
		wantSame(t, fmt.Sprintf("version %d %s: digests", version, when), got, oldDigests(t, got))
		if v, err := db.ValidateSchema(ctx); err != nil || !v.OK {
			t.Errorf("version %d %s: got schema %+v (%v), want it whole", version, when, v, err)
		}
	}
	sound("upgraded")
	if version < 2 { // there was no index of words
		if _, err := db.RebuildTextIndex(ctx); err != nil {
			t.Error(err)
		}
	}
	if missing, err := db.Bulk().TextMissing(ctx); err != nil || len(missing) > 0 {
		t.Errorf("version %d: text that is not indexed: got %v (%v), want none", version, missing, err)
	}
	hits, err := db.SearchText(ctx, repo.TextQuery{Query: "quinces"})
	if err != nil || len(hits) != 2 {
		t.Errorf("version %d: got %+v (%v), want a title and a message", version, hits, err)
	}
	similar, err := db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: "old-base", Vector: oldVector(123).Embedding, Limit: 1})
	if err != nil || len(similar) != 1 || similar[0].ChunkID != "old-c123" {
		t.Errorf("version %d: got %+v (%v), want chunk 123", version, similar, err)
	}
	if c, err := db.GetConversation(ctx, "old-1"); err != nil || c.MessageCount != 3 {
		t.Errorf("version %d: got %+v (%v), want a conversation of 3 messages", version, c, err)
	}
	// Down and up again leaves the same schema and, down to the first version, the same rows.
	for target := db.LatestSchemaVersion() - 1; target >= 1; target-- {
		if testing.Short() && target > 1 {
			continue
		}
		err := db.MigrateSchema(ctx, target)
		if err == nil {
			err = db.MigrateSchema(ctx, db.LatestSchemaVersion())
		}
		if err != nil {
			t.Fatalf("version %d, down to %d and up: got error %v, want none", version, target, err)
		}
		sound(fmt.Sprintf("down to %d and up", target))
	}
}

func latestSchema() int64 { return (*migration.Schema)(nil).LatestSchemaVersion() }

func TestOldSQLiteFiles(t *testing.T) {
	t.Parallel()
	for version := int64(1); version <= latestSchema(); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			if !*update {
				t.Parallel()
			}
			content := fixture(t, fmt.Sprintf("v%d.sqlite.zst", version), func() []byte {
				path := filepath.Join(t.TempDir(), "old.db")
				makeOld(t, engine.Options{DSN: path}, version)
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				return packed(t, b)
			})
			path := filepath.Join(t.TempDir(), "talk.db")
			write(t, path, unpacked(t, content))
			db := open(t, talkbase.Config{DSN: path})
			upgraded(t, db, version)
			copies, err := filepath.Glob(path + ".v*.bak")
			if want := version < latestSchema(); err != nil || len(copies) > 0 != want {
				t.Errorf("copies: got %v (%v), want one: %t", copies, err, want)
			}
		})
	}
}

// oldSchema is the name of the schema in the fixtures.
const oldSchema = "talkbase_fixture"

// pgDump dumps a schema as SQL that needs no psql.
func pgDump(t *testing.T, dsn, schema string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(serverPrograms(t), "pg_dump"), "--inserts", "--rows-per-insert=100", "--no-owner", "--no-privileges", "--schema", schema, dsn).Output()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, `\`) && !strings.HasPrefix(line, "--") && line != "\n" { // psql's own commands, and comments
			b.WriteString(strings.ReplaceAll(line, schema, oldSchema))
		}
	}
	return b.Bytes()
}

func TestOldPostgresSchemas(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	for version := int64(1); version <= latestSchema(); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			if !*update {
				t.Parallel()
			}
			content := fixture(t, fmt.Sprintf("v%d.postgres.sql.zst", version), func() []byte {
				schema := schemaName(t, dsn)
				makeOld(t, engine.Options{DSN: dsn, Schema: schema}, version)
				return packed(t, pgDump(t, dsn, schema))
			})
			schema := schemaName(t, dsn)
			conn, err := pgx.Connect(t.Context(), dsn)
			if err == nil {
				_, err = conn.PgConn().Exec(t.Context(), strings.ReplaceAll(string(unpacked(t, content)), oldSchema, schema)).ReadAll()
				err = errors.Join(err, conn.Close(t.Context()))
			}
			if err != nil {
				t.Fatal(err)
			}
			cfg := talkbase.Config{DSN: dsn, Schema: schema}
			if version < latestSchema() {
				if _, err := talkbase.Open(t.Context(), cfg); !errors.Is(err, repo.ErrSchemaOutdated) {
					t.Errorf("open: got error %v, want ErrSchemaOutdated", err)
				}
				cfg.Migrate = true
			}
			upgraded(t, open(t, cfg), version)
		})
	}
}

// A dump of every format is restored by every later version, on both engines.
func TestOldDumps(t *testing.T) {
	t.Parallel()
	content := fixture(t, "format1.dump", func() []byte {
		path := filepath.Join(t.TempDir(), "old.db")
		makeOld(t, engine.Options{DSN: path}, latestSchema())
		var b bytes.Buffer
		if _, err := open(t, talkbase.Config{DSN: path}).Dump(t.Context(), &b, migration.DumpOptions{}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	})
	places := map[string]func() talkbase.Config{"sqlite": func() talkbase.Config { return talkbase.Config{DSN: filepath.Join(t.TempDir(), "talk.db")} }}
	if dsn := os.Getenv("TALKBASE_TEST_POSTGRES"); dsn != "" {
		places["postgres"] = func() talkbase.Config { return talkbase.Config{DSN: dsn, Schema: schemaName(t, dsn)} }
	}
	for name, place := range places {
		db := open(t, place())
		r, err := migration.Restore(t.Context(), db.Bulk(), bytes.NewReader(content), migration.RestoreOptions{})
		if err != nil || r.Tables["talkbase_import_runs"].Rows != 1 {
			t.Errorf("%s: got %+v (%v), want it restored", name, r, err)
			continue
		}
		upgraded(t, db, latestSchema())
	}
}
