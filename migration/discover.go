package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/talkbase/talkbase/models"
)

// Names in a DeepChat user-data folder.
const (
	folderAppDB     = "app_db"
	folderKnowledge = "KnowledgeBase"
	fileChat        = "chat.db"
	fileConfigs     = "knowledge-configs.json"
)

// maxConfigBytes bounds knowledge-configs.json.
const maxConfigBytes = 16 << 20

// Found is a legacy file that Discover found.
type Found struct {
	// Path is the file.
	Path string
	// Kind is its format.
	Kind Kind
	// Base says what knowledge-configs.json knows of a knowledge base; nil when it is not there or
	// does not mention it.
	Base *BaseConfig
}

// BaseConfig is what DeepChat's configuration says of a knowledge base.
type BaseConfig struct {
	// ID is the name of the base's file.
	ID string
	// Name is its description; it may be empty.
	Name string
	// Dimensions is the length of its vectors, 0 when it is not said.
	Dimensions int64
	// Metric is cosine for normalized vectors and ip for others; empty when it is not said.
	Metric models.Metric
	// EmbeddingModel is the model's id.
	EmbeddingModel string
	// Settings holds everything the configuration says.
	Settings models.JSON
}

// Discovery is what there is to import.
type Discovery struct {
	// Sources are the files: chat.db first, knowledge bases by name after it, for each path given.
	Sources []Found
	// Warnings are sentences for people.
	Warnings []string
}

// Discover finds the legacy files at the given paths. A path is a DeepChat user-data folder, its
// app_db or KnowledgeBase folder, another folder with legacy files in it, a chat.db, a knowledge
// file, or a knowledge-configs.json that belongs to the knowledge files given with it. Write-ahead logs
// belong to their databases and may be named beside them. No path, or none with a legacy file, is
// ErrNotLegacy.
func Discover(ctx context.Context, paths ...string) (*Discovery, error) {
	f := &finder{seen: map[string]bool{}, configs: map[string]map[string]*BaseConfig{}}
	if len(paths) == 0 {
		return nil, fmt.Errorf("migration: %w: no path given; name a DeepChat user-data folder, a chat.db or knowledge files", ErrNotLegacy)
	}
	for _, p := range paths {
		if filepath.Base(p) == fileConfigs {
			f.given = f.config(p)
		}
	}
	for _, p := range paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := f.path(p); err != nil {
			return nil, err
		}
	}
	if len(f.out.Sources) == 0 {
		return nil, fmt.Errorf("migration: %s: %w: there is no chat.db and no knowledge base in it", strings.Join(paths, ", "), ErrNotLegacy)
	}
	return &f.out, nil
}

type finder struct {
	out  Discovery
	seen map[string]bool
	// configs are the configurations read so far, by path and then by id.
	configs map[string]map[string]*BaseConfig
	// given is a configuration named by the caller.
	given map[string]*BaseConfig
}

func (f *finder) warn(format string, args ...any) {
	f.out.Warnings = append(f.out.Warnings, fmt.Sprintf(format, args...))
}

func (f *finder) path(p string) error {
	info, err := os.Stat(p)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("migration: %s: no permission to read it; run as the user it belongs to: %w", p, err)
	case err != nil:
		return fmt.Errorf("migration: %w", err)
	case !info.IsDir():
		return f.file(p)
	case isDir(filepath.Join(p, folderAppDB)):
		return f.appDB(filepath.Join(p, folderAppDB))
	case filepath.Base(p) == folderAppDB, isFile(filepath.Join(p, fileChat)), isDir(filepath.Join(p, folderKnowledge)):
		return f.appDB(p)
	default:
		return f.folder(p, false)
	}
}

// appDB takes chat.db and the knowledge bases of an app_db folder.
func (f *finder) appDB(dir string) error {
	chat := filepath.Join(dir, fileChat)
	switch _, err := os.Stat(chat); {
	case err == nil:
		if err := f.add(chat); err != nil {
			return err
		}
	case errors.Is(err, fs.ErrNotExist):
		f.warn("%s has no %s", dir, fileChat)
	default:
		return copyError(chat, err)
	}
	knowledge := filepath.Join(dir, folderKnowledge)
	if !isDir(knowledge) {
		return nil
	}
	return f.folder(knowledge, true)
}

// folder takes the legacy files that lie in a folder itself.
func (f *finder) folder(dir string, knowledge bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return copyError(dir, err)
	}
	for _, e := range entries {
		p := filepath.Join(dir, e.Name())
		if e.IsDir() || e.Name() == fileConfigs {
			continue
		}
		if isLog(p) {
			if knowledge && !isFile(owner(p)) {
				f.warn("%s is the log of a knowledge base that is not there; nothing in it can be read", p)
			}
			continue
		}
		kind, err := DetectKind(p)
		switch {
		case errors.Is(err, ErrNotLegacy):
			if knowledge {
				f.warn("%s is no knowledge base and was left out", p)
			}
			continue
		case err != nil:
			return copyError(p, err)
		case knowledge && kind != KindDuckDB:
			f.warn("%s is no knowledge base and was left out", p)
			continue
		}
		if err := f.add(p); err != nil {
			return err
		}
	}
	if !knowledge {
		return nil
	}
	for id := range f.config(filepath.Join(dir, "..", "..", fileConfigs)) {
		if !isFile(filepath.Join(dir, id)) {
			f.warn("%s names the knowledge base %s, which has no file in %s", fileConfigs, id, dir)
		}
	}
	return nil
}

