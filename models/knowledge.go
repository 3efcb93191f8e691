package models

// Metric says how the distance of two vectors is measured.
type Metric string

// The metrics of a knowledge base.
const (
	// MetricCosine is 1 - cos(a, b).
	MetricCosine Metric = "cosine"
	// MetricL2 is the Euclidean distance.
	MetricL2 Metric = "l2"
	// MetricIP is the negative inner product.
	MetricIP Metric = "ip"
)

// Valid reports whether m is one of the three metrics.
func (m Metric) Valid() bool {
	switch m {
	case MetricCosine, MetricL2, MetricIP:
		return true
	}
	return false
}

// TaskStatus says how far the processing of a knowledge file or chunk has come.
type TaskStatus string

// The states of a knowledge file or chunk. Only chunks that are processed can be found by a
// similarity query.
const (
	TaskPending    TaskStatus = "pending"
	TaskProcessing TaskStatus = "processing"
	TaskPaused     TaskStatus = "paused"
	TaskProcessed  TaskStatus = "processed"
	TaskError      TaskStatus = "error"
)

// Valid reports whether s is one of the five states.
func (s TaskStatus) Valid() bool {
	switch s {
	case TaskPending, TaskProcessing, TaskPaused, TaskProcessed, TaskError:
		return true
	}
	return false
}

// DefaultBase is the id of the knowledge base that stands in where none is named.
const DefaultBase = "default"

// KnowledgeBase is a set of files whose vectors share dimensions, metric and embedding model.
type KnowledgeBase struct {
	ID   string `gorm:"column:id;type:text;primaryKey" json:"id"`
	Name string `gorm:"column:name;type:text;not null" json:"name"`
	// Dimensions is the length of every vector of the base; it never changes.
	Dimensions     int64  `gorm:"column:dimensions;not null;check:chk_knowledge_bases_dimensions,dimensions BETWEEN 1 AND 16000" json:"dimensions"`
	Metric         Metric `gorm:"column:metric;type:text;not null;check:chk_knowledge_bases_metric,metric IN ('cosine', 'l2', 'ip')" json:"metric"`
	EmbeddingModel string `gorm:"column:embedding_model;type:text;not null;sqldefault:''" json:"embedding_model"`
	Settings       JSON   `gorm:"column:settings;not null;sqldefault:'{}'" json:"settings"`
	// CreatedAt is in milliseconds since the Unix epoch.
	CreatedAt int64 `gorm:"column:created_at;not null;autoCreateTime:false;sqldefault:now" json:"created_at"`
}

// TableName is knowledge_bases.
func (KnowledgeBase) TableName() string { return "knowledge_bases" }

// KnowledgeFile is a document of a knowledge base.
type KnowledgeFile struct {
	ID       string     `gorm:"column:id;type:text;primaryKey" json:"id"`
	BaseID   string     `gorm:"column:base_id;type:text;not null;index:idx_knowledge_files_base" json:"base_id"`
	Name     string     `gorm:"column:name;type:text;not null" json:"name"`
	Path     string     `gorm:"column:path;type:text;not null;index:idx_knowledge_files_path" json:"path"`
	MimeType string     `gorm:"column:mime_type;type:text;not null;sqldefault:''" json:"mime_type"`
	Status   TaskStatus `gorm:"column:status;type:text;not null;index:idx_knowledge_files_status;check:chk_knowledge_files_status,status IN ('pending', 'processing', 'paused', 'processed', 'error')" json:"status"`
	// UploadedAt is in milliseconds since the Unix epoch.
	UploadedAt int64 `gorm:"column:uploaded_at;not null" json:"uploaded_at"`
	Metadata   JSON  `gorm:"column:metadata;not null;sqldefault:'{}'" json:"metadata"`

	Base *KnowledgeBase `gorm:"foreignKey:BaseID;references:ID;constraint:OnDelete:CASCADE" json:"-"`
}

// TableName is knowledge_files.
func (KnowledgeFile) TableName() string { return "knowledge_files" }

// KnowledgeChunk is a piece of a file's text. Seq is assigned by the database; ID is its key for
// callers.
type KnowledgeChunk struct {
	Seq        int64      `gorm:"column:seq;primaryKey;autoIncrement" json:"-"`
	ID         string     `gorm:"column:id;type:text;not null;unique" json:"id"`
	FileID     string     `gorm:"column:file_id;type:text;not null;index:idx_knowledge_chunks_file,priority:1" json:"file_id"`
	ChunkIndex int64      `gorm:"column:chunk_index;not null;index:idx_knowledge_chunks_file,priority:2" json:"chunk_index"`
	Content    string     `gorm:"column:content;type:text;not null" json:"content"`
	Status     TaskStatus `gorm:"column:status;type:text;not null;index:idx_knowledge_chunks_status;check:chk_knowledge_chunks_status,status IN ('pending', 'processing', 'paused', 'processed', 'error')" json:"status"`
	Error      string     `gorm:"column:error;type:text;not null;sqldefault:''" json:"error"`

	File *KnowledgeFile `gorm:"foreignKey:FileID;references:ID;constraint:OnDelete:CASCADE" json:"-"`
}

// TableName is knowledge_chunks.
func (KnowledgeChunk) TableName() string { return "knowledge_chunks" }

// KnowledgeVector is the embedding of one chunk.
type KnowledgeVector struct {
	Seq     int64  `gorm:"column:seq;primaryKey;autoIncrement" json:"-"`
	ID      string `gorm:"column:id;type:text;not null;unique" json:"id"`
	BaseID  string `gorm:"column:base_id;type:text;not null;index:idx_knowledge_vectors_base" json:"base_id"`
	FileID  string `gorm:"column:file_id;type:text;not null;index:idx_knowledge_vectors_file" json:"file_id"`
	ChunkID string `gorm:"column:chunk_id;type:text;not null;index:idx_knowledge_vectors_chunk" json:"chunk_id"`
	// Embedding has exactly the base's number of dimensions.
	Embedding Vector `gorm:"column:embedding;not null" json:"embedding"`
	// CreatedAt is in milliseconds since the Unix epoch.
	CreatedAt int64 `gorm:"column:created_at;not null;autoCreateTime:false;sqldefault:now" json:"created_at"`

	Base  *KnowledgeBase  `gorm:"foreignKey:BaseID;references:ID;constraint:OnDelete:CASCADE" json:"-"`
	File  *KnowledgeFile  `gorm:"foreignKey:FileID;references:ID;constraint:OnDelete:CASCADE" json:"-"`
	Chunk *KnowledgeChunk `gorm:"foreignKey:ChunkID;references:ID;constraint:OnDelete:CASCADE" json:"-"`
}

// TableName is knowledge_vectors.
func (KnowledgeVector) TableName() string { return "knowledge_vectors" }

// Meta is one of talkbase's own facts about the database, such as the version of the analyser
// that made the text index.
type Meta struct {
	Key   string `gorm:"column:key;type:text;primaryKey" json:"key"`
	Value string `gorm:"column:value;type:text;not null" json:"value"`
}

// MetaTextAnalyser is the key of the version of the analyser that made the text index.
const MetaTextAnalyser = "text_analyser_version"

// TableName is talkbase_meta.
func (Meta) TableName() string { return "talkbase_meta" }

// All returns one of each model, parents before children.
func All() []any {
	return []any{
		&Conversation{}, &Message{}, &MessageAttachment{},
		&KnowledgeBase{}, &KnowledgeFile{}, &KnowledgeChunk{}, &KnowledgeVector{}, &Meta{},
		&ImportRun{}, &ImportSource{}, &ImportBatch{}, &ImportMark{}, &ImportEdit{},
	}
}
