package engine

import (
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/talkbase/talkbase/models"
)

// postgresDialector is gorm's for Postgres with classified errors, savepoints whose errors are
// not swallowed, and the column types of our models.
type postgresDialector struct{ *postgres.Dialector }

// Translate maps the driver's codes to the sentinels.
func (postgresDialector) Translate(err error) error { return classifyPostgres(err) }

// Explain leaves a statement whose values are not to be shown as it is.
func (d postgresDialector) Explain(sql string, vars ...any) string {
	if len(vars) == 0 {
		return sql
	}
	return d.Dialector.Explain(sql, vars...)
}

// SavePoint begins a savepoint.
func (postgresDialector) SavePoint(tx *gorm.DB, name string) error {
	return tx.Session(&gorm.Session{}).Exec("SAVEPOINT " + name).Error
}

// RollbackTo goes back to a savepoint.
func (postgresDialector) RollbackTo(tx *gorm.DB, name string) error {
	return tx.Session(&gorm.Session{}).Exec("ROLLBACK TO SAVEPOINT " + name).Error
}

// BindVector binds a vector in pgvector's text form, which every protocol takes.
func (postgresDialector) BindVector(v []float32) any { return models.Vector(v).Text() }

// Numbered says that the driver wants $1 for ?.
func (postgresDialector) Numbered() bool { return true }

// DataTypeOf adds the defaults, which gorm's own tag would also write over explicit zeros, and
// makes text compare bytewise.
func (d postgresDialector) DataTypeOf(f *schema.Field) string {
	t := d.Dialector.DataTypeOf(f)
	switch f.DataType {
	case "json":
		t = "jsonb"
	case "vector":
		t = "vector"
	}
	if t == "text" {
		t = `text COLLATE "C"`
	}
	if def, ok := f.TagSettings["SQLDEFAULT"]; ok {
		switch def {
		case "now":
			def = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
		case "unique":
			def = "gen_random_uuid()::text"
		}
		t += " DEFAULT " + def
	}
	return t
}

// Migrator is gorm's own, made for this dialector so that DataTypeOf above is asked.
func (d postgresDialector) Migrator(db *gorm.DB) gorm.Migrator {
	m := d.Dialector.Migrator(db).(postgres.Migrator)
	m.Dialector = d
	return m
}
