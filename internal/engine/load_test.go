package engine

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/talkbase/talkbase/internal/text"
)

func TestFrugalIsOver(t *testing.T) {
	e := openTest(t)
	size := func(tx *Tx) int64 {
		t.Helper()
		n, err := One(t.Context(), tx.DB, Value[int64], "PRAGMA cache_size")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for range 2 { // a pragma that stays prepared would work once
		inTx(t, e, func(ctx context.Context, tx *Tx) {
			before := size(tx)
			over, err := e.Frugal(ctx, tx.DB)
			if err != nil {
				t.Fatal(err)
			}
			if got := size(tx); got != -frugalCache {
				t.Errorf("the cache has %d, want %d", got, -frugalCache)
			}
			if over(); size(tx) != before {
				t.Errorf("the cache has %d afterwards, want %d", size(tx), before)
			}
		})
	}
}

// TestTSVectorForms compares the two forms in which documents go to Postgres, as it writes them: inside,
// they may be laid out differently.
func TestTSVectorForms(t *testing.T) {
	dsn := os.Getenv("TALKBASE_TEST_POSTGRES")
	if dsn == "" {
		t.Skip("TALKBASE_TEST_POSTGRES is not set")
	}
	db, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.Background()) }()
	var many strings.Builder
	for i := range text.MaxPositions + 50 {
		fmt.Fprintf(&many, "w%dw ", i)
	}
	for name, s := range map[string]string{
		"empty":              "",
		"words":              "Running runs, the runner runs; it's 'quoted' and \\ slashed",
		"other scripts":      "数据库 データベース naïve ﬁ привет 👩‍👩‍👧‍👦 العربية",
		"a word too often":   strings.Repeat("same ", 300) + "other same",
		"too many positions": many.String() + "last running",
		"words too long":     strings.Repeat("x", text.MaxToken+1) + " y",
		"too many words":     strings.Repeat("q", 60) + many.String() + strings.Repeat(many.String()+"z", 8),
	} {
		d := text.Doc(s)
		var same bool
		var n int
		err := db.QueryRow(t.Context(), "SELECT a::text = b::text, length(b) FROM (SELECT $1::text::tsvector AS a, $2::tsvector AS b) t", d.TSVector(), tsvector(d)).Scan(&same, &n)
		if err != nil || !same {
			t.Errorf("%s: %v, the same: %v", name, err, same)
		}
		if lexemes, _ := d.Size(); n != lexemes {
			t.Errorf("%s: %d lexemes were stored of %d", name, n, lexemes)
		}
	}
}
