package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// choice is a flag with a few values.
type choice struct {
	value   string
	allowed []string
}

func oneOf(def string, allowed ...string) *choice { return &choice{value: def, allowed: allowed} }

func (c *choice) list() string { return strings.Join(c.allowed, ", ") }

// String is the value, for pflag.
func (c *choice) String() string { return c.value }

// Type names the value in help.
func (c *choice) Type() string { return "name" }

// Set refuses what is not a choice.
func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("use one of %s", c.list())
	}
	c.value = s
	return nil
}

// choices is a flag that takes several of a few values, separated by commas or repeated.
type choices struct {
	values  []string
	allowed []string
}

func someOf(allowed ...string) *choices { return &choices{allowed: allowed} }

func (c *choices) list() string { return strings.Join(c.allowed, ", ") }

// String is the values, for pflag.
func (c *choices) String() string { return strings.Join(c.values, ",") }

// Type names the value in help.
func (c *choices) Type() string { return "names" }

// Set adds values.
func (c *choices) Set(s string) error {
	for v := range strings.SplitSeq(s, ",") {
		v = strings.TrimSpace(v)
		if !slices.Contains(c.allowed, v) {
			return fmt.Errorf("use one or more of %s", c.list())
		}
		if !slices.Contains(c.values, v) {
			c.values = append(c.values, v)
		}
	}
	return nil
}

// size is a flag for a number of bytes, such as 64MiB.
type size struct{ value, least int64 }

// String is the value, for pflag.
func (s *size) String() string { return humanize.IBytes(uint64(max(s.value, 0))) }

// Type names the value in help.
func (s *size) Type() string { return "bytes" }

// Set refuses what is too small.
func (s *size) Set(v string) error {
	n, err := humanize.ParseBytes(v)
	if err != nil || n < uint64(s.least) || n > 1<<62 { //nolint:gosec // least is a small constant
		return fmt.Errorf("use a size of at least %s, such as 64MiB", humanize.IBytes(uint64(s.least))) //nolint:gosec // as above
	}
	s.value = int64(n)
	return nil
}

// count is a flag for a whole number within bounds, such as a page's size.
type count struct {
	value, least, most int64
	set                bool
}

// limit is a page's size: what the library allows, said at once and not silently cut.
func limit(def int64) *count { return &count{value: def, least: 1, most: 1000} }

func (c *count) int() int { return int(c.value) }

// String is the value, for pflag.
func (c *count) String() string { return strconv.FormatInt(c.value, 10) }

// Type names the value in help.
func (c *count) Type() string { return "number" }

// Set refuses what is out of bounds.
func (c *count) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < c.least || n > c.most {
		return fmt.Errorf("use a whole number from %d to %d", c.least, c.most)
	}
	c.value, c.set = n, true
	return nil
}
