package repo

import (
	"slices"
	"strings"
)

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	// SeverityError: rows are damaged or missing, or answers are wrong until it is put right.
	SeverityError Severity = "error"
	// SeverityWarning: answers are right; something is slow, stale, or may go wrong later.
	SeverityWarning Severity = "warning"
	// SeverityInfo: worth knowing, and normal use can lead to it.
	SeverityInfo Severity = "info"
)

// Finding is one thing that a check of the database's integrity found.
type Finding struct {
	// Code is stable; docs/troubleshooting.md explains each.
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	// Table, Column, Index and Base name what is concerned, where it is one.
	Table  string `json:"table,omitempty"`
	Column string `json:"column,omitempty"`
	Index  string `json:"index,omitempty"`
	Base   string `json:"base,omitempty"`
	// Count is how many rows, indexes or other things are concerned.
	Count int64 `json:"count"`
	// Examples are the first few of their ids, or of the checker's lines. They hold no content of a chat.
	Examples []string `json:"examples,omitempty"`
	// Message says what is wrong, Action what to do.
	Message string `json:"message"`
	Action  string `json:"action"`
	// Repairable says that Repair puts it right.
	Repairable bool `json:"repairable"`
}

// The codes of findings.
const (
	FindingSchemaVersion         = "schema_version"
	FindingSchemaDrift           = "schema_drift"
	FindingIndexMissing          = "index_missing"
	FindingIndexInvalid          = "index_invalid"
	FindingIndexDamaged          = "index_damaged"
	FindingStorageDamaged        = "storage_damaged"
	FindingCheckFailed           = "check_failed"
	FindingOrphanRows            = "orphan_rows"
	FindingParentMissing         = "parent_missing"
	FindingParentWrong           = "parent_wrong"
	FindingOrderDuplicate        = "order_seq_duplicate"
	FindingMessageCount          = "message_count"
	FindingNotObject             = "json_not_object"
	FindingValueInvalid          = "value_invalid"
	FindingChunkWithoutVector    = "chunk_without_vector"
	FindingVectorUnprocessed     = "vector_unprocessed"
	FindingVectorDimensions      = "vector_dimensions"
	FindingVectorMisplaced       = "vector_misplaced"
	FindingTextMissing           = "text_missing"
	FindingTextStale             = "text_stale"
	FindingTextDamaged           = "text_damaged"
	FindingTextAnalyser          = "text_analyser"
	FindingVectorIndexMissing    = "vector_index_missing"
	FindingVectorIndexStale      = "vector_index_stale"
	FindingVectorIndexDamaged    = "vector_index_damaged"
	FindingVectorIndexIncomplete = "vector_index_incomplete"
	FindingSequenceBehind        = "sequence_behind"
	FindingImportUnfinished      = "import_unfinished"
	FindingEngineFault           = "engine_fault"
)

// kind is what all findings of a code have in common.
type kind struct {
	severity   Severity
	message    string
	action     string
	repairable bool
}

const (
	byRepair   = "talkbase doctor --repair, or call Repair"
	byHand     = "find out which program wrote it and correct it, or restore a backup"
	fromBackup = "stop writing and restore a backup; where there is none, talkbase salvage FILE OUT rescues what can be read"
)

