// Package bench measures talkbase side by side with something else in the same run: the same calls
// on a small and on a large database, the presenter against the same statements written by hand
// through database/sql, and the bulk loaders against a plain COPY or prepared inserts.
//
// Both sides of a comparison run in turns, A B B A …, and the ratio of each turn counts, so that other
// work on the machine disturbs them alike. Program cmd/report prints the comparisons as one table; the
// benchmarks of this package run each side by itself, for profiles.
package bench
