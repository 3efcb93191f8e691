package services

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/repo"
)

// RepairOptions say how Repair goes about it.
type RepairOptions struct {
	// Backup is the file that an SQLite database is copied to before anything changes; empty is one beside
	// it. It must not be there yet, and only its owner can read it.
	Backup string
	// NoBackup makes none. On Postgres, which is not copied here, nothing is repaired without it.
	NoBackup bool
	// DeleteOrphans also deletes conversations' messages, attachments, files and chunks that belong to
	// nothing. They hold what somebody wrote, and some calls still reach them, so it is not done unasked.
	DeleteOrphans bool
}

// RepairReport says what Repair did.
type RepairReport struct {
	// Backup is the copy that was made first, "" for none.
	Backup string `json:"backup,omitempty"`
	// Before and After are what ValidateIntegrity finds; After is Before where there was nothing to do.
	Before repo.IntegrityReport `json:"before"`
	After  repo.IntegrityReport `json:"after"`
	// Actions are in the order they were done.
	Actions []RepairAction `json:"actions"`
}

// RepairAction is one thing that Repair did, or tried.
type RepairAction struct {
	// Code is that of the finding, Subject the index, table or base.
	Code    string `json:"code"`
	Subject string `json:"subject,omitempty"`
	// Done says what was done, Count to how many rows.
	Done  string `json:"done"`
	Count int64  `json:"count"`
	// Error says why it could not be done; nothing was half done.
	Error string `json:"error,omitempty"`
}

// Repair is documented in the interface.
//
// It checks, makes a copy of an SQLite database if there is anything to do, does it, and checks again. An
// action that fails is reported, and the others go on. A database whose pages are damaged is ErrCorrupt:
// what is written to it may be lost, too. On Postgres, without NoBackup, it is ErrUnsupported where there
// is something to do.
func (h *health) Repair(ctx context.Context, opts RepairOptions) (RepairReport, error) {
	const op = "repair"
	r := RepairReport{Actions: []RepairAction{}}
	before, drift, err := h.validate(ctx)
	r.Before, r.After = before, before
	if err != nil {
		return r, err
	}
	todo := h.plan(before, drift, opts)
	if len(todo) == 0 {
		return r, nil
	}
	if len(before.Find(repo.FindingStorageDamaged)) > 0 {
		return r, engine.Wrap(op, fmt.Errorf("%w: its pages are, and what is written to it may be lost, too: restore a backup, or rescue what can be read with talkbase salvage FILE OUT", repo.ErrCorrupt))
	}
	if len(before.Find(repo.FindingSchemaVersion)) > 0 {
		return r, engine.Wrap(op, fmt.Errorf("%w: bring it to this program's version first: talkbase schema up", repo.ErrSchemaOutdated))
	}
	if r.Backup, err = h.backup(ctx, opts); err != nil {
		return r, engine.Wrap(op, err)
	}
	damaged := "" // an index that could not be mended
	for _, t := range todo {
		if damaged != "" {
			// What looks for rows by it, or for what belongs to none, would not find some that are there.
			t.Error = "left alone, because the index " + damaged + " is damaged and could not be mended"
			r.Actions = append(r.Actions, t.RepairAction)
			continue
		}
		n, err := t.run(ctx)
		if ctx.Err() != nil {
			return r, engine.Wrap(op, engine.Ended(ctx))
		}
		if err != nil {
			t.Error = err.Error()
			if t.Code == repo.FindingIndexDamaged {
				damaged = t.Subject
			}
		}
		t.Count = n
		if n > 0 || err != nil {
			r.Actions = append(r.Actions, t.RepairAction)
		}
	}
	r.After, err = h.ValidateIntegrity(ctx)
	return r, err
}

// backup copies an SQLite database. One in memory is gone with this process anyhow.
func (h *health) backup(ctx context.Context, opts RepairOptions) (string, error) {
	file, server, err := h.Place(ctx)
	switch {
	case err != nil || opts.NoBackup:
		return "", err
	case server:
		return "", fmt.Errorf("%w: no copy of a server's database is made here: make one with talkbase backup or pg_dump, then repeat this with NoBackup, or --no-backup", repo.ErrUnsupported)
	}
	path := opts.Backup
	if path == "" {
		if file == "" {
			return "", nil
		}
		path = file + ".repair-" + time.Now().UTC().Format("20060102T150405.000") + ".bak"
	}
	if err := h.Snapshot(ctx, path); err != nil {
		return "", fmt.Errorf("nothing was changed, because no copy could be made first: %w", err)
	}
	return path, nil
}

