//go:build cgo && ((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)) || (windows && amd64))

package duckdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/migration"
)

// TestTruncated cuts a file at many sizes: either it is all there, or it is called damaged. It is
// never quietly less.
func TestTruncated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	if _, err := (LegacyKnowledge{Dimensions: 256, Files: 10, ChunksPerFile: 300}).Write(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	want := mustRead(t, mustOpen(t, whole))
	sizes := []int{12, 100, 4096, 8192, 12288, 12289, 100_000, 274_432, 274_433, len(data) - 1}
	for size := 300_000; size < len(data); size += 700_000 {
		sizes = append(sizes, size)
	}
	refused, partial, complete := 0, 0, 0
	for _, size := range sizes {
		path := filepath.Join(dir, fmt.Sprint(size))
		if err := os.WriteFile(path, data[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := Open(t.Context(), path, t.TempDir())
		if err != nil {
			if !errors.Is(err, migration.ErrSourceDamaged) {
				t.Errorf("cut at %d: %v", size, err)
			}
			if strings.Contains(err.Error(), copyName) {
				t.Errorf("the private copy is in the message: %v", err)
			}
			refused++
			continue
		}
		got, err := readAll(t.Context(), src)
		switch {
		case err == nil && reflect.DeepEqual(got, want):
			complete++
		case errors.Is(err, migration.ErrSourceDamaged):
			partial++
		default:
			t.Errorf("cut at %d: read in part, with the error %v", size, err)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("of %d cuts, %d did not open, %d broke off, %d were whole", len(sizes), refused, partial, complete)
	if refused == 0 || partial == 0 {
		t.Error("the cuts do not show what they should")
	}
}

// TestTruncatedLegacy does it with the application's own files.
func TestTruncatedLegacy(t *testing.T) {
	t.Parallel()
	for name, vectors := range map[string]int{"kb-small-1024": 45, "kb-dim-384": 90} {
		data, err := os.ReadFile(legacyFile(t, name))
		if err != nil {
			t.Fatal(err)
		}
		for size := 12_288; size < len(data); size += 1_000_000 {
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, data[:size], 0o600); err != nil {
				t.Fatal(err)
			}
			src, err := Open(t.Context(), path, t.TempDir())
			var got map[string][]map[string]any
			if err == nil {
				inspected := src.(migration.Inspector).Inspect(t.Context())
				got, err = readAll(t.Context(), src)
				if (err == nil) != (inspected == nil) {
					t.Errorf("%s cut at %d: inspected with %v and read with %v, want the same", name, size, inspected, err)
				}
				if err := src.Close(); err != nil {
					t.Error(err)
				}
			}
			if err == nil && len(got["vector"]) != vectors || err != nil && !errors.Is(err, migration.ErrSourceDamaged) {
				t.Errorf("%s cut at %d: %d vectors, %v", name, size, len(got["vector"]), err)
			}
		}
	}
}

// TestFlipped changes bytes inside blocks, which have sums.
func TestFlipped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	if _, err := (LegacyKnowledge{Dimensions: 64}).Write(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	want := mustRead(t, mustOpen(t, whole))
	damaged := 0
	for at := 4100; at < len(data); at += 262_144 + 8191 {
		path := filepath.Join(dir, fmt.Sprint(at))
		broken := append([]byte(nil), data...)
		for i := range 8 {
			broken[at+i] ^= 0x5a
		}
		if err := os.WriteFile(path, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := Open(t.Context(), path, t.TempDir())
		var got map[string][]map[string]any
		if err == nil {
			got, err = readAll(t.Context(), src)
			_ = src.Close()
		}
		switch {
		case err == nil && reflect.DeepEqual(got, want):
		case errors.Is(err, migration.ErrSourceDamaged):
			damaged++
		default:
			t.Errorf("bytes changed at %d: %v", at, err)
		}
	}
	if damaged == 0 {
		t.Error("no change was noticed")
	}
}

// TestVersion gives a file the storage version of a DuckDB to come.
func TestVersion(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kb")
	if _, err := (LegacyKnowledge{Dimensions: 2}).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint64(data[12:], 9999)
	// The sum of the first header: every word times a prime, all xored.
	sum := uint64(5381)
	for i := 8; i < 4096; i += 8 {
		sum ^= binary.LittleEndian.Uint64(data[i:]) * 0xbf58476d1ce4e5b9
	}
	binary.LittleEndian.PutUint64(data, sum)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), path, t.TempDir())
	if !errors.Is(err, ErrVersion) || !errors.Is(err, migration.ErrNoReader) || !strings.Contains(err.Error(), "9999") {
		t.Errorf("a version to come: %v", err)
	}
}

// TestWAL damages the log in every way.
func TestWAL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	content, err := LegacyKnowledge{Dimensions: 64, Files: 4, InWAL: 2}.Write(t.Context(), whole)
	if err != nil {
		t.Fatal(err)
	}
	if content.InWAL.Chunks != 20 || content.Chunks != 40 {
		t.Fatalf("written: %+v", content)
	}
	log, err := os.ReadFile(whole + ".wal")
	if err != nil {
		t.Fatal(err)
	}
	// read opens the file with a log and counts the documents and the warnings.
	read := func(t *testing.T, log []byte) (files, warnings int) {
		path := filepath.Join(t.TempDir(), "kb")
		copyTo(t, whole, path)
		if log != nil {
			if err := os.WriteFile(path+".wal", log, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		src := mustOpen(t, path)
		return len(mustRead(t, src)["file"]), len(src.Warnings())
	}
	for _, tc := range []struct {
		name            string
		log             []byte
		files, warnings int
	}{
		{"whole", log, 4, 0},
		{"none", nil, 2, 0},
		{"empty", []byte{}, 2, 0},
		{"garbage", []byte(strings.Repeat("garbage ", 1000)), 2, 1},
		{"header", log[:4], 2, 1},
		{"version only", log[:8], 2, 0},
		{"in the first entry", log[:40], 2, 1},
		// One table after the other was written, the documents first.
		{"in the middle", log[:len(log)/2], 4, 1},
		{"last byte", log[:len(log)-1], 4, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if files, warnings := read(t, tc.log); files != tc.files || warnings != tc.warnings {
				t.Errorf("%d files, %d warnings", files, warnings)
			}
		})
	}
	t.Run("foreign", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "kb")
		if _, err := (LegacyKnowledge{Seed: 5, NoTables: true}).Write(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		copyTo(t, whole+".wal", path+".wal")
		if _, err := Open(t.Context(), path, t.TempDir()); !errors.Is(err, ErrWAL) || !errors.Is(err, migration.ErrSourceDamaged) {
			t.Errorf("a foreign log: %v", err)
		}
	})
	t.Run("flipped", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "kb")
		copyTo(t, whole, path)
		broken := append([]byte(nil), log...)
		broken[len(broken)/2] ^= 1
		if err := os.WriteFile(path+".wal", broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), path, t.TempDir()); !errors.Is(err, ErrWAL) {
			t.Errorf("a damaged log: %v", err)
		}
	})
}

