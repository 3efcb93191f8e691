package models

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Vector is an embedding. Its length is its number of dimensions, which must be that of the
// knowledge base it belongs to.
type Vector []float32

// VectorBinder is what a gorm dialector implements to say how it stores a vector.
type VectorBinder interface {
	BindVector(v []float32) any
}

// GormDataType names the logical type; each engine's dialector maps it to its own.
func (Vector) GormDataType() string { return "vector" }

// GormValue binds v the way the engine stores it. A nil vector is NULL.
func (v Vector) GormValue(_ context.Context, db *gorm.DB) clause.Expr {
	if v == nil {
		return clause.Expr{SQL: "NULL"}
	}
	if b, ok := db.Dialector.(VectorBinder); ok {
		return clause.Expr{SQL: "?", Vars: []any{b.BindVector(v)}}
	}
	return clause.Expr{SQL: "?", Vars: []any{v.Blob()}}
}

// Blob returns v as little-endian float32, 4 bytes a dimension: what SQLite stores.
func (v Vector) Blob() []byte { return v.AppendBlob(make([]byte, 0, 4*len(v))) }

// AppendBlob appends what Blob returns.
func (v Vector) AppendBlob(b []byte) []byte {
	b = slices.Grow(b, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// Text returns v as "[1,2.5,…]": what pgvector reads and writes. Every float32 survives the
// round trip exactly.
func (v Vector) Text() string {
	b := make([]byte, 0, 2+12*len(v))
	b = append(b, '[')
	for i, x := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(x), 'g', -1, 32)
	}
	return string(append(b, ']'))
}

// Scan reads []byte as a BLOB of little-endian float32 and a string as the text form, which is how
// the engines' drivers hand them over. NULL reads as nil.
func (v *Vector) Scan(src any) error {
	switch s := src.(type) {
	case nil:
		*v = nil
		return nil
	case []byte:
		return v.scanBlob(s)
	case string:
		parsed, err := parseVectorText(s)
		if err != nil {
			return err
		}
		*v = parsed
		return nil
	default:
		return fmt.Errorf("models: cannot read a vector from %T", src)
	}
}

func (v *Vector) scanBlob(b []byte) error {
	if len(b)%4 != 0 {
		return fmt.Errorf("models: a vector of %d bytes is not a whole number of float32", len(b))
	}
	out := make(Vector, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	*v = out
	return nil
}

func parseVectorText(s string) (Vector, error) {
	body, ok := strings.CutPrefix(s, "[")
	if ok {
		body, ok = strings.CutSuffix(body, "]")
	}
	if !ok {
		return nil, fmt.Errorf("models: %.20q is not a vector", s)
	}
	if body == "" {
		return Vector{}, nil
	}
	out := make(Vector, 0, strings.Count(body, ",")+1)
	for part := range strings.SplitSeq(body, ",") {
		f, err := strconv.ParseFloat(strings.TrimSpace(part), 32)
		if err != nil {
			return nil, fmt.Errorf("models: vector element %.20q: %w", part, err)
		}
		out = append(out, float32(f))
	}
	return out, nil
}

// MarshalJSON writes v as a JSON array of numbers.
func (v Vector) MarshalJSON() ([]byte, error) { return json.Marshal([]float32(v)) }
