package tests_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"gorm.io/gorm"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/fixtures"
	"github.com/talkbase/talkbase/migration"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
	"github.com/talkbase/talkbase/services"
)

func init() { childTasks["secrets"] = taskOf(beSecretive) }

// The secrets that are planted: no log line, span or metric may show one.
const (
	secretContent   = "zqcontent4711"
	secretTitle     = "zqtitle4712"
	secretPassword  = "zqpassword4713"
	secretFile      = "zqfile4714"
	secretMetadata  = "zqmetadata4715"
	secretBase      = "zqbase4716"
	secretQuery     = "zqquery4717"
	secretID        = "zqid4718"
	secretHost      = "zqhost4719" // what a host writes in statements, errors and panics of its own
	secretEmbedding = 0.73918275
)

// secrets are how each may show.
func secrets() []string {
	plain := []string{
		secretContent, secretTitle, secretPassword, secretFile, secretMetadata, secretBase, secretQuery, secretID, secretHost,
	}
	out := append(slices.Clone(plain), "0.7391827")
	for _, s := range plain {
		out = append(out, hex.EncodeToString([]byte(s)), strings.Trim(fmt.Sprintf("%d", []byte(s)), "[]"))
		for shift := range 3 { // the middle of its base64 form, wherever it begins
			e := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + s))
			if e = e[4 : len(e)-4]; len(e) >= 8 { // shorter ones are in the random ids of traces by chance
				out = append(out, e)
			}
		}
	}
	return out
}

// found are the secrets in an output, with what is around them.
func found(output []byte) (leaks []string) {
	low := bytes.ToLower(output)
	for _, s := range secrets() {
		if at := bytes.Index(low, []byte(strings.ToLower(s))); at >= 0 {
			leaks = append(leaks, fmt.Sprintf("%s in …%s…", s, output[max(0, at-200):min(len(output), at+200)]))
		}
	}
	return leaks
}

type secretTask struct {
	DSN, Schema, Work string
	// Slow is from when on statements are slow.
	Slow time.Duration
}

// beSecretive does everything with secrets. The library logs to standard error; traces, metrics and
// statistics are printed.
func beSecretive(c secretTask) (err error) {
	if err := os.Chdir(c.Work); err != nil {
		return err
	}
	ctx := context.Background()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(printedSpans{}))
	reader := metric.NewManualReader()
	cfg := talkbase.Config{
		DSN: c.DSN, Schema: c.Schema, Embedder: leakyEmbedder{},
		Logging:        talkbase.LoggingConfig{Level: "debug", SlowQuery: c.Slow},
		TracerProvider: tracers, MeterProvider: metric.NewMeterProvider(metric.WithReader(reader)),
	}
	cfg.Performance.MemoryBudget, cfg.Migrate = "8MB", true
	db, err := talkbase.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if err := errors.Join(db.MigrateSchema(ctx, db.LatestSchemaVersion()-1), db.Close()); err != nil {
		return err
	}
	if db, err = talkbase.Open(ctx, cfg); err != nil { // which brings it up to date
		return err
	}
	s := secretive{db: db, work: c.Work, postgres: db.Engine() == "postgres"}
	if err := s.everything(ctx); err != nil {
		return err
	}
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &rm); err != nil {
		return err
	}
	print := json.NewEncoder(os.Stdout)
	return errors.Join(print.Encode(rm), print.Encode(db.SlowQueries(0)), print.Encode(db.Memory().Usage()), db.Close())
}

// printedSpans prints each span.
type printedSpans struct{}

func (printedSpans) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, s := range spans {
		stub := tracetest.SpanStubFromReadOnlySpan(s)
		line, err := json.Marshal(struct {
			Name          string
			Attributes    any
			Events, Links any
			Status        any
			Child         bool
		}{stub.Name, stub.Attributes, stub.Events, stub.Links, stub.Status, stub.Parent.IsValid()})
		if err != nil {
			return err
		}
		fmt.Println("span", string(line))
	}
	return nil
}

func (printedSpans) Shutdown(context.Context) error { return nil }

// leakyEmbedder fails with an error that quotes.
type leakyEmbedder struct{}

