// Package sample is a small DeepChat user-data folder for demonstrations: a chat.db and one
// knowledge base, made by the program in the folder make.
//
// Vectors come from embedding.HashedWords, which needs no model and no network.
package sample

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"os"

	"github.com/talkbase/talkbase/embedding"
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
	// Model is what the knowledge base names as its embedding model.
	Model = embedding.HashedWordsModel
	// Dimensions is the length of the vectors.
	Dimensions = 768
)

// Embed makes the vector of a text as those of the archive were made.
func Embed(text string) []float32 { return embedding.Hash(text, Dimensions) }

// Unpack writes the folder's files into dir, which must not hold them yet.
func Unpack(dir string) error {
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return err
	}
	return os.CopyFS(dir, z)
}
