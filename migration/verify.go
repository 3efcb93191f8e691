package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
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
	// FindingReplaced: another file of the import, or a later import, replaced the row since.
	FindingReplaced FindingKind = "replaced"
	// FindingParentLost: a message answers one that the source has and the target has not.
	FindingParentLost FindingKind = "parent_lost"
	// FindingReference: a row names a parent that does not exist.
	FindingReference FindingKind = "reference_broken"
	// FindingText: rows are not in the text index. RebuildTextIndex mends it.
	FindingText FindingKind = "text_not_indexed"
	// FindingUnfindable: a search for a row's own words does not find it.
	FindingUnfindable FindingKind = "not_findable"
	// FindingDigest: rows are not listed that were read, or the rows' digest is another though no row could
	// be named.
	FindingDigest FindingKind = "digest_differs"
	// FindingBackup: the backup is damaged, or does not give what was imported, and rows are damaged as well.
	FindingBackup FindingKind = "backup_differs"
	// FindingReread: the backup is whole and gives other rows by now, though all that was imported is there.
	FindingReread FindingKind = "backup_reads_differently"
)

// harmless reports whether a finding is no damage.
func (k FindingKind) harmless() bool {
	switch k {
	case FindingExtra, FindingEdited, FindingReplaced, FindingReread:
		return true
	default:
		return false
	}
}

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
	// OK is true when nothing is damaged. Rows that talkbase edited or another import replaced since, and
	// rows added since, are not.
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
	sources []sourceProgress
	// want is what was read, by table; stored is what is there of it, and missing how much is not.
	want, stored map[string]Digest
	missing      map[string]int64
	later        *replacements
	// seen counts the rows of each table in the batches that were handed out to be compared.
	seen map[string]int64
	// there counts the rows that the run wrote and that are there. In the tables of replaced a row may
	// count twice.
	there    map[string]int64
	replaced map[string]bool
	// dangling lists messages whose parent is not stored, nowhere counts them.
	dangling []Finding
	nowhere  int64
}

// samples is how many rows of a table, spread over it, are searched for by their own words.
const samples = 25

// verifyWidth is how many batches are compared at once: while one is read, others are hashed.
const verifyWidth = 3

// verifyRun reads back every row that a run wrote or found there, and checks what holds them together.
func verifyRun(ctx context.Context, target Target, run string, tell func(Progress)) (out *Verification, err error) {
	v := &verifier{
		target: target, run: run, out: &Verification{Run: run, OK: true, Tables: []*TableVerification{}},
		want: map[string]Digest{}, stored: map[string]Digest{}, missing: map[string]int64{}, later: &replacements{target: target, run: run}, seen: map[string]int64{}, there: map[string]int64{}, replaced: map[string]bool{},
	}
	defer func() { err = errors.Join(err, v.later.close()) }()
	sources, err := target.ImportSources(ctx, run)
	if err != nil {
		return nil, err
	}
	var total, done int64
	for _, s := range sources {
		var p sourceProgress
		if err := json.Unmarshal(s.Progress, &p); err != nil {
			return nil, fmt.Errorf("migration: the progress of %s: %w", s.Path, err)
		}
		v.sources = append(v.sources, p)
		for table, d := range p.Stored {
			sum := v.want[table]
			sum.merge(d)
			v.want[table] = sum
			total += d.Rows
		}
	}
	err = v.compare(ctx, func(c *compared) {
		done += int64(len(c.entries))
		tell(Progress{Table: c.batch.Table, Done: done, Total: total})
	})
	if err != nil {
		return nil, err
	}
	for _, table := range tableOrder {
		have, want := v.stored[table], v.want[table]
		listed := have.Rows + v.missing[table]
		if listed == 0 && want.Rows == 0 {
			continue
		}
		t := v.out.table(table)
		t.Rows, t.Source, t.Target = want.Rows, want.String(), have.String()
		if listed != want.Rows || have != want && len(t.Found) == 0 {
			v.out.find(Finding{Kind: FindingDigest, Table: table, Detail: fmt.Sprintf("%d rows were read, %d are listed", want.Rows, listed)})
		}
	}
	return v.out, target.Read(ctx, v.whole)
}

