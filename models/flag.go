package models

import (
	"database/sql/driver"
	"fmt"
)

// Flag is a boolean stored as the integer 0 or 1, so that the same SQL reads and writes it on
// every engine. NULL reads as false.
type Flag bool

// Value returns 0 or 1.
func (f Flag) Value() (driver.Value, error) {
	if f {
		return int64(1), nil
	}
	return int64(0), nil
}

// Scan reads 0 as false and every other integer as true.
func (f *Flag) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*f = false
	case int64:
		*f = v != 0
	case bool:
		*f = Flag(v)
	default:
		return fmt.Errorf("models: cannot read a flag from %T", src)
	}
	return nil
}

// GormDataType names the column type.
func (Flag) GormDataType() string { return "integer" }
