// Package sqlitefile reads the pages of an SQLite file without SQLite, so that what is whole can be read of
// a file that SQLite refuses. It follows https://www.sqlite.org/fileformat2.html, checks everything it
// goes by, and never fails on what is damaged: it says so and goes on.
package sqlitefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// magic is how every SQLite file begins.
const magic = "SQLite format 3\x00"

// The kinds of pages of b-trees.
const (
	interiorIndex = 2
	interiorTable = 5
	leafIndex     = 10
	leafTable     = 13
)

// headerSize is what precedes the b-tree on the first page.
const headerSize = 100

// ErrDamaged is wrapped by every error about a page or a row.
var ErrDamaged = errors.New("damaged")

func damagedf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// File is a database file with its log. It is not safe for concurrent use.
type File struct {
	file, log *os.File
	size      int64
	pageSize  int
	usable    int
	pages     int
	// logged is where the last committed version of a page is in the log.
	logged map[int]int64
	// Header says what is wrong with the file's header, nil for nothing.
	Header error
	// Log says where the log ends before its time, nil for nowhere: what lies behind was never
	// committed, or is damaged.
	Log error
	// Frames is how many pages of the log count.
	Frames int
}

// Open opens a file for reading only. It must not be open in this process: closing it ends the process's
// locks on it. An error is one of the file system's, or wraps ErrDamaged where nothing at all can be
// made of the file.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	d := &File{file: f}
	if err := d.open(path); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *File) open(path string) error {
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	d.size = info.Size()
	head := make([]byte, headerSize)
	n, err := d.file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		d.Header = damagedf("the header cannot be read: %v", err)
	}
	size, reserved := pageSizeOf(head[:n])
	switch {
	case d.Header != nil:
	case n < headerSize:
		d.Header = damagedf("the file ends in its header")
	case string(head[:len(magic)]) != magic:
		d.Header = damagedf("it does not begin as an SQLite file does")
	case size == 0:
		d.Header = damagedf("it names no size of pages")
	}
	if err := d.openLog(path + "-wal"); err != nil {
		return err
	}
	switch {
	case d.pageSize != 0: // the log's
		if size != d.pageSize && d.Header == nil {
			d.Header = damagedf("it has pages of %d bytes, and its log of %d", size, d.pageSize)
		}
	case size != 0 && d.plausible(size) > 0 && d.Header == nil:
		d.pageSize = size
	default:
		if d.Header == nil {
			d.Header = damagedf("it has no pages of %d bytes", size)
		}
		var bytes int
		if d.pageSize, bytes = d.guess(); size != 0 && 10*d.plausible(size)*size >= 7*bytes {
			d.pageSize = size
		}
	}
	if d.pageSize == 0 {
		return damagedf("no pages of an SQLite database are in it: it is encrypted, or something else")
	}
	if d.usable = d.pageSize - reserved; reserved > 32 || d.Header != nil {
		d.usable = d.pageSize
	}
	d.pages = max(d.pages, int((d.size+int64(d.pageSize)-1)/int64(d.pageSize)))
	if d.Header == nil {
		d.checkHeader(head)
	}
	return nil
}

// checkHeader compares the header's numbers with the file.
func (d *File) checkHeader(head []byte) {
	pages := int(binary.BigEndian.Uint32(head[28:]))
	switch {
	case pages != d.pages && len(d.logged) == 0:
		d.Header = damagedf("it says it has %d pages and has %d", pages, d.pages)
	case head[21] != 64 || head[22] != 32 || head[23] != 32 || head[18] > 2 || head[19] > 2 || head[18] == 0 || head[19] == 0:
		d.Header = damagedf("its constants are not SQLite's")
	case binary.BigEndian.Uint32(head[44:]) > 4 || binary.BigEndian.Uint32(head[56:]) > 3:
		d.Header = damagedf("it has an unknown format")
	}
}

func pageSizeOf(head []byte) (size, reserved int) {
	if len(head) < headerSize {
		return 0, 0
	}
	size = int(binary.BigEndian.Uint16(head[16:]))
	if size == 1 {
		size = 65536
	}
	if size < 512 || size&(size-1) != 0 {
		size = 0
	}
	return size, int(head[20])
}

// guess finds the size of pages by which most of the file makes sense, and how many bytes do.
func (d *File) guess() (size, bytes int) {
	for try := 512; try <= 65536; try *= 2 {
		if n := d.plausible(try) * try; n > bytes {
			size, bytes = try, n
		}
	}
	return size, bytes
}