// compared is a batch of the journal and what comparing it shows.
type compared struct {
	batch   models.ImportBatch
	entries []entry
	// first is the place of its first row among the table's, of which total are expected.
	first, total int64
	later        *replacements

	stored   Digest
	missing  int64
	there    int64
	findings []Finding
	dangling []Finding
	nowhere  int64
	err      error
	done     chan struct{}
}

// compare compares all batches, several at once, and takes what each shows in their order.
func (v *verifier) compare(ctx context.Context, next func(*compared)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var waiting []*compared
	take := func() error {
		c := waiting[0]
		waiting = waiting[1:]
		<-c.done
		if c.err != nil {
			return c.err
		}
		v.take(c)
		next(c)
		return nil
	}
	err := eachBatch(ctx, v.target, v.run, false, func(b models.ImportBatch, entries []entry) error {
		c := &compared{batch: b, entries: entries, first: v.seen[b.Table], total: v.want[b.Table].Rows, later: v.later, done: make(chan struct{})}
		v.seen[b.Table] += int64(len(entries))
		go func() {
			defer close(c.done)
			c.err = v.target.Read(ctx, func(ctx context.Context) error { return c.run(ctx, v.target) })
		}()
		if waiting = append(waiting, c); len(waiting) < verifyWidth {
			return nil
		}
		return take()
	})
	for err == nil && len(waiting) > 0 {
		err = take()
	}
	cancel()
	for _, c := range waiting {
		<-c.done
	}
	return err
}

// take adds what a batch shows to the rest.
func (v *verifier) take(c *compared) {
	sum := v.stored[c.batch.Table]
	sum.merge(c.stored)
	v.stored[c.batch.Table] = sum
	v.missing[c.batch.Table] += c.missing
	v.there[c.batch.Table] += c.there
	if len(c.batch.Replaced) > 0 {
		v.replaced[c.batch.Table] = true
	}
	for _, f := range c.findings {
		v.out.find(f)
	}
	v.nowhere += c.nowhere
	v.dangling = append(v.dangling, c.dangling[:min(len(c.dangling), maxFindings-len(v.dangling))]...)
}

// run compares the rows of the batch.
func (c *compared) run(ctx context.Context, target Target) error {
	table := c.batch.Table
	rows, err := rowsOf[table].read(ctx, target, keysOfEntries(c.entries))
	if err != nil {
		return err
	}
	var odd []Finding
	for _, e := range c.entries {
		row, ok := rows[e.key]
		switch {
		case !ok:
			odd = append(odd, Finding{Kind: FindingMissing, Table: table, ID: e.key})
			c.missing++
			continue
		case !row.is(e) && row.moved(e):
			c.findings = append(c.findings, Finding{Kind: FindingEdited, Table: table, ID: e.key, Detail: "a message was added or its time was set"})
		case !row.is(e):
			odd = append(odd, Finding{Kind: FindingDiffers, Table: table, ID: e.key})
		}
		c.stored.add(row.full)
	}
	if !c.batch.Merged {
		c.there = c.stored.Rows
	}
	if err := c.judge(ctx, target, odd); err != nil {
		return err
	}
	if table == tableMessages && !bool(c.batch.Merged) {
		if err := c.parents(ctx, target, rows); err != nil {
			return err
		}
	}
	return c.search(ctx, target, rows)
}

// judge tells edits, and rows that were replaced, from damage.
func (c *compared) judge(ctx context.Context, target Target, odd []Finding) error {
	if len(odd) == 0 {
		return nil
	}
	keys := make([]string, len(odd))
	for i, f := range odd {
		keys[i] = f.ID
	}
	edits, err := target.EditedSince(ctx, c.batch.Table, keys)
	if err != nil {
		return err
	}
	later, err := c.later.of(ctx, c.batch.Table, slices.DeleteFunc(keys, func(k string) bool { _, edited := edits[k]; return edited }))
	if err != nil {
		return err
	}
	for _, f := range odd {
		_, edited := edits[f.ID]
		replacedBy, replaced := later[f.ID]
		switch {
		case edited && f.Kind == FindingMissing:
			f.Kind, f.Detail = FindingEdited, "deleted since"
		case edited:
			f.Kind, f.Detail = FindingEdited, "edited since"
		case replaced && replacedBy == byLaterRun && f.Kind == FindingDiffers:
			f.Kind, f.Detail = FindingReplaced, "a later import replaced it"
		case replaced && replacedBy != byLaterRun && replacedBy > c.batch.Seq:
			f.Kind, f.Detail = FindingReplaced, "another file of the import replaced it"
		case f.Kind == FindingMissing:
			f.Detail = "it was imported, and talkbase did not delete it"
		default:
			f.Detail = "it is not what was imported, and talkbase did not edit it"
		}
		c.findings = append(c.findings, f)
	}
	return nil
}

