package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"gorm.io/gorm"
)

func logTo(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

func TestWhatIsLoggedOfAStatement(t *testing.T) {
	t.Parallel()
	strange := fmt.Errorf("saving: %w", errors.New("it holds a secret"))
	for name, c := range map[string]struct {
		took time.Duration
		err  error
		want []string
		not  []string
	}{
		"one that works":          {want: []string{"level=DEBUG", "msg=query", `query="SELECT ?"`, "parameters=1", "duration=", "rows=3"}, not: []string{"code=", "stack="}},
		"a slow one":              {took: time.Hour, want: []string{"level=WARN", `msg="slow query"`}},
		"one without a row":       {err: gorm.ErrRecordNotFound, want: []string{"level=DEBUG"}, not: []string{"code="}},
		"an error to be expected": {err: because(ErrConflict, errors.New("a secret")), want: []string{"level=DEBUG", "code=CONFLICT"}, not: []string{"secret", "stack="}},
		"trouble":                 {err: because(ErrDiskFull, errors.New("a secret")), want: []string{"level=WARN", `msg="query failed"`, "code=DISK_FULL"}, not: []string{"secret", "stack="}},
		"an unexpected error": {
			err: strange, not: []string{"secret"},
			want: []string{"level=ERROR", `msg="query failed unexpectedly"`, "code=DATABASE", "error_type=*errors.errorString", "stack=", "engine.TestWhatIsLoggedOfAStatement", "observe_test.go:"},
		},
		"a slow one that fails": {took: time.Hour, err: strange, want: []string{"level=ERROR"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			o := NewObserver(logTo(&b, slog.LevelDebug), 0)
			o.statement(t.Context(), time.Now().Add(-c.took), "SELECT ?", 3, c.err)
			if strings.Count(b.String(), "\n") != 1 {
				t.Errorf("got %q, want one line", b.String())
			}
			for _, w := range c.want {
				if !strings.Contains(b.String(), w) {
					t.Errorf("got %s, want %s in it", b.String(), w)
				}
			}
			for _, w := range c.not {
				if strings.Contains(b.String(), w) {
					t.Errorf("got %s, want no %s in it", b.String(), w)
				}
			}
		})
	}
}

func TestTheThresholdOfSlowStatements(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		slow, took time.Duration
		warns      bool
	}{
		"the default":       {0, time.Second, true},
		"below the default": {0, 0, false},
		"never":             {-1, time.Hour, false},
		"its own":           {2 * time.Hour, time.Hour, false},
		"always":            {1, time.Millisecond, true},
	} {
		var b bytes.Buffer
		o := NewObserver(logTo(&b, slog.LevelWarn), c.slow)
		o.statement(t.Context(), time.Now().Add(-c.took), "SELECT 1", 1, nil)
		if got := strings.Contains(b.String(), "slow query"); got != c.warns {
			t.Errorf("%s: got a warning %t, want %t", name, got, c.warns)
		}
	}
}

func TestSlowQueriesCountByShape(t *testing.T) {
	t.Parallel()
	o := NewObserver(slog.New(slog.DiscardHandler), -1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 50 {
				o.statement(t.Context(), time.Now().Add(-time.Minute), fmt.Sprintf("SELECT a FROM m WHERE b = '%d' AND c = ?", i), 2, nil)
			}
			o.statement(t.Context(), time.Now().Add(-time.Hour), "SELECT a FROM m WHERE b = 'x' AND c = ?", -1, ErrBusy)
			o.statement(t.Context(), time.Now(), "COMMIT", -1, nil)
		})
	}
	wg.Wait()
	got := o.SlowQueries(0)
	if len(got) != 2 || len(o.SlowQueries(1)) != 1 {
		t.Fatalf("got %+v, want two shapes", got)
	}
	q := got[0]
	if q.Query != "SELECT a FROM m WHERE b = ? AND c = ?" || q.Parameters != 1 || q.Calls != 408 || q.Failed != 8 || q.Rows != 800 ||
		q.Max < time.Hour || q.Max > time.Hour+time.Minute || q.Total < 8*time.Hour+400*time.Minute {
		t.Errorf("got %+v, want 408 calls, 8 of them failed, 800 rows, an hour at most", q)
	}
	if (*Observer)(nil).SlowQueries(0) != nil {
		t.Error("without an observer: got shapes, want none")
	}
}

