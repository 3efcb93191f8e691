package main

import (
	"fmt"
	"io"
	"path/filepath"
	"time"

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
		return &bars{container: mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(32)), bars: map[progressKey]*mpb.Bar{}}
	}
	return &lines{w: a.stderr, every: 2 * time.Second}
}

type silence struct{}

func (silence) update(migration.Progress) {}
func (silence) end(bool)                  {}

// lines writes a line for each table that is done, and now and then for one that takes long.
type lines struct {
	w     io.Writer
	every time.Duration
	last  time.Time
	shown migration.Progress
}

func (l *lines) update(p migration.Progress) {
	if p == l.shown || p.Done < p.Total && time.Since(l.last) < l.every {
		return
	}
	l.last, l.shown = time.Now(), p
	_, _ = fmt.Fprintf(l.w, "%s: %s %s of %s\n", oneLine(filepath.Base(p.Source)), p.Table, number(p.Done), number(p.Total))
}

func (l *lines) end(bool) {}

type progressKey struct{ source, table string }

// bars draws one bar for each table.
type bars struct {
	container *mpb.Progress
	bars      map[progressKey]*mpb.Bar
}

func (b *bars) update(p migration.Progress) {
	key := progressKey{p.Source, p.Table}
	bar := b.bars[key]
	if bar == nil {
		bar = b.container.AddBar(p.Total,
			mpb.PrependDecorators(
				decor.Name(oneLine(filepath.Base(p.Source))+" "+p.Table, decor.WCSyncSpaceR),
				decor.CountersNoUnit("%d/%d", decor.WCSyncSpace)),
			mpb.AppendDecorators(decor.Percentage(decor.WCSyncSpace)))
		b.bars[key] = bar
	}
	bar.SetCurrent(p.Done)
}

func (b *bars) end(ok bool) {
	for _, bar := range b.bars {
		if ok {
			bar.SetTotal(-1, true) // rows that were fewer than announced
		} else {
			bar.Abort(false)
		}
	}
	b.container.Wait()
}