// parents collects messages that answer one which is not stored.
func (c *compared) parents(ctx context.Context, target Target, rows map[string]storedRow) error {
	missing := func(r storedRow, in func(string) bool) bool { return r.parent != "" && !in(r.parent) }
	here := func(id string) bool { _, ok := rows[id]; return ok }
	var ids []string
	for _, r := range rows {
		if missing(r, here) {
			ids = append(ids, r.parent)
		}
	}
	have, err := target.HasMessages(ctx, ids)
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return have[id] })
	edits, err := target.EditedSince(ctx, tableMessages, ids)
	if err != nil {
		return err
	}
	for _, e := range c.entries {
		r, ok := rows[e.key]
		if _, edited := edits[r.parent]; !ok || edited || !missing(r, here) || have[r.parent] {
			continue
		}
		if c.nowhere++; len(c.dangling) < maxFindings {
			c.dangling = append(c.dangling, Finding{Kind: FindingParentLost, Table: tableMessages, ID: e.key, Detail: "it answers " + r.parent})
		}
	}
	return nil
}

// search looks for some rows by their own words: the first that has any, from each of the places on that
// are spread over the table.
func (c *compared) search(ctx context.Context, target Target, rows map[string]storedRow) error {
	stride := max(1, c.total/samples)
	due := false
	for i, e := range c.entries {
		due = due || (c.first+int64(i))%stride == 0
		row, ok := rows[e.key]
		if !due || !ok || !row.is(e) {
			continue
		}
		words := text.Sample(row.text)
		if c.batch.Table == tableMessages {
			words = text.Sample(text.Words(row.text))
		}
		if words == "" {
			continue
		}
		due = false
		found, err := target.Finds(ctx, c.batch.Table, e.key, words)
		if err != nil {
			return err
		}
		if !found {
			c.findings = append(c.findings, Finding{Kind: FindingUnfindable, Table: c.batch.Table, ID: e.key, Detail: "a search for its own words does not find it"})
		}
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

// extra finds rows that belong to what the run wrote and are not of the run. Where a table holds as many
// rows as were found of those that the run wrote, there is no other in it.
func (v *verifier) extra(ctx context.Context) error {
	others := false
	for _, table := range tableOrder {
		n, err := v.target.CountRows(ctx, table)
		if err != nil {
			return err
		}
		others = others || v.replaced[table] || n != v.there[table]
	}
	if !others {
		return nil
	}
	keys, err := newKeySet(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = keys.close() }()
	err = eachBatch(ctx, v.target, v.run, false, func(b models.ImportBatch, entries []entry) error {
		if b.Merged {
			return nil
		}
		return keys.add(ctx, b.Table, keysOfEntries(entries), 0)
	})
	if err != nil {
		return err
	}
	return eachBatch(ctx, v.target, v.run, false, func(b models.ImportBatch, entries []entry) error {
		if b.Merged {
			return nil
		}
		return keys.strangers(ctx, v.target, b.Table, keysOfEntries(entries), func(d repo.Dependent) error {
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
// edited or deleted, or another import replaced or its rollback took out, since from rows that are damaged. It writes nothing. The error is a *MigrationError;
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
	// Ids that are made of what else is there come out otherwise once that is another.
	kind := FindingReread
	if !v.OK {
		kind = FindingBackup
	}
	for n, s := range i.sources {
		var p sourceProgress
		if err := json.Unmarshal(sources[n].Progress, &p); err != nil {
			return err
		}
		for _, table := range tableOrder {
			if have, want := s.state.Transformed[table], p.Transformed[table]; have != want {
				v.find(Finding{Kind: kind, Table: table, Detail: fmt.Sprintf(
					"%s in the backup gives %d rows with the digest %s, the import had %d with %s: another version of talkbase, or another base that holds the same files, may be why",
					filepath.Base(s.found.Path), have.Rows, have, want.Rows, want)})
			}
		}
	}
	return nil
}