func TestShapesAreBounded(t *testing.T) {
	t.Parallel()
	o := NewObserver(slog.New(slog.DiscardHandler), -1)
	ctx, now := context.Background(), time.Now()
	o.statement(ctx, now.Add(-time.Hour), "SELECT the slowest", 1, nil)
	for i := range 3 * maxShapes {
		o.statement(ctx, now, "SELECT a"+strings.Repeat("b", i), 1, nil)
	}
	for i := range 2 * maxKnownTexts {
		o.statement(ctx, now, fmt.Sprintf("SELECT '%d'", i), 1, nil)
	}
	known := 0
	o.shapes.known.Range(func(any, any) bool { known++; return true })
	if all := o.SlowQueries(0); len(all) > maxShapes || known > maxKnownTexts || all[0].Query != "SELECT the slowest" {
		t.Errorf("got %d shapes of %d texts, the first %q, want at most %d of %d, and the slowest first", len(all), known, all[0].Query, maxShapes, maxKnownTexts)
	}
}

func TestSpansAndDurations(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	reader := sdkmetric.NewManualReader()
	o := NewObserver(slog.New(slog.DiscardHandler), -1)
	if o.Tracing() {
		t.Error("before it is asked for: got traces, want none")
	}
	if err := o.Telemetry(tracers, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))); err != nil || !o.Tracing() {
		t.Fatalf("telemetry: got %v, %t, want traces", err, o.Tracing())
	}
	o.speak(Postgres)
	ctx, end := o.Operation(t.Context(), "InsertMessage")
	start := time.Now().Add(-time.Minute)
	o.statement(ctx, start, "INSERT INTO messages VALUES ('secret', $1)", 1, because(ErrConflict, errors.New("secret")))
	end(because(ErrConflict, errors.New("secret")))

	got := spans.GetSpans()
	if len(got) != 2 {
		t.Fatalf("got %d spans, want 2", len(got))
	}
	s, op := got[0], got[1]
	if s.Name != "INSERT messages" || op.Name != "InsertMessage" || s.Parent.SpanID() != op.SpanContext.SpanID() || !s.StartTime.Equal(start) || s.EndTime.Sub(start) < time.Minute {
		t.Errorf("got %s from %v to %v in %s, want INSERT messages of a minute in InsertMessage", s.Name, s.StartTime, s.EndTime, op.Name)
	}
	attrs := attribute.NewSet(s.Attributes...)
	for key, want := range map[attribute.Key]string{
		"db.system.name": "postgresql", "db.query.text": "INSERT INTO messages VALUES (?, …)", "db.operation.name": "INSERT",
		"talkbase.query.parameters": "1", "error.type": "CONFLICT", "db.response.returned_rows": "1",
	} {
		if v, _ := attrs.Value(key); v.String() != want {
			t.Errorf("%s: got %s, want %s", key, v.String(), want)
		}
	}
	if s.Status.Description != "CONFLICT" || op.Status.Description != "CONFLICT" || strings.Contains(fmt.Sprint(got), "secret") {
		t.Errorf("got %+v, want the code and nothing else of the error", got)
	}
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	h, ok := rm.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64])
	if !ok || len(h.DataPoints) != 1 || h.DataPoints[0].Count != 1 || h.DataPoints[0].Sum < 60 {
		t.Errorf("got %+v, want one statement of a minute", rm.ScopeMetrics[0].Metrics)
	}
}

// BenchmarkStatement measures what each statement costs without logs and traces, and with them.
func BenchmarkStatement(b *testing.B) {
	const query = "SELECT id, msg_id, content FROM messages WHERE conversation_id = ? AND order_seq > ? ORDER BY order_seq, id LIMIT ?"
	ctx := context.Background()
	for name, o := range map[string]*Observer{
		"off":     NewObserver(logTo(io.Discard, slog.LevelWarn), 0),
		"logging": NewObserver(logTo(io.Discard, slog.LevelDebug), 0),
		"tracing": func() *Observer {
			o := NewObserver(logTo(io.Discard, slog.LevelWarn), 0)
			if err := o.Telemetry(sdktrace.NewTracerProvider(), nil); err != nil {
				b.Fatal(err)
			}
			return o
		}(),
		"measuring": func() *Observer {
			o := NewObserver(logTo(io.Discard, slog.LevelWarn), 0)
			if err := o.Telemetry(nil, sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))); err != nil {
				b.Fatal(err)
			}
			return o
		}(),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				o.statement(ctx, time.Now(), query, 1, nil)
			}
		})
	}
}
