package engine

import (
	"context"
	"log/slog"
	"time"

	gormlogger "gorm.io/gorm/logger"
)

// gormLogger tells an observer of gorm's statements.
type gormLogger struct {
	o   *Observer
	log *slog.Logger
}

func newGormLogger(o Options) gormlogger.Interface { return gormLogger{o.Observer, o.Logger} }

// LogMode keeps the level that slog has.
func (g gormLogger) LogMode(gormlogger.LogLevel) gormlogger.Interface { return g }

// Info, Warn and Error log what gorm says of itself. Its arguments may hold values, and are left out.

func (g gormLogger) Info(ctx context.Context, msg string, _ ...any)  { g.log.InfoContext(ctx, msg) }
func (g gormLogger) Warn(ctx context.Context, msg string, _ ...any)  { g.log.WarnContext(ctx, msg) }
func (g gormLogger) Error(ctx context.Context, msg string, _ ...any) { g.log.ErrorContext(ctx, msg) }

// ParamsFilter drops the values, so that no chat ever reaches a log.
func (gormLogger) ParamsFilter(_ context.Context, sql string, _ ...any) (string, []any) {
	return sql, nil
}

// Trace is called by gorm after each of its statements. Where gorm's Scan ran it, the values are in its
// text all the same, and where its Rows did, the error is the driver's own.
func (g gormLogger) Trace(ctx context.Context, begin time.Time, fc func() (string, int64), err error) {
	if g.o == nil {
		return
	}
	query, rows := fc()
	if err != nil {
		err = g.o.classify(err)
	}
	g.o.statement(ctx, begin, query, rows, err)
}
