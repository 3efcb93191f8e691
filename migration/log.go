package migration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/memory"
)

// progressEvery is how often the progress of one phase is logged at level info; the rest is for debug.
const progressEvery = 10 * time.Second

// causes are the errors of this package, whose texts hold no data.
var causes = []error{
	ErrSourceDamaged, ErrSourceLocked, ErrNotLegacy, ErrNoReader, ErrSourceChanged, ErrUnfinished, ErrNothingToResume,
	ErrVerification, ErrEdited, ErrRolledBack, ErrBackupDamaged, ErrRejectFile,
}

// LogProgress returns a function for the Progress of options that logs what it is told and passes it
// on to next, which may be nil, and one that logs how the work ended. Phases are also events of the
// span that ctx carries. Neither shows paths, contents, or the message of an error, which may quote
// them.
func LogProgress(ctx context.Context, log *slog.Logger, work string, next func(Progress)) (progress func(Progress), ended func(err error, more ...slog.Attr)) {
	start := time.Now()
	var run string
	var phase Phase
	var told time.Time
	span := trace.SpanFromContext(ctx)
	progress = func(p Progress) {
		level, msg := slog.LevelDebug, work+" goes on"
		if run = p.Run; p.Phase != phase {
			phase, level, msg = p.Phase, slog.LevelInfo, work+" phase"
			span.AddEvent(string(p.Phase), trace.WithAttributes(attribute.String("talkbase.run", p.Run)))
			told = time.Now()
		} else if time.Since(told) >= progressEvery {
			level, told = slog.LevelInfo, time.Now()
		}
		if log.Enabled(ctx, level) {
			log.LogAttrs(ctx, level, msg, slog.String("run", p.Run), slog.String("phase", string(p.Phase)), slog.String("table", p.Table),
				slog.Int64("done", p.Done), slog.Int64("total", p.Total), slog.Float64("per_second", p.PerSecond), slog.Duration("remaining", p.Remaining))
		}
		if next != nil {
			next(p)
		}
	}
	ended = func(err error, more ...slog.Attr) {
		attrs := append([]slog.Attr{slog.String("run", run), slog.Duration("duration", time.Since(start))}, more...)
		if err == nil {
			log.LogAttrs(ctx, slog.LevelInfo, work+" done", attrs...)
			return
		}
		attrs = append(attrs, slog.String("phase", string(phase)), slog.String("code", engine.Code(err)))
		var me *MigrationError
		if errors.As(err, &me) {
			attrs = append(attrs, slog.Bool("recoverable", me.Recoverable))
		}
		known := engine.Code(err) != "DATABASE"
		for _, c := range causes {
			if errors.Is(err, c) {
				known = true
				attrs = append(attrs, slog.String("cause", c.Error()))
			}
		}
		if !known {
			attrs = append(attrs, slog.String("error_type", fmt.Sprintf("%T", innermost(err))), slog.Any("stack", engine.Stack(1)))
		}
		level := slog.LevelError
		if known {
			level = slog.LevelWarn
		}
		log.LogAttrs(ctx, level, work+" failed", attrs...)
	}
	return progress, ended
}

func innermost(err error) error {
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return err
}

// within has an import get along with the memory that its target shares.
func (o ImportOptions) within(target Target) ImportOptions {
	if o.MemoryLimit <= 0 {
		o.MemoryLimit = DefaultMemoryLimit
	}
	if limit := memoryOf(target).Limit(); limit > 0 {
		o.MemoryLimit = min(o.MemoryLimit, limit)
	}
	return o
}

// memoryOf is the memory that the calls of a target share, nil where it has none.
func memoryOf(t Target) *memory.Manager {
	if m, ok := t.(interface{ Memory() *memory.Manager }); ok {
		return m.Memory()
	}
	return nil
}
