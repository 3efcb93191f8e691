package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/embedding"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// explainAnswer is what explain prints with --json.
type explainAnswer struct {
	What string `json:"what"`
	// Queries are the statements that were run.
	Queries []repo.QueryAnalysis `json:"queries"`
}

// columnsAnswer is what explain columns prints with --json.
type columnsAnswer struct {
	Table   string                  `json:"table"`
	Columns []repo.ColumnStatistics `json:"columns"`
}

// call runs one of the library's calls.
type call func(ctx context.Context) error

// explained is a call of the library that explain runs. It is prepared first, so that looking its
// arguments up is no part of it.
type explained struct {
	name, argument, about string
	prepare               func(ctx context.Context, db *talkbase.DB, args []string) (call, error)
}

// explainable are the calls that applications make most.
func explainable() []explained {
	return []explained{
		{"recent", "", "the list an application opens with", func(_ context.Context, db *talkbase.DB, _ []string) (call, error) {
			return func(ctx context.Context) error { return only(db.RecentConversations(ctx, 50)) }, nil
		}},
		{"conversations", "", "a page of conversations", func(_ context.Context, db *talkbase.DB, _ []string) (call, error) {
			return func(ctx context.Context) error { return only(db.ListConversations(ctx, repo.ConversationList{})) }, nil
		}},
		{"messages", "[CONVERSATION]", "a page of a conversation, of that which changed last unless one is named", func(ctx context.Context, db *talkbase.DB, args []string) (call, error) {
			id, err := someConversation(ctx, db, args)
			return func(ctx context.Context) error {
				return only(db.ListMessages(ctx, repo.MessageList{ConversationID: id}))
			}, err
		}},
		{"thread", "[CONVERSATION]", "a whole conversation with its variants", func(ctx context.Context, db *talkbase.DB, args []string) (call, error) {
			id, err := someConversation(ctx, db, args)
			return func(ctx context.Context) error { return only(db.QueryMessages(ctx, id)) }, err
		}},
		{"text", "[WORDS…]", "a search for words", func(_ context.Context, db *talkbase.DB, args []string) (call, error) {
			return func(ctx context.Context) error { return only(db.SearchText(ctx, repo.TextQuery{Query: wordsOf(args)})) }, nil
		}},
		{"similarity", "[BASE]", "the nearest vectors of a knowledge base, the first unless one is named", func(ctx context.Context, db *talkbase.DB, args []string) (call, error) {
			base, vector, err := someVector(ctx, db, args)
			q := repo.SimilarityQuery{BaseID: base, Vector: vector}
			return func(ctx context.Context) error { return only(db.SimilarityQuery(ctx, q)) }, err
		}},
		{"hybrid", "[BASE]", "words and vectors of a knowledge base together", func(ctx context.Context, db *talkbase.DB, args []string) (call, error) {
			base, vector, err := someVector(ctx, db, args)
			q := repo.HybridQuery{BaseID: base, Vector: vector, Text: wordsOf(nil)}
			return func(ctx context.Context) error { return only(db.SearchHybrid(ctx, q)) }, err
		}},
	}
}

func only[T any](_ T, err error) error { return err }

func wordsOf(args []string) string {
	if len(args) == 0 {
		return "database index"
	}
	return strings.Join(args, " ")
}

// someConversation is the one that is named, or the one that changed last.
func someConversation(ctx context.Context, db *talkbase.DB, args []string) (string, error) {
	if len(args) > 0 {
		c, err := db.GetConversation(ctx, args[0])
		return c.ConvID, notFound(err, "conversation", args[0], "list them with talkbase conversations")
	}
	page, err := db.ListConversations(ctx, repo.ConversationList{Limit: 1})
	if err == nil && len(page.Conversations) == 0 {
		err = &failure{code: "NOT_FOUND", message: "there are no conversations to explain a query on"}
	}
	if err != nil {
		return "", err
	}
	return page.Conversations[0].ConvID, nil
}

// someVector is a knowledge base, the one that is named or the first, and a vector to ask it for.
func someVector(ctx context.Context, db *talkbase.DB, args []string) (base string, vector []float32, err error) {
	var b models.KnowledgeBase
	if len(args) > 0 {
		b, err = db.GetBase(ctx, args[0])
		err = notFound(err, "knowledge base", args[0], "talkbase stats lists them")
	} else {
		var bases []models.KnowledgeBase
		if bases, err = db.ListBases(ctx); err == nil && len(bases) == 0 {
			err = &failure{code: "NO_BASE", message: "there is no knowledge base to explain a query on"}
		} else if err == nil {
			b = bases[0]
		}
	}
	if err != nil {
		return "", nil, err
	}
	vs, err := embedding.HashedWords(int(b.Dimensions)).Embed(ctx, []string{wordsOf(nil)})
	if err != nil {
		return "", nil, err
	}
	return b.ID, vs[0], nil
}

