package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// FindingKind says what is wrong with a row.
type FindingKind string

// What a verification finds.
const (
	// FindingMissing: a row that was imported is gone, and talkbase did not delete it.
	FindingMissing FindingKind = "missing"
	// FindingDiffers: a row is not what was imported, and talkbase did not edit it.
	FindingDiffers FindingKind = "differs"
	// FindingExtra: a row that was not imported belongs to one that was. It may have been added since.
	FindingExtra FindingKind = "extra"
	// FindingEdited: talkbase edited or deleted the row since it was imported.
	FindingEdited FindingKind = "edited"
	// FindingParentLost: a message answers one that the source has and the target has not.
	FindingParentLost FindingKind = "parent_lost"
	// FindingReference: a row names a parent that does not exist.
	FindingReference FindingKind = "reference_broken"
	// FindingText: rows are not in the text index. RebuildTextIndex mends it.
	FindingText FindingKind = "text_not_indexed"
	// FindingUnfindable: a search for a row's own words does not find it.
	FindingUnfindable FindingKind = "not_findable"
	// FindingDigest: the rows' digest is another, though no row could be named.
	FindingDigest FindingKind = "digest_differs"
	// FindingBackup: the backup is damaged, or does not give what was imported any more.
	FindingBackup FindingKind = "backup_differs"
)

// harmless reports whether a finding is no damage.
func (k FindingKind) harmless() bool { return k == FindingExtra || k == FindingEdited }

// Finding is one thing that a verification found.
type Finding struct {
	Kind   FindingKind `json:"kind"`
	Table  string      `json:"table,omitempty"`
	ID     string      `json:"id,omitempty"`
	Detail string      `json:"detail,omitempty"`
}

// maxFindings bounds the findings of a kind in a table that are listed one by one.
const maxFindings = 20

// TableVerification compares one table.
type TableVerification struct {
	Table string `json:"table"`
	// Rows is how many the run wrote or found there with the same content. The digests are of these, as
	// they were read and as they are stored: SHA-256 of each row's canonical form, summed modulo 2^256.
	Rows   int64  `json:"rows"`
	Source string `json:"source_digest"`
	Target string `json:"target_digest"`
	// Found counts findings by kind.
	Found map[FindingKind]int64 `json:"found,omitempty"`
}

// Verification says whether the target holds what a run imported.
type Verification struct {
	Run string `json:"run"`
	// OK is true when nothing is damaged. Rows that talkbase edited since, and rows added since, are not.
	OK     bool                 `json:"ok"`
	Tables []*TableVerification `json:"tables"`
	// Findings lists up to 20 of each kind in each table.
	Findings []Finding `json:"findings,omitempty"`
	// Backup says that the sources' backup was read and transformed again, and compared as well.
	Backup bool `json:"backup_compared,omitempty"`
}

func (v *Verification) table(name string) *TableVerification {
	for _, t := range v.Tables {
		if t.Table == name {
			return t
		}
	}
	t := &TableVerification{Table: name, Found: map[FindingKind]int64{}}
	v.Tables = append(v.Tables, t)
	return t
}

func (v *Verification) find(f Finding) {
	if !f.Kind.harmless() {
		v.OK = false
	}
	t := v.table(f.Table)
	if t.Found[f.Kind]++; t.Found[f.Kind] <= maxFindings {
		v.Findings = append(v.Findings, f)
	}
}

// first describes the first damage.
func (v *Verification) first() string {
	for _, f := range v.Findings {
		if !f.Kind.harmless() {
			return strings.TrimSpace(fmt.Sprintf("%s %s %s %s", f.Table, f.ID, f.Kind, f.Detail))
		}
	}
	return "no details"
}

// verifier compares a run's journal with what is stored.
type verifier struct {
	target  Target
	run     string
	out     *Verification
	stored  map[string]Digest
	sources []sourceProgress
	keys    *keySet
	// sampled counts the searches made in each table.
	sampled map[string]int
	// dangling counts written messages whose parent is not stored.
	dangling []Finding
	nowhere  int64
}

