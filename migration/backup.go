package migration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/talkbase/talkbase/repo"
)

// Names in a backup's folder.
const (
	manifestName = "manifest.json"
	targetName   = "target.db"
)

// manifestFormat is the version of Manifest.
const manifestFormat = 1

// ErrBackupDamaged means that a backup is not what its manifest says.
var ErrBackupDamaged = errors.New("the backup is damaged")

// Manifest says what a run's backup holds. The sources are in folders numbered in the order of the
// import, under their own names, so that they can be copied back to where they were.
type Manifest struct {
	Format int    `json:"format"`
	Run    string `json:"run"`
	// CreatedAt is in milliseconds since the Unix epoch.
	CreatedAt int64            `json:"created_at"`
	Sources   []ManifestSource `json:"sources"`
	// Target is the copy of the SQLite database that was imported into, nil when it was empty or is on
	// a server.
	Target *ManifestFile `json:"target,omitempty"`
}

// ManifestSource is one legacy file with its logs.
type ManifestSource struct {
	// Path is where the file was.
	Path string `json:"path"`
	Kind Kind   `json:"kind"`
	// Base is what the legacy configuration says of it.
	Base *BaseConfig `json:"base,omitempty"`
	// Fingerprint identifies the content of the file and its logs.
	Fingerprint string `json:"fingerprint"`
	// Files are the file itself, first, and its logs.
	Files []ManifestFile `json:"files"`
}

