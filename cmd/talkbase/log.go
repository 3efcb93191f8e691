package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// plainHandler writes log records as lines for people: "talkbase: warning: message (key value)".
// The time and the source matter to servers, not to whoever just typed a command.
type plainHandler struct {
	w     io.Writer
	level slog.Level
	attrs []slog.Attr
}

// Enabled compares with the level asked for.
func (h *plainHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle writes one line. That an import, a verification or the like failed the command says itself, with
// what to do; whoever asks for more than warnings gets both.
func (h *plainHandler) Handle(_ context.Context, r slog.Record) error {
	if h.level == slog.LevelWarn && r.Level == slog.LevelWarn && strings.HasSuffix(r.Message, " failed") {
		return nil
	}
	var details []string
	add := func(a slog.Attr) bool {
		details = append(details, a.Key+" "+a.Value.Resolve().String())
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	line := "talkbase: " + levelName(r.Level) + ": " + r.Message
	if len(details) > 0 {
		line += " (" + strings.Join(details, ", ") + ")"
	}
	_, err := fmt.Fprintln(h.w, oneLine(line))
	return err
}

func levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "error"
	case l >= slog.LevelWarn:
		return "warning"
	case l >= slog.LevelInfo:
		return "note"
	default:
		return "debug"
	}
}

// WithAttrs adds attributes to every line.
func (h *plainHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *h
	out.attrs = append(out.attrs[:len(out.attrs):len(out.attrs)], attrs...)
	return &out
}

// WithGroup leaves the names as they are: lines for people have no groups.
func (h *plainHandler) WithGroup(string) slog.Handler { return h }
