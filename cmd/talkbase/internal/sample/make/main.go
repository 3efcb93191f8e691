// Command make writes the sample archive anew. It runs by go generate in the folder above, and
// needs cgo for the DuckDB half:
//
//	go generate ./cmd/talkbase/internal/sample
package main

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/talkbase/talkbase/cmd/talkbase/internal/sample"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration/duckdb"
)

func main() {
	if err := run(context.Background(), "deepchat.zip"); err != nil {
		fmt.Fprintln(os.Stderr, "make:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string) (err error) {
	dir, err := os.MkdirTemp("", "talkbase-sample-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	knowledge := filepath.Join(dir, filepath.FromSlash(sample.Knowledge))
	if err := os.MkdirAll(filepath.Dir(knowledge), 0o700); err != nil {
		return err
	}
	// Version 7 is that of most files in the world.
	chat := fixtures.LegacyChat{Version: 7, Rows: rows()}
	if _, err := chat.Write(ctx, filepath.Join(dir, filepath.FromSlash(sample.Chat))); err != nil {
		return err
	}
	notes := duckdb.LegacyKnowledge{Seed: 8, Dimensions: sample.Dimensions, Files: 8, ChunksPerFile: 2, Embed: sample.Embed}
	if _, err := notes.Write(ctx, knowledge); err != nil {
		return err
	}
	configs, err := json.MarshalIndent(map[string]any{"knowledgeConfigs": []any{map[string]any{
		"id": sample.Base, "description": "Engineering notes", "dimensions": sample.Dimensions, "normalized": true,
		"embedding": map[string]any{"providerId": "offline", "modelId": sample.Model},
		"chunkSize": 1000, "chunkOverlap": 0, "fragmentsNumber": 6, "enabled": true,
	}}}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, sample.Configs), configs, 0o600); err != nil {
		return err
	}
	return pack(dir, out, sample.Configs, sample.Chat, sample.Knowledge)
}

// pack writes the named files of dir into a zip file, without their times, so that the same files
// make the same archive.
func pack(dir, out string, names ...string) (err error) {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z := zip.NewWriter(f)
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
		if err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return z.Close()
}