func (leakyEmbedder) Embed(_ context.Context, texts []string) ([][]float32, error) {
	if strings.Contains(texts[0], "please fail") {
		return nil, fmt.Errorf("cannot embed %q", texts)
	}
	out := make([][]float32, len(texts))
	for i := range out {
		out[i] = []float32{secretEmbedding, float32(i), 1}
	}
	return out, nil
}
func (leakyEmbedder) Dimensions() int { return 3 }
func (leakyEmbedder) Model() string   { return "model-" + secretBase }

type secretive struct {
	db       *talkbase.DB
	work     string
	postgres bool
}

func (s secretive) pick(sqlite, postgres string) string {
	if s.postgres {
		return postgres
	}
	return sqlite
}

// everything uses the database as applications do, and as they should not.
func (s secretive) everything(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		s.chats, s.knowledge, s.hostStatements, s.failures, s.sweep, s.imports, s.damage,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s secretive) chats(ctx context.Context) error {
	db := s.db
	meta, err := models.NewJSON(map[string]any{secretMetadata: secretMetadata})
	if err != nil {
		return err
	}
	_, err = db.CreateConversation(ctx, models.Conversation{ConvID: secretID, Title: secretTitle, Settings: meta})
	if err != nil {
		return err
	}
	var rows []models.Message
	for i := range 300 {
		rows = append(rows, models.Message{
			MsgID: fmt.Sprint(secretID, "-", i), ConversationID: secretID, Role: models.RoleUser, Status: models.StatusSent,
			Content: secretContent + " and more", Metadata: meta, OrderSeq: int64(i + 1),
		})
	}
	_, err1 := db.InsertMessages(ctx, rows[:3])
	err2 := db.Bulk().InsertMessages(ctx, rows[3:])
	_, err3 := db.UpdateMessage(ctx, rows[0].MsgID, repo.MessageUpdate{Content: new(secretContent), Metadata: &meta})
	_, err4 := db.AddAttachment(ctx, models.MessageAttachment{MessageID: rows[0].MsgID, Type: "image", Data: secretContent})
	_, err5 := db.SearchText(ctx, repo.TextQuery{Query: secretContent + " " + secretQuery + "*"})
	_, err6 := db.ListMessages(ctx, repo.MessageList{ConversationID: secretID})
	_, err7 := db.RebuildTextIndex(ctx)
	for _, err := range db.StreamMessages(ctx, secretID) {
		if err != nil {
			return err
		}
	}
	return errors.Join(err1, err2, err3, err4, err5, err6, err7)
}

func (s secretive) knowledge(ctx context.Context) error {
	db := s.db
	meta, err := models.NewJSON(map[string]any{secretMetadata: secretFile})
	if err != nil {
		return err
	}
	if _, err := db.CreateBase(ctx, models.KnowledgeBase{ID: secretBase, Name: secretBase, Dimensions: 3, EmbeddingModel: leakyEmbedder{}.Model()}); err != nil {
		return err
	}
	_, err = db.InsertFile(ctx, models.KnowledgeFile{ID: secretID, BaseID: secretBase, Name: secretFile, Path: "/home/" + secretFile, MimeType: secretFile, Status: models.TaskProcessed, Metadata: meta})
	if err != nil {
		return err
	}
	const n = 1100
	chunks, vectors := make([]models.KnowledgeChunk, n), make([]models.KnowledgeVector, n)
	for i := range n {
		chunks[i] = models.KnowledgeChunk{ID: fmt.Sprint(secretID, i), FileID: secretID, Content: secretContent, Status: models.TaskProcessed, Error: secretContent}
		vectors[i] = models.KnowledgeVector{FileID: secretID, ChunkID: chunks[i].ID, Embedding: models.Vector{secretEmbedding, float32(i), 1}}
	}
	_, err1 := db.InsertChunks(ctx, chunks)
	_, err2 := db.UpsertVectors(ctx, vectors)
	_, err3 := db.UpsertVectors(ctx, vectors[:10])
	_, err4 := db.CreateOptimalIndexes(ctx)
	q := repo.SimilarityQuery{BaseID: secretBase, Vector: vectors[7].Embedding, Threshold: new(0.5), Files: repo.FileFilter{Status: []models.TaskStatus{models.TaskProcessed}}}
	_, err5 := db.SimilarityQuery(ctx, q)
	_, err6 := db.SearchHybrid(ctx, repo.HybridQuery{Text: secretQuery, BaseID: secretBase})
	_, err7 := db.SearchSimilar(ctx, secretQuery, repo.SimilarityQuery{BaseID: secretBase})
	_, err8 := db.InsertChunks(ctx, []models.KnowledgeChunk{{ID: "pending", FileID: secretID, Content: secretContent}})
	_, err9 := db.EmbedPending(ctx, secretBase)
	return errors.Join(err1, err2, err3, err4, err5, err6, err7, err8, err9)
}

