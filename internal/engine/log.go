package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm"
	gormlogger "gorm.io/gorm/logger"
)

// slowQuery is from when on a statement is worth a warning.
const slowQuery = 500 * time.Millisecond

// gormLogger hands gorm's statements to slog without the values bound to them.
type gormLogger struct{ log *slog.Logger }

func newGormLogger(l *slog.Logger) gormlogger.Interface { return gormLogger{l} }

// LogMode keeps the level that slog has.
func (g gormLogger) LogMode(gormlogger.LogLevel) gormlogger.Interface { return g }

func (g gormLogger) Info(ctx context.Context, msg string, args ...any) {
	g.log.InfoContext(ctx, fmt.Sprintf(msg, args...))
}

func (g gormLogger) Warn(ctx context.Context, msg string, args ...any) {
	g.log.WarnContext(ctx, fmt.Sprintf(msg, args...))
}

func (g gormLogger) Error(ctx context.Context, msg string, args ...any) {
	g.log.ErrorContext(ctx, fmt.Sprintf(msg, args...))
}

// ParamsFilter drops the values, so that no chat ever reaches a log.
func (gormLogger) ParamsFilter(_ context.Context, sql string, _ ...any) (string, []any) {
	return sql, nil
}

func (g gormLogger) Trace(ctx context.Context, begin time.Time, fc func() (string, int64), err error) {
	level := slog.LevelDebug
	took := time.Since(begin)
	if took >= slowQuery {
		level = slog.LevelWarn
	}
	if !g.log.Enabled(ctx, level) {
		return
	}
	query, rows := fc()
	attrs := []slog.Attr{slog.String("query", query), slog.Duration("duration", took), slog.Int64("rows", rows)}
	if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
		attrs = append(attrs, slog.String("code", Code(generic(err))))
	}
	msg := "query"
	if level == slog.LevelWarn {
		msg = "slow query"
	}
	g.log.LogAttrs(ctx, level, msg, attrs...)
}
