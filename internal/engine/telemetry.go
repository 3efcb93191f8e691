package engine

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/talkbase/talkbase/memory"
)

// Scope is the name under which talkbase's traces and metrics appear.
const Scope = "github.com/talkbase/talkbase"

// telemetry gives OpenTelemetry a span and a duration for each statement, by its semantic conventions
// for database clients (v1.43.0), without the values of queries and the server's address. A nil
// *telemetry does nothing.
type telemetry struct {
	tracer trace.Tracer // nil without traces
	meter  metric.Meter // nil without metrics
	took   metric.Float64Histogram
	system attribute.KeyValue
}

// Telemetry has the observer trace and measure statements by the host's providers; nil is none. It is
// called before the first statement.
func (o *Observer) Telemetry(tracers trace.TracerProvider, meters metric.MeterProvider) error {
	if o == nil || tracers == nil && meters == nil {
		return nil
	}
	t := &telemetry{}
	if tracers != nil {
		t.tracer = tracers.Tracer(Scope, trace.WithSchemaURL(semconv.SchemaURL))
	}
	if meters != nil {
		t.meter = meters.Meter(Scope, metric.WithSchemaURL(semconv.SchemaURL))
		var err error
		t.took, err = t.meter.Float64Histogram("db.client.operation.duration", metric.WithUnit("s"),
			metric.WithDescription("Duration of database client operations."),
			// As the conventions advise.
			metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10))
		if err != nil {
			return err
		}
	}
	o.telemetry = t
	return nil
}

func (t *telemetry) speak(name string) {
	switch {
	case t == nil:
	case name == Postgres:
		t.system = semconv.DBSystemNamePostgreSQL
	default:
		t.system = semconv.DBSystemNameSQLite
	}
}

// shapeTelemetry is what is the same for all statements of a shape.
type shapeTelemetry struct {
	name string
	// brief is for those that only matter when they had to wait.
	brief bool
	// started is the option that has the span's attributes.
	started trace.SpanStartEventOption
	// ended are the options of the duration of a statement that did not fail.
	ended []metric.RecordOption
}

var client = trace.WithSpanKind(trace.SpanKindClient)

// briefly is how long a statement may take that is no news then.
const briefly = time.Millisecond

// shape prepares what is the same for all statements of a shape.
func (t *telemetry) shape(of statementShape) (s shapeTelemetry) {
	if t == nil {
		return s
	}
	s.name = strings.TrimSpace(of.operation + " " + of.table)
	s.brief = of.operation == "BEGIN" || of.operation == "ROLLBACK"
	operation := semconv.DBOperationName(of.operation)
	s.started = trace.WithAttributes(t.system, operation, semconv.DBQueryText(of.text), attribute.Int("talkbase.query.parameters", of.parameters))
	s.ended = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(t.system, operation))}
	return s
}

// statement makes the span when the statement has ended, as of when it began: it has no parts.
func (t *telemetry) statement(ctx context.Context, start time.Time, took time.Duration, s *shape, rows int64, code string) {
	switch {
	case t.took == nil:
	case code == "":
		t.took.Record(ctx, took.Seconds(), s.telemetry.ended...)
	default:
		t.took.Record(ctx, took.Seconds(), metric.WithAttributes(t.system, semconv.DBOperationName(s.operation), semconv.ErrorTypeKey.String(code)))
	}
	if t.tracer == nil || s.telemetry.brief && took < briefly && code == "" {
		return
	}
	_, span := t.tracer.Start(ctx, s.telemetry.name, trace.WithTimestamp(start), client, s.telemetry.started)
	if rows >= 0 {
		span.SetAttributes(semconv.DBResponseReturnedRows(int(rows)))
	}
	if code != "" {
		span.SetAttributes(semconv.ErrorTypeKey.String(code))
		span.SetStatus(otelcodes.Error, code)
	}
	span.End(trace.WithTimestamp(start.Add(took)))
}

// Operation begins the span of a call of the public interface, which has statements as its parts. End
// takes what became of it: the code of an error is shown, its message is not.
func (o *Observer) Operation(ctx context.Context, name string) (spanned context.Context, end func(error)) {
	if o == nil || o.telemetry == nil || o.telemetry.tracer == nil {
		return ctx, func(error) {}
	}
	ctx, span := o.telemetry.tracer.Start(ctx, name)
	return ctx, func(err error) {
		if err != nil {
			code := Code(generic(err))
			span.SetAttributes(semconv.ErrorTypeKey.String(code))
			span.SetStatus(otelcodes.Error, code)
		}
		span.End()
	}
}

// Tracing reports whether operations have spans.
func (o *Observer) Tracing() bool { return o != nil && o.telemetry != nil && o.telemetry.tracer != nil }

// watch measures connection pools, by their names, and the memory that calls share, until stop is called.
func (o *Observer) watch(pools map[string]*sql.DB, m *memory.Manager) (stop func(), err error) {
	if o == nil || o.telemetry == nil || o.telemetry.meter == nil {
		return func() {}, nil
	}
	meter := o.telemetry.meter
	var errs error
	upDown := func(name, unit, description string) metric.Int64ObservableUpDownCounter {
		c, err := meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = errors.Join(errs, err)
		return c
	}
	counter := func(name, unit, description string) metric.Int64ObservableCounter {
		c, err := meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = errors.Join(errs, err)
		return c
	}
	conns := upDown("db.client.connection.count", "{connection}", "Connections by their state.")
	most := upDown("db.client.connection.max", "{connection}", "The most connections there may be.")
	waits := counter("talkbase.db.client.connection.waits", "{wait}", "How often a caller waited for a connection.")
	waited, err := meter.Float64ObservableCounter("talkbase.db.client.connection.waited", metric.WithUnit("s"), metric.WithDescription("How long callers waited for connections."))
	used := upDown("talkbase.memory.used", "By", "Memory that calls have set aside.")
	cached := upDown("talkbase.memory.cached", "By", "The part of it that caches give back on demand.")
	limit := upDown("talkbase.memory.limit", "By", "Memory that calls may set aside.")
	memoryWaits := counter("talkbase.memory.waits", "{wait}", "How often a call waited for memory.")
	if errs = errors.Join(errs, err); errs != nil {
		return nil, errs
	}
	all := []metric.Observable{conns, most, waits, waited}
	if m != nil {
		all = append(all, used, cached, limit, memoryWaits)
	}
	r, err := meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		for name, p := range pools {
			st, pool := p.Stats(), semconv.DBClientConnectionPoolName(name)
			of := metric.WithAttributes(o.telemetry.system, pool)
			to.ObserveInt64(conns, int64(st.Idle), metric.WithAttributes(o.telemetry.system, pool, semconv.DBClientConnectionStateIdle))
			to.ObserveInt64(conns, int64(st.InUse), metric.WithAttributes(o.telemetry.system, pool, semconv.DBClientConnectionStateUsed))
			to.ObserveInt64(most, int64(st.MaxOpenConnections), of)
			to.ObserveInt64(waits, st.WaitCount, of)
			to.ObserveFloat64(waited, st.WaitDuration.Seconds(), of)
		}
		if m != nil {
			u := m.Usage()
			to.ObserveInt64(used, u.Used)
			to.ObserveInt64(cached, u.Cached)
			to.ObserveInt64(limit, u.Limit)
			to.ObserveInt64(memoryWaits, u.Waits)
		}
		return nil
	}, all...)
	if err != nil {
		return nil, err
	}
	return func() { _ = r.Unregister() }, nil
}
