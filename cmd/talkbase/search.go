package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// searchAnswer is what search prints with --json.
type searchAnswer struct {
	Query string         `json:"query"`
	Hits  []repo.TextHit `json:"hits"`
}

func (a *app) searchCommand() *cobra.Command {
	var q repo.TextQuery
	size := limit(20)
	in := someOf(string(repo.HitConversation), string(repo.HitMessage), string(repo.HitChunk))
	var roles []string
	for _, r := range models.Roles() {
		roles = append(roles, string(r))
	}
	role := oneOf("", roles...)
	mode := oneOf(modeText, modeText, modeVector, modeHybrid)
	var embed embedFlags
	var files fileFlags
	var exact bool
	cmd := a.work(&cobra.Command{
		Use:   "search TEXT…",
		Short: "Find words in titles, messages and knowledge, or knowledge by its meaning",
		Long: `search finds conversations by their title, messages, and chunks of knowledge files that have all of
the given words. English words are found in every form, Chinese, Japanese and Korean by any part;
letter case and accents do not matter.

  "exact phrase"    in quotes that reach talkbase: search '"connection pool"'
  conn*             words that begin so
  pool OR cache     one of them
  -- pool -cache    without a word; the two dashes end the flags

With --mode vector it finds the chunks of knowledge bases whose vectors are nearest to that of TEXT,
with --mode hybrid those that are best by words and vectors together; TEXT may be a question, whose
words need not all be there. TEXT is embedded by the model of each base: the offline one of the demo, or
a server that --embed-url names.

--file, --mime, --meta and --uploaded-… search the chunks of some files only. A file passes if it has one
of the values that are given for each; --meta lang=en --meta lang=de are two values of one key. A value
that is a JSON number, true, false or null is also the text that it is written as; --meta 'year="2024"' is
the text alone.`,
		Example: `  talkbase search connection pool
  talkbase search 向量 --in chunk
  talkbase search timeout --role user --limit 5 --json
  talkbase search "how are idle connections closed?" --mode hybrid --base notes
  talkbase search invoice --mime application/pdf --meta year=2024 --uploaded-from 2025-01-01`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("search needs a word to look for")
			}
			return nil
		},
	}, func(cmd *cobra.Command, args []string) error {
		q.Query, q.Limit, q.Role = strings.Join(args, " "), size.int(), models.Role(role.value)
		for _, k := range in.values {
			q.In = append(q.In, repo.HitKind(k))
		}
		if mode.value != modeText && (q.ConversationID != "" || q.Role != "" || len(q.In) > 0) {
			return usagef("--mode %s searches knowledge: --in, --conversation and --role are for --mode text", mode.value)
		}
		if mode.value == modeText && exact {
			return usagef("--exact is for --mode vector and hybrid: words are always found exactly")
		}
		q.Files = files.filter
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			if mode.value != modeText {
				return a.searchKnowledge(ctx, db, mode.value, q, exact, &embed)
			}
			for _, id := range q.BaseIDs {
				if _, err := baseOf(ctx, db, id); err != nil {
					return err
				}
			}
			if q.ConversationID != "" {
				if _, err := db.GetConversation(ctx, q.ConversationID); err != nil {
					return notFound(err, "conversation", q.ConversationID, "list them with talkbase conversations")
				}
			}
			hits, err := db.SearchText(ctx, q)
			if err != nil {
				return err
			}
			return a.answer(searchAnswer{q.Query, list(hits)}, func(w *page) {
				w.nothing(len(hits))
				w.hits(hits)
			})
		})
	})
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if strings.Contains(err.Error(), "shorthand") {
			return usagef("%w; to leave out a word, end the flags first: search -- pool -cache", err)
		}
		return usage(err)
	})
	f := cmd.Flags()
	f.Var(in, "in", "where to look: "+in.list()+" (default: everywhere)")
	f.StringVar(&q.ConversationID, "conversation", "", "only messages of the conversation with this ID")
	f.Var(role, "role", "only messages of this role: "+role.list())
	f.StringArrayVar(&q.BaseIDs, "base", nil, "only the knowledge base with this ID; can be repeated. Vector and hybrid search need it where there are several")
	f.Var(mode, "mode", "how to search: "+mode.list())
	f.BoolVar(&exact, "exact", false, "compare every vector, without the help of an index")
	files.register(f)
	embed.register(f)
	f.Var(size, "limit", "how many to find of each kind")
	return cmd
}

// hits writes what a search found, each with its words marked.
func (p *page) hits(hits []repo.TextHit) {
	for i, h := range hits {
		p.between(i)
		switch h.Kind {
		case repo.HitConversation:
			p.line("title    %s", p.mark(h.Snippet, h.Highlights))
			p.line("         conversation %s, %s", oneLine(h.ConversationID), when(h.CreatedAt))
		case repo.HitMessage:
			p.line("message  %s", p.mark(h.Snippet, h.Highlights))
			p.line("         %s, %s, in %q", oneLine(string(h.Role)), when(h.CreatedAt), cut(oneLine(h.Title), 60))
			p.line("         conversation %s, message %s", oneLine(h.ConversationID), oneLine(h.ID))
		default:
			p.line("%-8s %s", oneLine(string(h.Kind)), p.mark(h.Snippet, h.Highlights))
			p.line("         file %s", oneLine(h.Title))
		}
	}
}
