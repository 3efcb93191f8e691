package migration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/models"
)

// legacyFiles returns the folder of real legacy files, or skips the test.
func legacyFiles(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("TALKBASE_LEGACY_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "legacy")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no legacy files: set TALKBASE_LEGACY_DIR (%v)", err)
	}
	return dir
}

// writeChat writes a legacy file as a user has it, in a folder of its own.
func writeChat(t *testing.T, l fixtures.LegacyChat) (path string, rows map[string]int64) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "chat.db")
	rows, err := l.Write(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return path, rows
}

// snapshot is a folder's files with their sizes, times and contents.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := []byte("folder")
		if !d.IsDir() {
			if content, err = os.ReadFile(p); err != nil {
				return err
			}
		}
		out[p] = fmt.Sprint(info.Mode(), info.ModTime().UnixNano(), len(content)) + string(content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func equalSnapshots(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for p, v := range a {
		if b[p] != v {
			return false
		}
	}
	return true
}

// addCounts adds the counts of u to t.
func addCounts(t, u *TableReport) {
	t.Read += u.Read
	t.Written += u.Written
	t.Merged += u.Merged
	t.Changed += u.Changed
	t.Rejected += u.Rejected
	t.Made += u.Made
	for r, n := range u.Reasons {
		for range n {
			t.count(r)
		}
	}
}

// sumUp checks the identity of every table and returns the counts by table.
func sumUp(t *testing.T, r *ImportReport) map[string]*TableReport {
	t.Helper()
	out := map[string]*TableReport{}
	for _, s := range r.Sources {
		for _, c := range s.Tables {
			if c.Read != c.Written+c.Merged+c.Rejected {
				t.Errorf("%s %s: %d read is not %d written + %d merged + %d rejected", s.Path, c.Table, c.Read, c.Written, c.Merged, c.Rejected)
			}
			if c.Changed > c.Written {
				t.Errorf("%s %s: %d changed of %d written", s.Path, c.Table, c.Changed, c.Written)
			}
			if out[c.Table] == nil {
				out[c.Table] = &TableReport{Table: c.Table}
			}
			addCounts(out[c.Table], c)
		}
	}
	return out
}

func mustImport(t *testing.T, target Target, opts ImportOptions) (*ImportReport, map[string]*TableReport) {
	t.Helper()
	r, err := Import(t.Context(), target, opts)
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK {
		t.Fatal("not ok")
	}
	return r, sumUp(t, r)
}

// plainCounts counts the rows of a legacy file with SQL, from a copy.
func plainCounts(t *testing.T, path string) map[string]int64 {
	t.Helper()
	file := filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	out := map[string]int64{}
	for _, table := range []string{tableConversations, tableMessages, tableMessageAttachments, tableAttachments} {
		var n int64
		if err := db.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil {
			if strings.Contains(err.Error(), "no such table") {
				continue
			}
			t.Fatal(err)
		}
		out[table] = n
	}
	return out
}

func TestImportRealFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(legacyFiles(t), "sqlite")
	before := snapshot(t, dir)
	for _, path := range []string{"v2.db", "v7.db", "upgraded-v1-to-v7.db", "hot-wal/chat.db"} {
		target := newMemoryTarget()
		report, counts := mustImport(t, target, ImportOptions{Paths: []string{filepath.Join(dir, path)}, WorkDir: t.TempDir()})
		want := plainCounts(t, filepath.Join(dir, path))
		for table, n := range map[string]int64{
			tableConversations: want[tableConversations], tableMessages: want[tableMessages],
			tableMessageAttachments: want[tableMessageAttachments] + want[tableAttachments],
		} {
			if c := counts[table]; c.Read != n || c.Written+c.Rejected != n {
				t.Errorf("%s %s: %+v, the file has %d", path, table, *c, n)
			}
		}
		if len(target.messages) != int(want[tableMessages]) {
			t.Errorf("%s: %d messages of %d, rejects %v", path, len(target.messages), want[tableMessages], report.Rejects)
		}
		first := target.clone()
		_, again := mustImport(t, target, ImportOptions{Paths: []string{filepath.Join(dir, path)}, WorkDir: t.TempDir()})
		for table, c := range again {
			if c.Written != 0 || c.Rejected != counts[table].Rejected {
				t.Errorf("%s %s again: %+v", path, table, *c)
			}
		}
		if fmt.Sprint(first.messages) != fmt.Sprint(target.messages) {
			t.Errorf("%s: importing again changed messages", path)
		}
	}
	if !equalSnapshots(before, snapshot(t, dir)) {
		t.Error("the source folder changed")
	}
}

