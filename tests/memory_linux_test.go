//go:build !race

package tests_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/memory"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
)

func init() { childTasks["memory"] = taskOf(beMemoryChild) }

// memoryTask is a load whose memory a child process measures.
type memoryTask struct {
	DSN, Schema, Work string
	// Sources are folders of legacy files, which are imported at once, each into a database of its own.
	Sources []string
	Load    string
	Budget  int64
}

// memoryResult is what the child saw, in bytes.
type memoryResult struct {
	// Peak is the most anonymous memory that the process had above what it had before the load.
	Peak  int64
	Usage memory.Usage
}

// beMemoryChild runs a load in a process of its own, so that nothing else is measured, and prints a
// memoryResult.
func beMemoryChild(c memoryTask) (err error) {
	ctx := context.Background()
	budget := memory.New(c.Budget)
	var dbs []*talkbase.DB
	defer func() {
		for _, db := range dbs {
			err = errors.Join(err, db.Close())
		}
	}()
	for i := range max(1, len(c.Sources)) {
		cfg := killedConfig(c.DSN, c.Schema)
		if i > 0 {
			if cfg.Schema != "" {
				cfg.Schema += fmt.Sprint("_", i)
			} else {
				cfg.DSN += fmt.Sprint(".", i)
			}
		}
		cfg.Memory, cfg.Performance.MaxConns, cfg.Performance.BusyTimeout = budget, 8, time.Minute
		cfg.Performance.WorkMem, cfg.Performance.MaintenanceWorkMem = "1MB", "1MB" // SQLite's own caches
		db, err := talkbase.Open(ctx, cfg)
		if err != nil {
			return err
		}
		dbs = append(dbs, db)
	}
	load, err := memoryLoads[c.Load](ctx, c, dbs)
	if err != nil {
		return err
	}
	r := memoryResult{}
	if r.Peak, err = peakOf(load); err != nil {
		return err
	}
	r.Usage = budget.Usage()
	return json.NewEncoder(os.Stdout).Encode(r)
}

// aboveBudget is what may be in memory beside what is set aside, in bytes: what statements keep and
// connections, of SQLite up to 8 MiB each while they load, calls that are small, of each import a batch
// in the making, and garbage.
const aboveBudget = 48 << 20

// memoryWithout is a budget that no load comes up to.
const memoryWithout = 1 << 30

// peakOf runs load and returns the most anonymous memory that the process had above what it had before.
// Go's collector is told to keep within the limit: what it cannot is in use.
func peakOf(load func() error) (int64, error) {
	debug.FreeOSMemory()
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	debug.SetMemoryLimit(int64(s[0].Value.Uint64()-s[1].Value.Uint64()) + memoryBudget + aboveBudget/6)
	before, err := anonymous()
	if err != nil {
		return 0, err
	}
	done, over := make(chan struct{}), make(chan error, 1)
	var peak int64
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			now, err := anonymous()
			peak = max(peak, now-before)
			select {
			case <-done:
				over <- err
				return
			case <-tick.C:
			}
		}
	}()
	err = load()
	close(done)
	return peak, errors.Join(err, <-over)
}

// anonymous is how much memory of this process is no file's, in bytes.
func anonymous() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	var kb int64
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	_, err = fmt.Sscan(rest, &kb)
	return kb << 10, err
}

