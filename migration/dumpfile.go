package migration

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A dump is a line of text that names its format, and frames. Each frame is
//
//	kind     1 byte: H, T, R or Z
//	stored   4 bytes, little-endian: how many bytes of payload follow the head
//	raw      4 bytes, little-endian: how many they are uncompressed, at most frameLimit
//	check    4 bytes, little-endian: CRC-32C of the 9 bytes before and of the payload
//	payload  compressed by Zstandard
//
// H comes first and holds a dumpHeader, T a tableHead, both JSON. The R frames that follow a T hold the
// table's rows as one stream of bytes, so that a row may go on in the next frame and memory does
// not grow with the largest. Z holds a dumpTrailer, and behind it are the 32 bytes of the SHA-256 of
// all that came before. There is nothing after that.
const (
	dumpMagic = "talkbase dump 1\n"
	// dumpFormat is the number in dumpMagic.
	dumpFormat = 1

	frameHeader  = 'H'
	frameTable   = 'T'
	frameRows    = 'R'
	frameTrailer = 'Z'

	frameHead = 13
	// frameSize is how many bytes of rows are put into a frame, frameLimit what a reader accepts.
	frameSize  = 1 << 20
	frameLimit = 4 << 20
)

// Errors of dumps.
var (
	// ErrNotDump means that a file is not a dump of talkbase's.
	ErrNotDump = errors.New("not a talkbase dump")
	// ErrNewerDump means that a newer version of talkbase wrote the dump.
	ErrNewerDump = errors.New("the dump is newer than this program")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type dumpHeader struct {
	Format        int    `json:"format"`
	SchemaVersion int64  `json:"schema_version"`
	Engine        string `json:"engine"`
	CreatedAt     int64  `json:"created_at"`
	Database      string `json:"database,omitempty"`
}

type tableHead struct {
	Table string `json:"table"`
	// Columns are names and kinds, in the order in which rows hold them.
	Columns [][2]string `json:"columns"`
}

type dumpTrailer struct {
	Tables map[string]Digest `json:"tables"`
}

// frameWriter writes frames and keeps the sum of all bytes.
type frameWriter struct {
	w    io.Writer
	sum  hash.Hash
	enc  *zstd.Encoder
	rows []byte // not in a frame yet
	out  []byte
	// written counts bytes.
	written int64
}

func newFrameWriter(w io.Writer) (*frameWriter, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(frameSize))
	if err != nil {
		return nil, err
	}
	f := &frameWriter{w: w, sum: sha256.New(), enc: enc}
	return f, f.write([]byte(dumpMagic))
}

func (f *frameWriter) write(b []byte) error {
	f.sum.Write(b)
	n, err := f.w.Write(b)
	f.written += int64(n)
	return err
}

func (f *frameWriter) frame(kind byte, raw []byte) error {
	f.out = append(f.out[:0], kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	f.out = f.enc.EncodeAll(raw, f.out)
	binary.LittleEndian.PutUint32(f.out[1:], uint32(len(f.out)-frameHead)) //nolint:gosec // at most frameLimit and a little
	binary.LittleEndian.PutUint32(f.out[5:], uint32(len(raw)))             //nolint:gosec // at most frameLimit
	check := crc32.Update(crc32.Checksum(f.out[:9], castagnoli), castagnoli, f.out[frameHead:])
	binary.LittleEndian.PutUint32(f.out[9:], check)
	return f.write(f.out)
}

func (f *frameWriter) json(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = f.flush()
	}
	if err != nil {
		return err
	}
	return f.frame(kind, b)
}

// row adds a row to the stream. It is written when there is enough of it.
func (f *frameWriter) row(b []byte) error {
	f.rows = append(f.rows, b...)
	for len(f.rows) >= frameSize {
		if err := f.frame(frameRows, f.rows[:frameSize]); err != nil {
			return err
		}
		f.rows = append(f.rows[:0], f.rows[frameSize:]...)
	}
	if cap(f.rows) > 2*frameLimit { // a row that was large
		f.rows = append([]byte(nil), f.rows...)
	}
	return nil
}

func (f *frameWriter) flush() error {
	if len(f.rows) == 0 {
		return nil
	}
	err := f.frame(frameRows, f.rows)
	f.rows = f.rows[:0]
	return err
}

func (f *frameWriter) end(t dumpTrailer) error {
	if err := f.json(frameTrailer, t); err != nil {
		return err
	}
	return f.write(f.sum.Sum(nil))
}

// frameReader reads frames and checks them.
type frameReader struct {
	r    *bufio.Reader
	sum  hash.Hash
	dec  *zstd.Decoder
	at   int64
	buf  bytes.Buffer
	kind byte
	raw  []byte
	// used says that the frame was dealt with.
	used bool
}

func damagedf(format string, args ...any) error {
	return fmt.Errorf("%w: %w; use another one", ErrBackupDamaged, fmt.Errorf(format, args...))
}

