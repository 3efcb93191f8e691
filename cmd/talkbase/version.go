package main

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/migration/duckdb"
)

// versionAnswer is what version prints with --json.
type versionAnswer struct {
	Version string `json:"version"`
	// Revision is the commit it was built from, when that is known.
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// SchemaVersion is the one this program needs.
	SchemaVersion int64 `json:"schema_version"`
	// DuckDB says whether knowledge files can be read.
	DuckDB bool `json:"duckdb"`
}

func (a *app) versionCommand() *cobra.Command {
	return a.work(&cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) error {
		v := versionAnswer{
			Version: buildVersion(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
			SchemaVersion: migration.NewSchema(&engine.Late{}, "", nil).LatestSchemaVersion(),
			DuckDB:        noKnowledgeReader(cmd.Context()) == nil,
		}
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					v.Revision = s.Value
				}
			}
		}
		return a.answer(v, func(w *page) {
			w.line("talkbase %s, schema version %d", v.Version, v.SchemaVersion)
			w.line("%s, %s", v.Go, v.Platform)
			if v.DuckDB {
				w.line("It reads knowledge files (DuckDB).")
			} else {
				w.line("It was built without cgo and does not read knowledge files (DuckDB).")
			}
		})
	})
}

// buildVersion is the version of the module the program was built from.
func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}

// noKnowledgeReader returns why knowledge files cannot be read, nil when they can: the reader of a
// program without cgo says so before it looks at the path.
func noKnowledgeReader(ctx context.Context) error {
	if _, err := duckdb.Open(ctx, "", ""); errors.Is(err, migration.ErrNoReader) {
		return err
	}
	return nil
}
