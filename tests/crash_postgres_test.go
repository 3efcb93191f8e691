//go:build unix

package tests_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// cluster is a Postgres of the test's own, as durable as Postgres is by default.
type cluster struct {
	t      *testing.T
	bin    string
	dir    string
	port   int
	owner  *syscall.Credential
	server *exec.Cmd
	gone   chan struct{} // closed when the server has ended
}

// newCluster makes a cluster in a folder that the server's user can use: it does not run as root.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, bin: serverPrograms(t)}
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			u, err = user.Lookup("nobody")
		}
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		c.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	var out []byte
	var err error
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		if c.dir, err = os.MkdirTemp(parent, "talkbase-pg-"); err != nil { //nolint:usetesting // the server's user must be able to use it
			continue
		}
		dir := c.dir
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		if c.owner != nil {
			if err = os.Chown(c.dir, int(c.owner.Uid), int(c.owner.Gid)); err != nil {
				continue
			}
		}
		out, err = c.command("initdb", "-D", filepath.Join(c.dir, "data"), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync").CombinedOutput()
		if err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("initdb: %v: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c.start()
	t.Cleanup(c.kill)
	return c
}

func (c *cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"LC_ALL=C", "HOME=" + c.dir, "PATH=" + os.Getenv("PATH")}
	// Should this process be killed, the server does not stay.
	cmd.SysProcAttr = childOf(c.owner)
	return cmd
}

func (c *cluster) dsn() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable&connect_timeout=5", c.port)
}

// start starts the server and waits until it answers. After a kill, it first has to see that the
// processes of the one before are gone.
func (c *cluster) start() {
	c.t.Helper()
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		c.server = c.command("postgres", "-D", filepath.Join(c.dir, "data"), "-p", strconv.Itoa(c.port), "-c", "listen_addresses=127.0.0.1",
			"-c", "unix_socket_directories=", "-c", "dynamic_shared_memory_type=mmap", "-c", "shared_buffers=16MB")
		c.server.Stdout, c.server.Stderr = log, log
		gone, started := make(chan struct{}), make(chan error)
		c.gone = gone
		go func() {
			defer close(gone)
			runtime.LockOSThread() // the server ends with the thread that began it
			defer runtime.UnlockOSThread()
			err := c.server.Start()
			started <- err
			if err == nil {
				_ = c.server.Wait()
			}
		}()
		if err := <-started; err != nil {
			c.t.Fatal(err)
		}
		for {
			if conn, err := pgx.Connect(ctx, c.dsn()); err == nil {
				_ = conn.Close(ctx)
				return
			}
			select {
			case <-gone: // it could not start yet
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
				continue
			}
			break
		}
	}
	content, _ := os.ReadFile(filepath.Join(c.dir, "log"))
	c.t.Fatalf("the server did not start: %s", content[max(0, len(content)-2000):])
}

// kill kills the server; its processes end when they see that.
func (c *cluster) kill() {
	_ = c.server.Process.Signal(syscall.SIGKILL)
	<-c.gone
}

// What became of a write.
const (
	writeUnknown = iota
	writeDone
)

// writers write until they are stopped, through failures.
type writers struct {
	db *talkbase.DB
	mu sync.Mutex
	// outcome says what the caller knows of each conversation that was written.
	outcome map[string]int
	codes   map[string]int
	wrong   []error
	// done counts the writes of each writer that went well.
	done []atomic.Int64
}

