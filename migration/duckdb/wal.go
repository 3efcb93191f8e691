package duckdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// walHeader begins every log of the format that DuckDB 0.10 to 1.3 write: field 100, the entry type
// "version"; field 101, the version 2; the end of the object.
var walHeader = []byte{0x64, 0x00, 0x62, 0x65, 0x00, 0x02, 0xff, 0xff}

// The types of log entry after which nothing is left uncommitted.
const (
	walCheckpoint = 99
	walFlush      = 100
)

// checkWAL looks for an incomplete end of the log at path and describes it, or returns "". DuckDB
// drops such an end, and even a log of mere garbage, without a word; the user should hear of it. A
// log of a later format is not judged.
func checkWAL(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	size := info.Size()
	if size == 0 {
		return "", nil
	}
	head := make([]byte, len(walHeader))
	n, err := io.ReadFull(f, head)
	if err != nil && n == 0 {
		return "", err
	}
	if !bytes.HasPrefix(walHeader, head[:min(n, 5)]) {
		return "the write-ahead log is not one; it was ignored", nil
	}
	if n < len(walHeader) {
		return fmt.Sprintf("the write-ahead log breaks off after %d bytes; it was ignored", size), nil
	}
	if !bytes.Equal(head, walHeader) {
		return "", nil
	}
	// Entries follow: their length and checksum, eight bytes each, then field 100, the type.
	var (
		at        = int64(len(walHeader))
		committed = at
		entry     [19]byte
	)
	for at < size {
		if _, err := f.ReadAt(entry[:], at); err != nil {
			break
		}
		length := binary.LittleEndian.Uint64(entry[:8])
		if length > uint64(size-at-16) {
			break
		}
		at += 16 + int64(length)
		if kind := entry[18]; kind == walFlush || kind == walCheckpoint {
			committed = at
		}
	}
	if committed < size {
		return fmt.Sprintf("the write-ahead log breaks off: its last %d of %d bytes belong to a change that was never completed and were not read",
			size-committed, size), nil
	}
	return "", nil
}
