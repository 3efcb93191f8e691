package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/talkbase/talkbase/memory"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// Import copies the legacy files at the given paths into target and reports what became of every
// row.
//
// The files and their folders are only read. All of them are found, copied and opened before anything
// is written; when one cannot be, nothing is. Rows are streamed, so that memory stays bounded
// whatever the size of the files; each batch is one transaction, parents before children, and carries
// the checkpoint from which ImportOptions.Resume goes on. Importing again changes nothing: rows
// that are there with the same content count as merged. A row whose id the target holds with other
// content is rejected as a conflict, and the target's stays, unless PreferSource is set. At the end
// everything that was written is read back and compared.
//
// The error is a *MigrationError. It wraps ErrSourceDamaged, ErrSourceLocked, ErrNotLegacy, ErrNoReader,
// ErrSourceChanged, ErrUnfinished, ErrNothingToResume, ErrVerification, repo.ErrTaken, or the target's
// own errors such as repo.ErrDiskFull. The report is returned with it. Damage is looked for before
// anything is written. A file in which it shows on the way after all ends with what was read so far
// stored; the other files are still imported.
//
// What an empty target would check, count and index row by row is dropped for the time of the load, apart
// from keys that keep rows unique, and made again after it. A run that was cut off leaves it dropped until it
// is resumed or rolled back. Rows of the load whose parents somebody deletes meanwhile go when that ends, as
// a cascade would have had it.
func Import(ctx context.Context, target Target, opts ImportOptions) (*ImportReport, error) {
	i := &importer{real: target, target: target, opts: opts.within(target).withDefaults(), report: &ImportReport{Sources: []*SourceReport{}}}
	if i.opts.Replay != "" {
		i.opts.Width = 1 // what rows refer to is looked for in the target
	}
	i.memory = memoryOf(target).Part(i.opts.MemoryLimit)
	i.started = time.Now()
	err := i.run(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	err = full(errors.Join(err, i.close()))
	i.report.OK, i.report.Milliseconds = err == nil, time.Since(i.started).Milliseconds()
	if err == nil {
		return i.report, nil
	}
	failed := &MigrationError{Run: i.row.ID, Phase: i.phase, Recoverable: i.recoverable(err), Err: err}
	if !i.recorded {
		failed.Run = ""
	}
	i.report.Failure = &ImportFailure{Phase: i.phase, Recoverable: failed.Recoverable, RollbackNeeded: i.recorded && !failed.Recoverable && !errors.Is(err, repo.ErrTaken)}
	if opts.OnError != nil {
		opts.OnError(failed)
	}
	return i.report, failed
}

// importer is one run of Import.
type importer struct {
	// real is the caller's target; target stands for it in a dry run.
	real, target Target
	opts         ImportOptions
	report       *ImportReport
	started      time.Time
	memory       *memory.Manager
	phase        Phase
	work         string
	closers      []func() error

	// row is the run as the target keeps it, once it is recorded there.
	row      models.ImportRun
	recorded bool
	later    putOff
	// fresh is nil unless the target was empty when the run began.
	fresh *newIDs
	// seq is the number of the journal's next batch.
	seq     int64
	rejects *rejectLog
	sources []*openSource
	pace    *pace
}

// openSource is a source that was found, with its reader and its checkpoint.
type openSource struct {
	found       Found
	fingerprint string
	// open is where its copy is read from: the backup, or the file itself.
	open   string
	source Source
	dir    string
	state  sourceProgress
	report *SourceReport
}

func (i *importer) warn(format string, args ...any) {
	i.report.Warnings = append(i.report.Warnings, fmt.Sprintf(format, args...))
}

// recoverable reports whether Resume can go on after err.
func (i *importer) recoverable(err error) bool {
	for _, final := range []error{ErrSourceChanged, ErrUnfinished, ErrNothingToResume, ErrVerification, repo.ErrTaken} {
		if errors.Is(err, final) {
			return false
		}
	}
	return i.recorded
}

// run goes through the phases.
func (i *importer) run(ctx context.Context) error {
	for _, step := range []struct {
		phase Phase
		do    func(context.Context) error
	}{
		{PhasePrepare, i.prepare},
		{PhaseBackup, i.backup},
		{PhaseInitialize, i.initialize},
		{PhaseConversations, func(ctx context.Context) error { return i.load(ctx, KindSQLite) }},
		{PhaseKnowledge, func(ctx context.Context) error { return i.load(ctx, KindDuckDB) }},
		{PhaseIndex, i.makeIndexes},
		{PhaseText, i.makeText},
		{PhaseValidate, i.validate},
	} {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		i.phase = step.phase
		i.report.Phases = append(i.report.Phases, PhaseReport{Phase: step.phase})
		i.tell(Progress{})
		start := time.Now()
		err := step.do(ctx)
		i.report.Phases[len(i.report.Phases)-1].Milliseconds = time.Since(start).Milliseconds()
		if err != nil {
			return err
		}
	}
	return nil
}

func (i *importer) close() error {
	var errs []error
	for _, c := range slices.Backward(i.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// prepare finds what there is to import, or to resume, and makes room for the work.
func (i *importer) prepare(ctx context.Context) error {
	if o := i.opts; o.Resume && (o.DryRun || o.Restart || o.Replay != "") {
		return fmt.Errorf("migration: %w: what resumes goes on as it was begun: not as a dry run, and neither Restart nor Replay go with Resume", repo.ErrInvalid)
	}
	work, remove, err := newWorkDir(i.opts.WorkDir)
	if err != nil {
		return err
	}
	i.work = work
	i.closers = append(i.closers, remove)
	for _, p := range []*string{&i.opts.RejectFile, &i.opts.Replay, &i.opts.BackupDir} {
		if *p != "" { // resuming may happen in another folder
			if *p, err = filepath.Abs(*p); err != nil {
				return fmt.Errorf("migration: %w", err)
			}
		}
	}
	if err := i.unfinished(ctx); err != nil {
		return err
	}
	if i.opts.Resume {
		return i.resume(ctx)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("migration: %w", err)
	}
	i.row = models.ImportRun{ID: id.String(), State: models.ImportRunning, StartedAt: time.Now().UnixMilli()}
	i.report.Run, i.report.DryRun = i.row.ID, i.opts.DryRun
	found, err := i.find(ctx)
	if err != nil {
		return err
	}
	if err := i.preflight(ctx, found); err != nil {
		return err
	}
	for _, f := range found {
		i.add(f, "")
	}
	if i.opts.DryRun {
		dry, done, err := newDryTarget(ctx, i.real, filepath.Join(i.work, "dry"))
		if err != nil {
			return err
		}
		i.closers = append(i.closers, done)
		i.target = dry
	}
	return nil
}

// find discovers the sources, with absolute paths, and checks that each has a reader.
func (i *importer) find(ctx context.Context) ([]Found, error) {
	if i.opts.Replay != "" {
		return []Found{{Path: i.opts.Replay}}, nil
	}
	discovered, err := Discover(ctx, i.opts.Paths...)
	if err != nil {
		return nil, err
	}
	i.report.Warnings = discovered.Warnings
	for n, f := range discovered.Sources {
		if _, err := reader(f.Kind, f.Path); err != nil {
			return nil, err
		}
		abs, err := filepath.Abs(f.Path)
		if err != nil {
			return nil, fmt.Errorf("migration: %w", err)
		}
		discovered.Sources[n].Path = abs
	}
	return discovered.Sources, nil
}

func (i *importer) add(f Found, print string) *openSource {
	s := &openSource{
		found: f, fingerprint: print, open: f.Path, dir: filepath.Join(i.work, fmt.Sprint(len(i.sources))),
		report: &SourceReport{Path: f.Path, Kind: f.Kind, Tables: []*TableReport{}},
	}
	s.state = s.state.clone()
	i.sources = append(i.sources, s)
	i.report.Sources = append(i.report.Sources, s.report)
	return s
}

// unfinished deals with an import that was cut off.
func (i *importer) unfinished(ctx context.Context) error {
	runs, err := i.real.ImportRuns(ctx)
	if err != nil {
		return err
	}
	for _, run := range runs {
		switch run.State {
		case models.ImportRunning:
			i.row = run
		case models.ImportRollingBack:
			return fmt.Errorf("migration: %w: run %s is being rolled back; roll it back again to its end", ErrUnfinished, run.ID)
		}
	}
	switch found := i.row.ID != ""; {
	case i.opts.Resume && !found:
		return fmt.Errorf("migration: %w: no import of this database was cut off; import without asking to resume", ErrNothingToResume)
	case i.opts.Resume, !found, i.opts.DryRun:
		return nil
	case !i.opts.Restart:
		return fmt.Errorf("migration: %w: run %s was cut off; resume it, restart it, or roll it back", ErrUnfinished, i.row.ID)
	}
	if _, err := Rollback(ctx, i.real, i.row.ID, RollbackOptions{Force: true, Progress: i.opts.Progress}); err != nil {
		return err
	}
	i.row = models.ImportRun{}
	return nil
}

// resume takes up the run that was cut off, if its sources are what they were.
func (i *importer) resume(ctx context.Context) error {
	var kept runOptions
	if err := json.Unmarshal(i.row.Options, &kept); err != nil {
		return fmt.Errorf("migration: the options of run %s: %w", i.row.ID, err)
	}
	i.opts.restore(kept)
	i.report.Run, i.report.Resumed, i.report.Backup = i.row.ID, true, i.row.Backup
	sources, err := i.real.ImportSources(ctx, i.row.ID)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range sources {
		f := Found{Path: s.Path, Kind: Kind(s.Kind)}
		if err := json.Unmarshal(s.Config, &f.Base); err != nil {
			return fmt.Errorf("migration: the configuration of %s: %w", s.Path, err)
		}
		if f.Base != nil && f.Base.ID == "" {
			f.Base = nil
		}
		read := f
		if kept.Replay != "" {
			read = Found{Path: kept.Replay}
		}
		print, err := fingerprint(ctx, read)
		if err == nil && print != s.Fingerprint {
			err = fmt.Errorf("migration: %s: %w: close the application that writes to it and restart the import", read.Path, ErrSourceChanged)
		}
		errs = append(errs, err)
		i.add(f, print)
	}
	i.recorded = true
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// Only now is the run taken from a process that may be at it still, and its checkpoint read.
	i.row, err = takeUp(ctx, i.real, i.row, func(*models.ImportRun) {}, func(ctx context.Context) (err error) {
		if sources, err = i.real.ImportSources(ctx, i.row.ID); err != nil {
			return err
		}
		last, err := i.real.ImportBatches(ctx, i.row.ID, 1<<62, true, 1)
		if err == nil && len(last) > 0 {
			i.seq = last[0].Seq + 1
		}
		return err
	})
	if err != nil {
		return err
	}
	for n, s := range sources {
		if err := json.Unmarshal(s.Progress, &i.sources[n].state); err != nil {
			return fmt.Errorf("migration: the progress of %s: %w", s.Path, err)
		}
		i.sources[n].state = i.sources[n].state.clone()
	}
	if err := json.Unmarshal(i.row.Progress, &i.later); err != nil {
		return fmt.Errorf("migration: the progress of run %s: %w", i.row.ID, err)
	}
	return nil
}

// takeUp makes this process the one that works on a run, unless it is not as it was seen any more: another
// process took it up, ended it or rolls it back. In the same transaction then reads what that one may have
// changed, and change changes the run's row, which is returned as it is stored.
func takeUp(ctx context.Context, t Target, seen models.ImportRun, change func(*models.ImportRun), then func(ctx context.Context) error) (models.ImportRun, error) {
	owner, err := uuid.NewV7()
	if err != nil {
		return seen, fmt.Errorf("migration: %w", err)
	}
	row := seen
	err = t.Batch(ctx, func(ctx context.Context) error {
		if err := t.OwnRun(ctx, seen.ID, seen.Owner); err != nil {
			return err
		}
		var err error
		if row, err = t.ImportRun(ctx, seen.ID); err != nil {
			return err
		}
		if row.State != seen.State {
			return fmt.Errorf("migration: run %s: %w: it was %s and is %s by now", seen.ID, repo.ErrTaken, seen.State, row.State)
		}
		row.Owner = owner.String()
		change(&row)
		if err := t.SaveRun(ctx, row); err != nil {
			return err
		}
		return then(ctx)
	})
	if err != nil {
		return seen, err
	}
	return row, nil
}

// backup copies the sources, and a target that has data where it is a file.
func (i *importer) backup(ctx context.Context) error {
	dir := i.row.Backup
	if dir == "" {
		if i.recorded || i.opts.NoBackup || i.opts.BackupDir == "" || i.opts.Replay != "" || i.opts.DryRun {
			return i.identify(ctx)
		}
		dir = filepath.Join(i.opts.BackupDir, i.row.ID)
	}
	manifest, err := ReadManifest(dir)
	if err != nil {
		if i.recorded {
			i.warn("the backup of the run in %s cannot be read and is not used: %v", dir, err)
			return nil
		}
		_, none := os.Stat(filepath.Dir(dir))
		// A backup without its manifest is none, and one of a run that wrote nothing is of no use.
		i.closers = append(i.closers, func() error {
			if i.recorded {
				return nil
			}
			err := os.RemoveAll(dir)
			if none != nil {
				_ = os.Remove(filepath.Dir(dir)) // the folder of all backups, when it holds no other
			}
			return err
		})
		if manifest, err = i.makeBackup(ctx, dir); err != nil {
			return err
		}
	}
	i.row.Backup, i.report.Backup = dir, dir
	for n, s := range i.sources {
		if n < len(manifest.Sources) && len(manifest.Sources[n].Files) > 0 {
			s.open, s.fingerprint = filepath.Join(dir, manifest.Sources[n].Files[0].Name), manifest.Sources[n].Fingerprint
		}
	}
	return nil
}

// identify takes the fingerprints of sources of which there is no backup.
func (i *importer) identify(ctx context.Context) error {
	for _, s := range i.sources {
		if s.fingerprint != "" || i.opts.DryRun {
			continue
		}
		var err error
		if s.fingerprint, err = fingerprint(ctx, s.found); err != nil {
			return err
		}
	}
	return nil
}

func (i *importer) makeBackup(ctx context.Context, dir string) (*Manifest, error) {
	found := make([]Found, len(i.sources))
	for n, s := range i.sources {
		found[n] = s.found
	}
	target := Snapshotter(i.real)
	if empty, err := i.real.IsEmpty(ctx); err != nil || empty {
		if err != nil {
			return nil, err
		}
		target = nil
	}
	manifest, err := backupSources(ctx, dir, i.row.ID, found, target, func(path string, done, total int64) {
		i.tell(Progress{Source: path, Done: done, Total: total})
	})
	if err != nil {
		return nil, err
	}
	for _, s := range manifest.Sources {
		for _, f := range s.Files {
			i.report.Phases[len(i.report.Phases)-1].Bytes += f.Size
		}
	}
	return manifest, nil
}

// initialize opens every source and records the run.
func (i *importer) initialize(ctx context.Context) error {
	if i.opts.Replay != "" {
		if err := i.openReplay(ctx); err != nil {
			return err
		}
	} else if err := i.openSources(ctx); err != nil {
		return err
	}
	if err := i.openRejects(); err != nil {
		return err
	}
	empty, err := i.target.IsEmpty(ctx)
	if err != nil {
		return err
	}
	if i.row.Options, err = i.opts.decisive(); err != nil {
		return err
	}
	if !i.recorded {
		owner, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("migration: %w", err)
		}
		i.row.Owner = owner.String()
	}
	err = i.target.Batch(ctx, func(ctx context.Context) error { return i.record(ctx, empty && !i.recorded) })
	if err != nil {
		return err
	}
	if empty && !i.recorded {
		i.fresh = newNewIDs()
	}
	i.recorded = true
	if d, ok := i.target.(deferring); ok && i.later.Deferred {
		i.target = d.WithoutText()
	}
	return nil
}

// openSources opens a private copy of every source. All that is wrong is said at once.
func (i *importer) openSources(ctx context.Context) error {
	var errs []error
	for _, s := range i.sources {
		if err := os.Mkdir(s.dir, 0o700); err != nil {
			return fmt.Errorf("migration: %w", err)
		}
		open, err := reader(s.found.Kind, s.found.Path)
		if err == nil {
			s.source, err = open(ctx, s.open, s.dir)
		}
		if err != nil {
			err = inPlace(err, s.open, s.found.Path)
			s.report.Error = err.Error()
			errs = append(errs, err)
			continue
		}
		i.closers = append(i.closers, s.source.Close)
		if in, ok := s.source.(Inspector); ok {
			if err := inPlace(in.Inspect(ctx), s.open, s.found.Path); err != nil {
				s.report.Error = err.Error()
				errs = append(errs, err)
				continue
			}
		}
		if err := inPlace(i.describe(ctx, s), s.open, s.found.Path); err != nil {
			s.report.Error = err.Error()
			errs = append(errs, err)
			continue
		}
		if w, ok := s.source.(warner); ok {
			i.report.Warnings = append(i.report.Warnings, w.Warnings()...)
		}
	}
	return errors.Join(errs...)
}

// inPlace has an error about a copy name the original.
func inPlace(err error, copied, original string) error {
	if err == nil || copied == original {
		return err
	}
	return &placed{err, copied, original}
}

type placed struct {
	err              error
	copied, original string
}

func (p *placed) Error() string { return strings.ReplaceAll(p.err.Error(), p.copied, p.original) }
func (p *placed) Unwrap() error { return p.err }

// describe adds to the preflight what only the opened source tells.
func (i *importer) describe(ctx context.Context, s *openSource) error {
	n := slices.Index(i.sources, s)
	if n >= len(i.report.Preflight) {
		return nil
	}
	tables, err := s.source.Tables(ctx)
	if err != nil {
		return err
	}
	check := &i.report.Preflight[n]
	check.Tables = map[string]int64{}
	for _, t := range tables {
		check.Tables[t.Name] = t.Rows
	}
	if chat, ok := s.source.(*sqliteSource); ok {
		index, err := chat.index(ctx)
		if err != nil {
			return err
		}
		check.Version = index.level
	}
	return nil
}

// warner is a Source that has something to say to people.
type warner interface{ Warnings() []string }

// record stores the run with its sources; fresh has what an empty target allows put off.
func (i *importer) record(ctx context.Context, fresh bool) error {
	if fresh && !i.opts.DryRun {
		dropped, err := i.target.DropForLoad(ctx, true)
		if err != nil {
			return err
		}
		_, defers := i.target.(deferring)
		i.later = putOff{Deferred: defers, Dropped: dropped}
	}
	if i.recorded {
		if err := i.target.OwnRun(ctx, i.row.ID, i.row.Owner); err != nil {
			return err
		}
	}
	i.row.Phase = string(i.phase)
	if err := i.saveRun(ctx); err != nil || i.recorded {
		return err
	}
	for n, s := range i.sources {
		config := models.JSON("{}")
		if s.found.Base != nil {
			var err error
			if config, err = models.NewJSON(s.found.Base); err != nil {
				return err
			}
		}
		progress, err := s.state.json()
		if err != nil {
			return err
		}
		err = i.target.SaveSource(ctx, models.ImportSource{
			RunID: i.row.ID, Position: int64(n), Path: s.found.Path, Kind: string(s.found.Kind),
			Fingerprint: s.fingerprint, Config: config, Progress: progress,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (i *importer) saveRun(ctx context.Context) error {
	var err error
	if i.row.Progress, err = models.NewJSON(i.later); err != nil {
		return err
	}
	return i.target.SaveRun(ctx, i.row)
}

// load imports the sources of one kind. One that is damaged does not keep the others from being read.
func (i *importer) load(ctx context.Context, kind Kind) error {
	var errs []error
	for n, s := range i.sources {
		if s.found.Kind != kind {
			continue
		}
		err := inPlace(i.one(ctx, int64(n), s), s.open, s.found.Path)
		if err == nil {
			continue
		}
		s.report.Error = err.Error()
		errs = append(errs, err)
		var fatal *targetError
		if ctx.Err() != nil || errors.As(err, &fatal) {
			break
		}
	}
	return errors.Join(errs...)
}

// one imports a source.
func (i *importer) one(ctx context.Context, position int64, s *openSource) (err error) {
	list, err := s.source.Tables(ctx)
	if err != nil {
		return err
	}
	tables := map[string]SourceTable{}
	for _, t := range list {
		tables[t.Name] = t
	}
	j := job{importer: i, src: s.source, report: s.report, tables: tables, list: list, position: position, state: s.state}
	j.sync()
	switch s.found.Kind {
	case KindSQLite:
		chat, ok := s.source.(*sqliteSource)
		if !ok {
			return fmt.Errorf("migration: %s: %w: its reader does not index it", s.found.Path, ErrNoReader)
		}
		index, err := chat.index(ctx)
		if err != nil {
			return err
		}
		return (&chatJob{job: j, index: index}).run(ctx)
	case KindDuckDB:
		k := &knowledgeJob{job: j, found: s.found}
		defer func() { err = errors.Join(err, k.close()) }()
		return k.run(ctx, s.dir)
	default:
		return fmt.Errorf("migration: %s: %w: kind %q", s.found.Path, ErrNotLegacy, s.found.Kind)
	}
}

// validate compares what is stored with what was read, and ends the run.
func (i *importer) validate(ctx context.Context) error {
	if !i.opts.NoVerify && !i.opts.DryRun {
		v, err := verifyRun(ctx, i.target, i.row.ID, i.tell)
		if err != nil {
			return err
		}
		i.report.Verification = v
		if !v.OK {
			return fmt.Errorf("migration: %w: %s", ErrVerification, v.first())
		}
	}
	i.report.OK, i.report.Milliseconds = true, time.Since(i.started).Milliseconds()
	i.row.State, i.row.FinishedAt, i.row.Phase = models.ImportDone, time.Now().UnixMilli(), string(PhaseValidate)
	report, err := json.Marshal(i.report)
	if err != nil {
		return err
	}
	if i.row.Report, err = models.ParseJSON(report); err != nil {
		return fmt.Errorf("migration: the report: %w", err)
	}
	return i.target.Batch(ctx, func(ctx context.Context) error {
		if err := i.target.OwnRun(ctx, i.row.ID, i.row.Owner); err != nil {
			return err
		}
		if err := i.target.MarkImported(ctx); err != nil {
			return err
		}
		return i.saveRun(ctx)
	})
}

// tell reports progress, with pace and time remaining.
func (i *importer) tell(p Progress) {
	if i.opts.Progress == nil {
		return
	}
	p.Run, p.Phase = i.row.ID, i.phase
	if i.pace == nil || !i.pace.of(p) {
		i.pace = newPace(p, time.Now)
	}
	i.pace.add(&p)
	i.opts.Progress(p)
}

// reader returns the OpenFunc of a kind of file.
func reader(kind Kind, path string) (OpenFunc, error) {
	readersMu.RLock()
	defer readersMu.RUnlock()
	if open := readers[kind]; open != nil {
		return open, nil
	}
	return nil, fmt.Errorf(`migration: %s: %w: add import _ "github.com/talkbase/talkbase/migration/%s"`, path, ErrNoReader, kind)
}
