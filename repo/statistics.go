package repo

import (
	"context"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/talkbase/talkbase/internal/engine"
	"github.com/talkbase/talkbase/models"
)

// Statistics says what a database holds, and how large it is.
type Statistics struct {
	// Engine is sqlite or postgres, EngineVersion its version.
	Engine        string `json:"engine"`
	EngineVersion string `json:"engine_version"`
	// SchemaVersion is the number of the last step of the schema that was applied.
	SchemaVersion int64 `json:"schema_version"`
	// Bytes is how large the database is: on SQLite the file with its log, on Postgres talkbase's tables
	// with their indexes. FreeBytes in an SQLite file hold nothing, WALBytes are its log.
	Bytes     int64 `json:"bytes"`
	FreeBytes int64 `json:"free_bytes"`
	WALBytes  int64 `json:"wal_bytes"`
	// CacheHitRate is the part of all page reads that Postgres' memory answered, from 0 to 1; nil is not known.
	CacheHitRate *float64 `json:"cache_hit_rate,omitempty"`
	// Tables are those that hold rows of a host, by name.
	Tables map[string]TableStatistics `json:"tables"`
	// Indexes are in the order of tables and names.
	Indexes []IndexStatistics `json:"indexes"`
	// Bases are the knowledge bases, by id; nil where there can be none.
	Bases []BaseStatistics `json:"knowledge_bases"`
	// Queries are the shapes of queries that took most of the database's time, without values; NoQueries
	// says why there are none. They are Postgres' own record, of the extension pg_stat_statements.
	Queries   []QueryShape `json:"queries"`
	NoQueries string       `json:"no_queries,omitempty"`
	// Process are the shapes of statements that this process spent most time on, on either engine.
	Process []SlowQuery `json:"process_queries"`
}

// TableStatistics is what there is to say of a table.
type TableStatistics struct {
	Rows int64 `json:"rows"`
	// Bytes are the rows', IndexBytes the indexes'.
	Bytes      int64 `json:"bytes"`
	IndexBytes int64 `json:"index_bytes"`
	// Growth is nil for a table whose rows have no time.
	Growth *Growth `json:"growth,omitempty"`
	// DeadRows take space until the next vacuum. LastVacuum and LastAnalyze are in milliseconds since the
	// Unix epoch. FullScans and IndexScans count how queries read the table. Nil is not known, or never.
	DeadRows    *int64 `json:"dead_rows,omitempty"`
	LastVacuum  *int64 `json:"last_vacuum,omitempty"`
	LastAnalyze *int64 `json:"last_analyze,omitempty"`
	FullScans   *int64 `json:"full_scans,omitempty"`
	IndexScans  *int64 `json:"index_scans,omitempty"`
}

// Growth counts the rows of the last day, week and month, which is 30 days: conversations and messages by
// their created_at, attachments by their message's, files, chunks and vectors by their file's uploaded_at.
type Growth struct {
	Day   int64 `json:"day"`
	Week  int64 `json:"week"`
	Month int64 `json:"month"`
}

// IndexStatistics is what there is to say of an index.
type IndexStatistics = engine.IndexSize

// QueryShape is a query without its values, and what it cost.
type QueryShape = engine.QueryShape

// ColumnStatistics is what the planner knows of a column, never a value of it.
type ColumnStatistics = engine.ColumnStatistics

// BaseStatistics is what there is to say of a knowledge base.
type BaseStatistics struct {
	ID             string        `json:"id"`
	Name           string        `json:"name"`
	Dimensions     int64         `json:"dimensions"`
	Metric         models.Metric `json:"metric"`
	EmbeddingModel string        `json:"embedding_model"`
	Files          int64         `json:"files"`
	Chunks         int64         `json:"chunks"`
	Vectors        int64         `json:"vectors"`
	// Index is the kind of the index of its vectors: hnsw, ivfflat, sketches; "" for none, where
	// similarity queries compare every vector.
	Index string `json:"index"`
	// Recall is what MeasureRecall finds of the base. GetStatistics leaves it nil: measuring reads every
	// vector once for each of its queries.
	Recall *RecallReport `json:"recall,omitempty"`
}

// processQueries is how many shapes of this process are reported.
const processQueries = 20

// Rows returns the number of rows by table.
func (s Statistics) Rows() map[string]int64 {
	out := map[string]int64{}
	for name, t := range s.Tables {
		out[name] = t.Rows
	}
	return out
}

// grows says by which time the rows of a table are counted: FROM and its column.
var grows = map[string]struct{ from, at string }{
	"conversations":       {"conversations r", "r.created_at"},
	"messages":            {"messages r", "r.created_at"},
	"message_attachments": {"messages m JOIN message_attachments r ON r.message_id = m.msg_id", "m.created_at"},
	"knowledge_bases":     {"knowledge_bases r", "r.created_at"},
	"knowledge_files":     {"knowledge_files r", "r.uploaded_at"},
	"knowledge_chunks":    {"knowledge_files f JOIN knowledge_chunks r ON r.file_id = f.id", "f.uploaded_at"},
	"knowledge_vectors":   {"knowledge_files f JOIN knowledge_vectors r ON r.file_id = f.id", "f.uploaded_at"},
}