// hostStatements are those of a host that writes values into them.
func (s secretive) hostStatements(ctx context.Context) error {
	g, err := s.db.Gorm(ctx)
	if err != nil {
		return err
	}
	for _, q := range []string{
		"SELECT '" + secretHost + "' AS a, 7391827 AS b /* " + secretHost + " */ -- " + secretHost,
		"SELECT count(*) FROM messages WHERE content IN ('" + secretHost + "','it''s " + secretHost + "')",
		s.pick(`SELECT "`+secretHost+`" AS a`, "SELECT $$"+secretHost+"$$ AS a, E'\\'"+secretHost+"'"),
		s.pick("SELECT x'"+hex.EncodeToString([]byte(secretHost))+"'", "SELECT convert_from('\\x"+hex.EncodeToString([]byte(secretHost))+"', 'UTF8')"),
		"SELECT '" + strings.Repeat(secretHost, 20_000) + "' AS a", // longer than what is read of a statement
	} {
		var out []map[string]any
		if err := g.Raw(q).Scan(&out).Error; err != nil && s.postgres {
			return err
		}
	}
	for _, q := range []string{ // they fail, and databases quote what they do not understand
		"SELECT '" + secretHost + "' FROM no_such_table",
		"SELECT * FROM messages WHERE content = '" + secretHost + "' AND AND",
		s.pick("SELECT json('{"+secretHost+"')", "SELECT '{"+secretHost+"'::jsonb"),
		s.pick("SELECT abs(-9223372036854775808) + length('"+secretHost+"')", "SELECT '"+secretHost+"'::int"),
	} {
		var out []map[string]any
		if err := g.Raw(q).Scan(&out).Error; err == nil {
			return fmt.Errorf("%s: got no error, want one", q)
		}
	}
	var found []models.Message // gorm writes the values into what it logs of a Scan
	err = errors.Join(
		g.Raw("SELECT * FROM messages WHERE content <> ? AND msg_id <> ? AND content <> ?", secretHost, secretID, []byte(secretHost)).Scan(&found).Error,
		g.Model(&models.Message{}).Where("content LIKE ?", "%"+secretHost+"'").Find(&found).Error,
	)
	if err != nil && !s.postgres { // which does not compare text with bytes
		return err
	}
	var m models.Message
	_ = g.Where("msg_id = ?", secretHost).First(&m).Error
	return s.db.WithTransaction(ctx, func(_ context.Context, tx *repo.Tx) error {
		return errors.Join(tx.Gorm().Model(&models.Conversation{}).Where("conv_id = ?", secretID).Update("title", secretTitle).Error,
			tx.Gorm().Transaction(func(tx *gorm.DB) error {
				return tx.Exec("UPDATE conversations SET title = '" + secretTitle + "' WHERE conv_id = '" + secretID + "'").Error
			}))
	})
}