func TestImportHotLog(t *testing.T) {
	t.Parallel()
	for name, log := range map[string]fixtures.LogState{"rows in the log": fixtures.LogRows, "tables in the log": fixtures.LogAll} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, rows := writeChat(t, fixtures.LegacyChat{Version: 7, Conversations: 4, MessagesPer: 10, Log: log})
			before := snapshot(t, filepath.Dir(path))
			target := newMemoryTarget()
			mustImport(t, target, ImportOptions{Paths: []string{path}})
			if len(target.messages) != 40 || rows[tableMessages] != 40 {
				t.Errorf("%d messages of %d", len(target.messages), rows[tableMessages])
			}
			if !equalSnapshots(before, snapshot(t, filepath.Dir(path))) {
				t.Error("the source folder changed")
			}
		})
	}
}

func TestImportEveryVersionWithEveryQuirk(t *testing.T) {
	t.Parallel()
	for version := range fixtures.MaxLegacyVersion + 1 {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			quirks := fixtures.AllQuirks
			if version != 7 {
				quirks &^= fixtures.QuirkHuge
			}
			path, rows := writeChat(t, fixtures.LegacyChat{Version: version, Seed: uint64(version), Conversations: 14, MessagesPer: 13, Quirks: quirks})
			before := snapshot(t, filepath.Dir(path))
			target := newMemoryTarget()
			opts := ImportOptions{Paths: []string{path}, BatchRows: 7}
			_, counts := mustImport(t, target, opts)
			if c := counts[tableConversations]; c.Read != rows[tableConversations] || c.Written != c.Read {
				t.Errorf("conversations: %+v of %d", *c, rows[tableConversations])
			}
			if c := counts[tableMessages]; c.Read != rows[tableMessages] || c.Rejected != 3 || c.Reasons[ReasonOrphan] != 3 {
				t.Errorf("messages: %+v of %d", *c, rows[tableMessages])
			}
			attachments := rows[tableMessageAttachments] + rows[tableAttachments]
			if c := counts[tableMessageAttachments]; c.Read != attachments || c.Rejected != c.Reasons[ReasonOrphan] || c.Rejected > 2 {
				t.Errorf("attachments: %+v of %d", *c, attachments)
			}
			if version >= 8 && counts["acp_sessions"].Rejected != rows["acp_sessions"] {
				t.Errorf("acp_sessions: %+v of %d", counts["acp_sessions"], rows["acp_sessions"])
			}
			for _, m := range target.messages {
				if m.CreatedAt < minMillis {
					t.Errorf("message %s was made at %d", m.MsgID, m.CreatedAt)
				}
			}
			checkOrder(t, target)
			first := target.clone()
			_, again := mustImport(t, target, opts)
			for table, c := range again {
				if c.Written != 0 || c.Made != 0 || c.Rejected != counts[table].Rejected {
					t.Errorf("again: %+v", *c)
				}
			}
			if fmt.Sprint(first.messages, first.conversations, first.attachments) != fmt.Sprint(target.messages, target.conversations, target.attachments) {
				t.Error("importing again changed something")
			}
			if !equalSnapshots(before, snapshot(t, filepath.Dir(path))) {
				t.Error("the source folder changed")
			}
		})
	}
}

// checkOrder fails when an order_seq is there twice in a conversation.
func checkOrder(t *testing.T, target *memoryTarget) {
	t.Helper()
	seen := map[string]string{}
	for id, m := range target.messages {
		key := fmt.Sprint(m.ConversationID, " ", m.OrderSeq)
		if other, ok := seen[key]; ok {
			t.Errorf("messages %s and %s share the place %s", id, other, key)
		}
		seen[key] = id
	}
}

func TestImportIsTheSameWhateverTheBatches(t *testing.T) {
	t.Parallel()
	path, _ := writeChat(t, fixtures.LegacyChat{Version: 7, Conversations: 9, MessagesPer: 12, Quirks: fixtures.AllQuirks &^ fixtures.QuirkHuge})
	var want string
	for _, rows := range []int{1, 3, 1000} {
		target := newMemoryTarget()
		_, counts := mustImport(t, target, ImportOptions{Paths: []string{path}, BatchRows: rows, BatchBytes: 1 << 20, RecoverOrphans: true})
		got := fmt.Sprint(target.conversations, target.messages, target.attachments)
		for _, table := range []string{tableConversations, tableMessages, tableMessageAttachments} {
			got += fmt.Sprint(*counts[table])
		}
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("batches of %d rows give another result", rows)
		}
		if target.largest > rows {
			t.Errorf("a batch of %d rows, %d allowed", target.largest, rows)
		}
	}
}