// GetStatistics counts the rows of every table as of one moment, and measures tables and indexes. Its cost
// grows with the number of rows, and on SQLite with that of the file's pages.
func (h *Health) GetStatistics(ctx context.Context) (Statistics, error) {
	st := Statistics{Engine: h.s.Engine(), Tables: map[string]TableStatistics{}, Queries: []QueryShape{}}
	err := h.s.snapshot(ctx, func(ctx context.Context, db *gorm.DB) error { return h.measure(ctx, db, &st) })
	st.Process = append([]SlowQuery{}, h.s.SlowQueries(processQueries)...)
	return st, wrap("statistics", err)
}

func (h *Health) measure(ctx context.Context, db *gorm.DB, st *Statistics) error {
	var err error
	st.SchemaVersion, err = engine.One(ctx, db, engine.Value[int64], "SELECT coalesce(max(version_id), 0) FROM "+engine.VersionTable+" WHERE is_applied")
	if err != nil {
		return err
	}
	m, err := h.s.eng().Statistics(ctx, db)
	if err != nil {
		return err
	}
	st.EngineVersion, st.Bytes, st.FreeBytes, st.WALBytes, st.CacheHitRate = m.Version, m.Bytes, m.FreeBytes, m.WALBytes, m.CacheHitRate
	st.Indexes, st.NoQueries = m.Indexes, m.NoQueries
	st.Queries = append(st.Queries, m.Queries...)
	indexBytes := map[string]int64{}
	for _, ix := range m.Indexes {
		indexBytes[ix.Table] += ix.Bytes
	}
	vectors := h.s.eng().Vectors() == nil
	for _, name := range engine.Tables() {
		if name == "knowledge_vectors" && !vectors {
			continue
		}
		size := m.Tables[name]
		t := TableStatistics{
			Bytes: size.Bytes, IndexBytes: indexBytes[name],
			DeadRows: size.DeadRows, LastVacuum: size.LastVacuum, LastAnalyze: size.LastAnalyze, FullScans: size.FullScans, IndexScans: size.IndexScans,
		}
		if t.Rows, err = engine.One(ctx, db, engine.Value[int64], "SELECT count(*) FROM "+name); err != nil {
			return err
		}
		if t.Growth, err = h.growth(ctx, db, name); err != nil {
			return err
		}
		st.Tables[name] = t
	}
	if vectors {
		st.Bases, err = h.baseStatistics(ctx, db)
	}
	return err
}

func (h *Health) growth(ctx context.Context, db *gorm.DB, table string) (*Growth, error) {
	by := grows[table]
	now := h.s.now()
	ago := func(days int) int64 { return now.Add(-time.Duration(days) * 24 * time.Hour).UnixMilli() }
	g, err := engine.One(ctx, db, func(s engine.Scanner, g *Growth) error { return s.Scan(&g.Day, &g.Week, &g.Month) },
		"SELECT count(CASE WHEN "+by.at+" >= ? THEN 1 END), count(CASE WHEN "+by.at+" >= ? THEN 1 END), count(*) FROM "+by.from+" WHERE "+by.at+" >= ?",
		ago(1), ago(7), ago(30))
	return &g, err
}

func (h *Health) baseStatistics(ctx context.Context, db *gorm.DB) ([]BaseStatistics, error) {
	bases, err := engine.Collect(ctx, db, func(s engine.Scanner, b *BaseStatistics) error {
		return s.Scan(&b.ID, &b.Name, &b.Dimensions, &b.Metric, &b.EmbeddingModel, &b.Files, &b.Chunks, &b.Vectors)
	}, `SELECT id, name, dimensions, metric, embedding_model,
		(SELECT count(*) FROM knowledge_files f WHERE f.base_id = b.id),
		(SELECT count(*) FROM knowledge_files f JOIN knowledge_chunks c ON c.file_id = f.id WHERE f.base_id = b.id),
		(SELECT count(*) FROM knowledge_vectors v WHERE v.base_id = b.id)
		FROM knowledge_bases b ORDER BY id`)
	if err != nil {
		return nil, err
	}
	for i := range bases {
		b := &bases[i]
		if b.Index, err = h.s.eng().VectorIndexKind(ctx, db, models.KnowledgeBase{ID: b.ID, Dimensions: b.Dimensions, Metric: b.Metric}); err != nil {
			return nil, err
		}
	}
	return append([]BaseStatistics{}, bases...), nil
}

// GetTableStatistics returns what the planner knows of the columns of a table: how many different values
// it expects, and more on Postgres. It is what talkbase optimize refreshes. SQLite knows the columns that
// an index begins with. It never holds a value of a column. A table that is not talkbase's is ErrInvalid.
func (h *Health) GetTableStatistics(ctx context.Context, table string) ([]ColumnStatistics, error) {
	const op = "table statistics"
	if !slices.Contains(engine.Tables(), table) || table == "knowledge_vectors" && h.s.eng().Vectors() != nil {
		return nil, wrap(op, engine.Invalidf("there is no table %.60q", table))
	}
	db, err := h.s.reader(ctx)
	if err != nil {
		return nil, wrap(op, err)
	}
	out, err := h.s.eng().ColumnStatistics(ctx, db, table)
	return out, wrap(op, err)
}
