package migration

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestNewIDsForgetNone(t *testing.T) {
	t.Parallel()
	n := newNewIDs()
	rapid.Check(t, func(t *rapid.T) {
		table := rapid.SampledFrom(tableOrder).Draw(t, "table")
		ids := rapid.SliceOf(rapid.String()).Draw(t, "ids")
		for _, id := range ids {
			n.add(table, id)
		}
		if got := n.known(table, ids); !slices.Equal(got, ids) && len(ids) > 0 {
			t.Fatalf("of %q it knows %q", ids, got)
		}
	})
}

func TestNewIDsKnowFewTooMany(t *testing.T) {
	t.Parallel()
	n := newNewIDs()
	const stored = 100_000
	for i := range stored {
		n.add(tableMessages, fmt.Sprint(i))
	}
	var other []string
	for i := range stored {
		other = append(other, fmt.Sprint(stored+i))
	}
	for _, table := range []string{tableMessages, tableConversations} {
		if got := n.known(table, other); len(got) > stored/1000 {
			t.Errorf("%s: of %d new ids it takes %d for known", table, stored, len(got))
		}
	}
	var none *newIDs
	none.add(tableMessages, "a")
	if got := none.known(tableMessages, []string{"a", "b"}); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("without it %q are looked up, want all", got)
	}
}
