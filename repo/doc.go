// Package repo reads and writes the rows of a talkbase database: one repository per aggregate, the
// unit of work that carries transactions, and the errors.
//
// Every method takes the ctx first. A ctx received from WithTransaction or Tx.Context carries a
// transaction, and every call made with it runs inside. Times are milliseconds since the Unix epoch.
// Text given to any method must be valid UTF-8 without NUL, or the error wraps ErrText.
package repo