// openFrames checks the first line.
func openFrames(r io.Reader) (*frameReader, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(frameLimit), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	f := &frameReader{r: bufio.NewReaderSize(r, 256<<10), sum: sha256.New(), dec: dec, used: true}
	head := make([]byte, len(dumpMagic))
	n, err := io.ReadFull(f.r, head)
	const number = len("talkbase dump ")
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	case string(head) == dumpMagic:
	case n == len(head) && string(head[:number]) == dumpMagic[:number] && head[number] > '1' && head[number] <= '9':
		return nil, fmt.Errorf("%w: it has the format %s, and this program knows %d: update the program", ErrNewerDump, bytes.TrimSpace(head[number:]), dumpFormat)
	case n > 0 && string(head[:n]) == dumpMagic[:n]:
		return nil, damagedf("it ends after %d bytes", n)
	default:
		return nil, ErrNotDump
	}
	f.sum.Write(head)
	f.at = int64(n)
	return f, nil
}

func (f *frameReader) read(b []byte) error {
	n, err := io.ReadFull(f.r, b)
	f.at += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damagedf("it ends after %d bytes, before its end", f.at)
	}
	return err
}

// next reads the next frame, unless the one before was not dealt with.
func (f *frameReader) next() error {
	if !f.used {
		return nil
	}
	begin := f.at
	var head [frameHead]byte
	if err := f.read(head[:]); err != nil {
		return err
	}
	stored, raw := binary.LittleEndian.Uint32(head[1:]), binary.LittleEndian.Uint32(head[5:])
	if stored > frameLimit+frameLimit/8 || raw > frameLimit {
		return damagedf("the frame at byte %d has the lengths %d and %d", begin, stored, raw)
	}
	f.buf.Reset()
	n, err := io.CopyN(&f.buf, f.r, int64(stored))
	f.at += n
	if errors.Is(err, io.EOF) {
		return damagedf("it ends after %d bytes, before its end", f.at)
	}
	if err != nil {
		return err
	}
	payload := f.buf.Bytes()
	if crc32.Update(crc32.Checksum(head[:9], castagnoli), castagnoli, payload) != binary.LittleEndian.Uint32(head[9:]) {
		return damagedf("the frame at byte %d does not have its checksum", begin)
	}
	f.sum.Write(head[:])
	f.sum.Write(payload)
	if cap(f.raw) < int(raw) {
		f.raw = make([]byte, 0, max(raw, frameSize))
	}
	out, err := f.dec.DecodeAll(payload, f.raw[:0:int(raw)])
	if err == nil && len(out) != int(raw) {
		err = fmt.Errorf("%d bytes instead of %d", len(out), raw)
	}
	if err != nil {
		return damagedf("the frame at byte %d cannot be decompressed: %w", begin, err)
	}
	f.kind, f.raw, f.used = head[0], out, false
	return nil
}

// json takes a frame of JSON.
func (f *frameReader) json(v any) error {
	f.used = true
	if err := json.Unmarshal(f.raw, v); err != nil {
		return damagedf("a frame %q before byte %d: %w", f.kind, f.at, err)
	}
	return nil
}

// end checks that nothing follows the trailer but the sum of what was before.
func (f *frameReader) end() error {
	want := f.sum.Sum(nil)
	var have [sha256.Size]byte
	if err := f.read(have[:]); err != nil {
		return err
	}
	if !bytes.Equal(want, have[:]) {
		return damagedf("its content does not have the checksum at its end")
	}
	switch _, err := f.r.ReadByte(); {
	case err == nil:
		return damagedf("there is more after its end, at byte %d", f.at)
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// rowReader reads the stream of rows of one table.
type rowReader struct {
	f  *frameReader
	at int
}

// more reports whether there is more of the stream.
func (r *rowReader) more() (bool, error) {
	for {
		if !r.f.used && r.f.kind == frameRows && r.at < len(r.f.raw) {
			return true, nil
		}
		if r.f.kind == frameRows {
			r.f.used = true
		}
		if err := r.f.next(); err != nil {
			return false, err
		}
		if r.f.kind != frameRows {
			return false, nil
		}
		r.at = 0
	}
}

func (r *rowReader) part() ([]byte, error) {
	more, err := r.more()
	if err == nil && !more {
		err = damagedf("a row ends before its end, before byte %d", r.f.at)
	}
	if err != nil {
		return nil, err
	}
	return r.f.raw[r.at:], nil
}

// ReadByte makes the stream an io.ByteReader.
func (r *rowReader) ReadByte() (byte, error) {
	p, err := r.part()
	if err != nil {
		return 0, err
	}
	r.at++
	return p[0], nil
}

// bytes reads a length and as many bytes, which are the caller's. Memory grows with what is there,
// not with the length.
func (r *rowReader) bytes(size uint64) ([]byte, error) {
	n, err := r.length()
	if err != nil {
		return nil, err
	}
	if n > 1<<40/size {
		return nil, damagedf("a value of %d bytes before byte %d", n, r.f.at)
	}
	n *= size
	out := make([]byte, 0, min(n, frameLimit))
	for n > 0 {
		p, err := r.part()
		if err != nil {
			return nil, err
		}
		p = p[:min(n, uint64(len(p)))]
		out = append(out, p...)
		r.at += len(p)
		n -= uint64(len(p))
	}
	return out, nil
}

func (r *rowReader) length() (uint64, error) {
	n, err := binary.ReadUvarint(r)
	return n, r.number(err)
}

func (r *rowReader) integer() (int64, error) {
	n, err := binary.ReadVarint(r)
	return n, r.number(err)
}

func (r *rowReader) number(err error) error {
	if err == nil || errors.Is(err, ErrBackupDamaged) {
		return err
	}
	return damagedf("a number before byte %d: %w", r.f.at, err)
}