// task is an action to take.
type task struct {
	RepairAction
	run func(ctx context.Context) (int64, error)
}

// once is the result of something that is done to one thing.
func once(err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return 1, nil
}

// indexing makes a task of something that must not be done while others make indexes.
func (h *health) indexing(f func(ctx context.Context) (int64, error)) func(ctx context.Context) (int64, error) {
	return func(ctx context.Context) (n int64, err error) {
		err = h.schema.Indexing(ctx, func(ctx context.Context) error {
			n, err = f(ctx)
			return err
		})
		return n, err
	}
}

// plan lists what there is to do, in this order: indexes, which all else reads by; then rows; then what is
// kept of them.
func (h *health) plan(r repo.IntegrityReport, drift []migration.Drift, opts RepairOptions) []task {
	var out []task
	found := func(code string) []repo.Finding {
		return slices.DeleteFunc(r.Find(code), func(f repo.Finding) bool { return !f.Repairable })
	}
	add := func(code, subject, done string, run func(ctx context.Context) (int64, error)) {
		out = append(out, task{RepairAction{Code: code, Subject: subject, Done: done}, run})
	}
	for _, code := range []string{repo.FindingIndexInvalid, repo.FindingIndexDamaged} {
		for _, f := range found(code) {
			add(code, f.Index, "built the index anew", h.indexing(func(ctx context.Context) (int64, error) {
				if code == repo.FindingIndexInvalid {
					if still, _, err := h.UnfitIndexes(ctx); err != nil || !slices.Contains(still, f.Index) {
						return 0, err
					}
				}
				return once(h.Reindex(ctx, f.Index))
			}))
		}
	}
	for _, f := range found(repo.FindingIndexMissing) {
		i := slices.IndexFunc(drift, func(d migration.Drift) bool { return d.Kind == "index" && d.Name == f.Index })
		add(f.Code, f.Index, "made the index", func(ctx context.Context) (int64, error) { return once(h.schema.RestoreIndex(ctx, drift[i])) })
	}
	if len(found(repo.FindingSequenceBehind)) > 0 {
		add(repo.FindingSequenceBehind, "", "moved the next numbers beyond those in use", h.SetSequences)
	}
	orphans := map[string]bool{}
	for _, f := range r.Find(repo.FindingOrphanRows) {
		orphans[f.Table] = f.Repairable || opts.DeleteOrphans
	}
	for _, table := range engine.Tables() { // parents first: their children go with them
		if orphans[table] {
			add(repo.FindingOrphanRows, table, "deleted rows that belonged to nothing", func(ctx context.Context) (int64, error) { return h.DeleteOrphans(ctx, table) })
		}
	}
	if len(found(repo.FindingMessageCount)) > 0 {
		add(repo.FindingMessageCount, "conversations", "counted the messages", h.RecountMessages)
	}
	h.planText(found, add)
	for _, code := range []string{repo.FindingVectorIndexStale, repo.FindingVectorIndexDamaged, repo.FindingVectorIndexIncomplete} {
		for _, f := range found(code) {
			add(code, f.Base, "made the index of vectors anew", h.indexing(func(ctx context.Context) (int64, error) {
				return once(h.RebuildVectorIndex(ctx, f.Base, h.schema.IndexKind()))
			}))
		}
	}
	return out
}

func (h *health) planText(found func(string) []repo.Finding, add func(code, subject, done string, run func(ctx context.Context) (int64, error))) {
	damaged := found(repo.FindingTextDamaged)
	for _, f := range damaged {
		add(f.Code, f.Table, "emptied the text index", func(ctx context.Context) (int64, error) { return once(h.EmptyText(ctx, f.Table)) })
	}
	if len(found(repo.FindingTextStale)) > 0 {
		add(repo.FindingTextStale, "", "took out of the text index what belonged to no row", h.DropStaleText)
	}
	switch {
	case len(found(repo.FindingTextAnalyser)) > 0:
		add(repo.FindingTextAnalyser, "", "made the text index anew", h.search.RebuildTextIndex)
	case len(damaged) > 0:
		add(repo.FindingTextDamaged, "", "indexed rows", h.IndexMissingText)
	case len(found(repo.FindingTextMissing)) > 0:
		add(repo.FindingTextMissing, "", "indexed rows", h.IndexMissingText)
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
