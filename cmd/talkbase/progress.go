package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/talkbase/talkbase/migration"
)

// progress shows how far an import has come.
type progress interface {
	update(p migration.Progress)
	// end is called once, when nothing more happens.
	end(ok bool)
}

// progress is bars on a terminal, lines elsewhere, and nothing for programs and the quiet.
func (a *app) progress(quiet bool) progress {
	if quiet || a.json {
		return silence{}
	}
	if _, ok := terminal(a.stderr); ok {
		return &bars{container: mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(32)), bars: map[string]*bar{}}
	}
	return &lines{w: a.stderr, every: 2 * time.Second}
}

// subject says in words what is being worked on.
func subject(p migration.Progress) string {
	var parts []string
	if p.Source != "" {
		parts = append(parts, oneLine(filepath.Base(p.Source))+":")
	}
	switch p.Phase {
	case migration.PhaseBackup:
		parts = append(parts, "backup")
	case migration.PhaseIndex:
		parts = append(parts, "indexes")
	case migration.PhaseText:
		parts = append(parts, "text index")
		if p.Table != "" {
			parts = append(parts, "of")
		}
	case migration.PhaseValidate:
		parts = append(parts, "verifying")
	case migration.PhaseRollback:
		parts = append(parts, "rolling back")
	case migration.PhaseDump:
		parts = append(parts, "writing")
	case migration.PhaseCheck:
		parts = append(parts, "checking")
	case migration.PhaseRestore:
		parts = append(parts, "restoring")
	case migration.PhaseCopy:
		parts = append(parts, "copying")
	}
	return strings.Join(append(parts, p.Table), " ")
}

// amount writes what is done: bytes of a backup, else rows.
func amount(p migration.Progress, n int64) string {
	if p.Phase == migration.PhaseBackup {
		return humanize.Bytes(uint64(max(n, 0)))
	}
	return number(n)
}

type silence struct{}

func (silence) update(migration.Progress) {}
func (silence) end(bool)                  {}

// lines writes a line for each table that is done, and now and then for one that takes long.
type lines struct {
	w     io.Writer
	every time.Duration
	last  time.Time
	shown string
}

// begins reports whether p says no more than that a phase begins.
func begins(p migration.Progress) bool { return p.Source == "" && p.Table == "" && p.Total == 0 }

func (l *lines) update(p migration.Progress) {
	if begins(p) {
		return
	}
	line := subject(p) + " " + amount(p, p.Done)
	if p.Total > 0 {
		line += " of " + amount(p, p.Total)
	}
	if line == l.shown || p.Done != p.Total && time.Since(l.last) < l.every {
		return
	}
	l.last, l.shown = time.Now(), line
	if p.Remaining > 0 && p.Done < p.Total {
		line += fmt.Sprintf(", %s a second, %s left", amount(p, int64(p.PerSecond)), p.Remaining.Round(time.Second))
	}
	_, _ = fmt.Fprintln(l.w, line)
}

func (l *lines) end(bool) {}

// bar is one bar and what is written beside it.
type bar struct {
	*mpb.Bar
	beside string
}

// bars draws one bar for each thing that is worked on.
type bars struct {
	container *mpb.Progress
	bars      map[string]*bar
}

func (b *bars) update(p migration.Progress) {
	if begins(p) {
		return
	}
	key := string(p.Phase) + subject(p)
	one := b.bars[key]
	if one == nil {
		one = &bar{}
		one.Bar = b.container.AddBar(p.Total,
			mpb.PrependDecorators(decor.Name(subject(p), decor.WCSyncSpaceR), decor.Percentage(decor.WCSyncSpace)),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return one.beside })))
		b.bars[key] = one
	}
	beside := amount(p, p.Done)
	if p.Total > 0 {
		beside += " of " + amount(p, p.Total)
	}
	if p.Remaining > 0 && p.Done < p.Total {
		beside += fmt.Sprintf(", %s/s, %s left", amount(p, int64(p.PerSecond)), p.Remaining.Round(time.Second))
	}
	one.beside = beside
	one.SetCurrent(p.Done)
}

func (b *bars) end(ok bool) {
	for _, one := range b.bars {
		if ok {
			one.SetTotal(-1, true) // rows that were fewer than announced
		} else {
			one.Abort(false)
		}
	}
	b.container.Wait()
}