// atOnce runs f so many times at once.
func atOnce(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// memoryLoads prepare loads: what they are given to store is there before, and not measured.
var memoryLoads = map[string]func(ctx context.Context, c memoryTask, dbs []*talkbase.DB) (func() error, error){
	"vectors": func(ctx context.Context, _ memoryTask, dbs []*talkbase.DB) (func() error, error) {
		const callers, rows, dimensions = 2, 5000, 2048
		db := dbs[0]
		if _, err := db.CreateBase(ctx, models.KnowledgeBase{ID: "kb", Dimensions: dimensions}); err != nil {
			return nil, err
		}
		if _, err := db.InsertFile(ctx, models.KnowledgeFile{ID: "f", BaseID: "kb", Name: "f"}); err != nil {
			return nil, err
		}
		if _, err := db.InsertChunks(ctx, []models.KnowledgeChunk{{ID: "c", FileID: "f"}}); err != nil {
			return nil, err
		}
		embeddings := make([][]float32, 100)
		for i := range embeddings {
			embeddings[i] = make([]float32, dimensions)
			embeddings[i][i] = 1
		}
		calls := make([][]models.KnowledgeVector, callers)
		for i := range calls {
			calls[i] = make([]models.KnowledgeVector, rows)
			for j := range calls[i] {
				calls[i][j] = models.KnowledgeVector{ID: fmt.Sprint(i, "-", j), FileID: "f", ChunkID: "c", Embedding: embeddings[j%100]}
			}
		}
		return func() error {
			return atOnce(callers, func(i int) error {
				_, err := db.UpsertVectors(ctx, calls[i])
				return err
			})
		}, nil
	},
	"messages": func(ctx context.Context, _ memoryTask, dbs []*talkbase.DB) (func() error, error) {
		const callers, rows = 2, 8000
		db := dbs[0]
		if _, err := db.CreateConversation(ctx, models.Conversation{ConvID: "c", Title: "c"}); err != nil {
			return nil, err
		}
		calls := make([][]models.Message, callers)
		for i := range calls {
			calls[i] = make([]models.Message, rows)
			for j := range calls[i] {
				calls[i][j] = models.Message{
					MsgID: fmt.Sprint(i, "-", j), ConversationID: "c", Role: models.RoleUser, Status: models.StatusSent, OrderSeq: int64(i*rows + j + 1),
					Content: strings.Repeat(fmt.Sprintf("the %d walnuts of %d trees were gathered in %d ", j, i, i*j), 40),
				}
			}
		}
		return func() error {
			return atOnce(callers, func(i int) error { return db.Bulk().InsertMessages(ctx, calls[i]) })
		}, nil
	},
	"imports": func(ctx context.Context, c memoryTask, dbs []*talkbase.DB) (func() error, error) {
		for _, db := range dbs { // what is imported into an empty database is indexed in the end
			if _, err := db.CreateConversation(ctx, models.Conversation{Title: "there before"}); err != nil {
				return nil, err
			}
		}
		return func() error {
			return atOnce(len(dbs), func(i int) error {
				_, err := dbs[i].Import(ctx, migration.ImportOptions{Paths: []string{c.Sources[i]}, NoBackup: true, NoVerify: true, WorkDir: c.Work})
				return err
			})
		}, nil
	},
}

// memoryBudget is what loads are given, in bytes.
const memoryBudget = 8 << 20

// testMemory runs each load within a budget and without, and compares what it had in memory.
func testMemory(t *testing.T, place func(t *testing.T) (dsn, schema string), grows map[string]bool) {
	sources := []string{t.TempDir(), t.TempDir()}
	for i, dir := range sources {
		chat := fixtures.LegacyChat{Seed: uint64(31 + i), Version: 9, Conversations: 4, MessagesPer: 30, ContentBytes: 150_000}
		if _, err := chat.Write(t.Context(), filepath.Join(dir, "chat.db")); err != nil {
			t.Fatal(err)
		}
	}
	for _, load := range []string{"vectors", "messages", "imports"}[:inShort(1, 3)] {
		t.Run(load, func(t *testing.T) {
			measure := func(budget int64) memoryResult {
				dsn, schema := place(t)
				task := memoryTask{DSN: dsn, Schema: schema, Load: load, Budget: budget, Work: t.TempDir()}
				if load == "imports" {
					task.Sources = sources
				}
				r := runMemoryChild(t, task)
				t.Logf("with %d MiB: %.1f MiB, set aside %+v", budget>>20, float64(r.Peak)/(1<<20), r.Usage)
				return r
			}
			within, without := measure(memoryBudget), measure(memoryWithout)
			const most = memoryBudget + aboveBudget
			if within.Peak > most {
				t.Errorf("memory within the budget: got %d bytes, want at most %d", within.Peak, most)
			}
			if u := within.Usage; u.Peak > memoryBudget || u.Used != u.Cached {
				t.Errorf("usage: got %+v, want at most %d and everything but the cache given back", u, memoryBudget)
			}
			if grows[load] && without.Peak <= within.Peak+memoryBudget || without.Usage.Peak <= memoryBudget {
				t.Errorf("memory without a budget: got %d bytes, %d set aside, want more than %d and %d, or this test shows nothing",
					without.Peak, without.Usage.Peak, within.Peak+memoryBudget, memoryBudget)
			}
		})
	}
}

func runMemoryChild(t *testing.T, task memoryTask) (r memoryResult) {
	t.Helper()
	cmd := child(t, "memory", task)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the child ended with %v", err)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("the child printed %q: %v", out, err)
	}
	return r
}

func TestSQLiteMemoryBudget(t *testing.T) {
	t.Parallel()
	testMemory(t, func(t *testing.T) (string, string) { return filepath.Join(t.TempDir(), "talk.db"), "" },
		map[string]bool{"vectors": true, "imports": true}) // of messages, one caller after the other is writing
}

func TestPostgresMemoryBudget(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	testMemory(t, func(t *testing.T) (string, string) {
		schema := schemaName(t, dsn)
		t.Cleanup(func() { admin(t, dsn, "DROP SCHEMA IF EXISTS "+schema+"_1 CASCADE") })
		return dsn, schema
	}, map[string]bool{"imports": true}) // vectors and messages are sent one by one
}
