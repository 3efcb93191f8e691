package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

func (a *app) messagesCommand() *cobra.Command {
	var q repo.MessageList
	size := limit(50)
	cmd := a.work(&cobra.Command{
		Use:   "messages ID",
		Short: "Show a conversation's messages in order",
		Long: `messages shows a conversation's messages in order, the words of each as a reader sees them.
With --json the content is exactly as stored.`,
		Example: `  talkbase messages 018f3c2e-7b1a-7c55-9d0e-0a4b5c6d7e8f
  talkbase messages ID --newest --limit 5`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("messages takes the ID of one conversation, which talkbase conversations lists; %d were given", len(args))
			}
			return nil
		},
	}, func(cmd *cobra.Command, args []string) error {
		q.ConversationID, q.Limit = args[0], size.int()
		return a.withDB(cmd, func(ctx context.Context, db *talkbase.DB) error {
			c, err := db.GetConversation(ctx, q.ConversationID)
			if err != nil {
				return notFound(err, "conversation", q.ConversationID, "list them with talkbase conversations")
			}
			found, err := db.ListMessages(ctx, q)
			if err != nil {
				return err
			}
			found.Messages = list(found.Messages)
			out := struct {
				Conversation models.Conversation `json:"conversation"`
				repo.MessagePage
			}{c, found}
			return a.answer(out, func(w *page) {
				w.heading(oneLine(c.Title))
				w.line("%s, last changed %s", plural(c.MessageCount, "message", "messages"), when(c.UpdatedAt))
				for _, m := range found.Messages {
					w.message(m)
				}
				w.next(cmd, found.Next)
			})
		})
	})
	f := cmd.Flags()
	f.Var(size, "limit", "how many to show")
	f.StringVar(&q.After, "after", "", "go on after a page: its cursor, with the same --newest")
	f.BoolVar(&q.Newest, "newest", false, "begin at the end and go backwards")
	f.BoolVar(&q.WithTotal, "total", false, "count the messages (with --json; the heading has their number anyway)")
	return cmd
}

// message writes one message: who and when, and its words indented.
func (p *page) message(m models.Message) {
	head := oneLine(string(m.Role)) + "  " + when(m.CreatedAt) + "  " + oneLine(m.MsgID)
	if m.Status != models.StatusSent {
		head += "  (" + oneLine(string(m.Status)) + ")"
	}
	if m.IsVariant {
		head += "  (another answer)"
	}
	p.line("")
	p.heading(head)
	words := strings.TrimSpace(clean(text.Words(m.Content)))
	if words == "" {
		words = "(no text)"
	}
	for l := range strings.Lines(words) {
		p.line("  %s", strings.TrimRight(l, "\n"))
	}
}
