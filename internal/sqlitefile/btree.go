package sqlitefile

import (
	"encoding/binary"
	"math"
	"slices"
)

// Row is a row of a table, or an entry of an index.
type Row struct {
	// RowID is a table's row's.
	RowID int64
	// Values are nil, int64, float64, string or []byte. A text may hold anything. There may be fewer than
	// the table has columns: those that were added later have their defaults.
	Values []any
	// Cut says that a part of the row cannot be read: Values ends before it, or in it.
	Cut error
}

// Visitor is told what is read of a tree.
type Visitor struct {
	// Row is told of each row; its error ends the reading.
	Row func(Row) error
	// Bad is told of a page that cannot be read at all, or in part.
	Bad func(page int, err error)
}

// Pages is a set of pages.
type Pages map[int]bool

// tooDeep is more than any tree has.
const tooDeep = 50

// Walk reads the tree of a table or an index from its root, as far as it can be read, in its order.
// Seen are pages that were read already, which are not read again; those that are read are added.
func (d *File) Walk(root int, index bool, seen Pages, v Visitor) error {
	return d.walk(root, index, seen, v, 0)
}

func (d *File) walk(n int, index bool, seen Pages, v Visitor, depth int) error {
	if seen[n] || depth > tooDeep {
		v.Bad(n, damagedf("page %d is named twice", n))
		return nil
	}
	b, err := d.page(n)
	if err != nil {
		v.Bad(n, err)
		return nil
	}
	seen[n] = true
	at := 0
	if n == 1 {
		at = headerSize
	}
	interior, leaf := byte(interiorTable), byte(leafTable)
	if index {
		interior, leaf = interiorIndex, leafIndex
	}
	switch b[at] {
	case leaf:
		return d.leaf(n, b, at, index, v)
	case interior:
		return d.interior(n, b, at, index, seen, v, depth)
	}
	v.Bad(n, damagedf("page %d is of the kind %d", n, b[at]))
	if index {
		return nil
	}
	// Its kind alone may be damaged: what its cells hold decides.
	if d.looksLikeLeaf(b, at) {
		return d.leaf(n, b, at, index, v)
	}
	return nil
}

// cells returns where the cells of a page are, and whether the page names others that cannot be.
func (d *File) cells(b []byte, at, head int) (out []int, wrong bool) {
	count := int(binary.BigEndian.Uint16(b[at+3:]))
	most := (d.usable - at - head) / 2
	if count > most {
		count, wrong = most, true
	}
	used := map[int]bool{}
	for i := range count {
		p := int(binary.BigEndian.Uint16(b[at+head+2*i:]))
		if p < at+head || p > d.usable-2 || used[p] {
			wrong = true
			continue
		}
		used[p] = true
		out = append(out, p)
	}
	return out, wrong
}

func (d *File) interior(n int, b []byte, at int, index bool, seen Pages, v Visitor, depth int) error {
	cells, wrong := d.cells(b, at, 12)
	if wrong {
		v.Bad(n, damagedf("page %d names cells that it cannot have", n))
	}
	for _, p := range cells {
		if p+4 > d.usable {
			continue
		}
		if err := d.walk(int(binary.BigEndian.Uint32(b[p:])), index, seen, v, depth+1); err != nil {
			return err
		}
		if !index {
			continue
		}
		row, err := d.cell(b, p+4, true)
		if err != nil {
			v.Bad(n, err)
			continue
		}
		if err := v.Row(row); err != nil {
			return err
		}
	}
	return d.walk(int(binary.BigEndian.Uint32(b[at+8:])), index, seen, v, depth+1)
}

func (d *File) leaf(n int, b []byte, at int, index bool, v Visitor) error {
	cells, wrong := d.cells(b, at, 8)
	if wrong {
		v.Bad(n, damagedf("page %d names cells that it cannot have", n))
	}
	for _, p := range cells {
		row, err := d.cell(b, p, index)
		if err != nil {
			v.Bad(n, err)
			continue
		}
		if err := v.Row(row); err != nil {
			return err
		}
	}
	return nil
}

