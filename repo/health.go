package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/internal/text"
	"github.com/talkbase/talkbase/models"
)

// Health checks rows and what the engine keeps of them, measures, explains and repairs.
type Health struct{ s *Store }

// NewHealth returns the health of s.
func NewHealth(s *Store) *Health { return &Health{s} }

// EngineVersion is a program the database depends on, with its known faults.
type EngineVersion = engine.Version

// examples is how many ids a finding names.
const examples = 5

// rowCheck finds rows that should not be, by their ids.
type rowCheck struct {
	code          string
	table, column string
	// needs are the other tables it reads.
	needs []string
	// query returns one id of a row; the same one twice is one example.
	query string
}

// belongs are the columns that name a row of another table.
var belongs = []struct{ table, column, parent, key string }{
	{"messages", "conversation_id", "conversations", "conv_id"},
	{"message_attachments", "message_id", "messages", "msg_id"},
	{"knowledge_files", "base_id", "knowledge_bases", "id"},
	{"knowledge_chunks", "file_id", "knowledge_files", "id"},
	{"knowledge_vectors", "base_id", "knowledge_bases", "id"},
	{"knowledge_vectors", "file_id", "knowledge_files", "id"},
	{"knowledge_vectors", "chunk_id", "knowledge_chunks", "id"},
}

func orphans(table, column, parent, key string) string {
	return "NOT EXISTS (SELECT 1 FROM " + parent + " p WHERE p." + key + " = " + table + "." + column + ")"
}

// objects are the columns of JSON, with the key of their table.
var objects = []struct{ table, key, column string }{
	{"conversations", "conv_id", "settings"},
	{"messages", "msg_id", "metadata"},
	{"knowledge_bases", "id", "settings"},
	{"knowledge_files", "id", "metadata"},
	{"talkbase_import_runs", "id", "options"},
	{"talkbase_import_runs", "id", "progress"},
	{"talkbase_import_runs", "id", "report"},
	{"talkbase_import_sources", "run_id", "config"},
	{"talkbase_import_sources", "run_id", "progress"},
}

