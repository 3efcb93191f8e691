package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// sorts are the names of sorts on the command line.
var sorts = map[string]repo.ConversationSort{
	"updated": repo.SortUpdated, "created": repo.SortCreated, "title": repo.SortTitle,
}

func (a *app) conversationsCommand() *cobra.Command {
	var q repo.ConversationList
	size, sort := limit(50), oneOf("updated", "updated", "created", "title")
	var pinned bool
	cmd := a.work(&cobra.Command{
		Use:   "conversations",
		Short: "List conversations, newest first",
		Example: `  talkbase conversations --limit 10
  talkbase conversations --pinned
  talkbase conversations --sort title --ascending --json`,
		Args: noArgs,
	}, func(cmd *cobra.Command, _ []string) error {
		q.Limit, q.Sort = size.int(), sorts[sort.value]
		if cmd.Flags().Changed("pinned") {
			q.Pinned = &pinned
		}
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			found, err := db.ListConversations(ctx, q)
			if err != nil {
				return err
			}
			found.Conversations = list(found.Conversations)
			return a.answer(found, func(w *page) {
				if len(found.Conversations) == 0 {
					w.line("No conversations.")
				} else {
					w.conversations(found.Conversations)
				}
				if found.Total != nil {
					w.line("\n%s in all.", plural(*found.Total, "conversation", "conversations"))
				}
				w.next(cmd, found.Next)
			})
		})
	})
	f := cmd.Flags()
	f.Var(size, "limit", "how many to list")
	f.StringVar(&q.After, "after", "", "go on after a page: its cursor, with the same sort")
	f.Var(sort, "sort", "order by "+sort.list())
	f.BoolVar(&q.Ascending, "ascending", false, "oldest, or first by the alphabet, first")
	f.BoolVar(&pinned, "pinned", false, "only pinned ones; --pinned=false for the others")
	f.BoolVar(&q.WithTotal, "total", false, "count all that match")
	return cmd
}

// conversations writes a table.
func (p *page) conversations(cs []models.Conversation) {
	rows := make([][]string, len(cs))
	for i, c := range cs {
		pin := ""
		if c.IsPinned {
			pin = "yes"
		}
		rows[i] = []string{c.ConvID, when(c.UpdatedAt), number(c.MessageCount), pin, c.Title}
	}
	p.table([]column{{name: "ID"}, {name: "Updated"}, {name: "Messages", right: true}, {name: "Pinned"}, {name: "Title"}}, rows)
}

// next says how to get the page after this one: the same command with its cursor.
func (p *page) next(cmd *cobra.Command, cursor string) {
	if cursor == "" {
		return
	}
	line := cmd.CommandPath()
	for _, arg := range cmd.Flags().Args() {
		line += " " + quote(arg)
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "after" && f.Name != "db" { // --db may hold a password
			line += " --" + f.Name + "=" + quote(f.Value.String())
		}
		if f.Name == "db" {
			line += " --db …"
		}
	})
	p.line("\nMore: %s --after=%s", line, cursor)
}

// quote makes an argument that a shell reads as it is.
func quote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@%+"
	s = oneLine(s)
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
