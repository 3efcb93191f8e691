package migration

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWorkDirsOfDeadProcessesAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dead := filepath.Join(dir, workPrefix+"dead")
	other := filepath.Join(dir, "other")
	for _, d := range []string{dead, other} {
		if err := errors.Join(os.Mkdir(d, 0o700), os.WriteFile(filepath.Join(d, workLock), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	first, removeFirst, err := newWorkDir(dir)
	if err != nil {
		t.Fatalf("new: got error %v, want none", err)
	}
	second, removeSecond, err := newWorkDir(dir)
	if err != nil {
		t.Fatalf("new: got error %v, want none", err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of a dead process: got %v, want it gone", err)
	}
	for _, d := range []string{first, second, other} {
		if _, err := os.Stat(d); err != nil {
			t.Errorf("%s: got %v, want it there", d, err)
		}
	}
	if err := errors.Join(removeFirst(), removeSecond()); err != nil {
		t.Errorf("remove: got error %v, want none", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: got %v (%v), want the other folder alone", left, err)
	}
	if _, _, err := newWorkDir(filepath.Join(dir, "nothere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no folder: got error %v, want it to say so", err)
	}
}
