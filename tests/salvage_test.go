package tests_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/repo"
)

// salvage is what came of a damaged file.
type salvage struct {
	db     *talkbase.DB
	report *migration.SalvageReport
	// rows are those that were rescued: by table and key, their canonical forms.
	rows map[string]map[string]string
}

func (s *salvage) table(name string) *migration.SalvagedTable {
	for _, t := range s.report.Tables {
		if t.Table == name {
			return t
		}
	}
	return nil
}

func rowsOf(t *testing.T, db *talkbase.DB) map[string]map[string]string {
	t.Helper()
	out := map[string]map[string]string{}
	for table := range digestsOf(t, db) {
		out[table] = map[string]string{}
		err := db.Bulk().EachCanonical(t.Context(), table, func(key string, canonical []byte) error {
			out[table][key] = string(canonical)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// salvaged writes a file, salvages it, and checks that what came of it is sound.
func (v *victim) salvaged(t *testing.T, what string, main, wal []byte) (*salvage, error) {
	t.Helper()
	dir, err := os.MkdirTemp(v.dir, "salvage-") //nolint:usetesting // in memory, and removed at once
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path, out := filepath.Join(dir, "talk.db"), filepath.Join(dir, "out.db")
	write(t, path, main)
	if wal != nil {
		write(t, path+"-wal", wal)
	}
	report, err := talkbase.Salvage(t.Context(), path, out, migration.SalvageOptions{})
	if err != nil {
		for name := range folder(t, dir) {
			if !strings.HasPrefix(name, "talk.db") {
				t.Errorf("%s: got %s left behind, want nothing", what, name)
			}
		}
		return nil, err
	}
	if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, main) {
		t.Errorf("%s: the damaged file was changed (%v)", what, err)
	}
	db, err := talkbase.Open(t.Context(), killedConfig(out, ""))
	if err != nil {
		t.Fatalf("%s: open what was rescued: got error %v, want none", what, err)
	}
	defer func() { _ = db.Close() }()
	s := &salvage{db: db, report: report, rows: rowsOf(t, db)}
	if found, err := integrityOf(t.Context(), db); err != nil || found != "ok" {
		t.Errorf("%s: integrity of what was rescued: got %s (%v), want ok", what, found, err)
	}
	if broken, err := db.Bulk().BrokenReferences(t.Context(), 3); err != nil || len(broken) > 0 {
		t.Errorf("%s: references: got %v (%v), want none broken", what, broken, err)
	}
	if missing, err := db.Bulk().TextMissing(t.Context()); err != nil || len(missing) > 0 {
		t.Errorf("%s: text that is not indexed: got %v (%v), want none", what, missing, err)
	}
	for _, table := range report.Tables {
		if rows, ok := s.rows[table.Table]; ok && table.Rescued+table.Made != int64(len(rows)) {
			t.Errorf("%s: %s: the report has %d rows, the database %d", what, table.Table, table.Rescued+table.Made, len(rows))
		}
		if table.Rejected > 0 && report.RejectFile == "" {
			t.Errorf("%s: got %d rejected rows and no file of them", what, table.Rejected)
		}
	}
	return s, nil
}

// all returns the rows of the victim.
func (v *victim) all(t *testing.T) map[string]map[string]string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "whole.db")
	write(t, path, v.main)
	if v.wal != nil {
		write(t, path+"-wal", v.wal)
	}
	return rowsOf(t, open(t, killedConfig(path, "")))
}

// accounted checks that every row of the whole was rescued as it was, or is counted as something else.
// It returns how many were not rescued.
func accounted(t *testing.T, what string, all map[string]map[string]string, s *salvage) (gone int) {
	t.Helper()
	for table, rows := range all {
		r := s.table(table)
		missing, altered := 0, 0
		for key, row := range rows {
			switch got, ok := s.rows[table][key]; {
			case !ok:
				missing++
			case got != row:
				altered++
			}
		}
		gone += missing
		if counted := int(r.Lost + r.Rejected); missing > counted && !r.AtLeast {
			t.Errorf("%s: %s: %d rows are not there, and %d are counted as lost and %d as rejected", what, table, missing, r.Lost, r.Rejected)
		}
		var reasons int64
		for _, n := range r.Reasons {
			reasons += n
		}
		// A flip inside a value that is a value all the same, nobody can see.
		if altered > 1 && int64(altered) > reasons+r.Made+1 {
			t.Errorf("%s: %s: %d rows are altered, and the report says why of %d", what, table, altered, reasons)
		}
		for key := range s.rows[table] {
			if _, ok := rows[key]; !ok && r.Made == 0 && r.Pages+r.Stray == 0 && len(s.report.Warnings) == 0 && altered == 0 && missing == 0 {
				t.Errorf("%s: %s: got the row %s, which was not there", what, table, key)
			}
		}
	}
	return gone
}

// Of a whole file, everything is rescued, what is only in the log as well.
func TestSalvageOfAWholeFile(t *testing.T) {
	t.Parallel()
	for _, logged := range []bool{false, true} {
		v := newVictim(t, logged)
		s, err := v.salvaged(t, "whole", v.main, v.wal)
		if err != nil {
			t.Fatal(err)
		}
		if !s.report.Whole || len(s.report.Warnings) > 0 {
			t.Errorf("log %t: got %+v, want it whole", logged, s.report)
		}
		if !maps.EqualFunc(s.rows, v.rows, maps.Equal) {
			t.Errorf("log %t: got other rows than there are", logged)
		}
	}
}

// Each page in turn is destroyed: by zeros, by a flip in its head, by another page's content.
func TestSalvageOfDamagedPages(t *testing.T) {
	t.Parallel()
	v := newVictim(t, false)
	all := v.rows
	total := 0
	for _, rows := range all {
		total += len(rows)
	}
	damages := []struct {
		name  string
		apply func(page []byte, other []byte)
	}{
		{"zeros", func(page, _ []byte) { clear(page) }},
		{"its kind", func(page, _ []byte) { page[0] ^= 0x10 }},
		{"its cells", func(page, _ []byte) { binary.BigEndian.PutUint16(page[3:], 0xffff) }},
		{"a pointer", func(page, _ []byte) { page[9] ^= 0x80 }},
		{"noise", func(page, _ []byte) {
			for i := range page {
				page[i] ^= byte(i * 31)
			}
		}},
		{"another page", func(page, other []byte) { copy(page, other) }},
		{"a byte of a value", func(page, _ []byte) { page[victimPage-40] ^= 0xc5 }},
	}
	pages := slices.Sorted(maps.Keys(v.pages))
	const ofEach = 2 // the damages take turns
	each(len(pages)*ofEach, 5, func(i int) {
		page, d := pages[i/ofEach], damages[i%len(damages)]
		what := fmt.Sprintf("%s of page %d (%s)", d.name, page, v.pages[page])
		main := bytes.Clone(v.main)
		other := 1 + (page+17)%(len(pages)-1)
		d.apply(main[(page-1)*victimPage:page*victimPage], v.main[other*victimPage:][:victimPage])
		s, err := v.salvaged(t, what, main, nil)
		if err != nil {
			t.Errorf("%s: got error %v, want what can be read", what, err)
			return
		}
		gone := accounted(t, what, all, s)
		if gone > total/3 {
			t.Errorf("%s: got %d of %d rows lost, want the most of them", what, gone, total)
		}
		if kind := v.pages[page]; gone > 0 && (strings.HasPrefix(kind, "index") || strings.HasPrefix(kind, "text index") || strings.HasPrefix(kind, "free")) && d.name != "another page" {
			t.Errorf("%s: got %d rows lost, want none for a page that holds none", what, gone)
		}
	})
}

// Many pages are damaged at once, the header and the schema among them.
func TestSalvageOfHeavyDamage(t *testing.T) {
	t.Parallel()
	v := newVictim(t, false)
	all := v.rows
	for name, damage := range map[string]func(b []byte) []byte{
		"the first page is gone": func(b []byte) []byte { clear(b[:victimPage]); return b },
		"the header is gone": func(b []byte) []byte {
			clear(b[:100])
			return b
		},
		"it says it has 3 pages": func(b []byte) []byte { binary.BigEndian.PutUint32(b[28:], 3); return b },
		"the second half is gone": func(b []byte) []byte {
			return b[: len(b)/2 : len(b)/2]
		},
		"every seventh page is gone": func(b []byte) []byte {
			for at := 6 * victimPage; at < len(b); at += 7 * victimPage {
				clear(b[at : at+victimPage])
			}
			return b
		},
		"every page inside a tree is gone": func(b []byte) []byte {
			for n, kind := range v.pages {
				if strings.Contains(kind, "internal") {
					clear(b[(n-1)*victimPage : n*victimPage])
				}
			}
			return b
		},
	} {
		if testing.Short() && name != "every page inside a tree is gone" {
			continue
		}
		s, err := v.salvaged(t, name, damage(bytes.Clone(v.main)), nil)
		if err != nil {
			t.Errorf("%s: got error %v, want what can be read", name, err)
			continue
		}
		gone := accounted(t, name, all, s)
		t.Logf("%s: %d rows are not there; %v", name, gone, s.report.Warnings)
		switch name {
		case "the first page is gone", "the header is gone", "it says it has 3 pages", "every page inside a tree is gone":
			if gone > 0 {
				t.Errorf("%s: got %d rows lost, want all found by their pages", name, gone)
			}
		}
	}
}

// The rows that others belong to are lost; the others are kept together.
func TestSalvageOfLostParents(t *testing.T) {
	t.Parallel()
	v := &victim{dir: t.TempDir()}
	path := filepath.Join(v.dir, "talk.db")
	db := open(t, killedConfig(path, ""))
	for _, name := range []string{"chats", "branches", "knowledge"} {
		if err := fixtures.Load(t.Context(), db, name); err != nil {
			t.Fatal(err)
		}
	}
	roots := map[string]int{}
	err := db.WithTransaction(t.Context(), func(_ context.Context, tx *repo.Tx) error {
		rows, err := tx.Gorm().Raw("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'").Rows()
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var name string
			var root int
			if err := rows.Scan(&name, &root); err != nil {
				return err
			}
			roots[name] = root
		}
		return rows.Err()
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	v.read(t, path)
	v.wal = nil
	all := v.all(t)
	for table, check := range map[string]func(s *salvage){
		"conversations": func(s *salvage) {
			if len(s.rows["messages"]) != len(all["messages"]) || len(s.rows["conversations"]) != 4 {
				t.Errorf("got %d messages in %d conversations, want all in as many as there were", len(s.rows["messages"]), len(s.rows["conversations"]))
			}
		},
		"messages": func(s *salvage) {
			if n := s.table("message_attachments").Rejected; n != 3 {
				t.Errorf("got %d attachments rejected, want 3", n)
			}
			if n := s.table("messages").Lost; n != int64(len(all["messages"])) {
				t.Errorf("got %d messages lost, want all", n)
			}
		},
		"knowledge_bases": func(s *salvage) {
			if len(s.rows["knowledge_vectors"]) != len(all["knowledge_vectors"]) || s.table("knowledge_bases").Made != 2 {
				t.Errorf("got %d vectors in %d bases that were made, want all in 2", len(s.rows["knowledge_vectors"]), s.table("knowledge_bases").Made)
			}
		},
		"knowledge_files": func(s *salvage) {
			if len(s.rows["knowledge_vectors"]) != len(all["knowledge_vectors"]) {
				t.Errorf("got %d vectors, want all", len(s.rows["knowledge_vectors"]))
			}
			if s.table("knowledge_files").Made != 2 || s.table("knowledge_chunks").Rejected == 0 {
				t.Errorf("got %+v and %+v, want the files with vectors made, and the chunks of others rejected", s.table("knowledge_files"), s.table("knowledge_chunks"))
			}
		},
		"knowledge_chunks": func(s *salvage) {
			if n := s.table("knowledge_vectors").Rejected; n != 6 {
				t.Errorf("got %d vectors rejected, want 6", n)
			}
		},
	} {
		if testing.Short() && table != "conversations" && table != "knowledge_files" {
			continue
		}
		main := bytes.Clone(v.main)
		clear(main[(roots[table]-1)*victimPage : roots[table]*victimPage])
		s, err := v.salvaged(t, table, main, nil)
		if err != nil {
			t.Errorf("%s: got error %v, want none", table, err)
			continue
		}
		accounted(t, table, all, s)
		if table == "conversations" && !strings.Contains(s.rows["conversations"]["chat-en"], "Recovered") {
			t.Error("got a conversation that is not named Recovered")
		}
		check(s)
	}
}

func TestSalvageRefuses(t *testing.T) {
	t.Parallel()
	v := newVictim(t, false)
	dir := t.TempDir()
	legacy := filepath.Join(dir, "chat.db")
	if _, err := (fixtures.LegacyChat{Version: 9, Conversations: 2, MessagesPer: 2}).Write(t.Context(), legacy); err != nil {
		t.Fatal(err)
	}
	chat, err := os.ReadFile(legacy)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content []byte
		want    error
	}{
		"text":      {[]byte(strings.Repeat("this is no database at all, however long it is. ", 1000)), repo.ErrNotDatabase},
		"encrypted": {bytes.Repeat([]byte{0x9a, 3, 0xf1, 0, 17}, 9000), repo.ErrNotDatabase},
		"nothing":   {nil, repo.ErrNotDatabase},
		"legacy":    {chat, repo.ErrForeignSchema},
	} {
		if _, err := v.salvaged(t, name, c.content, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: got error %v, want %v", name, err, c.want)
		}
	}
	if _, err := talkbase.Salvage(t.Context(), filepath.Join(dir, "missing.db"), filepath.Join(dir, "out.db"), migration.SalvageOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: got error %v, want fs.ErrNotExist", err)
	}
	if _, err := talkbase.Salvage(t.Context(), legacy, legacy, migration.SalvageOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("into a file that exists: got error %v, want fs.ErrExist", err)
	}
}

// The schema that Reset makes stores the same columns in the same order.
func TestSalvageOfAFileThatWasReset(t *testing.T) {
	t.Parallel()
	v := &victim{dir: t.TempDir()}
	path := filepath.Join(v.dir, "talk.db")
	db := open(t, killedConfig(path, ""))
	err := db.Reset(t.Context(), func(ctx context.Context) error { loadSets(t, db); return nil })
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	v.read(t, path)
	v.wal = nil
	s, err := v.salvaged(t, "whole", v.main, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !s.report.Whole || !maps.EqualFunc(s.rows, v.all(t), maps.Equal) {
		t.Errorf("got %+v, want everything", s.report)
	}
}