// samples is how many rows of a table are searched for by their own words.
const samples = 25

// verifyRun reads back every row that a run wrote or found there, and checks what holds them together.
func verifyRun(ctx context.Context, target Target, run string, tell func(Progress)) (*Verification, error) {
	v := &verifier{target: target, run: run, out: &Verification{Run: run, OK: true, Tables: []*TableVerification{}}, stored: map[string]Digest{}, sampled: map[string]int{}}
	sources, err := target.ImportSources(ctx, run)
	if err != nil {
		return nil, err
	}
	var total, done int64
	source := map[string]Digest{}
	for _, s := range sources {
		var p sourceProgress
		if err := json.Unmarshal(s.Progress, &p); err != nil {
			return nil, fmt.Errorf("migration: the progress of %s: %w", s.Path, err)
		}
		v.sources = append(v.sources, p)
		for table, d := range p.Stored {
			sum := source[table]
			sum.merge(d)
			source[table] = sum
			total += d.Rows
		}
	}
	if v.keys, err = newKeySet(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = v.keys.close() }()
	err = eachBatch(ctx, target, run, false, func(b models.ImportBatch, entries []entry) error {
		if err := v.batch(ctx, b, entries); err != nil {
			return err
		}
		done += int64(len(entries))
		tell(Progress{Table: b.Table, Done: done, Total: total})
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, table := range tableOrder {
		have, want := v.stored[table], source[table]
		if have.Rows == 0 && want.Rows == 0 {
			continue
		}
		t := v.out.table(table)
		t.Rows, t.Source, t.Target = want.Rows, want.String(), have.String()
		if have != want && len(t.Found) == 0 {
			v.out.find(Finding{Kind: FindingDigest, Table: table, Detail: fmt.Sprintf("%d rows were read, %d are listed", want.Rows, have.Rows)})
		}
	}
	return v.out, v.whole(ctx)
}

// batch compares the rows of one batch.
func (v *verifier) batch(ctx context.Context, b models.ImportBatch, entries []entry) error {
	keys := keysOfEntries(entries)
	rows, err := rowsOf[b.Table].read(ctx, v.target, keys)
	if err != nil {
		return err
	}
	if !b.Merged {
		if err := v.keys.add(ctx, b.Table, keys); err != nil {
			return err
		}
	}
	digest := v.stored[b.Table]
	var odd []Finding
	for _, e := range entries {
		row, ok := rows[e.key]
		switch {
		case !ok:
			odd = append(odd, Finding{Kind: FindingMissing, Table: b.Table, ID: e.key})
			continue
		case !row.is(e) && row.moved(e):
			v.out.find(Finding{Kind: FindingEdited, Table: b.Table, ID: e.key, Detail: "a message was added or its time was set"})
		case !row.is(e):
			odd = append(odd, Finding{Kind: FindingDiffers, Table: b.Table, ID: e.key})
		}
		digest.add(row.full)
	}
	v.stored[b.Table] = digest
	if err := v.judge(ctx, b.Table, odd); err != nil {
		return err
	}
	if b.Table == tableMessages && !b.Merged {
		if err := v.parents(ctx, rows); err != nil {
			return err
		}
	}
	return v.search(ctx, b.Table, entries, rows)
}

// judge tells edits from damage.
func (v *verifier) judge(ctx context.Context, table string, odd []Finding) error {
	if len(odd) == 0 {
		return nil
	}
	keys := make([]string, len(odd))
	for i, f := range odd {
		keys[i] = f.ID
	}
	edits, err := v.target.EditedSince(ctx, table, keys)
	if err != nil {
		return err
	}
	for _, f := range odd {
		_, edited := edits[f.ID]
		switch {
		case edited && f.Kind == FindingMissing:
			f.Kind, f.Detail = FindingEdited, "deleted since"
		case edited:
			f.Kind, f.Detail = FindingEdited, "edited since"
		case f.Kind == FindingMissing:
			f.Detail = "it was imported, and talkbase did not delete it"
		default:
			f.Detail = "it is not what was imported, and talkbase did not edit it"
		}
		v.out.find(f)
	}
	return nil
}

// parents collects messages that answer one which is not stored.
func (v *verifier) parents(ctx context.Context, rows map[string]storedRow) error {
	var ids []string
	for _, r := range rows {
		if r.parent != "" {
			ids = append(ids, r.parent)
		}
	}
	have, err := v.target.HasMessages(ctx, ids)
	if err != nil {
		return err
	}
	edits, err := v.target.EditedSince(ctx, tableMessages, ids)
	if err != nil {
		return err
	}
	for key, r := range rows {
		if _, edited := edits[r.parent]; r.parent == "" || have[r.parent] || edited {
			continue
		}
		if v.nowhere++; len(v.dangling) < maxFindings {
			v.dangling = append(v.dangling, Finding{Kind: FindingParentLost, Table: tableMessages, ID: key, Detail: "it answers " + r.parent})
		}
	}
	return nil
}

// search looks for some rows by their own words.
func (v *verifier) search(ctx context.Context, table string, entries []entry, rows map[string]storedRow) error {
	if v.sampled[table] >= samples {
		return nil
	}
	for _, e := range entries {
		row, ok := rows[e.key]
		if !ok || !row.is(e) {
			continue
		}
		words := text.Sample(row.text)
		if table == tableMessages {
			words = text.Sample(text.Words(row.text))
		}
		if words == "" {
			continue
		}
		v.sampled[table]++
		found, err := v.target.Finds(ctx, table, e.key, words)
		if err != nil {
			return err
		}
		if !found {
			v.out.find(Finding{Kind: FindingUnfindable, Table: table, ID: e.key, Detail: "a search for its own words does not find it"})
		}
		return nil
	}
	return nil
}

// whole checks what holds rows together.
func (v *verifier) whole(ctx context.Context) error {
	var known, rejectedMessages int64
	for _, p := range v.sources {
		known += p.table(tableMessages).Reasons[ReasonDanglingParent]
		rejectedMessages += p.table(tableMessages).Rejected
	}
	// A parent that was rejected is named in the reject file.
	if v.nowhere > known+rejectedMessages {
		for _, f := range v.dangling {
			v.out.find(f)
		}
	}
	broken, err := v.target.BrokenReferences(ctx, maxFindings)
	if err != nil {
		return err
	}
	for _, s := range broken {
		v.out.find(Finding{Kind: FindingReference, Detail: s})
	}
	missing, err := v.target.TextMissing(ctx)
	if err != nil {
		return err
	}
	for table, n := range missing {
		v.out.find(Finding{Kind: FindingText, Table: table, Detail: fmt.Sprintf("%d rows; rebuilding the text index mends it", n)})
	}
	return v.extra(ctx)
}

// extra finds rows that belong to what the run wrote and are not of the run.
func (v *verifier) extra(ctx context.Context) error {
	return eachBatch(ctx, v.target, v.run, false, func(b models.ImportBatch, entries []entry) error {
		if b.Merged {
			return nil
		}
		return v.keys.strangers(ctx, v.target, b.Table, keysOfEntries(entries), func(d repo.Dependent) error {
			v.out.find(Finding{Kind: FindingExtra, Table: d.Table, ID: d.Key, Detail: "it belongs to " + d.Parent + " and was not imported with it"})
			return nil
		})
	})
}

// VerifyOptions says how Verify works.
type VerifyOptions struct {
	// WorkDir is where private copies of the backup are made, "" for the system's temporary folder.
	WorkDir string
	// Progress is called now and then.
	Progress func(Progress)
}

// Verify compares what is stored with what a run imported: with its journal, and, where the run's
// backup is there, with the sources in it, read and transformed anew. It tells rows that talkbase
// edited or deleted since from rows that are damaged. It writes nothing. The error is a *MigrationError;
// damage is none, but Verification.OK is false. A run that is not finished is ErrUnfinished, one that
// was rolled back ErrRolledBack, an unknown one repo.ErrNotFound.
func Verify(ctx context.Context, target Target, run string, opts VerifyOptions) (*Verification, error) {
	v, err := verify(ctx, target, run, opts)
	if err != nil {
		return v, &MigrationError{Run: run, Phase: PhaseValidate, Err: full(err)}
	}
	return v, nil
}

func verify(ctx context.Context, target Target, run string, opts VerifyOptions) (*Verification, error) {
	row, err := target.ImportRun(ctx, run)
	if err != nil {
		return nil, err
	}
	switch row.State {
	case models.ImportDone:
	case models.ImportRolledBack:
		return nil, fmt.Errorf("migration: run %s: %w: nothing of it is left to verify", run, ErrRolledBack)
	default:
		return nil, fmt.Errorf("migration: run %s: %w: resume it or roll it back first", run, ErrUnfinished)
	}
	tell := func(p Progress) {
		if opts.Progress != nil {
			p.Run, p.Phase = run, PhaseValidate
			opts.Progress(p)
		}
	}
	v, err := verifyRun(ctx, target, run, tell)
	if err != nil || row.Backup == "" {
		return v, err
	}
	manifest, err := ReadManifest(row.Backup)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil // somebody removed the backup, which is theirs to do
	}
	if err == nil {
		err = manifest.Check(ctx, row.Backup)
	}
	if err != nil {
		v.find(Finding{Kind: FindingBackup, Detail: err.Error()})
		return v, ctx.Err()
	}
	return v, v.again(ctx, target, row, manifest, opts, tell)
}

// again reads the sources from the backup and compares what they become.
func (v *Verification) again(ctx context.Context, target Target, row models.ImportRun, manifest *Manifest, opts VerifyOptions, tell func(Progress)) (err error) {
	var kept runOptions
	if err := json.Unmarshal(row.Options, &kept); err != nil {
		return err
	}
	work, remove, err := newWorkDir(opts.WorkDir)
	if err != nil {
		return err
	}
	o := ImportOptions{DryRun: true, NoVerify: true, WorkDir: work, Progress: tell}
	o.restore(kept)
	o = o.withDefaults()
	i := &importer{real: target, target: target, opts: o, report: &ImportReport{}, memory: memoryOf(target).Part(o.MemoryLimit), phase: PhaseValidate, work: work}
	i.closers = append(i.closers, remove)
	defer func() { err = errors.Join(err, i.close()) }()
	dry, done, err := newDryTarget(ctx, target, filepath.Join(work, "dry"))
	if err != nil {
		return err
	}
	i.closers = append(i.closers, done)
	i.target = dry
	i.row = models.ImportRun{ID: row.ID, State: models.ImportRunning}
	sources, err := target.ImportSources(ctx, row.ID)
	if err != nil {
		return err
	}
	for n, s := range manifest.Sources {
		if n < len(sources) && len(s.Files) > 0 {
			i.add(Found{Path: s.Path, Kind: s.Kind, Base: s.Base}, s.Fingerprint).open = filepath.Join(row.Backup, s.Files[0].Name)
		}
	}
	if err := i.initialize(ctx); err != nil {
		return err
	}
	for _, kind := range []Kind{KindSQLite, KindDuckDB} {
		if err := i.load(ctx, kind); err != nil {
			return err
		}
	}
	v.Backup = true
	for n, s := range i.sources {
		var p sourceProgress
		if err := json.Unmarshal(sources[n].Progress, &p); err != nil {
			return err
		}
		for _, table := range tableOrder {
			if have, want := s.state.Transformed[table], p.Transformed[table]; have != want {
				v.find(Finding{Kind: FindingBackup, Table: table, Detail: fmt.Sprintf(
					"%s in the backup gives %d rows with the digest %s, the import had %d with %s: another version of talkbase, or another base that holds the same files, may be why",
					filepath.Base(s.found.Path), have.Rows, have, want.Rows, want)})
			}
		}
	}
	return nil
}