// plausible counts, among the first pages of a size, those that are a b-tree's: cells fill a page from its
// end, so the last one lies in the second half of it.
func (d *File) plausible(size int) (n int) {
	buf := make([]byte, min(size, 2048))
	for i := range int64(2000) {
		at, head := i*int64(size), 8
		if at >= d.size {
			break
		}
		if i == 0 {
			at += headerSize
		}
		read, _ := d.file.ReadAt(buf, at)
		if read < 12 {
			break
		}
		cells, content := int(binary.BigEndian.Uint16(buf[3:])), int(binary.BigEndian.Uint16(buf[5:]))
		switch buf[0] {
		case interiorIndex, interiorTable:
			head = 12
		case leafIndex, leafTable:
		default:
			continue
		}
		last := 0
		for p := head; p+2 <= min(read, head+2*cells); p += 2 {
			last = max(last, int(binary.BigEndian.Uint16(buf[p:])))
		}
		if cells > 0 && head+2*cells <= content && last >= content && last < size && last >= size/2 {
			n++
		}
	}
	return n
}

// Close closes the file.
func (d *File) Close() error {
	var errs []error
	for _, f := range []*os.File{d.file, d.log} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// PageSize is in bytes.
func (d *File) PageSize() int { return d.pageSize }

// Pages is how many there are.
func (d *File) Pages() int { return d.pages }

// page reads a page, which is the caller's.
func (d *File) page(n int) ([]byte, error) {
	if n < 1 || n > d.pages {
		return nil, damagedf("there is no page %d", n)
	}
	b := make([]byte, d.pageSize)
	f, at := d.file, int64(n-1)*int64(d.pageSize)
	if logged, ok := d.logged[n]; ok {
		f, at = d.log, logged
	}
	if read, err := f.ReadAt(b, at); read < len(b) {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file ends before")
		}
		return nil, damagedf("page %d cannot be read: %v", n, err)
	}
	return b, nil
}

// The write-ahead log.
const (
	logHead   = 32
	frameHead = 24
)

// openLog reads the log's frames, if there is one.
func (d *File) openLog(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	d.log = f
	head := make([]byte, logHead)
	if n, err := f.ReadAt(head, 0); n < logHead {
		if n > 0 {
			d.Log = damagedf("the log ends in its header: %v", err)
		}
		return nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch binary.BigEndian.Uint32(head) {
	case 0x377f0682:
	case 0x377f0683:
		order = binary.BigEndian
	default:
		d.Log = damagedf("the log does not begin as one does")
		return nil
	}
	size := int(binary.BigEndian.Uint32(head[8:]))
	sum := checksum(order, [2]uint32{}, head[:24])
	if sum != [2]uint32{binary.BigEndian.Uint32(head[24:]), binary.BigEndian.Uint32(head[28:])} || size < 512 || size > 65536 || size&(size-1) != 0 {
		d.Log = damagedf("the log's header does not have its checksum")
		return nil
	}
	d.readFrames(order, head, size, sum)
	return nil
}

// readFrames takes up frames as long as their checksums, which go on from one to the next, are right,
// up to the last one that ends a commit.
func (d *File) readFrames(order binary.ByteOrder, head []byte, size int, sum [2]uint32) {
	frame := make([]byte, frameHead+size)
	logged, pending := map[int]int64{}, map[int]int64{}
	for at, n := int64(logHead), 1; ; at, n = at+int64(len(frame)), n+1 {
		read, _ := d.log.ReadAt(frame, at)
		if read == 0 {
			break
		}
		salts := string(frame[8:16]) == string(head[16:24])
		if read < len(frame) || !salts {
			if salts {
				d.Log = damagedf("the log ends in its frame %d", n)
			}
			break // what an earlier log left behind
		}
		sum = checksum(order, checksum(order, sum, frame[:8]), frame[frameHead:])
		if sum != [2]uint32{binary.BigEndian.Uint32(frame[16:]), binary.BigEndian.Uint32(frame[20:])} {
			d.Log = damagedf("the log's frame %d does not have its checksum", n)
			break
		}
		pending[int(binary.BigEndian.Uint32(frame))] = at + frameHead
		if pages := int(binary.BigEndian.Uint32(frame[4:])); pages > 0 { // a commit
			for page, where := range pending {
				logged[page] = where
			}
			clear(pending)
			d.Frames, d.pages, d.pageSize = n, pages, size
		}
	}
	if len(logged) > 0 {
		d.logged = logged
	}
}

// checksum is the log's, of an even number of words.
func checksum(order binary.ByteOrder, s [2]uint32, b []byte) [2]uint32 {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += order.Uint32(b) + s[1]
		s[1] += order.Uint32(b[4:]) + s[0]
	}
	return s
}
