package migration

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talkbase/talkbase/models"
)

// userData makes a DeepChat user-data folder of stubs.
func userData(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	duck := "\x00\x00\x00\x00\x00\x00\x00\x00DUCK\x40\x00\x00\x00"
	for name, content := range map[string]string{
		"app_db/chat.db":                      "SQLite format 3\x00",
		"app_db/chat.db-wal":                  "log",
		"app_db/chat.db.2025-03-01.bak":       "SQLite format 3\x00",
		"app_db/KnowledgeBase/kb1":            duck,
		"app_db/KnowledgeBase/kb1.wal":        "log",
		"app_db/KnowledgeBase/kb-wal":         duck,
		"app_db/KnowledgeBase/kb-wal.wal":     "log",
		"app_db/KnowledgeBase/lone.wal":       "log",
		"app_db/KnowledgeBase/notes.txt":      "something else",
		"app_db/KnowledgeBase/temp/ignored":   duck,
		"knowledge-configs.json":              `{"knowledgeConfigs":[{"id":"kb1","description":"docs","dimensions":1024,"normalized":false,"embedding":{"providerId":"p","modelId":"bge-m3"},"chunkSize":500},{"id":"missing"},{"noid":1}]}`,
		"elsewhere/kb1":                       duck,
		"elsewhere/plain.txt":                 "text",
		"nothing/plain.txt":                   "text",
		"damaged/app_db/KnowledgeBase/kb1":    duck,
		"damaged/knowledge-configs.json":      `{"knowledgeConfigs": 7}`,
		"flat/knowledge-configs.json":         "\ufeff" + `{"knowledgeConfigs":[{"id":"kb1","dimensions":"many","normalized":true,"name":"n\u0000"}]}`,
		"flat/kb1":                            duck,
		"only-knowledge/app_db/other/ignored": "",
	} {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	dir := userData(t)
	in := func(names ...string) []string {
		out := make([]string, len(names))
		for i, n := range names {
			out[i] = filepath.Join(dir, filepath.FromSlash(n))
		}
		return out
	}
	everything := in("app_db/chat.db", "app_db/KnowledgeBase/kb-wal", "app_db/KnowledgeBase/kb1")
	for name, c := range map[string]struct {
		paths, want []string
		warnings    int
	}{
		"user data":           {[]string{dir}, everything, 3},
		"app_db":              {in("app_db"), everything, 3},
		"knowledge folder":    {in("app_db/KnowledgeBase"), everything[1:], 0},
		"chat.db":             {in("app_db/chat.db"), everything[:1], 0},
		"a backup":            {in("app_db/chat.db.2025-03-01.bak"), in("app_db/chat.db.2025-03-01.bak"), 0},
		"a base":              {in("app_db/KnowledgeBase/kb1"), everything[2:], 0},
		"a base by its log":   {in("app_db/KnowledgeBase/kb-wal.wal"), everything[1:2], 0},
		"all that a glob has": {in("app_db/KnowledgeBase/kb-wal", "app_db/KnowledgeBase/kb-wal.wal", "app_db/KnowledgeBase/kb1", "app_db/KnowledgeBase/kb1.wal"), everything[1:], 0},
		"one thing twice":     {append(slices.Clone(everything), dir), everything, 3},
		"another folder":      {in("elsewhere"), in("elsewhere/kb1"), 0},
		"a damaged config":    {in("damaged"), in("damaged/app_db/KnowledgeBase/kb1"), 2},
	} {
		got, err := Discover(t.Context(), c.paths...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var paths []string
		for _, s := range got.Sources {
			paths = append(paths, s.Path)
		}
		if !slices.Equal(paths, c.want) {
			t.Errorf("%s: %v, want %v", name, paths, c.want)
		}
		if len(got.Warnings) != c.warnings {
			t.Errorf("%s: %d warnings, want %d: %s", name, len(got.Warnings), c.warnings, strings.Join(got.Warnings, "\n"))
		}
	}
	for name, paths := range map[string][]string{
		"nothing": nil, "a folder without": in("nothing"), "a text": in("elsewhere/plain.txt"), "a lone log": in("app_db/KnowledgeBase/lone.wal"),
		"a config alone": in("knowledge-configs.json"), "no data in app_db": in("only-knowledge"),
	} {
		if _, err := Discover(t.Context(), paths...); !errors.Is(err, ErrNotLegacy) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Discover(t.Context(), filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestDiscoverConfigurations(t *testing.T) {
	t.Parallel()
	dir := userData(t)
	base := func(paths ...string) *BaseConfig {
		t.Helper()
		d, err := Discover(t.Context(), paths...)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range d.Sources {
			if filepath.Base(s.Path) == "kb1" {
				return s.Base
			}
		}
		return nil
	}
	for name, paths := range map[string][]string{
		"in the user data": {dir}, "for one file": {filepath.Join(dir, "app_db", "KnowledgeBase", "kb1")},
		"named by the caller": {filepath.Join(dir, "elsewhere", "kb1"), filepath.Join(dir, "knowledge-configs.json")},
	} {
		b := base(paths...)
		if b == nil || b.Dimensions != 1024 || b.Metric != models.MetricIP || b.EmbeddingModel != "bge-m3" || b.Name != "docs" ||
			b.Settings.String() != `{"chunkSize":500,"description":"docs","dimensions":1024,"embedding":{"modelId":"bge-m3","providerId":"p"},"normalized":false}` {
			t.Errorf("%s: %+v", name, b)
		}
	}
	if b := base(filepath.Join(dir, "flat", "kb1")); b == nil || b.Dimensions != 0 || b.Metric != models.MetricCosine || b.Name != "n" {
		t.Errorf("beside the file: %+v", b)
	}
	if b := base(filepath.Join(dir, "damaged")); b != nil {
		t.Errorf("damaged: %+v", b)
	}
}

func FuzzParseConfigs(f *testing.F) {
	f.Add([]byte(`{"knowledgeConfigs":[{"id":"a","dimensions":3,"normalized":true,"embedding":{"modelId":"m"}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		configs, err := parseConfigs(b)
		if err != nil {
			return
		}
		for id, c := range configs {
			if c.ID != id || id == "" || c.Dimensions < 0 || c.Dimensions > maxDimensions || (c.Metric != "" && !c.Metric.Valid()) {
				t.Errorf("%q: %+v", id, c)
			}
			if err := canonical(c.Settings); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestImportWithoutAReader(t *testing.T) {
	t.Parallel()
	dir := userData(t)
	target := newMemoryTarget()
	_, err := Import(t.Context(), target, ImportOptions{Paths: []string{dir}})
	if !errors.Is(err, ErrNoReader) || !strings.Contains(err.Error(), "migration/duckdb") || target.batches != 0 {
		t.Errorf("%v", err)
	}
}
