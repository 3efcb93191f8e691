package bench

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"

	"go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/memory"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
	"github.com/talkbase/talkbase/services"
)

// GroupOverhead is what logging, tracing and the memory budget cost, against the same calls of a
// database without any of their hooks.
const GroupOverhead = "overhead"

const (
	offTarget = 1.05
	onTarget  = 1.15
	// observedVectors are searched, upsertedVectors stored at a time.
	observedVectors   = 5000
	upsertedVectors   = 2000
	observedDimension = 384
)

// bare opens d without observer and memory budget. What else a Config sets by default is set here too.
func (e *Env) bare(ctx context.Context, d *Database, m *memory.Manager) (services.Presenter, error) {
	o := engine.Options{
		DSN: d.path, Synchronous: "NORMAL", SharedBuffers: 256 << 20, WorkMem: 64 << 20, MaintenanceWorkMem: 256 << 20,
		Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelWarn})), Memory: m,
	}
	if d.Engine == Postgres {
		o.DSN, o.Schema = e.DSN, d.schema
	}
	opened, err := engine.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	late := &engine.Late{Memory: m}
	late.Set(opened)
	e.close = append(e.close, late.Close)
	if err := opened.EnableVectors(ctx, ""); err != nil {
		return nil, err
	}
	return services.NewPresenter(repo.NewStore(late, repo.BaseDefaults{Dimensions: 1536, Metric: models.MetricCosine}), nil), nil
}

// observed opens d as an application does that asks for what configure sets.
func (e *Env) observed(ctx context.Context, d *Database, configure func(*talkbase.Config)) (services.Presenter, error) {
	cfg := talkbase.Config{DSN: d.path}
	if d.Engine == Postgres {
		cfg.DSN, cfg.Schema = e.DSN, d.schema
	}
	cfg.Performance.Synchronous = "NORMAL"
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelWarn}))
	configure(&cfg)
	db, err := talkbase.Open(ctx, cfg)
	if err == nil {
		e.close = append(e.close, db.Close)
	}
	return db, err
}

// discarded takes spans as an exporter does that sends them, without sending them.
type discarded struct{}

func (discarded) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discarded) Shutdown(context.Context) error                             { return nil }

// overhead compares calls with and without what observes them.
func (e *Env) overhead(ctx context.Context, engine string, s Sizes) ([]Comparison, error) {
	d, err := e.Database(ctx, engine, "observed", s.Small)
	if err != nil {
		return nil, err
	}
	if err := knowledge(ctx, d.DB, observedVectors, observedDimension); err != nil {
		return nil, err
	}
	vs := vectors(observedVectors, observedDimension, 3)
	if _, err := d.DB.UpsertVectors(ctx, vs); err != nil {
		return nil, err
	}
	if _, err := d.DB.CreateOptimalIndexes(ctx); err != nil {
		return nil, err
	}
	none, err := e.bare(ctx, d, nil)
	if err != nil {
		return nil, err
	}
	variants := []struct {
		name      string
		target    float64
		configure func(*talkbase.Config)
	}{
		{"logs and traces off", offTarget, func(*talkbase.Config) {}},
		{"debug log", onTarget, func(c *talkbase.Config) {
			c.Logger = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}},
		{"traces and metrics", onTarget, tracing},
		{"debug log, traces and metrics", onTarget, func(c *talkbase.Config) {
			c.Logger = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}))
			tracing(c)
		}},
	}
	var out []Comparison
	add := func(name string, target float64, a services.Presenter) error {
		calls, err := observedCalls(ctx, a, vs)
		if err != nil {
			return err
		}
		plain, err := observedCalls(ctx, none, vs)
		if err != nil {
			return err
		}
		for i, c := range calls {
			out = append(out, Comparison{
				Name: c.name + ", " + name, Target: target,
				A: Side{Label: name, Run: times(c.run)}, B: Side{Label: "no hooks", Run: times(plain[i].run)},
			})
		}
		return nil
	}
	same, err := e.bare(ctx, d, nil)
	if err != nil {
		return nil, err
	}
	if err := add("the same twice", 0, same); err != nil { // how much is chance
		return nil, err
	}
	for _, v := range variants {
		db, err := e.observed(ctx, d, v.configure)
		if err != nil {
			return nil, err
		}
		if err := add(v.name, v.target, db); err != nil {
			return nil, err
		}
	}
	budget, err := e.bare(ctx, d, memory.New(0))
	if err != nil {
		return nil, err
	}
	upsert := func(p services.Presenter) func(context.Context, int) error {
		return times(func(ctx context.Context) error {
			_, err := p.UpsertVectors(ctx, vs[:upsertedVectors])
			return err
		})
	}
	store := fmt.Sprintf("store %s vectors, ", count(upsertedVectors))
	out = append(out, Comparison{
		Name: store + "the same twice", Slow: true,
		A: Side{Label: "the same twice", Run: upsert(same)}, B: Side{Label: "no budget", Run: upsert(none)},
	}, Comparison{
		Name: store + "memory budget", Target: offTarget, Slow: true,
		A: Side{Label: "memory budget", Run: upsert(budget)}, B: Side{Label: "no budget", Run: upsert(none)},
	})
	for i := range out {
		out[i].Group, out[i].Engine = GroupOverhead, engine
	}
	return out, nil
}

func tracing(c *talkbase.Config) {
	c.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithBatcher(discarded{}))
	c.MeterProvider = metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
}

type observedCall struct {
	name string
	run  func(context.Context) error
}

// observedCalls are the calls that matter to an application: a message is stored, a page of them read,
// and chunks are found.
func observedCalls(ctx context.Context, p services.Presenter, vs []models.KnowledgeVector) ([]observedCall, error) {
	c, err := p.CreateConversation(ctx, models.Conversation{Title: "observed", CreatedAt: epoch})
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(11, 12)) //nolint:gosec // no secret
	n := 0
	return []observedCall{
		{"insert a message", func(ctx context.Context) error {
			n++
			m := message(r, n, c.ConvID, int64(n))
			m.MsgID, m.OrderSeq = "", 0
			_, err := p.InsertMessage(ctx, m)
			return err
		}},
		{"read a page of 50 messages", func(ctx context.Context) error {
			_, err := p.ListMessages(ctx, repo.MessageList{ConversationID: longID, Limit: pageSize})
			return err
		}},
		{"similarity query", func(ctx context.Context) error {
			n++
			_, err := p.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: "vectors", Vector: vs[n*7%len(vs)].Embedding})
			return err
		}},
	}, nil
}