// looksLikeLeaf reports whether most of what a page would have as cells of a table's leaf are rows.
func (d *File) looksLikeLeaf(b []byte, at int) bool {
	cells, _ := d.cells(b, at, 8)
	good := 0
	for _, p := range cells {
		if row, err := d.cell(b, p, false); err == nil && row.Cut == nil && len(row.Values) > 1 {
			good++
		}
	}
	return good > 0 && good*2 >= len(cells)
}

// local is how many bytes of a payload are in its cell; the rest is on overflow pages.
func (d *File) local(payload int64, index bool) int64 {
	u := int64(d.usable)
	least, most := (u-12)*32/255-23, u-35
	if index {
		most = (u-12)*64/255 - 23
	}
	if payload <= most {
		return payload
	}
	if k := least + (payload-least)%(u-4); k <= most {
		return k
	}
	return least
}

// cell reads a leaf's cell, or the payload of an index's interior cell.
func (d *File) cell(b []byte, p int, index bool) (Row, error) {
	var row Row
	b = b[:d.usable]
	payload, n := varint(b[p:])
	p += n
	if n == 0 || payload < 1 || payload > math.MaxInt32 || payload > int64(d.pages)*int64(d.pageSize) {
		return row, damagedf("a row has a length of %d", payload)
	}
	if !index {
		row.RowID, n = varint(b[p:])
		if p += n; n == 0 {
			return row, damagedf("a row ends before its number does")
		}
	}
	local := d.local(payload, index)
	if int64(p)+local > int64(len(b)) {
		return row, damagedf("a row ends beyond its page")
	}
	body := slices.Clip(b[p : p+int(local)])
	p += int(local)
	var cut error
	if local < payload {
		if p+4 > len(b) {
			return row, damagedf("a row ends beyond its page")
		}
		body, cut = d.overflow(body, int(binary.BigEndian.Uint32(b[p:])), payload)
	}
	values, err := record(body, cut != nil)
	if err != nil {
		return row, err
	}
	row.Values, row.Cut = values, cut
	return row, nil
}

// overflow appends the rest of a payload.
func (d *File) overflow(body []byte, next int, payload int64) ([]byte, error) {
	seen := Pages{}
	for int64(len(body)) < payload {
		if seen[next] {
			return body, damagedf("overflow page %d is named twice", next)
		}
		seen[next] = true
		b, err := d.page(next)
		if err != nil {
			return body, err
		}
		part := b[4:d.usable]
		if rest := payload - int64(len(body)); rest < int64(len(part)) {
			part = part[:rest]
		}
		body = append(body, part...)
		next = int(binary.BigEndian.Uint32(b))
	}
	if next != 0 {
		return body, damagedf("a row's overflow pages go on behind its end")
	}
	return body, nil
}

// record reads the values of a record. Of one that is cut off, as many as are there, the last of which may
// end early.
func record(b []byte, cut bool) ([]any, error) {
	size, n := varint(b)
	if n == 0 || size < int64(n) || size > int64(len(b)) {
		return nil, damagedf("a row has a header of %d bytes", size)
	}
	head, body := b[n:size], b[size:]
	var out []any
	for len(head) > 0 {
		kind, n := varint(head)
		if n == 0 || kind < 0 || kind == 10 || kind == 11 {
			return nil, damagedf("a row has a value of the kind %d", kind)
		}
		head = head[n:]
		length := sizeOf(kind)
		if length > int64(len(body)) {
			if !cut {
				return nil, damagedf("a row has a value of %d bytes beyond its end", length)
			}
			if kind >= 12 {
				out = append(out, value(kind, body))
			}
			return out, nil
		}
		out = append(out, value(kind, body[:length]))
		body = body[length:]
	}
	return out, nil
}

// sizeOf is how many bytes a value of a serial type has.
func sizeOf(kind int64) int64 {
	switch {
	case kind >= 12:
		return (kind - 12) / 2
	case kind == 5:
		return 6
	case kind == 6, kind == 7:
		return 8
	case kind >= 8 || kind == 0:
		return 0
	}
	return kind
}

