package migration

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/talkbase/talkbase/repo"
)

// Phases of backups. None of them is part of an import.
const (
	// PhaseDump writes a dump.
	PhaseDump Phase = "dump"
	// PhaseCheck reads a dump and checks all of it.
	PhaseCheck Phase = "check"
	// PhaseRestore stores the rows of a dump.
	PhaseRestore Phase = "restore"
	// PhaseCopy stores the rows of another database.
	PhaseCopy Phase = "copy"
)

// DumpInfo says what a dump holds.
type DumpInfo struct {
	// Format is the version of the file's format.
	Format int `json:"format"`
	// SchemaVersion and Engine are those of the database that was dumped.
	SchemaVersion int64  `json:"schema_version"`
	Engine        string `json:"engine"`
	// CreatedAt is the moment as of which it was dumped, in milliseconds since the Unix epoch.
	CreatedAt int64 `json:"created_at"`
	// Database identifies the database that was dumped, if it was ever asked for its id; see RollingBackup.
	Database string `json:"database,omitempty"`
	// Bytes is the size of the dump.
	Bytes int64 `json:"bytes"`
	// Tables holds the number of rows and the digest of each table. Those of a host's tables are what
	// Digests returns for the database.
	Tables map[string]Digest `json:"tables"`
	// FaultyRows counts rows whose text cannot be stored again: plain SQL or damage put a NUL or bytes
	// that are not UTF-8 there. Faulty lists up to 20 of them.
	FaultyRows int64       `json:"faulty_rows,omitempty"`
	Faulty     []FaultyRow `json:"faulty,omitempty"`
}

// FaultyRow is a row that cannot be stored again as it is.
type FaultyRow struct {
	Table  string `json:"table"`
	ID     string `json:"id"`
	Detail string `json:"detail"`
}

func (i *DumpInfo) faulty(table, id, detail string) {
	if i.FaultyRows++; len(i.Faulty) < maxFindings {
		i.Faulty = append(i.Faulty, FaultyRow{table, id, detail})
	}
}

// DumpOptions says how Dump works.
type DumpOptions struct {
	// Progress is called now and then, from the goroutine that called Dump.
	Progress func(Progress)
}

// stepper reports progress, table by table.
type stepper struct {
	phase    Phase
	source   string
	progress func(Progress)
	totals   map[string]int64
	pace     *pace
	at       time.Time
}

// stepEvery is how many rows are dealt with before the clock is looked at.
const stepEvery = 256

func (s *stepper) step(table string, done int64) {
	if s.progress == nil || done%stepEvery != 0 {
		return
	}
	if now := time.Now(); now.Sub(s.at) >= 100*time.Millisecond {
		s.at = now
		s.report(table, done)
	}
}

func (s *stepper) report(table string, done int64) {
	if s.progress == nil || done == 0 {
		return
	}
	p := Progress{Phase: s.phase, Source: s.source, Table: table, Done: done, Total: s.totals[table]}
	if s.pace == nil || !s.pace.of(p) {
		s.pace = newPace(p, time.Now)
	}
	s.pace.add(&p)
	s.progress(p)
}

// count sets the totals.
func (s *stepper) count(ctx context.Context, v *repo.View) error {
	s.totals = map[string]int64{}
	if s.progress == nil {
		return nil
	}
	for _, t := range dumpTables {
		n, err := v.Count(ctx, t.table())
		if err != nil {
			return err
		}
		s.totals[t.table()] = n
	}
	return nil
}

// dumping is a dump under way.
type dumping struct {
	stepper
	w    *frameWriter
	info *DumpInfo
}

// Dump writes everything that the database holds, as of one moment, while others read and write: all
// rows of a host, bit for bit, and what imports left behind. What a database makes of its rows
// (the index of words, the codes of vectors, counts) is not part of it; Restore makes it anew, on either
// engine. The dump is compressed and holds the contents of chats. Memory is bounded by the largest
// row.
func Dump(ctx context.Context, b *repo.Bulk, w io.Writer, opts DumpOptions) (*DumpInfo, error) {
	info, err := dump(ctx, b, w, opts)
	if err != nil {
		return nil, fmt.Errorf("migration: the dump: %w", full(err))
	}
	return info, nil
}