// ManifestFile is one file of a backup.
type ManifestFile struct {
	// Path is where it was, Name where it is, relative to the backup's folder.
	Path string `json:"path"`
	Name string `json:"name"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// ModTime is when the original was changed last, in milliseconds since the Unix epoch.
	ModTime int64 `json:"mod_time"`
	// SHA256 is in hexadecimal digits.
	SHA256 string `json:"sha256"`
}

// Snapshotter writes a copy of a database to a new file, or returns repo.ErrUnsupported.
type Snapshotter interface {
	Snapshot(ctx context.Context, path string) error
}

// logsOf are the suffixes of the files that belong to a database of a kind.
func logsOf(kind Kind) []string {
	if kind == KindDuckDB {
		return []string{".wal"}
	}
	return []string{"-wal", "-journal"}
}

// backupSources copies every source with its logs, consistently, and a target that can be copied,
// into a new folder, and writes its manifest last: a folder without one is no backup. Sources are
// only read. progress is told of bytes.
func backupSources(ctx context.Context, dir, run string, found []Found, target Snapshotter, progress func(path string, done, total int64)) (*Manifest, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, backupError(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, backupError(err)
	}
	var total, done int64
	for _, f := range found {
		total += sizeOf(f)
	}
	m := &Manifest{Format: manifestFormat, Run: run, CreatedAt: time.Now().UnixMilli()}
	for n, f := range found {
		s, err := backupSource(ctx, dir, strconv.Itoa(n), f)
		if err != nil {
			return nil, err
		}
		for _, file := range s.Files {
			done += file.Size
		}
		progress(f.Path, done, max(total, done))
		m.Sources = append(m.Sources, s)
	}
	if target != nil {
		if err := m.addTarget(ctx, dir, target); err != nil {
			return nil, err
		}
	}
	return m, m.write(dir)
}

func backupError(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("migration: the backup's folder: %w; name another folder, or leave the backup out", err)
	}
	return fmt.Errorf("migration: the backup: %w", err)
}

// sizeOf is how many bytes a source has with its logs.
func sizeOf(f Found) (size int64) {
	for _, suffix := range append([]string{""}, logsOf(f.Kind)...) {
		if info, err := os.Stat(f.Path + suffix); err == nil {
			size += info.Size()
		}
	}
	return size
}

func backupSource(ctx context.Context, dir, folder string, f Found) (ManifestSource, error) {
	s := ManifestSource{Path: f.Path, Kind: f.Kind, Base: f.Base}
	if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
		return s, backupError(err)
	}
	name := filepath.Join(folder, filepath.Base(f.Path))
	if err := copyDatabase(ctx, f.Path, filepath.Join(dir, name), logsOf(f.Kind)...); err != nil {
		return s, err
	}
	var p fingerprinter
	for _, suffix := range append([]string{""}, logsOf(f.Kind)...) {
		file, err := manifestFile(ctx, dir, name+suffix, f.Path+suffix)
		if errors.Is(err, fs.ErrNotExist) && suffix != "" {
			continue
		}
		if err != nil {
			return s, backupError(err)
		}
		s.Files = append(s.Files, file)
		p.add(suffix, file)
	}
	s.Fingerprint = p.sum()
	return s, syncDir(filepath.Join(dir, folder))
}

// manifestFile describes a file of the backup, which is on the disk then.
func manifestFile(ctx context.Context, dir, name, original string) (ManifestFile, error) {
	m := ManifestFile{Path: original, Name: name}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		return m, err
	}
	defer func() { _ = f.Close() }()
	if m.Size, m.SHA256, err = hashFile(ctx, f); err != nil {
		return m, err
	}
	if info, err := os.Stat(original); err == nil {
		m.ModTime = info.ModTime().UnixMilli()
	}
	return m, f.Sync()
}

func hashFile(ctx context.Context, f io.Reader) (int64, string, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(h, struct{ io.Reader }{ctxReader{ctx, f}}, make([]byte, 1<<20))
	return n, hex.EncodeToString(h.Sum(nil)), err
}

// ctxReader ends with its context.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// fingerprinter puts the fingerprint of a source together.
type fingerprinter struct{ parts []string }

// add adds a file. An empty log is as good as none: readers make and remove them.
func (p *fingerprinter) add(suffix string, f ManifestFile) {
	if suffix == "" || f.Size > 0 {
		p.parts = append(p.parts, fmt.Sprintf("%s %d %s\n", suffix, f.Size, f.SHA256))
	}
}

func (p *fingerprinter) sum() string {
	h := sha256.New()
	for _, s := range p.parts {
		_, _ = io.WriteString(h, s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// fingerprint identifies the content of a source where it is.
func fingerprint(ctx context.Context, f Found) (string, error) {
	var p fingerprinter
	for _, suffix := range append([]string{""}, logsOf(f.Kind)...) {
		file, err := os.Open(f.Path + suffix)
		if errors.Is(err, fs.ErrNotExist) && suffix != "" {
			continue
		}
		if err != nil {
			return "", copyError(f.Path+suffix, err)
		}
		var m ManifestFile
		m.Size, m.SHA256, err = hashFile(ctx, file)
		if err = errors.Join(err, file.Close()); err != nil {
			return "", copyError(f.Path+suffix, err)
		}
		p.add(suffix, m)
	}
	return p.sum(), nil
}

// addTarget copies the target, where it is a file.
func (m *Manifest) addTarget(ctx context.Context, dir string, target Snapshotter) error {
	err := target.Snapshot(ctx, filepath.Join(dir, targetName))
	if errors.Is(err, repo.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("migration: the backup of the database: %w", err)
	}
	f, err := manifestFile(ctx, dir, targetName, "")
	if err != nil {
		return backupError(err)
	}
	m.Target = &f
	return nil
}

// write writes the manifest, whole or not at all.
func (m *Manifest) write(dir string) (err error) {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return backupError(err)
	}
	temp := filepath.Join(dir, manifestName+".tmp")
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return backupError(err)
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return backupError(err)
	}
	if err := os.Rename(temp, filepath.Join(dir, manifestName)); err != nil {
		return backupError(err)
	}
	return syncDir(dir)
}

// ReadManifest reads the manifest of the backup in a folder. Without one the error wraps
// fs.ErrNotExist; one that cannot be understood is ErrBackupDamaged.
func ReadManifest(dir string) (*Manifest, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, fmt.Errorf("migration: the backup: %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("migration: %s: %w: %w", filepath.Join(dir, manifestName), ErrBackupDamaged, err)
	}
	if m.Format != manifestFormat {
		return nil, fmt.Errorf("migration: %s: %w: format %d; another version of talkbase may have written it", filepath.Join(dir, manifestName), ErrBackupDamaged, m.Format)
	}
	for _, f := range m.files() {
		if !filepath.IsLocal(f.Name) {
			return nil, fmt.Errorf("migration: %s: %w: it names the file %q", filepath.Join(dir, manifestName), ErrBackupDamaged, f.Name)
		}
	}
	return &m, nil
}

// files are all files of the backup.
func (m *Manifest) files() (out []ManifestFile) {
	for _, s := range m.Sources {
		out = append(out, s.Files...)
	}
	if m.Target != nil {
		out = append(out, *m.Target)
	}
	return out
}

// Check compares every file of the backup in a folder with the manifest. What differs is
// ErrBackupDamaged.
func (m *Manifest) Check(ctx context.Context, dir string) error {
	var errs []error
	for _, want := range m.files() {
		path := filepath.Join(dir, want.Name)
		f, err := os.Open(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("migration: %s: %w: %w", path, ErrBackupDamaged, err))
			continue
		}
		size, sum, err := hashFile(ctx, f)
		_ = f.Close()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			errs = append(errs, fmt.Errorf("migration: %s: %w: %w", path, ErrBackupDamaged, err))
		case size != want.Size || sum != want.SHA256:
			errs = append(errs, fmt.Errorf("migration: %s: %w: it has %d bytes with the SHA-256 %s, and should have %d with %s", path, ErrBackupDamaged, size, sum, want.Size, want.SHA256))
		}
	}
	return errors.Join(errs...)
}

// syncDir makes the names in a folder last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return backupError(err)
	}
	_ = d.Sync() // some systems cannot
	return d.Close()
}