// rowChecks are the checks of rows that one statement makes.
func (h *Health) rowChecks() []rowCheck {
	sql := h.s.eng().HealthSQL()
	quoted := func(values ...string) string { return "('" + strings.Join(values, "', '") + "')" }
	var roles []string
	for _, r := range models.Roles() {
		roles = append(roles, string(r))
	}
	tasks := quoted(string(models.TaskPending), string(models.TaskProcessing), string(models.TaskPaused), string(models.TaskProcessed), string(models.TaskError))
	states := quoted(string(models.StatusSent), string(models.StatusPending), string(models.StatusError))
	metrics := quoted(string(models.MetricCosine), string(models.MetricL2), string(models.MetricIP))
	checks := []rowCheck{
		{FindingParentMissing, "messages", "parent_id", nil, `SELECT m.msg_id FROM messages m WHERE m.parent_id <> '' AND NOT EXISTS (SELECT 1 FROM messages p WHERE p.msg_id = m.parent_id)`},
		{FindingParentWrong, "messages", "parent_id", nil, `SELECT m.msg_id FROM messages m JOIN messages p ON p.msg_id = m.parent_id WHERE p.conversation_id <> m.conversation_id OR p.msg_id = m.msg_id`},
		{FindingOrderDuplicate, "messages", "order_seq", nil, `SELECT conversation_id FROM messages GROUP BY conversation_id, order_seq HAVING count(*) > 1`},
		{FindingMessageCount, "conversations", "message_count", []string{"messages"}, `SELECT c.conv_id FROM conversations c WHERE c.message_count <> (SELECT count(*) FROM messages m WHERE m.conversation_id = c.conv_id)`},
		{FindingValueInvalid, "messages", "role", nil, "SELECT msg_id FROM messages WHERE role NOT IN " + quoted(roles...)},
		{FindingValueInvalid, "messages", "status", nil, "SELECT msg_id FROM messages WHERE status NOT IN " + states},
		{FindingValueInvalid, "knowledge_files", "status", nil, "SELECT id FROM knowledge_files WHERE status NOT IN " + tasks},
		{FindingValueInvalid, "knowledge_chunks", "status", nil, "SELECT id FROM knowledge_chunks WHERE status NOT IN " + tasks},
		{FindingValueInvalid, "knowledge_bases", "metric", nil, "SELECT id FROM knowledge_bases WHERE metric NOT IN " + metrics},
		{FindingValueInvalid, "knowledge_bases", "dimensions", nil, "SELECT id FROM knowledge_bases WHERE dimensions NOT BETWEEN 1 AND 16000"},
		{FindingChunkWithoutVector, "knowledge_chunks", "", []string{"knowledge_vectors"}, `SELECT c.id FROM knowledge_chunks c WHERE c.status = 'processed' AND NOT EXISTS (SELECT 1 FROM knowledge_vectors v WHERE v.chunk_id = c.id)`},
		{FindingVectorUnprocessed, "knowledge_vectors", "chunk_id", []string{"knowledge_chunks"}, `SELECT v.id FROM knowledge_chunks c JOIN knowledge_vectors v ON v.chunk_id = c.id WHERE c.status <> 'processed'`},
		{FindingVectorDimensions, "knowledge_vectors", "embedding", []string{"knowledge_bases"}, `SELECT v.id FROM knowledge_vectors v JOIN knowledge_bases b ON b.id = v.base_id WHERE ` + sql.WrongDimensions("v.embedding", "b.dimensions")},
		{FindingVectorMisplaced, "knowledge_vectors", "", []string{"knowledge_chunks", "knowledge_files"}, `SELECT v.id FROM knowledge_vectors v JOIN knowledge_chunks c ON c.id = v.chunk_id JOIN knowledge_files f ON f.id = c.file_id WHERE v.file_id <> c.file_id OR v.base_id <> f.base_id`},
		{FindingImportUnfinished, "talkbase_import_runs", "state", nil, "SELECT id FROM talkbase_import_runs WHERE " + unfinished},
	}
	for _, b := range belongs {
		checks = append(checks, rowCheck{FindingOrphanRows, b.table, b.column, []string{b.parent}, "SELECT " + keysOf[b.table].key + " FROM " + b.table + " WHERE " + orphans(b.table, b.column, b.parent, b.key)})
	}
	for _, o := range objects {
		checks = append(checks, rowCheck{FindingNotObject, o.table, o.column, nil, "SELECT " + o.key + " FROM " + o.table + " WHERE " + sql.NotObject(o.column)})
	}
	for _, t := range textSources {
		k := keysOf[t.table]
		key := h.s.eng().MatchTerms(t.terms, text.Query{}).Key
		checks = append(checks,
			rowCheck{FindingTextMissing, t.table, "", []string{t.terms}, "SELECT r." + k.key + " FROM " + t.table + " r WHERE NOT EXISTS (SELECT 1 FROM " + t.terms + " t WHERE t." + key + " = r." + k.number + ")"},
			rowCheck{FindingTextStale, t.table, "", []string{t.terms}, "SELECT CAST(t." + key + " AS text) FROM " + t.terms + " t WHERE NOT EXISTS (SELECT 1 FROM " + t.table + " r WHERE r." + k.number + " = t." + key + ")"})
	}
	return checks
}

// check collects findings.
type check struct {
	*Health
	db      *gorm.DB
	missing map[string]bool
	report  *IntegrityReport
}

// CheckIntegrity makes every check but that of the schema, in which the missing tables are: what reads
// them is left out. It writes nothing. Each check reads as of its own moment, so that a long one keeps
// nothing from being cleaned up, and what is found is kept in memory as a number and a few examples.
//
// A check that fails is a finding, and the others go on; the error is for a database that cannot be
// reached, and for the end of ctx. It is ErrInvalid inside a transaction.
func (h *Health) CheckIntegrity(ctx context.Context, missing map[string]bool) (IntegrityReport, error) {
	const op = "validate integrity"
	r := IntegrityReport{Engine: h.s.Engine(), Findings: []Finding{}, Skipped: map[string]string{}}
	db, err := h.outside(ctx)
	if err != nil {
		return r, wrap(op, err)
	}
	c := &check{h, db, missing, &r}
	err = c.all(ctx)
	return r, wrap(op, err)
}

// Outside is ErrInvalid where ctx carries a transaction, which may hold what the calls need.
func (h *Health) Outside(ctx context.Context) error {
	_, err := h.outside(ctx)
	return err
}