var kinds = map[string]kind{
	FindingSchemaVersion:         {SeverityError, "the schema has another version than this program needs", "talkbase schema up; of a newer schema, update the program", false},
	FindingSchemaDrift:           {SeverityError, "the schema is not what this program made", "talkbase schema validate names both definitions: undo the change, or take the rows to a new database with talkbase copy", false},
	FindingIndexMissing:          {SeverityWarning, "an index is missing, and queries are slow without it", byRepair, true},
	FindingIndexInvalid:          {SeverityWarning, "building an index was cut off; no query uses it, and every write keeps it up", byRepair, true},
	FindingIndexDamaged:          {SeverityError, "an index does not agree with its table, and queries miss rows", byRepair, true},
	FindingStorageDamaged:        {SeverityError, "the database's pages are damaged", fromBackup, false},
	FindingCheckFailed:           {SeverityError, "a check could not be made", "the example says why; where it is damage, restore a backup", false},
	FindingOrphanRows:            {SeverityError, "rows belong to one that is not there", "talkbase doctor --repair deletes vectors, which chunks can be embedded to again; other rows hold what somebody wrote, and go with --delete-orphans only", false},
	FindingParentMissing:         {SeverityInfo, "messages answer one that is not there, which deleting it leaves behind", "nothing: they are listed as answers to nothing", false},
	FindingParentWrong:           {SeverityWarning, "messages answer themselves, or one of another conversation", "set their parent with UpdateMessageParent", false},
	FindingOrderDuplicate:        {SeverityInfo, "messages of a conversation share a place in its order; which was stored first comes first", "nothing: the order is the same on every read", false},
	FindingMessageCount:          {SeverityError, "conversations count another number of messages than they have", byRepair, true},
	FindingNotObject:             {SeverityError, "a column holds what is not a JSON object", byHand, false},
	FindingValueInvalid:          {SeverityError, "a column holds a value that the schema forbids", byHand, false},
	FindingChunkWithoutVector:    {SeverityWarning, "chunks are processed and have no vector: similarity queries do not find them", "set them to pending and call EmbedPending", false},
	FindingVectorUnprocessed:     {SeverityWarning, "vectors belong to chunks that are not processed: similarity queries do not find them", "call EmbedPending, or set the chunks to processed with UpdateChunkStatus", false},
	FindingVectorDimensions:      {SeverityError, "vectors have another number of dimensions than their knowledge base", "delete them, and embed their chunks again", false},
	FindingVectorMisplaced:       {SeverityError, "vectors name another knowledge base or file than their chunk's", byHand, false},
	FindingTextMissing:           {SeverityError, "rows are not in the text index, and searches miss them", byRepair + "; plain SQL that writes rows is followed by talkbase reindex", true},
	FindingTextStale:             {SeverityWarning, "the text index holds rows that are not there", byRepair, true},
	FindingTextDamaged:           {SeverityError, "the text index is damaged", byRepair, true},
	FindingTextAnalyser:          {SeverityWarning, "another version of the analyser made the text index, and some searches may miss rows", byRepair + "; talkbase reindex does it alone", true},
	FindingVectorIndexMissing:    {SeverityInfo, "a knowledge base has no index of its vectors: similarity queries compare them one by one", "talkbase indexes, or call CreateOptimalIndexes", false},
	FindingVectorIndexStale:      {SeverityWarning, "the index of a knowledge base's vectors was made for others than there are", byRepair + "; talkbase optimize does it, too", true},
	FindingVectorIndexDamaged:    {SeverityWarning, "the index of a knowledge base's vectors cannot be read: similarity queries compare them one by one", byRepair, true},
	FindingVectorIndexIncomplete: {SeverityError, "the index of a knowledge base's vectors misses some, and similarity queries do not find them", byRepair, true},
	FindingSequenceBehind:        {SeverityError, "the next row would get a number that is in use, and be refused", byRepair, true},
	FindingImportUnfinished:      {SeverityWarning, "an import or a rollback was cut off, or is under way", "talkbase import --resume, or talkbase rollback RUN, goes on", false},
	FindingEngineFault:           {SeverityInfo, "this version of the database has a known fault", "update it to the version that the example names, or a newer one", false},
}

// FindingCodes returns every code that a finding can have, in the order of the alphabet.
func FindingCodes() []string {
	out := make([]string, 0, len(kinds))
	for code := range kinds {
		out = append(out, code)
	}
	slices.Sort(out)
	return out
}

// NewFinding returns a finding of a code with what all of its findings have in common, for one thing.
func NewFinding(code string) Finding {
	k := kinds[code]
	return Finding{Code: code, Severity: k.severity, Message: k.message, Action: k.action, Repairable: k.repairable, Count: 1}
}

// IntegrityReport is what a check of the database's integrity found.
type IntegrityReport struct {
	// OK is true when no finding is an error.
	OK bool `json:"ok"`
	// Engine is sqlite or postgres; Versions are its own and its extensions'.
	Engine   string          `json:"engine"`
	Versions []EngineVersion `json:"versions"`
	// Milliseconds is how long it took.
	Milliseconds int64 `json:"duration_ms"`
	// Findings are in the order of severity, errors first, then of codes.
	Findings []Finding `json:"findings"`
	// Skipped says what was not checked, and why.
	Skipped map[string]string `json:"skipped,omitempty"`
}

var severities = map[Severity]int{SeverityError: 0, SeverityWarning: 1, SeverityInfo: 2}

// Sort puts the findings into their order and sets OK.
func (r *IntegrityReport) Sort() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		if a.Severity != b.Severity {
			return severities[a.Severity] - severities[b.Severity]
		}
		return strings.Compare(a.Code+"\x00"+a.Table+a.Index+a.Base+a.Column, b.Code+"\x00"+b.Table+b.Index+b.Base+b.Column)
	})
	r.OK = r.Errors() == 0
}

// Errors counts the findings that are errors.
func (r *IntegrityReport) Errors() int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == SeverityError {
			n++
		}
	}
	return n
}

// Find returns the findings of a code.
func (r *IntegrityReport) Find(code string) []Finding {
	var out []Finding
	for _, f := range r.Findings {
		if f.Code == code {
			out = append(out, f)
		}
	}
	return out
}
