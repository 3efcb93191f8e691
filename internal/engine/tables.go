package engine

import (
	"slices"

	"github.com/talkbase/talkbase/models"
)

// ourTables are the tables of the schema, parents before children.
var ourTables = []string{
	"conversations", "messages", "message_attachments",
	"knowledge_bases", "knowledge_files", "knowledge_chunks", "knowledge_vectors",
	"talkbase_meta",
	"talkbase_import_runs", "talkbase_import_sources", "talkbase_import_batches", "talkbase_import_marks", "talkbase_import_edits",
	"knowledge_sketches", "knowledge_sketch_blocks", "knowledge_sketch_pending",
	"conversation_terms", "message_terms", "chunk_terms",
}

// Tables returns the names of the schema's tables that hold a host's rows, parents before children.
func Tables() []string { return slices.Clone(ourTables[:7]) }

// termsTables are the tables of the text index.
var termsTables = []string{"conversation_terms", "message_terms", "chunk_terms"}

func isOurTable(name string) bool { return slices.Contains(ourTables, name) }

// dropOrder is children first, the version last.
func dropOrder() []string {
	t := slices.Clone(ourTables)
	slices.Reverse(t)
	return append(t, VersionTable)
}

func blobOf(v []float32) []byte { return models.Vector(v).Blob() }