func (a *app) explainCommand() *cobra.Command {
	calls := explainable()
	var names strings.Builder
	for _, c := range calls {
		fmt.Fprintf(&names, "  %-26s %s\n", strings.TrimSpace(c.name+" "+c.argument), c.about)
	}
	return a.work(&cobra.Command{
		Use:   "explain WHAT [ARGUMENT…]",
		Short: "Say how the database answers a query, and what is slow about it",
		Long: `explain runs one of talkbase's own calls, and says by which steps the database answered each of its
queries: which tables and indexes it read, how many rows it expected and found, how long it took. It warns
of full scans of large tables, of work that did not fit into memory, and of wrong estimates. Nothing can be
written meanwhile, and no values are shown.

` + names.String() + `
  columns TABLE              what the planner knows of a table's columns
  sql QUERY                  a SELECT of your own

Run talkbase optimize first if what the planner knows is old.`,
		Example: "  talkbase explain recent\n  talkbase explain text connection pool\n  talkbase explain sql \"SELECT count(*) FROM messages WHERE role = 'user'\"",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usagef("say what to explain: recent, messages, similarity …")
			case (args[0] == "columns" || args[0] == "sql") && len(args) != 2:
				return usagef("explain %s takes one argument", args[0])
			case args[0] == "columns" || args[0] == "sql":
				return nil
			}
			i := slices.IndexFunc(calls, func(c explained) bool { return c.name == args[0] })
			switch {
			case i < 0:
				return usagef("there is nothing called %q to explain", args[0])
			case len(args) > 1 && calls[i].argument == "":
				return usagef("explain %s takes no argument", args[0])
			case len(args) > 2 && !strings.Contains(calls[i].argument, "…"):
				return usagef("explain %s takes one argument", args[0])
			}
			return nil
		},
	}, func(cmd *cobra.Command, args []string) error {
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			switch args[0] {
			case "columns":
				return a.explainColumns(ctx, db, args[1])
			case "sql":
				q, err := db.AnalyzeQuery(ctx, args[1])
				if errors.Is(err, repo.ErrReadOnly) {
					return usage(err)
				}
				if err != nil {
					return err
				}
				return a.explainedQueries(args[0], []repo.QueryAnalysis{q})
			}
			i := slices.IndexFunc(calls, func(c explained) bool { return c.name == args[0] })
			run, err := calls[i].prepare(ctx, db, args[1:])
			if err != nil {
				return err
			}
			queries, err := db.AnalyzeCalls(ctx, run)
			if err != nil {
				return err
			}
			return a.explainedQueries(args[0], queries)
		})
	})
}

func (a *app) explainColumns(ctx context.Context, db *talkbase.DB, table string) error {
	columns, err := db.GetTableStatistics(ctx, table)
	if err != nil {
		return err
	}
	return a.answer(columnsAnswer{table, list(columns)}, func(w *page) {
		rows := make([][]string, len(columns))
		for i, c := range columns {
			rows[i] = []string{optional(c.Distinct, 0), optional(c.NullFraction, 3), maybe(c.Width), optional(c.Correlation, 2), c.Index, c.Column}
		}
		w.table([]column{
			{name: "Distinct", right: true},
			{name: "Null", right: true},
			{name: "Width", right: true},
			{name: "Correlation", right: true},
			{name: "Known from"},
			{name: "Column"},
		}, rows)
	})
}

// optional writes a number that may not be known.
func optional(v *float64, digits int) string {
	if v == nil {
		return "-"
	}
	return humanize.CommafWithDigits(*v, digits)
}

func (a *app) explainedQueries(what string, queries []repo.QueryAnalysis) error {
	return a.answer(explainAnswer{what, list(queries)}, func(w *page) {
		for i, q := range queries {
			w.between(i)
			w.analysis(q)
		}
	})
}

// analysis writes how a query was answered.
func (p *page) analysis(q repo.QueryAnalysis) {
	p.heading(cut(oneLine(q.Query), 400))
	again := ""
	if q.Times > 1 {
		again = fmt.Sprintf("; run %d times", q.Times)
	}
	p.line("%s, %s ms%s", plural(q.Rows, "row", "rows"), ms(q.ExecutionMS), again)
	p.steps(q.Root, 1)
	for _, w := range q.Warnings {
		p.line("  warning: %s: %s", w.Code, oneLine(w.Message))
	}
}

func (p *page) steps(n repo.PlanNode, depth int) {
	line := n.Node
	if n.Table != "" {
		line += " " + n.Table
	}
	if n.Index != "" {
		line += " by " + n.Index
	}
	var about []string
	if n.EstimatedRows != nil {
		about = append(about, optional(n.EstimatedRows, 0)+" expected")
	}
	if n.ActualRows != nil {
		about = append(about, optional(n.ActualRows, 0)+" found")
	}
	if n.Milliseconds != nil {
		about = append(about, ms(*n.Milliseconds)+" ms")
	}
	if len(about) > 0 {
		line += " (" + strings.Join(about, ", ") + ")"
	}
	p.line("%s%s", strings.Repeat("  ", depth), oneLine(line))
	for _, c := range n.Children {
		p.steps(c, depth+1)
	}
}
