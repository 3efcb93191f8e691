package repo

import (
	"fmt"
	"math"

	"github.com/google/uuid"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

// newID returns a UUIDv7: unique, and ascending with time, which keeps the index of ids compact.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

type field struct{ name, value string }

// checkText refuses what one of the engines cannot store.
func checkText(fields ...field) error {
	for _, f := range fields {
		if err := engine.CheckText(f.name, f.value); err != nil {
			return err
		}
	}
	return nil
}

// checkKey is checkText for ids, which must not be empty and fit an index on both engines.
func checkKey(name, value string) error {
	switch {
	case value == "":
		return engine.Invalidf("%s is empty", name)
	case len(value) > maxKey:
		return engine.Invalidf("%s is %d bytes long; at most %d can be indexed", name, len(value), maxKey)
	}
	return checkText(field{name, value})
}

// maxKey is the longest text key in bytes. A Postgres B-tree takes 2,704 bytes an entry.
const maxKey = 512

func checkJSON(name string, j models.JSON) (models.JSON, error) {
	c, err := models.ParseJSON(j)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, engine.ErrInvalid, err)
	}
	return c, nil
}

// checkVector refuses what cannot be compared: the wrong length, NaN, infinity, and for the
// cosine a zero vector, which has no direction.
func checkVector(v []float32, dimensions int64, m models.Metric) error {
	if int64(len(v)) != dimensions {
		return &engine.DatabaseError{
			Op: "check vector", Code: "DIMENSION",
			Details: map[string]any{"want": dimensions, "have": len(v)},
			Err:     fmt.Errorf("%w: the vector has %d, the knowledge base %d", ErrDimension, len(v), dimensions),
		}
	}
	zero := true
	for i, x := range v {
		f := float64(x)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return engine.Invalidf("element %d of the vector is %v", i, x)
		}
		zero = zero && x == 0
	}
	if zero && m == models.MetricCosine {
		return engine.Invalidf("a vector of zeros has no direction and cannot be compared by cosine")
	}
	return nil
}

// maxPage is the most rows one page holds.
const maxPage = 1000

// limitOf applies a default and the maximum to a page's size.
func limitOf(n, def int) (int, error) {
	switch {
	case n < 0:
		return 0, engine.Invalidf("a limit of %d: give 0 for the default of %d, or up to %d", n, def, maxPage)
	case n == 0:
		return def, nil
	default:
		return min(n, maxPage), nil
	}
}