// TestForeignWALLegacy puts the log of one of the application's files beside another one.
func TestForeignWALLegacy(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kb")
	copyTo(t, legacyFile(t, "kb-dim-384"), path)
	copyTo(t, legacyFile(t, "kb-wal.wal"), path+".wal")
	_, err := Open(t.Context(), path, t.TempDir())
	if !errors.Is(err, ErrWAL) || !errors.Is(err, migration.ErrSourceDamaged) {
		t.Errorf("a foreign log: %v", err)
	}
}

// TestTornWALLegacy cuts a log of the application at many places: more log is never fewer rows, and
// what was cut inside a change is reported.
func TestTornWALLegacy(t *testing.T) {
	t.Parallel()
	file := legacyFile(t, "kb-wal")
	log, err := os.ReadFile(file + ".wal")
	if err != nil {
		t.Fatal(err)
	}
	last := 41
	for size := 50; size < len(log); size += 9001 {
		path := filepath.Join(t.TempDir(), "kb")
		copyTo(t, file, path)
		if err := os.WriteFile(path+".wal", log[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		src := mustOpen(t, path)
		all := mustRead(t, src)
		n := len(all["file"]) + len(all["chunk"]) + len(all["vector"])
		if n < last || n > 104 {
			t.Errorf("%d rows with %d bytes of the log, after %d with fewer", n, size, last)
		}
		last = n
		if len(src.Warnings()) != 1 {
			t.Errorf("with %d bytes, the warnings %q", size, src.Warnings())
		}
	}
}