func dump(ctx context.Context, b *repo.Bulk, w io.Writer, opts DumpOptions) (*DumpInfo, error) {
	id, err := b.DatabaseID(ctx, false)
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewWriterSize(w, 256<<10)
	f, err := newFrameWriter(buffered)
	if err != nil {
		return nil, err
	}
	info := &DumpInfo{Format: dumpFormat, Engine: b.Engine(), Database: id, Tables: map[string]Digest{}}
	err = b.View(ctx, func(ctx context.Context, v *repo.View) error {
		d := &dumping{stepper: stepper{phase: PhaseDump, progress: opts.Progress}, w: f, info: info}
		// The first statement takes the snapshot.
		if info.SchemaVersion, err = v.SchemaVersion(ctx); err != nil {
			return err
		}
		info.CreatedAt = time.Now().UnixMilli()
		if err := d.count(ctx, v); err != nil {
			return err
		}
		if err := f.json(frameHeader, dumpHeader{dumpFormat, info.SchemaVersion, info.Engine, info.CreatedAt, id}); err != nil {
			return err
		}
		for _, t := range dumpTables {
			digest, err := t.dump(ctx, v, d)
			if err != nil {
				return err
			}
			info.Tables[t.table()] = digest
			d.report(t.table(), digest.Rows)
		}
		return nil
	})
	if err == nil {
		err = f.end(dumpTrailer{info.Tables})
	}
	if err == nil {
		err = buffered.Flush()
	}
	info.Bytes = f.written
	return info, err
}

// checking is the check of a dump under way.
type checking struct {
	stepper
	info *DumpInfo
	// each is told of every row; it may be nil.
	each func(table, key string, h rowHash) error
}

// CheckDump reads a dump to its end and checks all of it: every frame's checksum, that every row can be
// read, the number of rows and digest of each table, and the checksum of the whole. What is damaged or
// cut off is ErrBackupDamaged; what is no dump is ErrNotDump; one of a newer version is ErrNewerDump.
func CheckDump(ctx context.Context, r io.Reader, opts DumpOptions) (*DumpInfo, error) {
	info, err := checkDump(ctx, r, &checking{stepper: stepper{phase: PhaseCheck, progress: opts.Progress}})
	if err != nil {
		return nil, fmt.Errorf("migration: the dump: %w", err)
	}
	return info, nil
}

func checkDump(ctx context.Context, r io.Reader, c *checking) (*DumpInfo, error) {
	d, err := openDump(r)
	if err != nil {
		return nil, err
	}
	c.info = d.info
	return d.info, d.tables(func(t anyTable, columns [][2]string) error {
		digest, err := t.check(ctx, &rowReader{f: d.f}, columns, c)
		if err != nil {
			return err
		}
		c.report(t.table(), digest.Rows)
		d.info.Tables[t.table()] = digest
		return nil
	})
}

// dumpReader reads a dump table by table.
type dumpReader struct {
	f    *frameReader
	info *DumpInfo
}

func openDump(r io.Reader) (*dumpReader, error) {
	f, err := openFrames(r)
	if err != nil {
		return nil, err
	}
	if err := f.next(); err != nil {
		return nil, err
	}
	var h dumpHeader
	if f.kind != frameHeader {
		return nil, damagedf("its first frame is a %q", f.kind)
	}
	if err := f.json(&h); err != nil {
		return nil, err
	}
	if h.Format != dumpFormat {
		return nil, damagedf("it has the format %d in the second place and %d in the first", h.Format, dumpFormat)
	}
	if h.SchemaVersion > latestVersion {
		return nil, fmt.Errorf("%w: it has schema version %d, this program knows %d: update the program", ErrNewerDump, h.SchemaVersion, latestVersion)
	}
	return &dumpReader{f, &DumpInfo{
		Format: h.Format, SchemaVersion: h.SchemaVersion, Engine: h.Engine, CreatedAt: h.CreatedAt, Database: h.Database, Tables: map[string]Digest{},
	}}, nil
}