// file takes one file that was named.
func (f *finder) file(p string) error {
	switch {
	case filepath.Base(p) == fileConfigs:
		return nil
	case isLog(p):
		if isFile(owner(p)) {
			return f.add(owner(p))
		}
		return fmt.Errorf("migration: %s: %w: it is the log of %s, which is not beside it", p, ErrNotLegacy, filepath.Base(owner(p)))
	}
	return f.add(p)
}

// add takes a file once.
func (f *finder) add(p string) error {
	key, err := filepath.Abs(p)
	if err != nil {
		return fmt.Errorf("migration: %w", err)
	}
	if real, err := filepath.EvalSymlinks(key); err == nil {
		key = real
	}
	if f.seen[key] {
		return nil
	}
	f.seen[key] = true
	kind, err := DetectKind(p)
	if errors.Is(err, fs.ErrPermission) {
		return copyError(p, err)
	}
	if err != nil {
		return err
	}
	found := Found{Path: p, Kind: kind}
	if kind == KindDuckDB {
		found.Base = f.base(p)
	}
	f.out.Sources = append(f.out.Sources, found)
	return nil
}

// base finds a knowledge base in the configuration: the one named, or the one where DeepChat keeps
// it, or, outside of DeepChat's folders, one beside the file or its folder.
func (f *finder) base(p string) *BaseConfig {
	id, dir := filepath.Base(p), filepath.Dir(p)
	if c := f.given[id]; c != nil {
		return c
	}
	places := []string{".", ".."}
	if filepath.Base(dir) == folderKnowledge {
		places = []string{filepath.Join("..", "..")}
	}
	for _, up := range places {
		if c := f.config(filepath.Join(dir, up, fileConfigs))[id]; c != nil {
			return c
		}
	}
	return nil
}

// config reads a knowledge-configs.json. One that is missing is empty, one that cannot be read is a
// warning.
func (f *finder) config(p string) map[string]*BaseConfig {
	p = filepath.Clean(p)
	if c, ok := f.configs[p]; ok {
		return c
	}
	c, err := readConfigs(p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.warn("%s cannot be used, so that the models and metrics of the knowledge bases are unknown: %v", p, err)
	}
	f.configs[p] = c
	return c
}

func readConfigs(p string) (map[string]*BaseConfig, error) {
	info, err := os.Stat(p)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxConfigBytes {
		return nil, fmt.Errorf("it has %d bytes", info.Size())
	}
	b, err := os.ReadFile(p)
	if err != nil {
		return nil, err
	}
	return parseConfigs(b)
}

// parseConfigs reads the text of a knowledge-configs.json.
func parseConfigs(b []byte) (map[string]*BaseConfig, error) {
	text, _, _ := cleanText(strings.TrimPrefix(string(b), "\ufeff"))
	text, _, _ = sanitizeJSON(text)
	var file struct {
		Configs []map[string]any `json:"knowledgeConfigs"`
	}
	if err := json.Unmarshal([]byte(text), &file); err != nil {
		return nil, err
	}
	out := map[string]*BaseConfig{}
	for _, c := range file.Configs {
		id, _ := c["id"].(string)
		if id == "" {
			continue
		}
		base := &BaseConfig{ID: id}
		base.Name, _ = c["description"].(string)
		if name, _ := c["name"].(string); name != "" {
			base.Name = name
		}
		if d, ok := c["dimensions"].(float64); ok && d >= 1 && d <= maxDimensions && d == math.Trunc(d) {
			base.Dimensions = int64(d)
		}
		if normalized, ok := c["normalized"].(bool); ok {
			base.Metric = models.MetricIP
			if normalized {
				base.Metric = models.MetricCosine
			}
		}
		if embedding, ok := c["embedding"].(map[string]any); ok {
			base.EmbeddingModel, _ = embedding["modelId"].(string)
		}
		delete(c, "id")
		if s, err := models.NewJSON(c); err == nil {
			base.Settings = s
		}
		out[id] = base
	}
	return out, nil
}

// logSuffixes are those of the files that belong to a database beside them.
var logSuffixes = []string{"-wal", "-shm", "-journal", ".wal"}

// isLog reports whether a file belongs to a database beside it, by its name and contents.
func isLog(p string) bool {
	if !slices.ContainsFunc(logSuffixes, func(s string) bool { return strings.HasSuffix(p, s) }) {
		return false
	}
	_, err := DetectKind(p)
	return err != nil
}

// owner is the database a log belongs to.
func owner(p string) string {
	for _, s := range logSuffixes {
		if base, ok := strings.CutSuffix(p, s); ok {
			return base
		}
	}
	return p
}

func isDir(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.IsDir()
}

func isFile(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.Mode().IsRegular()
}