// failures are errors, panics and contexts that end, of a host that puts values into them.
func (s secretive) failures(ctx context.Context) error {
	db := s.db
	why := errors.New("because of " + secretHost)
	ended, cancel := context.WithCancelCause(ctx)
	cancel(why)
	func() {
		defer func() { _ = recover() }()
		_ = db.WithTransaction(ctx, func(ctx context.Context, _ *repo.Tx) error {
			_, _ = db.InsertMessage(ctx, models.Message{ConversationID: secretID, Role: models.RoleUser, Content: secretContent})
			panic(secretHost)
		})
	}()
	only := func(_ any, err error) error { return err }
	for i, err := range []error{
		only(db.GetMessage(ctx, secretHost)),
		only(db.CreateConversation(ctx, models.Conversation{ConvID: secretID, Title: secretTitle})),
		only(db.InsertMessage(ctx, models.Message{ConversationID: secretHost, Role: models.RoleUser, Content: secretContent})),
		only(db.InsertMessage(ctx, models.Message{ConversationID: secretID, Role: secretHost, Content: secretContent})),
		only(db.InsertMessage(ctx, models.Message{ConversationID: secretID, Role: models.RoleUser, Content: secretContent + "\x00"})),
		only(db.UpsertVectors(ctx, []models.KnowledgeVector{{ChunkID: secretID + "1", FileID: secretID, Embedding: models.Vector{secretEmbedding}}})),
		only(db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: secretHost, Vector: []float32{secretEmbedding}})),
		only(db.RecentConversations(ended, 1)),
		only(db.InsertMessages(ended, []models.Message{{ConversationID: secretID, Role: models.RoleUser, Content: secretContent}})),
		only(db.SearchSimilar(ctx, secretQuery+" please fail", repo.SimilarityQuery{BaseID: secretBase})),
		db.WithTransaction(ctx, func(context.Context, *repo.Tx) error { return why }),
	} {
		if err == nil {
			return fmt.Errorf("failure %d: got no error, want one", i)
		}
	}
	return nil
}

// sweep calls every call of the presenter with secrets for arguments, whatever comes of it.
func (s secretive) sweep(ctx context.Context) error {
	var p services.Presenter = s.db
	v, t := reflect.ValueOf(p), reflect.TypeFor[services.Presenter]()
	for i := range t.NumMethod() {
		m := t.Method(i)
		if m.Name == "DestroyKnowledge" || m.Name == "DeleteAllMessages" {
			continue // called in the end
		}
		f := v.MethodByName(m.Name)
		args := make([]reflect.Value, f.Type().NumIn())
		for a := range args {
			args[a] = filled(ctx, f.Type().In(a))
		}
		for _, r := range f.Call(args) {
			switch r := r.Interface().(type) {
			case *repo.Tx:
				if r != nil {
					_ = r.Rollback()
				}
			case iter.Seq2[models.Message, error]:
				for _, err := range r {
					_ = err
					break
				}
			}
		}
	}
	return nil
}

// filled is a value of a type with a secret in every string.
func filled(ctx context.Context, t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch {
	case t == reflect.TypeFor[context.Context]():
		v.Set(reflect.ValueOf(ctx))
	case t == reflect.TypeFor[func(context.Context, *repo.Tx) error]():
		v.Set(reflect.ValueOf(func(context.Context, *repo.Tx) error { return errors.New(secretHost) }))
	case t.Kind() == reflect.String:
		v.SetString(secretHost)
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		v.SetFloat(secretEmbedding)
	case t.Kind() == reflect.Slice:
		v.Set(reflect.Append(v, filled(ctx, t.Elem())))
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.String:
		v.Set(reflect.New(t.Elem()))
		v.Elem().SetString(secretHost)
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				v.Field(i).Set(filled(ctx, t.Field(i).Type))
			}
		}
	}
	return v
}

// imports import a legacy file from a folder whose name is secret, verify it and take it out again,
// and fail to import a damaged one.
func (s secretive) imports(ctx context.Context) error {
	dir := filepath.Join(s.work, secretFile)
	bad := filepath.Join(s.work, secretFile+"-bad")
	for _, d := range []string{dir, bad} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	chat := fixtures.LegacyChat{Seed: 3, Version: 9, Conversations: 3, MessagesPer: 5, Quirks: fixtures.AllQuirks &^ fixtures.QuirkHuge}
	for i := range 3 {
		chat.Rows = append(chat.Rows, fixtures.LegacyRow{Table: "conversations", Values: map[string]any{
			"conv_id": fmt.Sprint("legacy", i, secretID), "title": secretTitle, "created_at": int64(1), "updated_at": int64(1),
		}})
	}
	for _, d := range []string{dir, bad} {
		if _, err := chat.Write(ctx, filepath.Join(d, "chat.db")); err != nil {
			return err
		}
	}
	opts := migration.ImportOptions{Paths: []string{dir}, BackupDir: filepath.Join(s.work, "backup"), WorkDir: s.work, RecoverOrphans: true}
	r, err := s.db.Import(ctx, opts)
	if err != nil {
		return err
	}
	if _, err := s.db.VerifyImport(ctx, r.Run, migration.VerifyOptions{}); err != nil {
		return err
	}
	if _, err := s.db.RollbackImport(ctx, r.Run, migration.RollbackOptions{}); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bad, "chat.db"), []byte(secretContent), 0o600); err != nil {
		return err
	}
	opts.Paths = []string{bad}
	if _, err := s.db.Import(ctx, opts); err == nil {
		return errors.New("import of a damaged file: got no error, want one")
	}
	if _, err := s.db.RollbackImport(ctx, secretHost, migration.RollbackOptions{}); err == nil {
		return errors.New("rollback of an unknown run: got no error, want one")
	}
	return nil
}