func TestImportRenumbersOnlyAmbiguousOrder(t *testing.T) {
	t.Parallel()
	at := int64(1740816000000)
	msg := func(conv, id string, created, seq any) fixtures.LegacyRow {
		return fixtures.LegacyRow{Table: "messages", Values: map[string]any{
			"msg_id": id, "conversation_id": conv, "role": "user", "content": id, "created_at": created, "order_seq": seq,
		}}
	}
	conv := func(id string) fixtures.LegacyRow {
		return fixtures.LegacyRow{Table: "conversations", Values: map[string]any{"conv_id": id, "title": id, "created_at": at, "updated_at": at}}
	}
	path, _ := writeChat(t, fixtures.LegacyChat{Version: 7, Rows: []fixtures.LegacyRow{
		conv("plain"), conv("fork"), conv("race"), conv("gaps"),
		msg("plain", "p2", at, int64(2)), msg("plain", "p1", at+5, int64(1)),
		msg("fork", "f1", at, int64(1)), msg("fork", "f2", at, int64(1)), msg("fork", "f3", at, int64(1)),
		msg("race", "r3", at+30, int64(2)), msg("race", "r1", at+10, int64(1)), msg("race", "r2", at+20, int64(2)),
		msg("gaps", "g1", at, int64(10)), msg("gaps", "g2", at, int64(1<<53+1)),
	}})
	target := newMemoryTarget()
	_, counts := mustImport(t, target, ImportOptions{Paths: []string{path}})
	for id, want := range map[string]int64{"p1": 1, "p2": 2, "f1": 1, "f2": 2, "f3": 3, "r1": 1, "r2": 2, "r3": 3, "g1": 10, "g2": 1<<53 + 1} {
		if got := target.messages[id].OrderSeq; got != want {
			t.Errorf("%s is at %d, want %d", id, got, want)
		}
	}
	if n := counts[tableMessages].Reasons[ReasonOrderRenumbered]; n != 3 || counts[tableMessages].Changed != 3 {
		t.Errorf("%d renumbered, %d changed; want f2, f3 and r3", n, counts[tableMessages].Changed)
	}
}

func TestImportOrphans(t *testing.T) {
	t.Parallel()
	path, rows := writeChat(t, fixtures.LegacyChat{Version: 7, Conversations: 2, MessagesPer: 3, Quirks: fixtures.QuirkOrphans | fixtures.QuirkAttachments})
	target := newMemoryTarget()
	var rejects []Reject
	report, counts := mustImport(t, target, ImportOptions{Paths: []string{path}, OnReject: func(r Reject) error { rejects = append(rejects, r); return nil }})
	if c := counts[tableMessages]; c.Rejected != 3 || c.Reasons[ReasonOrphan] != 3 {
		t.Errorf("messages: %+v", *c)
	}
	if len(rejects) != 5 || len(report.Rejects) != 5 || report.Rejects[0].Values != nil {
		t.Errorf("%d rejects handed out, %d in the report", len(rejects), len(report.Rejects))
	}
	if i := slices.Index(rejects[0].Columns, "conversation_id"); i < 0 || rejects[0].Values[i] != "gone-conversation-0" {
		t.Errorf("the reject is not the whole row: %v", rejects[0])
	}
	// On request they come back under the conversations' own ids; the attachments stay lost.
	_, counts = mustImport(t, target, ImportOptions{Paths: []string{path}, RecoverOrphans: true})
	if c := counts[tableMessages]; c.Written != 3 || c.Reasons[ReasonRecovered] != 3 || c.Merged != rows[tableMessages]-3 || c.Changed != 0 {
		t.Errorf("messages: %+v", *c)
	}
	if c := counts[tableConversations]; c.Made != 2 || c.Merged != 2 {
		t.Errorf("conversations: %+v", *c)
	}
	for _, id := range []string{"gone-conversation-0", "gone-conversation-1"} {
		if c := target.conversations[id]; c.Title != "Recovered" || c.CreatedAt == 0 || c.UpdatedAt < c.CreatedAt {
			t.Errorf("%s: %+v", id, c)
		}
	}
	_, counts = mustImport(t, target, ImportOptions{Paths: []string{path}, RecoverOrphans: true})
	if counts[tableMessages].Merged != rows[tableMessages] || counts[tableConversations].Made != 0 {
		t.Errorf("again: %+v %+v", *counts[tableMessages], *counts[tableConversations])
	}
}

