package talkbase_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
)

func ExampleDB_Backup() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "talkbase-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	db, err := talkbase.Open(ctx, talkbase.Config{DSN: filepath.Join(dir, "chats.db")})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.CreateConversation(ctx, models.NewConversation("Moving house")); err != nil {
		log.Fatal(err)
	}

	dump := filepath.Join(dir, "chats.dump")
	info, err := db.Backup(ctx, dump, migration.DumpOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Tables["conversations"].Rows, "conversation")

	// Into an empty database, of this engine or of the other.
	other, err := talkbase.Open(ctx, talkbase.Config{DSN: filepath.Join(dir, "restored.db")})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	report, err := other.Restore(ctx, dump, migration.RestoreOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("restored and compared:", report.Verified)
	// Output:
	// 1 conversation
	// restored and compared: true
}
