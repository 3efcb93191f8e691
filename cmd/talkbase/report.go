package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/talkbase/talkbase/migration"
)

// shownRejects bounds the rejected rows that people see one by one.
const shownRejects = 10

// report writes what an import did.
func (p *page) report(r *migration.ImportReport) {
	for i, s := range r.Sources {
		if i > 0 {
			p.line("")
		}
		p.heading(oneLine(s.Path))
		if i < len(r.Preflight) {
			p.line("%s", identity(s.Kind, r.Preflight[i]))
		}
		if s.Base != "" {
			p.line("knowledge base %s", oneLine(s.Base))
		}
		p.counts(s.Tables)
		p.reasons(s.Tables)
		if s.Error != "" {
			p.line("FAILED")
		}
	}
	p.rejects(r)
	for i, w := range r.Warnings {
		if i == 0 {
			p.line("")
		}
		p.line("Note: %s", oneLine(w))
	}
	p.line("\n%s", outcome(r))
	if r.Backup != "" {
		p.line("Backup: %s", oneLine(r.Backup))
	}
	if f := r.Failure; f != nil && f.RollbackNeeded {
		p.line("It cannot be resumed. To take out what it wrote: talkbase rollback %s", r.Run)
	}
	switch v := r.Verification; {
	case v != nil && !v.OK:
		p.verification(v)
	case v != nil:
		p.line("Verified: every row is stored as it was read. To take it out again: talkbase rollback %s", r.Run)
	case r.DryRun:
		p.line("This was a dry run: nothing was written.")
	}
}

// identity says what a source is.
func identity(kind migration.Kind, c migration.SourceCheck) string {
	s := "DuckDB knowledge base"
	if kind == migration.KindSQLite {
		s = "SQLite chats"
		if c.Version > 0 {
			s += fmt.Sprintf(" of version %d", c.Version)
		}
	}
	s += ", " + humanize.Bytes(uint64(max(c.Bytes, 0)))
	if c.LogBytes > 0 {
		s += ", with " + humanize.Bytes(uint64(c.LogBytes)) + " in a write-ahead log"
	}
	if len(c.Tables) == 0 {
		s += ", without tables"
	}
	return s
}

// outcome sums an import up in a line.
func outcome(r *migration.ImportReport) string {
	var sum migration.TableReport
	for _, s := range r.Sources {
		for _, t := range s.Tables {
			sum.Read += t.Read
			sum.Written += t.Written
			sum.Merged += t.Merged
			sum.Rejected += t.Rejected
		}
	}
	s := fmt.Sprintf("%s read: %s written, %s merged, %s rejected.", plural(sum.Read, "row", "rows"), number(sum.Written), number(sum.Merged), number(sum.Rejected))
	if !r.OK {
		s += " The import is NOT complete."
	}
	return s
}

func (p *page) counts(tables []*migration.TableReport) {
	if len(tables) == 0 {
		return
	}
	rows := make([][]string, len(tables))
	for i, t := range tables {
		rows[i] = []string{number(t.Read), number(t.Written), number(t.Merged), number(t.Changed), number(t.Rejected), t.Table}
	}
	p.table([]column{
		{name: "Read", right: true},
		{name: "Written", right: true},
		{name: "Merged", right: true},
		{name: "Changed", right: true},
		{name: "Rejected", right: true},
		{name: "Table"},
	}, rows)
}

// reasons writes, for each table, what was done to rows and how often.
func (p *page) reasons(tables []*migration.TableReport) {
	for _, t := range tables {
		if len(t.Reasons) > 0 {
			var parts []string
			for _, reason := range slices.Sorted(maps.Keys(t.Reasons)) {
				parts = append(parts, fmt.Sprintf("%s %s", reason, number(t.Reasons[reason])))
			}
			p.line("%s: %s", oneLine(t.Table), strings.Join(parts, ", "))
		}
		if t.Made > 0 {
			p.line("%s: %s made for rows whose own is gone", oneLine(t.Table), number(t.Made))
		}
	}
}

func (p *page) rejects(r *migration.ImportReport) {
	var total int64
	for _, s := range r.Sources {
		for _, t := range s.Tables {
			total += t.Rejected
		}
	}
	if total == 0 {
		return
	}
	p.line("\nRejected rows:")
	shown := r.Rejects[:min(len(r.Rejects), shownRejects)]
	for _, x := range shown {
		line := fmt.Sprintf("  %s row %d", x.SourceTable, x.RowID)
		if x.ID != "" {
			line += " (" + x.ID + ")"
		}
		line += ": " + string(x.Reason)
		if x.Detail != "" {
			line += ", " + x.Detail
		}
		p.line("%s", "  "+strings.TrimSpace(cut(oneLine(line), 200)))
	}
	if more := total - int64(len(shown)); more > 0 {
		p.line("  and %s more; --json lists the first 100", number(more))
	}
	if r.RejectFile != "" {
		p.line("All of them, whole, are in %s", oneLine(r.RejectFile))
		p.line("It holds contents of chats. talkbase import --replay loads them once the cause is mended.")
	}
}