func TestImportMergesAndReportsConflicts(t *testing.T) {
	t.Parallel()
	l := fixtures.LegacyChat{Version: 7, Conversations: 3, MessagesPer: 4}
	path, rows := writeChat(t, l)
	target := newMemoryTarget()
	target.conversations["own"] = models.Conversation{ConvID: "own", Title: "own"}
	mustImport(t, target, ImportOptions{Paths: []string{path}})
	var edited string
	for id, m := range target.messages {
		m.Content, edited = "edited", id
		target.messages[id] = m
		break
	}
	report, counts := mustImport(t, target, ImportOptions{Paths: []string{path, path}})
	if len(report.Sources) != 1 {
		t.Errorf("%d sources of one file named twice", len(report.Sources))
	}
	if c := counts[tableMessages]; c.Merged != rows[tableMessages]-1 || c.Rejected != 1 || c.Reasons[ReasonConflict] != 1 {
		t.Errorf("messages: %+v", *c)
	}
	if target.messages[edited].Content != "edited" || target.conversations["own"].Title != "own" {
		t.Error("the target's rows did not stay")
	}
	if len(report.Rejects) != 1 || report.Rejects[0].ID != edited {
		t.Errorf("rejects: %+v", report.Rejects)
	}
}

func TestImportNarrowsRefusedRows(t *testing.T) {
	t.Parallel()
	path, rows := writeChat(t, fixtures.LegacyChat{Version: 7, Conversations: 2, MessagesPer: 50})
	target := newMemoryTarget()
	var bad string
	target.fail = func(table string, ids []string) error {
		if table == tableMessages && bad == "" {
			bad = ids[len(ids)/3]
		}
		if table == tableMessages && slices.Contains(ids, bad) {
			return fmt.Errorf("%w: row too large", errRefused)
		}
		return nil
	}
	report, counts := mustImport(t, target, ImportOptions{Paths: []string{path}})
	c := counts[tableMessages]
	if c.Rejected != 1 || c.Written != rows[tableMessages]-1 || report.Rejects[0].ID != bad || report.Rejects[0].Reason != ReasonRefused {
		t.Errorf("%+v %+v", *c, report.Rejects)
	}
}

func TestImportEndsWhenTheTargetFails(t *testing.T) {
	t.Parallel()
	path, _ := writeChat(t, fixtures.LegacyChat{Version: 7, Conversations: 2, MessagesPer: 5})
	other, _ := writeChat(t, fixtures.LegacyChat{Version: 7, Conversations: 1, Seed: 9})
	target := newMemoryTarget()
	full := errors.New("no space left")
	target.fail = func(table string, _ []string) error {
		if table == tableMessages {
			return full
		}
		return nil
	}
	report, err := Import(t.Context(), target, ImportOptions{Paths: []string{path, other}})
	if !errors.Is(err, full) || report.OK || len(report.Sources) != 2 || report.Sources[0].Error == "" || report.Sources[1].Error != "" {
		t.Errorf("%v %+v", err, report)
	}
	if c := sumUp(t, report)[tableMessages]; c.Read != 0 {
		t.Errorf("a batch that was not stored counts: %+v", *c)
	}
}

func TestImportEndsWithItsContext(t *testing.T) {
	t.Parallel()
	path, _ := writeChat(t, fixtures.LegacyChat{Version: 7, Conversations: 5, MessagesPer: 20})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	work := t.TempDir()
	report, err := Import(ctx, newMemoryTarget(), ImportOptions{Paths: []string{path}, BatchRows: 10, WorkDir: work, Progress: func(p Progress) {
		if p.Table == tableMessages && p.Done >= 30 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || report.OK {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(work); len(left) != 0 {
		t.Errorf("copies left behind: %v", left)
	}
}

func TestImportProgress(t *testing.T) {
	t.Parallel()
	path, rows := writeChat(t, fixtures.LegacyChat{Version: 7, Conversations: 3, MessagesPer: 10})
	var last Progress
	mustImport(t, newMemoryTarget(), ImportOptions{Paths: []string{path}, BatchRows: 7, Progress: func(p Progress) {
		if began := (Progress{Run: p.Run, Phase: p.Phase}); p.Phase == PhaseConversations && p != began && p.Source != path || p.Done > p.Total {
			t.Errorf("%+v", p)
		}
		if p.Phase == PhaseConversations && p.Table == tableMessages {
			last = p
		}
	}})
	if last.Done != rows[tableMessages] || last.Total != rows[tableMessages] {
		t.Errorf("ends at %+v", last)
	}
}

func TestImportMarksPendingOnRequest(t *testing.T) {
	t.Parallel()
	path, _ := writeChat(t, fixtures.LegacyChat{Version: 7, Conversations: 2, MessagesPer: 5, Quirks: fixtures.QuirkPending})
	for mark, want := range map[bool]models.MessageStatus{false: models.StatusPending, true: models.StatusError} {
		target := newMemoryTarget()
		mustImport(t, target, ImportOptions{Paths: []string{path}, MarkPendingAsError: mark})
		n := 0
		for _, m := range target.messages {
			if m.Status == want {
				n++
			}
		}
		if n != 2 {
			t.Errorf("mark %v: %d messages are %s", mark, n, want)
		}
	}
}
