// Package bench measures talkbase side by side with something else in the same run: the same calls
// on a small and on a large database, the presenter against the same statements written by hand
// through database/sql, the bulk loaders against a plain COPY or prepared inserts, and whole imports of
// legacy files against bare copies of the same rows and against pgloader.
//
// Both sides of a comparison run in turns, A B B A …, and the ratio of each turn counts, so that other
// work on the machine disturbs them alike. Program cmd/report prints the comparisons as one table; the
// benchmarks of this package run each side by itself, for profiles.
//
// Imports and what they are compared with run in processes of their own, in turns as well, so that the
// peak memory of an import is its own. What counts of an import is all of it, the private copy of the file,
// the check of its pages and the indexes included, without the backup and the text index, whose times the
// report shows beside it. A bare copy reads the file where it is and puts the rows into talkbase's own
// tables as they are made, with their keys, checks, triggers and indexes, or into tables that have the same
// columns and nothing else; nothing is looked at or kept of them. To Postgres it is one COPY for each table,
// in one transaction, while the file is read; to SQLite a prepared insert for each row, 10,000 rows a
// transaction.
package bench
