package tests_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
)

// benchmarkRows fills a database with 20,000 messages of 600 bytes and 10,000 vectors of 768 dimensions.
func benchmarkRows(b *testing.B, db *talkbase.DB) {
	b.Helper()
	const messages, vectors, dimensions = 20_000, 10_000, 768
	rng := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // not a secret
	words := strings.Fields("the of backup index vector message quince table page row commit and to in a is that for it was on are as with")
	text := func(n int) string {
		var s strings.Builder
		for s.Len() < n {
			s.WriteString(words[rng.IntN(len(words))] + fmt.Sprint(" ", rng.IntN(1000), " "))
		}
		return s.String()
	}
	ctx := b.Context()
	bulk := db.Bulk()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	check(bulk.InsertConversations(ctx, []models.Conversation{{ConvID: "c", Title: "t", CreatedAt: 1, UpdatedAt: 1}}))
	for from := 0; from < messages; from += 1000 {
		ms := make([]models.Message, 1000)
		for i := range ms {
			ms[i] = models.Message{MsgID: fmt.Sprintf("%08d", from+i), ConversationID: "c", Role: models.RoleUser, Content: text(600), CreatedAt: 1, OrderSeq: int64(from + i), Status: models.StatusSent}
		}
		check(bulk.InsertMessages(ctx, ms))
	}
	check(bulk.InsertBases(ctx, []models.KnowledgeBase{{ID: "b", Dimensions: dimensions, Metric: models.MetricCosine}}))
	check(bulk.InsertFiles(ctx, []models.KnowledgeFile{{ID: "f", BaseID: "b", Status: models.TaskProcessed}}))
	for from := 0; from < vectors; from += 1000 {
		chunks, vs := make([]models.KnowledgeChunk, 1000), make([]models.KnowledgeVector, 1000)
		for i := range chunks {
			id := fmt.Sprintf("%08d", from+i)
			chunks[i] = models.KnowledgeChunk{ID: id, FileID: "f", ChunkIndex: int64(from + i), Content: text(300), Status: models.TaskProcessed}
			v := make(models.Vector, dimensions)
			for j := range v {
				v[j] = float32(rng.NormFloat64())
			}
			vs[i] = models.KnowledgeVector{ID: id, FileID: "f", ChunkID: id, Embedding: v}
		}
		check(bulk.InsertChunks(ctx, chunks))
		check(bulk.InsertVectors(ctx, vs))
	}
}

// BenchmarkSQLiteBackup compares a dump with SQLite's own copy of the file, and its restore with the first
// import of the same rows.
func BenchmarkSQLiteBackup(b *testing.B) {
	path := filepath.Join(b.TempDir(), "talk.db")
	db := open(b, killedConfig(path, ""))
	benchmarkRows(b, db)
	dump := filepath.Join(b.TempDir(), "talk.dump")
	b.Run("dump", func(b *testing.B) {
		for b.Loop() {
			if _, err := db.Dump(b.Context(), io.Discard, migration.DumpOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	benchmarkDump(b, db, dump)
	b.Run("vacuum into", func(b *testing.B) {
		for b.Loop() {
			to := filepath.Join(b.TempDir(), "copy.db")
			if err := db.Snapshot(b.Context(), to); err != nil {
				b.Fatal(err)
			}
			info, err := os.Stat(to)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Size())/(1<<20), "MiB")
			_ = os.Remove(to)
		}
	})
	for name, opts := range map[string]migration.RestoreOptions{"restore": {}, "restore, not read back": {NoVerify: true}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				to := open(b, killedConfig(filepath.Join(b.TempDir(), "restored.db"), ""))
				if _, err := to.Restore(b.Context(), dump, opts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("load without a dump", func(b *testing.B) {
		for b.Loop() {
			benchmarkRows(b, open(b, killedConfig(filepath.Join(b.TempDir(), "loaded.db"), "")))
		}
	})
}

func benchmarkDump(b *testing.B, db *talkbase.DB, dump string) {
	b.Run("dump to a file, read back", func(b *testing.B) {
		for b.Loop() {
			_ = os.Remove(dump)
			info, err := db.Backup(b.Context(), dump, migration.DumpOptions{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Bytes)/(1<<20), "MiB")
		}
	})
}

// BenchmarkPostgresBackup compares a dump with pg_dump's custom format.
func BenchmarkPostgresBackup(b *testing.B) {
	dsn := postgresDSN(b)
	schema := schemaName(b, dsn)
	db := open(b, killedConfig(dsn, schema))
	benchmarkRows(b, db)
	dump := filepath.Join(b.TempDir(), "talk.dump")
	benchmarkDump(b, db, dump)
	b.Run("pg_dump -Fc", func(b *testing.B) {
		for b.Loop() {
			to := filepath.Join(b.TempDir(), "pg.dump")
			if out, err := exec.CommandContext(b.Context(), filepath.Join(serverPrograms(b), "pg_dump"), "-Fc", "-n", schema, "-f", to, dsn).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			info, err := os.Stat(to)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Size())/(1<<20), "MiB")
		}
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			to := open(b, killedConfig(dsn, schemaName(b, dsn)))
			if _, err := to.Restore(b.Context(), dump, migration.RestoreOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
