// Package models holds the rows of a talkbase database, one file per table. Column names and
// types are those of the SQL schema under migration/sql. There are no queries here.
//
// Times are milliseconds since the Unix epoch. Text keys (conv_id, msg_id, base, file, chunk and
// vector ids) compare bytewise on every engine. Integer ids are assigned by the database.
package models