// tables calls read for every table. It must read all its rows and set the table's digest.
func (d *dumpReader) tables(read func(t anyTable, columns [][2]string) error) error {
	last := -1
	for {
		if err := d.f.next(); err != nil {
			return err
		}
		switch d.f.kind {
		case frameTable:
			var h tableHead
			if err := d.f.json(&h); err != nil {
				return err
			}
			at := slices.IndexFunc(dumpTables, func(t anyTable) bool { return t.table() == h.Table })
			if at <= last { // unknown, a second time, or before its parents
				return damagedf("table %.40q has no place there, before byte %d", h.Table, d.f.at)
			}
			last = at
			if err := read(dumpTables[at], h.Columns); err != nil {
				return err
			}
		case frameTrailer:
			return d.end()
		default:
			return damagedf("a frame %q has no place there, before byte %d", d.f.kind, d.f.at)
		}
	}
}

func (d *dumpReader) end() error {
	var t dumpTrailer
	if err := d.f.json(&t); err != nil {
		return err
	}
	if len(t.Tables) != len(d.info.Tables) {
		return damagedf("it holds %d tables and should hold %d", len(d.info.Tables), len(t.Tables))
	}
	for table, want := range t.Tables {
		if have, ok := d.info.Tables[table]; !ok || have != want {
			return damagedf("table %.40s has %d rows with the digest %s, and should have %d with %s", table, have.Rows, have, want.Rows, want)
		}
	}
	err := d.f.end()
	d.info.Bytes = d.f.at
	return err
}

// DumpFile writes a dump to a new file that only its owner can read, makes it last, and reads it back
// to check it. The file appears under its name when it is whole; a name that is taken is fs.ErrExist.
func DumpFile(ctx context.Context, b *repo.Bulk, path string, opts DumpOptions) (*DumpInfo, error) {
	info, err := dumpFile(ctx, b, path, opts)
	if err != nil {
		return nil, fmt.Errorf("migration: the dump %s: %w", path, full(err))
	}
	return info, nil
}

func dumpFile(ctx context.Context, b *repo.Bulk, path string, opts DumpOptions) (info *DumpInfo, err error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%w: name another file, or remove it first", fs.ErrExist)
	}
	f, err := os.CreateTemp(filepath.Dir(path), partName(path)+"*") // 0600
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, f.Close(), removePart(f.Name()))
	}()
	if info, err = dump(ctx, b, f, opts); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	read, err := checkDump(ctx, f, &checking{stepper: stepper{phase: PhaseCheck, progress: opts.Progress, totals: rowsOfDigests(info.Tables)}})
	if err != nil {
		return nil, fmt.Errorf("reading it back: %w", err)
	}
	if read.Bytes != info.Bytes {
		return nil, fmt.Errorf("reading it back: %w", damagedf("%d bytes were written and %d read", info.Bytes, read.Bytes))
	}
	if err := publish(f.Name(), path); err != nil {
		return nil, err
	}
	return info, syncDir(filepath.Dir(path))
}

// partName begins the name of what is to become a file.
func partName(path string) string { return "." + filepath.Base(path) + ".part-" }