func value(kind int64, b []byte) any {
	switch {
	case kind == 0:
		return nil
	case kind == 7:
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	case kind == 8, kind == 9:
		return kind - 8
	case kind >= 12 && kind%2 == 0:
		return slices.Clone(b)
	case kind >= 12:
		return string(b)
	}
	var n int64
	if b[0]&0x80 != 0 {
		n = -1
	}
	for _, x := range b {
		n = n<<8 | int64(x)
	}
	return n
}

// varint reads SQLite's variable-length integer; n is 0 where it is cut off.
func varint(b []byte) (v int64, n int) {
	for i := range min(len(b), 8) {
		v = v<<7 | int64(b[i]&0x7f)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	if len(b) < 9 {
		return 0, 0
	}
	return v<<8 | int64(b[8]), 9
}

// Object is an entry of the schema.
type Object struct {
	Kind, Name, Table string
	Root              int
	SQL               string
}

// Schema lists the tables and indexes, as far as they can be read.
func (d *File) Schema(seen Pages, bad func(page int, err error)) []Object {
	var out []Object
	_ = d.Walk(1, false, seen, Visitor{Bad: bad, Row: func(r Row) error {
		if len(r.Values) < 5 {
			return nil
		}
		var o Object
		var ok [4]bool
		o.Kind, ok[0] = r.Values[0].(string)
		o.Name, ok[1] = r.Values[1].(string)
		o.Table, ok[2] = r.Values[2].(string)
		root, isRoot := r.Values[3].(int64)
		o.SQL, _ = r.Values[4].(string)
		ok[3] = isRoot && root > 0 && root <= int64(d.pages)
		if !ok[0] || !ok[1] || !ok[2] {
			return nil
		}
		if ok[3] {
			o.Root = int(root)
		}
		out = append(out, o)
		return nil
	}})
	return out
}

// Free adds the pages of the list of free pages to seen, as far as it can be read.
func (d *File) Free(seen Pages) error {
	b, err := d.page(1)
	if err != nil {
		return err
	}
	next := int(binary.BigEndian.Uint32(b[32:]))
	for next != 0 {
		if seen[next] {
			return damagedf("free page %d is named twice", next)
		}
		if b, err = d.page(next); err != nil {
			return err
		}
		seen[next] = true
		count := int(binary.BigEndian.Uint32(b[4:]))
		if count > d.usable/4-2 {
			return damagedf("page %d lists %d free pages", next, count)
		}
		for i := range count {
			seen[int(binary.BigEndian.Uint32(b[8+4*i:]))] = true
		}
		next = int(binary.BigEndian.Uint32(b))
	}
	return nil
}

// Stray reads the leaves of tables that are not in seen, and adds them: those that a damaged page above
// them named. Which table a row belongs to, its values tell.
func (d *File) Stray(seen Pages, v func(page int) Visitor) error {
	for n := 1; n <= d.pages; n++ {
		if seen[n] {
			continue
		}
		b, err := d.page(n)
		if err != nil {
			continue
		}
		at := 0
		if n == 1 {
			at = headerSize
		}
		if b[at] != leafTable || !d.looksLikeLeaf(b, at) {
			continue
		}
		seen[n] = true
		if err := d.leaf(n, b, at, false, v(n)); err != nil {
			return err
		}
	}
	return nil
}

// IsIndex reports whether a page is one of an index, or of a table without row numbers.
func (d *File) IsIndex(n int) bool {
	b, err := d.page(n)
	return err == nil && n != 1 && (b[0] == leafIndex || b[0] == interiorIndex)
}

// Leaf reads one page as a leaf of a table.
func (d *File) Leaf(n int, seen Pages, v Visitor) error {
	b, err := d.page(n)
	if err != nil || seen[n] {
		return nil //nolint:nilerr // there is nothing to be read
	}
	seen[n] = true
	at := 0
	if n == 1 {
		at = headerSize
	}
	return d.leaf(n, b, at, false, v)
}
