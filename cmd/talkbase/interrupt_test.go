//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talkbase/talkbase/fixtures"
)

// command is this test binary as the program.
func command(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("talkbase") // testscript.Main put it on the path
	if err != nil {
		t.Skip("the program is not on the path")
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = t.TempDir()
	return cmd
}

func TestAnInterruptedImportEndsInOrderAndCanBeRepeated(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	source := filepath.Join(t.TempDir(), "chat.db")
	if _, err := (fixtures.LegacyChat{Version: 7, Conversations: 20, MessagesPer: 100}).Write(ctx, source); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "t.db")
	// One row in a transaction makes it slow enough to be in the middle of it.
	cmd := command(ctx, t, "import", source, "--db", target, "--batch-rows", "1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stderr)
	for line := ""; !strings.HasPrefix(line, "chat.db: conversations "); {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("progress: got %q and %v, want the conversations", line, err)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("the interrupted import: got %v, want exit code %d", err, exitFailed)
	}
	if !strings.Contains(string(rest), "talkbase: interrupted") {
		t.Errorf("standard error: got %q, want that it was interrupted", rest)
	}
	out, err := command(ctx, t, "import", "--resume", "--db", target, "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		OK      bool
		Sources []struct {
			Tables []struct{ Read, Written, Merged int64 }
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	if m := report.Sources[0].Tables[1]; !report.OK || m.Read != 2000 || m.Merged+m.Written != 2000 || m.Written == 0 {
		t.Errorf("repeated: got %+v, want that the rest of 2000 messages is written", report)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "talkbase-work-*")); err != nil || len(left) > 0 {
		t.Logf("private copies in %s, perhaps of other tests: %v %v", os.TempDir(), left, err)
	}
}
