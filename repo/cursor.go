package repo

import (
	"encoding/base64"
	"encoding/json"

	"github.com/talkbase/talkbase/internal/engine"
)

// cursor is where a page ended: the value it was sorted by and the id. Callers get it as an opaque
// string.
type cursor struct {
	Sort string `json:"s"`
	Key  any    `json:"k"`
	ID   int64  `json:"i"`
}

func (c cursor) encode() string {
	b, err := json.Marshal(c)
	if err != nil { // strings and integers always marshal
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeCursor reads a cursor that was made for the same sort. K is int64 or string.
func decodeCursor[K int64 | string](s, sort string) (key K, id int64, err error) {
	raw, derr := base64.RawURLEncoding.DecodeString(s)
	var c struct {
		Sort string `json:"s"`
		Key  *K     `json:"k"`
		ID   int64  `json:"i"`
	}
	if derr != nil || json.Unmarshal(raw, &c) != nil || c.Key == nil || c.Sort != sort {
		return key, 0, engine.Invalidf("this is not a cursor of such a list: pass on Next of the page before, with the same sort")
	}
	return *c.Key, c.ID, nil
}
