package engine

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"gorm.io/gorm"
)

// maxDamages bounds how many lines SQLite's checker reports.
const maxDamages = "100"

func (e *sqliteEngine) HealthSQL() HealthSQL {
	return HealthSQL{
		NotObject: func(column string) string {
			return "CASE WHEN json_valid(" + column + ") THEN json_type(" + column + ") <> 'object' ELSE 1 END"
		},
		WrongDimensions: func(column, dimensions string) string {
			return "(typeof(" + column + ") <> 'blob' OR length(" + column + ") <> 4 * " + dimensions + ")"
		},
	}
}

func (e *sqliteEngine) Versions(ctx context.Context, db *gorm.DB) ([]Version, error) {
	v, err := One(ctx, db, Value[string], "SELECT sqlite_version()")
	return []Version{{Name: "SQLite", Version: v, Faults: faultsOf(v, sqliteFaults, true)}}, err
}

// CheckStorage runs PRAGMA integrity_check, which reads every page, compares every index with its
// table and checks the text index.
func (e *sqliteEngine) CheckStorage(ctx context.Context, db *gorm.DB, found func(Damage)) (map[string]string, error) {
	err := inReadTx(ctx, e, db, func(db *gorm.DB) error {
		// FTS5 remembers on each connection how its index was, and a query makes it look whether others
		// changed it since. The checker does not look.
		there, err := Collect(ctx, db, Value[string], "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('"+strings.Join(termsTables, "', '")+"')")
		if err != nil {
			return err
		}
		for _, table := range there {
			_, err := Collect(ctx, db, Value[int64], "SELECT rowid FROM "+table+" LIMIT 1")
			if errors.Is(err, ErrCorrupt) {
				found(Damage{Kind: DamagedTerms, Table: table, Detail: err.Error()})
			} else if err != nil {
				return err
			}
		}
		return integrityCheck(ctx, db, found)
	})
	if errors.Is(err, ErrCorrupt) { // it could not even be checked
		d, _ := damageOf(err.Error())
		found(d)
		return nil, nil
	}
	return nil, err
}

func integrityCheck(ctx context.Context, db *gorm.DB, found func(Damage)) error {
	return Each(ctx, db, Value[string], func(text *string) bool {
		for line := range strings.Lines(*text) {
			if d, ok := damageOf(strings.TrimSpace(line)); ok {
				found(d)
			}
		}
		return true
	}, "PRAGMA integrity_check("+maxDamages+")")
}

// The lines of SQLite's checker that say where the damage is: https://www.sqlite.org/pragma.html#pragma_integrity_check.
var (
	damagedIndex = regexp.MustCompile(`(?:missing from|# of entries in|entry in|differ from|for row \d+ of) index (\S+)$`)
	damagedTerms = regexp.MustCompile(`(?:FTS5 table (?:main\.)?|fts5: .* table ")(\w+)`)
	damagedRows  = regexp.MustCompile(`^(?:CHECK constraint failed in|(?:NULL|non-\w+|\w+) value in) (\w+)`)
)

func damageOf(line string) (d Damage, ok bool) {
	if line == "" || line == "ok" || strings.HasPrefix(line, "*** in database") {
		return d, false
	}
	d = Damage{Detail: line}
	if m := damagedTerms.FindStringSubmatch(line); m != nil {
		d.Kind, d.Table = DamagedTerms, m[1]
	} else if m := damagedIndex.FindStringSubmatch(line); m != nil {
		d.Kind, d.Index = DamagedIndex, m[1]
	} else if m := damagedRows.FindStringSubmatch(line); m != nil {
		d.Kind, d.Table = DamagedRows, m[1]
	}
	return d, true
}

// InvalidIndexes returns none: an index of SQLite is there or not.
func (e *sqliteEngine) InvalidIndexes(context.Context, *gorm.DB) ([]string, error) { return nil, nil }

func (e *sqliteEngine) LateSequences(ctx context.Context, db *gorm.DB) ([]Sequence, error) {
	var out []Sequence
	for _, s := range serials {
		err := scanSequence(ctx, db, &s, "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0), coalesce(max("+s.Column+"), 0) FROM "+s.Table, s.Table)
		if err != nil {
			return nil, err
		}
		if s.Last < s.Highest {
			out = append(out, s)
		}
	}
	return out, nil
}

func scanSequence(ctx context.Context, db *gorm.DB, s *Sequence, query string, args ...any) error {
	got, err := One(ctx, db, func(sc Scanner, v *Sequence) error { return sc.Scan(&v.Last, &v.Highest) }, query, args...)
	s.Last, s.Highest = got.Last, got.Highest
	return err
}

func (e *sqliteEngine) SetSequence(ctx context.Context, tx *gorm.DB, s Sequence) error {
	highest := "(SELECT coalesce(max(" + s.Column + "), 0) FROM " + s.Table + ")"
	n, err := Exec(ctx, tx, "UPDATE sqlite_sequence SET seq = max(seq, "+highest+") WHERE name = ?", s.Table)
	if err == nil && n == 0 {
		_, err = Exec(ctx, tx, "INSERT INTO sqlite_sequence (name, seq) VALUES (?, "+highest+")", s.Table)
	}
	return err
}

// Reindex takes the writer's turn: others wait for it.
func (e *sqliteEngine) Reindex(ctx context.Context, index string) error {
	tx, err := e.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := Exec(ctx, tx.DB, "REINDEX "+quoteName(index)); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// EmptyTerms does not read what is there, which a DELETE of the rows would.
func (e *sqliteEngine) EmptyTerms(ctx context.Context, tx *gorm.DB, table string) error {
	_, err := Exec(ctx, tx, "INSERT INTO "+table+"("+table+") VALUES ('delete-all')")
	return err
}
