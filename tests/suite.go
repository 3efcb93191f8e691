// Package tests is the conformance suite that every engine runs: what the doc comments of package
// repo and package migration promise, as tests. An engine's own test needs a few lines:
//
//	tests.Run(t, tests.Suite{Open: func(t testing.TB, configure func(*talkbase.Config)) *talkbase.DB { … }})
package tests

import (
	"context"
	"testing"

	"github.com/talkbase/talkbase"
)

// Category is a part of the suite, which runs as a subtest of this name.
type Category string

// The categories.
const (
	Conversations Category = "Conversations"
	Messages      Category = "Messages"
	Paging        Category = "Paging"
	Attachments   Category = "Attachments"
	Knowledge     Category = "Knowledge"
	Similarity    Category = "Similarity"
	Search        Category = "Search"
	Hybrid        Category = "Hybrid"
	Values        Category = "Values"
	HostileText   Category = "HostileText"
	PlainSQL      Category = "PlainSQL"
	Bulk          Category = "Bulk"
	Transactions  Category = "Transactions"
	Concurrency   Category = "Concurrency"
	Cancellation  Category = "Cancellation"
	Schema        Category = "Schema"
	Drift         Category = "Drift"
	NoVectors     Category = "NoVectors"
	Large         Category = "Large"
	Import        Category = "Import"
	Budget        Category = "Budget"
	Health        Category = "Health"
	Explain       Category = "Explain"
	Backup        Category = "Backup"
)

// Suite says how to run the conformance suite on an engine.
type Suite struct {
	// Open opens a fresh, empty database that no other test uses, and closes it when t ends. Configure,
	// if it is not nil, changes the configuration first.
	Open func(t testing.TB, configure func(*talkbase.Config)) *talkbase.DB
	// Skip declares the categories that do not run, with the reason.
	Skip map[Category]string
}

// bench is a fresh database and the test that works on it.
type bench struct {
	t   *testing.T
	ctx context.Context
	db  *talkbase.DB
	// legacy are the legacy files of this run of the suite.
	legacy *legacySets
	// another opens one more fresh database.
	another func(configure func(*talkbase.Config)) *talkbase.DB
}

type testCase struct {
	name      string
	configure func(*talkbase.Config)
	run       func(b *bench)
}

type group struct {
	category Category
	cases    []testCase
}

func groups() []group {
	return []group{
		{Conversations, conversationCases()},
		{Messages, messageCases()},
		{Paging, pagingCases()},
		{Attachments, attachmentCases()},
		{Knowledge, knowledgeCases()},
		{Similarity, similarityCases()},
		{Search, searchCases()},
		{Hybrid, hybridCases()},
		{Values, valueCases()},
		{HostileText, hostileTextCases()},
		{PlainSQL, plainSQLCases()},
		{Bulk, bulkCases()},
		{Transactions, transactionCases()},
		{Concurrency, concurrencyCases()},
		{Cancellation, cancellationCases()},
		{Schema, schemaCases()},
		{Drift, driftCases()},
		{NoVectors, noVectorsCases()},
		{Large, largeCases()},
		{Import, importCases()},
		{Budget, budgetCases()},
		{Health, healthCases()},
		{Explain, explainCases()},
		{Backup, backupCases()},
	}
}

// Run runs the suite. Each case has a database of its own, and all run in parallel.
func Run(t *testing.T, s Suite) {
	t.Helper()
	known := map[Category]bool{}
	legacy := &legacySets{dir: t.TempDir()}
	for _, g := range groups() {
		known[g.category] = true
		if reason, skip := s.Skip[g.category]; skip {
			// Not as a skipped test: a run in which nothing may be skipped has to accept what is declared.
			t.Logf("%s does not run: %s", g.category, reason)
			continue
		}
		t.Run(string(g.category), func(t *testing.T) {
			t.Parallel()
			for _, c := range g.cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(&bench{
						t: t, ctx: t.Context(), db: s.Open(t, c.configure), legacy: legacy,
						another: func(configure func(*talkbase.Config)) *talkbase.DB { return s.Open(t, configure) },
					})
				})
			}
		})
	}
	for c, reason := range s.Skip {
		if !known[c] || reason == "" {
			t.Errorf("Skip names category %q with reason %q: want a category of the suite and a reason", c, reason)
		}
	}
}
