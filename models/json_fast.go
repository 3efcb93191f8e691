package models

import (
	"bytes"
	"slices"
)

// canonical writes what the engines usually hand over in one pass: it drops space, puts keys in
// order, and copies strings and plain numbers as they are. It gives up, ok false, on everything it
// would have to change or judge, and ParseJSON's decoder takes over. b is valid UTF-8.
func canonical(b []byte) (out JSON, ok bool) {
	c := canonicaliser{src: b, out: make([]byte, 0, len(b))}
	c.space()
	if c.peek() != '{' || !c.object(0) {
		return nil, false
	}
	c.space()
	if c.at != len(b) {
		return nil, false
	}
	return c.out, true
}

// maxFastDepth keeps hostile nesting from the one-pass writer.
const maxFastDepth = 64

type canonicaliser struct {
	src []byte
	at  int
	out []byte
}

// member is one member of an object: its key in src, with quotes, and all of it in out.
type member struct {
	key      []byte
	from, to int
}

// peek returns the next byte, 0 at the end.
func (c *canonicaliser) peek() byte {
	if c.at < len(c.src) {
		return c.src[c.at]
	}
	return 0
}

func (c *canonicaliser) space() {
	for c.at < len(c.src) {
		switch c.src[c.at] {
		case ' ', '\t', '\n', '\r':
			c.at++
		default:
			return
		}
	}
}

// take skips space up to b and b itself, and reports whether it was there.
func (c *canonicaliser) take(b byte) bool {
	c.space()
	if c.peek() != b {
		return false
	}
	c.at++
	return true
}

func (c *canonicaliser) value(depth int) bool {
	c.space()
	switch b := c.peek(); b {
	case '{':
		return c.object(depth + 1)
	case '[':
		return c.array(depth + 1)
	case '"':
		return c.text()
	case 't':
		return c.literal("true")
	case 'f':
		return c.literal("false")
	case 'n':
		return c.literal("null")
	default:
		return c.number()
	}
}

func (c *canonicaliser) literal(word string) bool {
	if !bytes.HasPrefix(c.src[c.at:], []byte(word)) {
		return false
	}
	c.at += len(word)
	c.out = append(c.out, word...)
	return true
}

func (c *canonicaliser) array(depth int) bool {
	if depth > maxFastDepth {
		return false
	}
	c.at++
	c.out = append(c.out, '[')
	if c.take(']') {
		c.out = append(c.out, ']')
		return true
	}
	for {
		if !c.value(depth) {
			return false
		}
		if c.take(']') {
			c.out = append(c.out, ']')
			return true
		}
		if !c.take(',') {
			return false
		}
		c.out = append(c.out, ',')
	}
}

func (c *canonicaliser) object(depth int) bool {
	if depth > maxFastDepth {
		return false
	}
	c.at++
	c.out = append(c.out, '{')
	if c.take('}') {
		c.out = append(c.out, '}')
		return true
	}
	var few [16]member
	members, sorted := few[:0], true
	for {
		m, ok := c.member(depth)
		if !ok {
			return false
		}
		if n := len(members); n > 0 {
			sorted = sorted && bytes.Compare(members[n-1].key, m.key) < 0
		}
		members = append(members, m)
		if c.take('}') {
			break
		}
		if !c.take(',') {
			return false
		}
		c.out = append(c.out, ',')
	}
	if !sorted && !c.sort(members) {
		return false
	}
	c.out = append(c.out, '}')
	return true
}

func (c *canonicaliser) member(depth int) (m member, ok bool) {
	c.space()
	start := c.at
	m.from = len(c.out)
	if c.peek() != '"' || !c.text() {
		return m, false
	}
	// Without the closing quote a key sorts before those that it begins.
	m.key = c.src[start+1 : c.at-1]
	if bytes.IndexByte(m.key, '\\') >= 0 || !c.take(':') {
		return m, false
	}
	c.out = append(c.out, ':')
	ok = c.value(depth)
	m.to = len(c.out)
	return m, ok
}

// sort puts the members that were written last in the order of their keys. It refuses keys that
// occur twice.
func (c *canonicaliser) sort(members []member) bool {
	first := members[0].from
	written := bytes.Clone(c.out[first:])
	slices.SortFunc(members, func(a, b member) int { return bytes.Compare(a.key, b.key) })
	c.out = c.out[:first]
	for i, m := range members {
		if i > 0 {
			if bytes.Equal(members[i-1].key, m.key) {
				return false
			}
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, written[m.from-first:m.to-first]...)
	}
	return true
}

// text copies a string whose escapes, if any, are the ones that encoding/json writes itself.
func (c *canonicaliser) text() bool {
	for i := c.at + 1; i < len(c.src); i++ {
		switch b := c.src[i]; {
		case b == '"':
			c.out = append(c.out, c.src[c.at:i+1]...)
			c.at = i + 1
			return true
		case b == '\\':
			if i++; i == len(c.src) || bytes.IndexByte([]byte(`"\bfnrt`), c.src[i]) < 0 {
				return false
			}
		case b < ' ':
			return false
		case b == 0xE2: // may be one of the line separators, which encoding/json escapes
			if i+2 < len(c.src) && c.src[i+1] == 0x80 && c.src[i+2]|1 == 0xA9 {
				return false
			}
		}
	}
	return false
}

// number copies a number that has no exponent and is not a negative zero.
func (c *canonicaliser) number() bool {
	i := c.at
	negative := i < len(c.src) && c.src[i] == '-'
	if negative {
		i++
	}
	whole := i
	zero := true
	digits := func() int {
		start := i
		for i < len(c.src) && c.src[i] >= '0' && c.src[i] <= '9' {
			zero = zero && c.src[i] == '0'
			i++
		}
		return i - start
	}
	if n := digits(); n == 0 || n > 1 && c.src[whole] == '0' {
		return false
	}
	if i < len(c.src) && c.src[i] == '.' {
		i++
		if digits() == 0 {
			return false
		}
	}
	if negative && zero || i < len(c.src) && (c.src[i] == 'e' || c.src[i] == 'E') {
		return false
	}
	c.out = append(c.out, c.src[c.at:i]...)
	c.at = i
	return true
}
