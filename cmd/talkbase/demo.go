package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/cmd/talkbase/internal/sample"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// demoDB is a file of its own in the working folder, where whoever runs the demo finds it. It is never
// $TALKBASE_DB: that may hold somebody's chats.
const demoDB = "talkbase-demo.db"

// What the demo asks.
const demoQuestion = "How do I stop idle connections from exhausting the connection pool?"

func demoSearches() []string { return []string{"connection pool", "向量"} }

// demoAnswer is what demo prints with --json.
type demoAnswer struct {
	DB            string                  `json:"db"`
	Engine        string                  `json:"engine"`
	Import        *migration.ImportReport `json:"import"`
	Conversations []models.Conversation   `json:"conversations"`
	Searches      []searchAnswer          `json:"searches"`
	Knowledge     demoKnowledge           `json:"knowledge"`
}

// demoKnowledge is a question to the knowledge base and its answers.
type demoKnowledge struct {
	Available bool `json:"available"`
	// Reason says why it is not available.
	Reason   string              `json:"reason,omitempty"`
	Base     string              `json:"base"`
	Model    string              `json:"model"`
	Question string              `json:"question"`
	Answers  []repo.SimilarChunk `json:"answers"`
}

func (a *app) demoCommand() *cobra.Command {
	return a.work(&cobra.Command{
		Use:   "demo",
		Short: "Import a small sample and ask it something",
		Long: `demo imports a small sample of an older DeepChat's files, a chat.db and a knowledge base, into
` + demoDB + ` in the working folder, or into the database that --db names, and asks it something. It can
be repeated: what is there already is merged.`,
		Example: `  talkbase demo
  talkbase demo --db postgres://user@localhost/demo`,
		Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) (err error) {
		ctx := cmd.Context()
		if !a.dbGiven() {
			a.db = demoDB
		}
		db, err := a.open(ctx)
		if err != nil {
			return err
		}
		defer closing(db, &err)
		out, err := a.demo(ctx, db)
		if err != nil {
			return err
		}
		return a.answer(out, func(w *page) { w.demo(out) })
	})
}

// demo does everything that is then shown.
func (a *app) demo(ctx context.Context, db *talkbase.DB) (out demoAnswer, err error) {
	out = demoAnswer{DB: a.shown(), Engine: db.Engine(), Knowledge: demoKnowledge{
		Base: sample.Base, Model: sample.Model, Question: demoQuestion, Answers: []repo.SimilarChunk{},
	}}
	unavailable := knowledgeUnavailable(ctx, db)
	if out.Import, err = a.importSample(ctx, db, unavailable == ""); err != nil {
		return out, err
	}
	if out.Conversations, err = db.RecentConversations(ctx, 10); err != nil {
		return out, err
	}
	out.Conversations = list(out.Conversations)
	for _, q := range demoSearches() {
		hits, err := db.SearchText(ctx, repo.TextQuery{Query: q, Limit: 2})
		if err != nil {
			return out, err
		}
		out.Searches = append(out.Searches, searchAnswer{q, list(hits)})
	}
	if unavailable != "" {
		out.Knowledge.Reason = unavailable
		return out, nil
	}
	out.Knowledge.Available = true
	enough := 0.2 // texts without a common word are below
	answers, err := db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: sample.Base, Vector: sample.Embed(demoQuestion), Limit: 3, Threshold: &enough})
	out.Knowledge.Answers = list(answers)
	return out, err
}

// knowledgeUnavailable says why the knowledge half has to be left out, "" when it has not.
func knowledgeUnavailable(ctx context.Context, db *talkbase.DB) string {
	if noKnowledgeReader(ctx) != nil {
		return "reading a knowledge file needs the DuckDB reader, and this talkbase was built without cgo (or for a platform DuckDB has no library for); build it with CGO_ENABLED=1 and a C compiler to see this part"
	}
	if err := db.VectorsSupported(); err != nil {
		return message(err)
	}
	return ""
}

// importSample unpacks the sample into a temporary folder and imports it.
func (a *app) importSample(ctx context.Context, db *talkbase.DB, knowledge bool) (_ *migration.ImportReport, err error) {
	dir, err := os.MkdirTemp("", "talkbase-demo-")
	if err != nil {
		return nil, fmt.Errorf("a temporary folder for the sample: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := sample.Unpack(dir); err != nil {
		return nil, fmt.Errorf("the sample could not be unpacked to %s: %w", dir, err)
	}
	opts := migration.ImportOptions{Paths: []string{dir}}
	if !knowledge {
		opts.Paths = []string{filepath.Join(dir, filepath.FromSlash(sample.Chat))}
	}
	report, err := a.importWithProgress(ctx, db, opts, true)
	if err != nil {
		return report, importFailure(ctx, err)
	}
	// The folder is gone when this is read.
	for _, s := range report.Sources {
		s.Path = filepath.ToSlash(strings.Replace(s.Path, dir, "sample", 1))
	}
	for i, w := range report.Warnings {
		report.Warnings[i] = strings.ReplaceAll(w, dir, "sample")
	}
	return report, nil
}

// demo tells step by step what was done.
func (p *page) demo(d demoAnswer) {
	p.line("talkbase demo: a chat history and a knowledge base of an older DeepChat, in one database.\n")
	p.heading(fmt.Sprintf("1. Import into %s (%s)", d.DB, d.Engine))
	p.line("")
	p.report(d.Import)
	p.line("")
	p.heading("2. The latest conversations, pinned ones first")
	p.line("")
	p.conversations(d.Conversations)
	for _, s := range d.Searches {
		p.line("")
		p.heading(fmt.Sprintf("3. Text search: %s", s.Query))
		p.line("")
		p.hits(s.Hits)
	}
	p.line("")
	p.heading("4. A question to the knowledge base")
	p.line("")
	p.demoKnowledge(d.Knowledge)
	program := programName()
	p.line("\nGo on with")
	for _, line := range []string{"conversations", "messages sample-pool", "search timeout OR cache", "stats"} {
		p.line("  %s %s --db %s", program, line, quote(d.DB))
	}
	p.line("and with your own chats:")
	p.line("  %s import ~/.config/DeepChat", program)
}

func (p *page) demoKnowledge(k demoKnowledge) {
	if !k.Available {
		p.line("Left out: %s.", oneLine(strings.TrimSuffix(k.Reason, ".")))
		return
	}
	p.line("%s\n", k.Question)
	for _, c := range k.Answers {
		p.line("%.2f  %s, part %d", c.Similarity, oneLine(c.FileName), c.ChunkIndex+1)
		for l := range strings.Lines(clean(c.Content)) {
			p.line("      %s", strings.TrimRight(l, "\n"))
		}
	}
	p.line("\nThe embedding here is %q: it hashes words, so that it needs no model and no network, and finds\n"+
		"texts with the same words. An application passes the vectors of its own embedding model.", k.Model)
}

// programName is how this program was started: go run leaves nothing that could be called again.
func programName() string {
	if exe, err := os.Executable(); err == nil && strings.Contains(filepath.ToSlash(exe), "/go-build") {
		return "go run ./cmd/talkbase"
	}
	return "talkbase"
}