// outside returns where to read, and refuses a ctx that carries a transaction.
func (h *Health) outside(ctx context.Context) (*gorm.DB, error) {
	if h.s.carried(ctx) != nil {
		return nil, engine.Invalidf("call it outside of a transaction")
	}
	return h.s.eng().Reader(ctx)
}

func (c *check) all(ctx context.Context) error {
	type step struct {
		name string
		run  func(ctx context.Context) error
	}
	steps := []step{
		{"versions", c.versions}, {"storage", c.storage}, {"indexes", c.indexes}, {"sequences", c.sequences}, {"analyser", c.analyser},
	}
	for _, rc := range c.rowChecks() {
		steps = append(steps, step{rc.code + " in " + rc.table, func(ctx context.Context) error { return c.rows(ctx, rc) }})
	}
	steps = append(steps, step{"indexes of vectors", c.vectorIndexes})
	for _, s := range steps {
		if err := c.try(ctx, s.name, s.run); err != nil {
			return err
		}
	}
	c.settle()
	return nil
}

// try makes a check and turns an error of its own into a finding.
func (c *check) try(ctx context.Context, name string, run func(ctx context.Context) error) error {
	err := run(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return engine.Ended(ctx)
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrClosed), errors.Is(err, ErrNotReady), errors.Is(err, ErrBusy):
		return err
	}
	f := NewFinding(FindingCheckFailed)
	if errors.Is(err, ErrCorrupt) {
		f = NewFinding(FindingStorageDamaged)
	}
	f.Examples = []string{name + ": " + err.Error()}
	c.add(f)
	return nil
}

func (c *check) add(f Finding) { c.report.Findings = append(c.report.Findings, f) }

// lacks reports whether a table is not there, which the schema's own check says.
func (c *check) lacks(tables ...string) bool {
	for _, t := range tables {
		if c.missing[t] || t == "knowledge_vectors" && c.s.eng().Vectors() != nil {
			return true
		}
	}
	return false
}

// rows streams the ids that a check finds.
func (c *check) rows(ctx context.Context, rc rowCheck) error {
	if c.lacks(append(rc.needs, rc.table)...) {
		return nil
	}
	f := NewFinding(rc.code)
	f.Table, f.Column, f.Count = rc.table, rc.column, 0
	var last string
	err := engine.Each(ctx, c.db, engine.Value[string], func(id *string) bool {
		if f.Count++; len(f.Examples) < examples && (*id != last || f.Count == 1) {
			f.Examples = append(f.Examples, *id)
		}
		last = *id
		return true
	}, rc.query)
	if err != nil {
		return err
	}
	if rc.code == FindingOrphanRows && rc.table == "knowledge_vectors" {
		f.Repairable = true
	}
	if f.Count > 0 {
		c.add(f)
	}
	return nil
}

func (c *check) versions(ctx context.Context) (err error) {
	c.report.Versions, err = c.s.eng().Versions(ctx, c.db)
	for _, v := range c.report.Versions {
		for _, touches := range []bool{true, false} {
			f := NewFinding(FindingEngineFault)
			if touches {
				f.Severity = SeverityWarning
			}
			for _, fault := range v.Faults {
				if fault.Touches == touches {
					f.Examples = append(f.Examples, fmt.Sprintf("%s %s: %s; mended in %s", v.Name, v.Version, fault.What, fault.FixedIn))
				}
			}
			if f.Count = int64(len(f.Examples)); f.Count > 0 {
				c.add(f)
			}
		}
	}
	return err
}

var damages = map[engine.DamageKind]string{
	engine.DamagedStorage: FindingStorageDamaged, engine.DamagedIndex: FindingIndexDamaged,
	engine.DamagedTerms: FindingTextDamaged, engine.DamagedRows: FindingValueInvalid,
}

// storage makes one finding of all that the engine's checker says of one thing.
func (c *check) storage(ctx context.Context) error {
	found := map[string]*Finding{}
	var order []string
	skipped, err := c.s.eng().CheckStorage(ctx, c.db, func(d engine.Damage) {
		code := damages[d.Kind]
		key := code + "\x00" + d.Table + "\x00" + d.Index
		f := found[key]
		if f == nil {
			n := NewFinding(code)
			f, n.Table, n.Index, n.Count = &n, d.Table, d.Index, 0
			found[key], order = f, append(order, key)
		}
		if f.Count++; len(f.Examples) < examples {
			f.Examples = append(f.Examples, d.Detail)
		}
	})
	for _, key := range order {
		c.add(*found[key])
	}
	maps.Copy(c.report.Skipped, skipped)
	return err
}