// damage damages what the library keeps, and ends.
func (s secretive) damage(ctx context.Context) error {
	db := s.db
	if !s.postgres {
		err := db.WithTransaction(ctx, func(_ context.Context, tx *repo.Tx) error {
			return errors.Join(tx.Gorm().Exec("UPDATE knowledge_sketch_blocks SET id = id + 1000000, data = x'00'").Error,
				tx.Gorm().Exec("UPDATE knowledge_sketches SET version = version + 1").Error)
		})
		if err != nil {
			return err
		}
	}
	_, err1 := db.SimilarityQuery(ctx, repo.SimilarityQuery{BaseID: secretBase, Vector: []float32{secretEmbedding, 1, 1}})
	_, err2 := db.DeleteAllMessages(ctx)
	_, err3 := db.DestroyKnowledge(ctx)
	return errors.Join(err1, err2, err3)
}

// testSecrets greps all that a run says for the secrets in it.
func testSecrets(t *testing.T, place func(t *testing.T) (dsn, schema string), want ...string) {
	run := func(t *testing.T, slow time.Duration) []byte {
		dsn, schema := place(t)
		work := filepath.Join(t.TempDir(), secretFile)
		if err := os.Mkdir(work, 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := child(t, "secrets", secretTask{DSN: dsn, Schema: schema, Work: work, Slow: slow})
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("the child ended with %v: %s", err, out[max(0, len(out)-4000):])
		}
		return out
	}
	for name, c := range map[string]struct {
		slow time.Duration
		want []string
	}{
		"every statement is slow": {1, []string{`msg="slow query"`}},
		"none is":                 {-1, []string{"msg=query "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := run(t, c.slow)
			for _, leak := range found(out) {
				t.Errorf("the output shows %s", leak)
			}
			// An output without these would show nothing.
			for _, w := range slices.Concat(c.want, want, []string{
				`msg="schema step"`, "query failed unexpectedly", "stack=", "error_type=", "driver_code=", "parameters=", "duration=", "rows=",
				`msg="import phase"`, `msg="import done"`, `msg="import failed"`, `msg="verification done"`, `msg="rollback done"`,
				`span {"Name":"InsertMessages"`, `span {"Name":"INSERT messages"`, `"Name":"Import"`, "db.query.text", `"Child":true`,
				"db.client.operation.duration", "db.client.connection.count", "talkbase.memory.used", `"calls":`,
			}) {
				if !bytes.Contains(out, []byte(w)) {
					t.Errorf("the output of %d bytes does not hold %q, want it", len(out), w)
				}
			}
		})
	}
	t.Run("a leak is found", func(t *testing.T) {
		t.Parallel()
		for _, s := range secrets() {
			if len(found([]byte("before "+strings.ToUpper(s)+" after"))) == 0 {
				t.Errorf("%q: got no leak, want it found", s)
			}
		}
	})
}

func TestSQLiteSecrets(t *testing.T) {
	t.Parallel()
	testSecrets(t, func(t *testing.T) (string, string) {
		dir := filepath.Join(t.TempDir(), secretFile)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, secretFile+".db"), ""
	}, "vectors are compared one by one", "database copied beside its file")
}

func TestPostgresSecrets(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	testSecrets(t, func(t *testing.T) (string, string) {
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(u.User.Username(), secretPassword)
		return u.String(), schemaName(t, dsn)
	}, "CREATE INDEX CONCURRENTLY", "COPY messages", "v.base_id = ?")
}