func (w *writers) run(ctx context.Context, me int) {
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("w%d-%d", me, n)
		err := w.write(ctx, id, n)
		if err != nil && ctx.Err() != nil {
			return
		}
		w.mu.Lock()
		code := repo.ErrorCode(err)
		if err == nil {
			w.outcome[id] = writeDone
			w.done[me].Add(1)
		} else {
			w.outcome[id] = writeUnknown
			var de *repo.DatabaseError
			var te *repo.TransactionError
			if errors.As(err, &te) {
				code = repo.ErrorCode(te.Err)
			}
			w.codes[code]++
			if !errors.As(err, &de) && te == nil || code == "DATABASE" {
				w.wrong = append(w.wrong, err)
			}
		}
		w.mu.Unlock()
		if err == nil {
			continue
		}
		select { // as a caller would
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// write stores a conversation with two messages, and a chunk with a vector, or nothing.
func (w *writers) write(ctx context.Context, id string, n int) error {
	if n%3 == 2 {
		_, err := w.db.RecentConversations(ctx, 3)
		if err != nil {
			return err
		}
	}
	return w.db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error {
		if _, err := w.db.CreateConversation(ctx, models.Conversation{ConvID: id}); err != nil {
			return err
		}
		ms := []models.Message{{MsgID: id + "-1", ConversationID: id, Role: models.RoleUser, Content: "kumquat"}, {MsgID: id + "-2", ConversationID: id, Role: models.RoleUser, Content: "kumquat"}}
		if _, err := w.db.InsertMessages(ctx, ms); err != nil {
			return err
		}
		if w.db.VectorsSupported() != nil {
			return nil
		}
		if _, err := w.db.InsertFile(ctx, models.KnowledgeFile{ID: id, BaseID: crashBase, Name: id, Path: id, Status: models.TaskProcessed}); err != nil {
			return err
		}
		if _, err := w.db.InsertChunks(ctx, []models.KnowledgeChunk{{ID: id, FileID: id, Content: "kumquat", Status: models.TaskProcessed}}); err != nil {
			return err
		}
		_, err := w.db.UpsertVectors(ctx, []models.KnowledgeVector{{ID: id, FileID: id, ChunkID: id, Embedding: []float32{float32(n), 1}}})
		return err
	})
}

// The server is killed under load and started again. The same *DB goes on by itself: meanwhile its calls
// return errors with types, and what it acknowledged is there.
func TestPostgresServerCrashes(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	cfg := killedConfig(c.dsn(), "crash")
	cfg.Performance.MaxConns = 6
	db := open(t, cfg)
	if db.VectorsSupported() == nil {
		if _, err := db.CreateBase(t.Context(), models.KnowledgeBase{ID: crashBase, Dimensions: 2, Metric: models.MetricL2}); err != nil {
			t.Fatal(err)
		}
	}
	const n = 4
	w := &writers{db: db, outcome: map[string]int{}, codes: map[string]int{}, done: make([]atomic.Int64, n)}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for me := range n {
		wg.Go(func() { w.run(ctx, me) })
	}
	rounds := number(t, "TALKBASE_SERVER_CRASHES", inShort(3, 20))
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 7)) //nolint:gosec // not a secret
	for round := range rounds {
		var before [n]int64
		for me := range before {
			before[me] = w.done[me].Load()
		}
		// Each writer gets on again before the next kill.
		deadline := time.Now().Add(time.Minute)
		for me := 0; me < n; {
			if w.done[me].Load() > before[me]+int64(rng.IntN(20)) {
				me++
				continue
			}
			if time.Now().After(deadline) {
				t.Fatalf("round %d: writer %d did not get on within a minute of the server's start", round, me)
			}
			<-time.After(time.Millisecond)
		}
		c.kill()
		c.start()
	}
	// After the last start, too.
	for me := range n {
		before := w.done[me].Load()
		for deadline := time.Now().Add(time.Minute); w.done[me].Load() <= before; {
			if time.Now().After(deadline) {
				t.Fatalf("writer %d did not get on within a minute of the last start", me)
			}
			<-time.After(time.Millisecond)
		}
	}
	stop()
	wg.Wait()
	for _, err := range w.wrong[:min(len(w.wrong), 5)] {
		t.Errorf("while the server was away: got error %T %v, want one with a type and a code", err, err)
	}
	acknowledged, unknown := 0, 0
	for id, outcome := range w.outcome {
		ms, err := db.QueryMessages(t.Context(), id)
		_, cerr := db.GetConversation(t.Context(), id)
		there := cerr == nil
		switch {
		case err != nil && !errors.Is(err, repo.ErrNotFound) || cerr != nil && !errors.Is(cerr, repo.ErrNotFound):
			t.Fatalf("read %s: got errors %v and %v, want none", id, err, cerr)
		case outcome == writeDone && !there:
			t.Errorf("%s: got no conversation, want what was acknowledged", id)
		case there && len(ms) != 2, !there && len(ms) != 0:
			t.Errorf("%s: there %t with %d messages, want both or none", id, there, len(ms))
		}
		if outcome == writeDone {
			acknowledged++
		} else if there {
			unknown++
		}
	}
	t.Logf("%d kills, %d commits acknowledged, %d committed and not acknowledged, errors by code: %v", rounds, acknowledged, unknown, w.codes)
	if missing, err := db.Bulk().TextMissing(t.Context()); err != nil || len(missing) > 0 {
		t.Errorf("text that is not indexed: got %v (%v), want none", missing, err)
	}
	if broken, err := db.Bulk().BrokenReferences(t.Context(), 5); err != nil || len(broken) > 0 {
		t.Errorf("references: got %v (%v), want none broken", broken, err)
	}
	if v, err := db.ValidateSchema(t.Context()); err != nil || !v.OK {
		t.Errorf("schema: got %+v (%v), want it whole", v, err)
	}
}
