// Package sample is a small DeepChat user-data folder for demonstrations: a chat.db and one
// knowledge base, made by the program in the folder make.
//
// Vectors come from [Embed], which hashes words. It needs no model and no network, and finds texts
// with the same words, not with the same meaning.
package sample

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"os"
)

//go:generate go run ./make

// Archive is the folder as a zip file.
//
//go:embed deepchat.zip
var archive []byte

// What is in the folder.
const (
	// Chat is the path of the chat.db in the folder.
	Chat = "app_db/chat.db"
	// Base is the id of the knowledge base.
	Base = "engineering-notes"
	// Knowledge is the path of the knowledge file in the folder.
	Knowledge = "app_db/KnowledgeBase/" + Base
	// Configs is the path of the configuration of the knowledge base in the folder.
	Configs = "knowledge-configs.json"
)

// Unpack writes the folder's files into dir, which must not hold them yet.
func Unpack(dir string) error {
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return err
	}
	return os.CopyFS(dir, z)
}
