// Command talkbase imports DeepChat's older files into a talkbase database and looks at what is in
// it.
//
//	talkbase demo                        import a small sample and ask it something
//	talkbase import ~/.config/DeepChat   take over conversations and knowledge bases
//	talkbase conversations               list conversations
//	talkbase search 向量 database         find words in all of them
//
// Every command works on the database that --db names: a file, or postgres://…. Without --db that is
// $TALKBASE_DB, or talkbase.db in the working folder.
//
// With --json a command prints exactly one JSON document to standard output, also when it fails:
// then the document has the key "error" with a stable "code" and a "message". Standard error is for
// people: progress, and what went wrong and what to do about it.
//
// The exit code is 0, 1 when the command failed, and 2 when it was used wrongly.
package main

import (
	"os"

	_ "github.com/talkbase/talkbase/migration/duckdb" // reads knowledge files
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
