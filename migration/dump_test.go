package migration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/talkbase/talkbase/models"
)

// someDump writes a dump of a few rows without a database, in frames of its own.
func someDump(t testing.TB, rows ...models.Message) []byte {
	t.Helper()
	var buf bytes.Buffer
	f, err := newFrameWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.json(frameHeader, dumpHeader{Format: dumpFormat, SchemaVersion: latestVersion, Engine: "sqlite", CreatedAt: 1}); err != nil {
		t.Fatal(err)
	}
	trailer := dumpTrailer{Tables: map[string]Digest{}}
	if err := f.json(frameTable, dumpMessages.head()); err != nil {
		t.Fatal(err)
	}
	var d Digest
	var enc, room []byte
	for i := range rows {
		enc = dumpMessages.append(enc[:0], &rows[i])
		d.add(dumpMessages.hash(&rows[i], &room))
		if err := f.row(enc); err != nil {
			t.Fatal(err)
		}
	}
	trailer.Tables[tableMessages] = d
	vectors := []models.KnowledgeVector{{ID: "v", BaseID: "b", FileID: "f", ChunkID: "c", Embedding: models.Vector{1, -2.5}, CreatedAt: 3}}
	if err := f.json(frameTable, dumpVectors.head()); err != nil {
		t.Fatal(err)
	}
	d = Digest{}
	d.add(dumpVectors.hash(&vectors[0], &room))
	trailer.Tables[tableVectors] = d
	if err := f.row(dumpVectors.append(nil, &vectors[0])); err != nil {
		t.Fatal(err)
	}
	if err := f.end(trailer); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// read returns the messages of a dump.
func readMessages(t *testing.T, dump []byte) (out []models.Message) {
	t.Helper()
	d, err := openDump(bytes.NewReader(dump))
	if err != nil {
		t.Fatalf("open: got error %v, want none", err)
	}
	err = d.tables(func(tab anyTable, columns [][2]string) error {
		if tab.table() == tableMessages {
			err := dumpMessages.read(t.Context(), &rowReader{f: d.f}, columns, func(m *models.Message) error {
				out = append(out, *m)
				return nil
			})
			var sum Digest
			var room []byte
			for i := range out {
				sum.add(dumpMessages.hash(&out[i], &room))
			}
			d.info.Tables[tableMessages] = sum
			return err
		}
		var err error
		d.info.Tables[tab.table()], err = tab.check(t.Context(), &rowReader{f: d.f}, columns, &checking{info: d.info})
		return err
	})
	if err != nil {
		t.Fatalf("tables: got error %v, want none", err)
	}
	return out
}

func TestDumpedRowsComeBack(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32()) // any bytes, NUL and broken UTF-8 as well
		}
		return string(b)
	}
	var want []models.Message
	for i, size := range []int{0, 1, 100, frameSize - 40, frameSize, frameSize + 1, 5 * frameSize, 7} {
		want = append(want, models.Message{
			ID: int64(i) - 3, MsgID: text(i), ConversationID: text(36), Role: "user", Content: text(size), CreatedAt: -1 << 63, OrderSeq: 1<<63 - 1,
			Status: "sent", Metadata: models.JSON(`{"a":1}`), IsVariant: i%2 == 0, IsContextEdge: i%3 == 0,
		})
	}
	got := readMessages(t, someDump(t, want...))
	if !reflect.DeepEqual(got, want) {
		t.Error("messages: got others than were dumped")
	}
}

// A dump of an older version has fewer columns, and such as no longer exist.
func TestDumpsOfOtherColumns(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	f, err := newFrameWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(f.json(frameHeader, dumpHeader{Format: dumpFormat, SchemaVersion: 1}))
	must(f.json(frameTable, tableHead{Table: tableMessages, Columns: [][2]string{{"gone", kindVector}, {"msg_id", kindText}, {"lost", kindJSON}, {"left", kindInteger}, {"flew", kindFlag}}}))
	must(f.row([]byte{1, 0, 0, 0, 0, 2, 'm', '1', 2, '{', '}', 7, 1}))
	want := models.Message{MsgID: "m1"}
	var sum Digest
	var room []byte
	sum.add(dumpMessages.hash(&want, &room))
	must(f.end(dumpTrailer{map[string]Digest{tableMessages: sum}}))
	if got := readMessages(t, buf.Bytes()); !reflect.DeepEqual(got, []models.Message{want}) {
		t.Errorf("messages: got %+v, want %+v", got, want)
	}
}

type failing struct{ after int }

func (f *failing) Read(b []byte) (int, error) {
	if f.after -= len(b); f.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return copy(b, dumpMagic), nil
}

// A disk that cannot be read is not a damaged dump.
func TestDumpsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	_, err := CheckDump(t.Context(), &failing{after: 1}, DumpOptions{})
	if !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, ErrBackupDamaged) {
		t.Errorf("check: got error %v, want that of reading", err)
	}
}

func FuzzCheckDump(f *testing.F) {
	whole := someDump(f, models.Message{MsgID: "m", ConversationID: "c", Content: "hello", Metadata: models.JSON("{}")}, models.Message{ID: 2})
	f.Add(whole, false)
	f.Add(whole[:len(whole)-5], false)
	f.Add([]byte(dumpMagic), false)
	f.Add([]byte("T{\"table\":\"messages\",\"columns\":[[\"id\",\"integer\"],[\"content\",\"text\"]]}\nR\x02\x05hello\nZ{}"), true)
	f.Add([]byte("T{\"table\":\"knowledge_vectors\",\"columns\":[[\"embedding\",\"vector\"],[\"x\",\"json\"]]}\nR\xff\xff\xff\xff\xff\x7f"), true)
	f.Fuzz(func(t *testing.T, b []byte, build bool) {
		if build {
			// Lines become frames with the right checksums, so that what is in them is reached.
			var buf bytes.Buffer
			w, err := newFrameWriter(&buf)
			if err != nil {
				t.Fatal(err)
			}
			err = w.json(frameHeader, dumpHeader{Format: dumpFormat})
			for line := range bytes.SplitSeq(b, []byte("\n")) {
				if len(line) > 0 && err == nil {
					err = w.frame(line[0], line[1:])
				}
			}
			if err == nil {
				err = w.write(w.sum.Sum(nil))
			}
			if err != nil {
				t.Fatal(err)
			}
			b = buf.Bytes()
		}
		info, err := CheckDump(t.Context(), bytes.NewReader(b), DumpOptions{})
		if err != nil {
			if !errors.Is(err, ErrBackupDamaged) && !errors.Is(err, ErrNotDump) && !errors.Is(err, ErrNewerDump) {
				t.Fatalf("got error %v, want one that says what the file is", err)
			}
			return
		}
		again, err := CheckDump(t.Context(), bytes.NewReader(b), DumpOptions{})
		if err != nil || fmt.Sprint(again) != fmt.Sprint(info) {
			t.Fatalf("again: got %+v (%v), want %+v", again, err, info)
		}
	})
}