func (c *check) indexes(ctx context.Context) error {
	invalid, err := c.s.eng().InvalidIndexes(ctx, c.db)
	for _, name := range invalid {
		f := NewFinding(FindingIndexInvalid)
		f.Index = name
		c.add(f)
	}
	return err
}

func (c *check) sequences(ctx context.Context) error {
	for _, t := range []string{"conversations", "messages", "message_attachments", "knowledge_chunks", "knowledge_vectors"} {
		if c.missing[t] {
			return nil
		}
	}
	late, err := c.s.eng().LateSequences(ctx, c.db)
	for _, s := range late {
		f := NewFinding(FindingSequenceBehind)
		f.Table, f.Column = s.Table, s.Column
		f.Examples = []string{fmt.Sprintf("the last was %d, and %d is in use", s.Last, s.Highest)}
		c.add(f)
	}
	return err
}

func (c *check) analyser(ctx context.Context) error {
	if c.lacks("talkbase_meta") {
		return nil
	}
	made, err := engine.One(ctx, c.db, engine.Value[string], "SELECT value FROM talkbase_meta WHERE key = ?", models.MetaTextAnalyser)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if made != strconv.Itoa(text.Version) {
		f := NewFinding(FindingTextAnalyser)
		f.Examples = []string{fmt.Sprintf("the index is of version %q, this program has %d", made, text.Version)}
		c.add(f)
	}
	return nil
}

// sizedBase is a knowledge base and its number of vectors.
type sizedBase struct {
	models.KnowledgeBase
	rows int64
}

func sizedBases(ctx context.Context, db *gorm.DB) ([]sizedBase, error) {
	return engine.Collect(ctx, db, func(s engine.Scanner, b *sizedBase) error { return s.Scan(&b.ID, &b.Dimensions, &b.Metric, &b.rows) },
		"SELECT b.id, b.dimensions, b.metric, (SELECT count(*) FROM knowledge_vectors v WHERE v.base_id = b.id) FROM knowledge_bases b ORDER BY b.id")
}

var vectorIndexFindings = map[engine.VectorIndexProblem]string{
	engine.VectorIndexMissing: FindingVectorIndexMissing, engine.VectorIndexStale: FindingVectorIndexStale,
	engine.VectorIndexDamaged: FindingVectorIndexDamaged, engine.VectorIndexIncomplete: FindingVectorIndexIncomplete,
}

func (c *check) vectorIndexes(ctx context.Context) error {
	if c.lacks("knowledge_vectors", "knowledge_bases", "knowledge_sketches", "knowledge_sketch_blocks", "knowledge_sketch_pending") {
		return nil
	}
	bases, err := sizedBases(ctx, c.db)
	if err != nil {
		return err
	}
	for _, b := range bases {
		st, err := c.s.eng().VectorIndexState(ctx, c.db, b.KnowledgeBase, b.rows)
		if err != nil {
			return err
		}
		code := vectorIndexFindings[st.Problem]
		if code == "" {
			continue
		}
		f := NewFinding(code)
		f.Table, f.Index, f.Base, f.Examples = "knowledge_vectors", st.Name, b.ID, st.Examples
		f.Message += ": " + st.Why
		f.Count = max(st.Count, 1)
		c.add(f)
	}
	return nil
}

// settle takes out what another finding says better, and lowers what an import that is not finished
// explains: it leaves text for its end.
func (c *check) settle() {
	named := map[string]bool{}
	for _, f := range c.report.Findings {
		if f.Code == FindingNotObject || f.Code == FindingValueInvalid && f.Column != "" {
			named[f.Table] = true
		}
	}
	c.report.Findings = slices.DeleteFunc(c.report.Findings, func(f Finding) bool {
		return f.Code == FindingValueInvalid && f.Column == "" && named[f.Table]
	})
	if len(c.report.Find(FindingImportUnfinished)) == 0 {
		return
	}
	for i := range c.report.Findings {
		if f := &c.report.Findings[i]; f.Code == FindingTextMissing {
			f.Severity, f.Repairable = SeverityWarning, false
			f.Action = "finish the import first, which indexes them: " + kinds[FindingImportUnfinished].action
		}
	}
}
