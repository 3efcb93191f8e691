// Package migration brings things into a talkbase database: its own schema, in versioned steps, and the
// conversations and knowledge of DeepChat's older releases.
//
// SchemaManager versions the schema. Import copies legacy files; a Source reads one of them, and a
// reader for a kind of file is linked by importing its package: the one for chat.db is always
// there, the one for DuckDB knowledge files is package migration/duckdb.
package migration