func removePart(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// publish gives a file its name, unless that is taken.
func publish(part, path string) error {
	err := os.Link(part, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without links.
	if _, err := os.Lstat(path); err == nil {
		return fs.ErrExist
	}
	return os.Rename(part, path)
}

func rowsOfDigests(d map[string]Digest) map[string]int64 {
	out := make(map[string]int64, len(d))
	for table, digest := range d {
		out[table] = digest.Rows
	}
	return out
}

// DumpDifference is a row that a database and a dump do not hold alike.
type DumpDifference struct {
	Table string `json:"table"`
	ID    string `json:"id"`
	// Kind is FindingMissing for a row that only the dump holds, or FindingDiffers.
	Kind FindingKind `json:"kind"`
}

// DumpComparison says how a database differs from a dump.
type DumpComparison struct {
	Dump *DumpInfo `json:"dump"`
	// Same is true when the tables of a host hold the same rows.
	Same bool `json:"same"`
	// Tables compares the tables that differ.
	Tables []TableComparison `json:"tables"`
	// Differences lists up to 20 rows of each table.
	Differences []DumpDifference `json:"differences,omitempty"`
}

// TableComparison counts how a table differs from a dump.
type TableComparison struct {
	Table string `json:"table"`
	// Missing counts rows that only the dump holds, Differing rows of other content, Added rows that only
	// the database holds.
	Missing   int64 `json:"missing"`
	Differing int64 `json:"differing"`
	Added     int64 `json:"added"`
}

// CompareDump checks a dump as CheckDump does and compares the rows of a host in it with those of the
// database as it is now. Of a database that nobody wrote to since, a difference is damage: SQLite does not
// see a value that changed on the disk.
func CompareDump(ctx context.Context, b *repo.Bulk, r io.Reader, opts DumpOptions) (*DumpComparison, error) {
	c := &comparing{b: b, tables: map[string]*TableComparison{}, out: &DumpComparison{Tables: []TableComparison{}}}
	info, err := checkDump(ctx, r, &checking{
		stepper: stepper{phase: PhaseCheck, progress: opts.Progress},
		each:    func(table, key string, h rowHash) error { return c.add(ctx, table, key, h) },
	})
	if err == nil {
		err = c.flush(ctx)
	}
	if err == nil {
		err = c.finish(ctx, info)
	}
	if err != nil {
		return nil, fmt.Errorf("migration: the dump: %w", err)
	}
	return c.out, nil
}

type comparing struct {
	b      *repo.Bulk
	out    *DumpComparison
	tables map[string]*TableComparison
	// page holds rows of one table.
	table  string
	keys   []string
	hashes map[string]rowHash
}

func (c *comparing) add(ctx context.Context, table, key string, h rowHash) error {
	if _, ok := rowsOf[table]; !ok {
		return nil
	}
	if table != c.table || len(c.keys) >= comparePage {
		if err := c.flush(ctx); err != nil {
			return err
		}
		c.table, c.keys, c.hashes = table, nil, map[string]rowHash{}
	}
	c.keys = append(c.keys, key)
	c.hashes[key] = h
	return nil
}

// comparePage is how many rows are looked up at once.
const comparePage = 500

func (c *comparing) flush(ctx context.Context) error {
	if len(c.keys) == 0 {
		return nil
	}
	have, err := rowsOf[c.table].read(ctx, c.b, c.keys)
	if err != nil {
		return err
	}
	t := c.of(c.table)
	for _, key := range c.keys {
		row, ok := have[key]
		d := DumpDifference{Table: c.table, ID: key}
		switch {
		case !ok:
			t.Missing++
			d.Kind = FindingMissing
		case row.full != c.hashes[key]:
			t.Differing++
			d.Kind = FindingDiffers
		default:
			continue
		}
		if t.Missing+t.Differing <= maxFindings {
			c.out.Differences = append(c.out.Differences, d)
		}
	}
	c.keys = nil
	return nil
}

func (c *comparing) of(table string) *TableComparison {
	if c.tables[table] == nil {
		c.tables[table] = &TableComparison{Table: table}
	}
	return c.tables[table]
}

func (c *comparing) finish(ctx context.Context, info *DumpInfo) error {
	c.out.Dump, c.out.Same = info, true
	return c.b.View(ctx, func(ctx context.Context, v *repo.View) error {
		for _, table := range tableOrder {
			n, err := v.Count(ctx, table)
			if err != nil {
				return err
			}
			t := c.of(table)
			t.Added = n - (info.Tables[table].Rows - t.Missing)
			if *t != (TableComparison{Table: table}) {
				c.out.Same = false
				c.out.Tables = append(c.out.Tables, *t)
			}
		}
		return nil
	})
}
