package tests

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/talkbase/talkbase/embedding"
	"github.com/talkbase/talkbase/models"
	"github.com/talkbase/talkbase/repo"
)

// filtered are files by what is in their metadata; each has one chunk and one vector of the same id.
var filtered = map[string]string{
	"one":        `{"n": 1}`,
	"one point":  `{"n": 1.0}`,
	"one e":      `{"n": 10e-1}`,
	"text one":   `{"n": "1"}`,
	"true":       `{"n": true}`,
	"false":      `{"n": false}`,
	"null":       `{"n": null}`,
	"zero":       `{"n": -0.0}`,
	"missing":    `{"m": 1}`,
	"empty":      `{}`,
	"nested":     `{"n": {"n": 1}}`,
	"array":      `{"n": [1, "1", null]}`,
	"half":       `{"n": 0.50}`,
	"negative":   `{"n": -12.5}`,
	"2^53":       `{"n": 9007199254740992}`,
	"2^53+1":     `{"n": 9007199254740993}`,
	"2^64":       `{"n": 18446744073709551616}`,
	"2^64+1":     `{"n": 18446744073709551617}`,
	"long":       `{"n": 0.1234567890123456789012345678901}`,
	"1e30":       `{"n": 1e30}`,
	"text":       `{"n": "it's \"quoted\" \\ $1 ? %"}`,
	"newline":    `{"n": "a\nb\t\u2028"}`,
	"composed":   `{"n": "\u00e9"}`,
	"decomposed": `{"n": "e\u0301"}`,
	"chinese":    `{"n": "数据库", "语言": "中文"}`,
	"upper":      `{"n": "ABC", "N": 1}`,
	"dot":        `{"a.b": 1, "a": {"b": 2}}`,
	"quotes":     `{"it's \"x\"": 1}`,
	"backslash":  `{"a\\b": 1, "a\\\"b": 2}`,
	"control":    `{"a\nb\u0001\u2028": 1}`,
	"path":       `{"$": 1, "$.n": 2, "[0]": 3, "0": 4, "#": 5}`,
	"no name":    `{"": 1}`,
	"spaces":     `{" n ": 1}`,
	"html":       `{"<a>&": "<b>&"}`,
	"emoji":      `{"🎉": "🎉"}`,
}

// filesBy finds the files that a filter lets pass, by each kind of query, which must agree.
func (b *bench) filesBy(what string, f repo.FileFilter) []string {
	b.t.Helper()
	byVector, err := b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 1}, Limit: 1000, Files: f})
	wantNil(b.t, what+": similarity", err)
	got := slices.Sorted(slices.Values(similarIDs(byVector)))
	exact, err := b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 1}, Limit: 1000, Files: f, Exact: true})
	wantNil(b.t, what+": exact", err)
	deepEqual(b.t, what+": exact similarity", similarIDs(exact), similarIDs(byVector))
	words, err := b.db.SearchText(b.ctx, repo.TextQuery{Query: "walrus", In: []repo.HitKind{repo.HitChunk}, Limit: 1000, Files: f})
	wantNil(b.t, what+": text", err)
	deepEqual(b.t, what+": by words", slices.Sorted(slices.Values(ids(words, func(h repo.TextHit) string { return h.ID }))), got)
	for name, q := range map[string]repo.HybridQuery{"words": {Text: "walrus", TextWeight: 1}, "vectors": {Vector: []float32{1, 1}, VectorWeight: 1}} {
		q.BaseID, q.Limit, q.Candidates, q.Files = "kb", 1000, 1000, f
		hits, err := b.db.SearchHybrid(b.ctx, q)
		wantNil(b.t, what+": hybrid by "+name, err)
		deepEqual(b.t, what+": hybrid by "+name, slices.Sorted(slices.Values(hybridIDs(hits))), got)
	}
	return got
}

func fileFilters(b *bench) {
	_, err := b.db.CreateBase(b.ctx, models.KnowledgeBase{ID: "kb", Dimensions: 2, Metric: models.MetricL2})
	wantNil(b.t, "create base", err)
	var chunks []models.KnowledgeChunk
	var vectors []models.KnowledgeVector
	names := make([]string, 0, len(filtered))
	for name := range filtered {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		mime := []string{"text/plain", "application/pdf", ""}[i%3]
		_, err := b.db.InsertFile(b.ctx, models.KnowledgeFile{ID: name, BaseID: "kb", MimeType: mime, UploadedAt: int64(1000 + i), Status: models.TaskProcessed, Metadata: models.JSON(filtered[name])})
		wantNil(b.t, "insert file "+name, err)
		chunks = append(chunks, models.KnowledgeChunk{ID: name, FileID: name, Content: "walrus", Status: models.TaskProcessed})
		vectors = append(vectors, models.KnowledgeVector{FileID: name, ChunkID: name, Embedding: []float32{float32(i), 1}})
	}
	_, err = b.db.InsertChunks(b.ctx, chunks)
	wantNil(b.t, "insert chunks", err)
	_, err = b.db.UpsertVectors(b.ctx, vectors)
	wantNil(b.t, "insert vectors", err)

	type number float32
	for _, c := range []struct {
		name  string
		key   string
		allow []any
		want  string
	}{
		{"1", "n", []any{1}, "one,one e,one point"},
		{"1.0", "n", []any{1.0}, "one,one e,one point"},
		{"1 as it may be written", "n", []any{json.Number("0.1e1")}, "one,one e,one point"},
		{"1 of a type of its own", "n", []any{number(1)}, "one,one e,one point"},
		{"text 1", "n", []any{"1"}, "text one"},
		{"true", "n", []any{true}, "true"},
		{"false", "n", []any{false}, "false"},
		{"true and false", "n", []any{true, false}, "false,true"},
		{"null", "n", []any{nil}, "null"},
		{"0", "n", []any{0}, "zero"},
		{"minus 0", "n", []any{math.Copysign(0, -1)}, "zero"},
		{"0.5", "n", []any{0.5}, "half"},
		{"-12.5", "n", []any{float32(-12.5)}, "negative"},
		{"2^53", "n", []any{int64(1 << 53)}, "2^53"},
		{"2^53 as a float", "n", []any{float64(1 << 53)}, "2^53"},
		{"2^53+1", "n", []any{uint64(1<<53 + 1)}, "2^53+1"},
		{"2^64", "n", []any{json.Number("18446744073709551616")}, "2^64"},
		{"2^64+1", "n", []any{json.Number("18446744073709551617.00")}, "2^64+1"},
		{"many digits", "n", []any{json.Number("0.1234567890123456789012345678901")}, "long"},
		{"one digit fewer", "n", []any{json.Number("0.123456789012345678901234567890")}, ""},
		{"1e30", "n", []any{1e30}, "1e30"},
		{"any of a set", "n", []any{"1", 1, nil, "数据库"}, "chinese,null,one,one e,one point,text one"},
		{"quotes in a text", "n", []any{`it's "quoted" \ $1 ? %`}, "text"},
		{"a pattern is a text", "n", []any{`it's%`}, ""},
		{"control characters", "n", []any{"a\nb\t\u2028"}, "newline"},
		{"composed", "n", []any{"\u00e9"}, "composed"},
		{"decomposed", "n", []any{"e\u0301"}, "decomposed"},
		{"another case", "n", []any{"abc"}, ""},
		{"an object's text", "n", []any{`{"n":1}`, `{"n": 1}`, `[1,"1",null]`, "null", "true"}, ""},
		{"another key", "m", []any{1}, "missing"},
		{"a key's case counts", "N", []any{1}, "upper"},
		{"a dot in a key", "a.b", []any{1, 2}, "dot"},
		{"quotes in a key", `it's "x"`, []any{1}, "quotes"},
		{"a backslash in a key", `a\b`, []any{1}, "backslash"},
		{"a backslash and a quote in a key", `a\"b`, []any{2}, "backslash"},
		{"control characters in a key", "a\nb\u0001\u2028", []any{1}, "control"},
		{"a path as a key", "$.n", []any{1, 2}, "path"},
		{"the root as a key", "$", []any{1}, "path"},
		{"an index as a key", "[0]", []any{3}, "path"},
		{"a number as a key", "0", []any{4}, "path"},
		{"no key", "", []any{1}, "no name"},
		{"spaces around a key", " n ", []any{1}, "spaces"},
		{"what HTML escapes", "<a>&", []any{"<b>&"}, "html"},
		{"Chinese", "语言", []any{"中文", 0}, "chinese"},
		{"emoji", "🎉", []any{"🎉"}, "emoji"},
		{"a key that none has", "nobody", []any{nil, "", 0}, ""},
	} {
		got := b.filesBy(c.name, repo.FileFilter{Metadata: map[string][]any{c.key: c.allow}})
		equal(b.t, c.name, strings.Join(got, ","), c.want)
	}
	for _, c := range []struct {
		name   string
		filter repo.FileFilter
		want   string
	}{
		{"ids", repo.FileFilter{IDs: []string{"one", "true", "nobody", "it's"}}, "one,true"},
		{"ids and metadata", repo.FileFilter{IDs: []string{"one", "true"}, Metadata: map[string][]any{"n": {true}}}, "true"},
		{"two keys", repo.FileFilter{Metadata: map[string][]any{"n": {"数据库"}, "语言": {"中文"}}}, "chinese"},
		{"two keys that no file has", repo.FileFilter{Metadata: map[string][]any{"n": {1}, "语言": {"中文"}}}, ""},
		{"uploaded from", repo.FileFilter{UploadedFrom: int64(1000 + len(names) - 2)}, strings.Join(names[len(names)-2:], ",")},
		{"uploaded before", repo.FileFilter{UploadedBefore: 1002}, strings.Join(names[:2], ",")},
		{"uploaded between", repo.FileFilter{UploadedFrom: 1003, UploadedBefore: 1004}, names[3]},
		{"uploaded never", repo.FileFilter{UploadedFrom: 1004, UploadedBefore: 1004}, ""},
		{"a type", repo.FileFilter{MimeTypes: []string{"application/pdf"}, UploadedBefore: 1006}, names[1] + "," + names[4]},
		{"no type", repo.FileFilter{MimeTypes: []string{""}, UploadedBefore: 1006}, names[2] + "," + names[5]},
		{"another type", repo.FileFilter{MimeTypes: []string{"APPLICATION/PDF", "text/html"}}, ""},
		{"a state", repo.FileFilter{Status: []models.TaskStatus{models.TaskError}}, ""},
		{"everything", repo.FileFilter{}, strings.Join(names, ",")},
	} {
		equal(b.t, c.name, strings.Join(b.filesBy(c.name, c.filter), ","), c.want)
	}
	many := repo.FileFilter{IDs: []string{"one"}, Metadata: map[string][]any{"n": {1}}}
	for i := range 70_000 {
		many.IDs = append(many.IDs, fmt.Sprint("nobody ", i))
	}
	for i := range 500 {
		many.Metadata["n"] = append(many.Metadata["n"], -1-i, fmt.Sprint("none ", i))
	}
	equal(b.t, "more values than a statement has parameters", strings.Join(b.filesBy("many", many), ","), "one")

	for name, f := range map[string]repo.FileFilter{
		"no value":                {Metadata: map[string][]any{"n": {}}},
		"an object":               {Metadata: map[string][]any{"n": {1, map[string]any{"n": 1}}}},
		"an array":                {Metadata: map[string][]any{"n": {[]int{1}}}},
		"NaN":                     {Metadata: map[string][]any{"n": {math.NaN()}}},
		"infinity":                {Metadata: map[string][]any{"n": {math.Inf(1)}}},
		"a number out of range":   {Metadata: map[string][]any{"n": {json.Number("1e100000")}}},
		"what is no number":       {Metadata: map[string][]any{"n": {json.Number("one")}}},
		"a function":              {Metadata: map[string][]any{"n": {func() {}}}},
		"NUL in a value":          {Metadata: map[string][]any{"n": {"a\x00"}}},
		"invalid UTF-8 in a key":  {Metadata: map[string][]any{"n\xff": {1}}},
		"NUL in an id":            {IDs: []string{"a\x00"}},
		"invalid UTF-8 in a type": {MimeTypes: []string{"text/\xff"}},
		"an unknown state":        {Status: []models.TaskStatus{"lost"}},
	} {
		_, err := b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 1}, Files: f})
		wantErr(b.t, name, err, repo.ErrInvalid)
		wantTyped(b.t, name, err)
		_, err = b.db.SearchText(b.ctx, repo.TextQuery{Query: "walrus", Files: f})
		wantErr(b.t, name+", text", err, repo.ErrInvalid)
		_, err = b.db.SearchHybrid(b.ctx, repo.HybridQuery{BaseID: "kb", Text: "walrus", Vector: []float32{1, 1}, Files: f})
		wantErr(b.t, name+", hybrid", err, repo.ErrInvalid)
	}
	_, err = b.db.SimilarityQuery(b.ctx, repo.SimilarityQuery{BaseID: "kb", Vector: []float32{1, 1}, Threshold: ptr(math.NaN())})
	wantErr(b.t, "a threshold that is no number", err, repo.ErrInvalid)

	// What other programs write is compared by its value as well.
	b.exec(`UPDATE knowledge_files SET metadata = '{"n":1E0,"t":"\u0041", "z":-0}' WHERE id = 'empty'`)
	for name, c := range map[string]struct {
		key   string
		allow any
	}{"an exponent": {"n", 1}, "an escape": {"t", "A"}, "a sign on 0": {"z", 0}} {
		got := b.filesBy(name, repo.FileFilter{IDs: []string{"empty"}, Metadata: map[string][]any{c.key: {c.allow}}})
		deepEqual(b.t, "by other hands: "+name, got, []string{"empty"})
	}
}

// thresholds that are met exactly are met, though an engine may add up in float32.
func exactThresholds(b *bench) {
	for _, metric := range []models.Metric{models.MetricCosine, models.MetricL2, models.MetricIP} {
		b.base(string(metric), 5, metric)
		own := map[string][]float32{}
		var order []string
		for i := range 20 {
			v := make([]float32, 5)
			for d := range v {
				v[d] = float32(math.Sin(float64(7*i+3*d))) * 3
			}
			id := fmt.Sprintf("%s %02d", metric, i)
			order, own[id] = append(order, id), v
		}
		b.vectors(string(metric)+"-file", order, own)
		for _, id := range order {
			all := b.similar(repo.SimilarityQuery{BaseID: string(metric), Vector: own[id], Limit: 20})
			for i, c := range all {
				least := c.Similarity
				got := b.similar(repo.SimilarityQuery{BaseID: string(metric), Vector: own[id], Limit: 20, Threshold: &least})
				if len(got) <= i {
					b.t.Fatalf("%s: %d answers over the similarity of the one in place %d, which is %v", metric, len(got), i+1, least)
				}
			}
			if metric == models.MetricCosine {
				got := b.similar(repo.SimilarityQuery{BaseID: string(metric), Vector: own[id], Threshold: ptr(1.0)})
				deepEqual(b.t, "with a similarity of 1", similarIDs(got), []string{id})
			}
		}
	}
}

func severalBases(b *bench) {
	b.base("two", 2, models.MetricCosine)
	b.base("three", 3, models.MetricCosine)
	b.base("far", 1, models.MetricL2)
	b.vectors("two-file", []string{"d", "b", "e"}, map[string][]float32{"d": {1, 0}, "b": {1, 1}, "e": {0, 1}})
	b.vectors("three-file", []string{"a", "c", "f"}, map[string][]float32{"a": {1, 1, 0}, "c": {2, 0, 0}, "f": {-1, 0, 0}})
	b.vectors("far-file", []string{"z"}, map[string][]float32{"z": {9}})
	two := repo.SimilarityQuery{BaseID: "two", Vector: []float32{1, 0}}
	three := repo.SimilarityQuery{BaseID: "three", Vector: []float32{1, 0, 0}}
	far := repo.SimilarityQuery{BaseID: "far", Vector: []float32{9}}
	limited, over := two, three
	limited.Limit, over.Threshold = 1, ptr(0.9)
	for _, c := range []struct {
		name  string
		qs    []repo.SimilarityQuery
		limit int
		want  string
	}{
		{"none", nil, 0, ""},
		{"one", []repo.SimilarityQuery{two}, 0, "two:d two:b two:e"},
		{"two, ties by id", []repo.SimilarityQuery{two, three}, 0, "three:c two:d three:a two:b two:e three:f"},
		{"in another order", []repo.SimilarityQuery{three, two}, 0, "three:c two:d three:a two:b two:e three:f"},
		{"a limit", []repo.SimilarityQuery{two, three}, 3, "three:c two:d three:a"},
		{"another metric", []repo.SimilarityQuery{two, far, three}, 4, "three:c two:d far:z three:a"},
		{"limits and thresholds of their own", []repo.SimilarityQuery{limited, over}, 0, "three:c two:d"},
		{"the same twice", []repo.SimilarityQuery{two, two}, 0, "two:d two:b two:e"},
	} {
		got, err := b.db.SimilarityQueryAll(b.ctx, c.qs, c.limit)
		wantNil(b.t, c.name, err)
		equal(b.t, c.name, strings.Join(ids(got, func(s repo.SimilarChunk) string { return s.BaseID + ":" + s.VectorID }), " "), c.want)
		for _, s := range got {
			equal(b.t, c.name+": file", s.FileID, s.BaseID+"-file")
		}
	}
	for name, c := range map[string]struct {
		qs   []repo.SimilarityQuery
		want error
	}{
		"an unknown base": {[]repo.SimilarityQuery{two, {BaseID: "nobody", Vector: []float32{1}}}, repo.ErrNotFound},
		"another length":  {[]repo.SimilarityQuery{two, {BaseID: "three", Vector: []float32{1}}}, repo.ErrDimension},
	} {
		_, err := b.db.SimilarityQueryAll(b.ctx, c.qs, 0)
		wantErr(b.t, name, err, c.want)
		wantTyped(b.t, name, err)
	}
	_, err := b.db.SimilarityQueryAll(b.ctx, []repo.SimilarityQuery{two}, -1)
	wantErr(b.t, "a negative limit", err, repo.ErrInvalid)

	// By words and vectors: "content of b" is found by its words as well.
	hits, err := b.db.SearchHybrid(b.ctx, repo.HybridQuery{Text: "b", BaseID: "two", Vector: []float32{1, 0}, Also: []repo.BaseVector{{BaseID: "three", Vector: []float32{1, 0, 0}}}})
	wantNil(b.t, "hybrid", err)
	equal(b.t, "hybrid", strings.Join(hybridIDs(hits), " "), "b c d a e f")
	for i, want := range map[int]int{1: 1, 2: 2, 3: 3} {
		if hits[i].Vector == nil || hits[i].Vector.Rank != want {
			b.t.Errorf("hybrid: place %d by vectors: got %+v, want %d", i, hits[i].Vector, want)
		}
	}
	hits, err = b.db.SearchHybrid(b.ctx, repo.HybridQuery{Text: "content", TextWeight: 1, BaseID: "far", Also: []repo.BaseVector{{BaseID: "three"}}})
	wantNil(b.t, "hybrid by words", err)
	equal(b.t, "hybrid by words of two bases", len(hits), 4)
	_, err = b.db.SearchHybrid(b.ctx, repo.HybridQuery{Text: "b", TextWeight: 1, BaseID: "two", Also: []repo.BaseVector{{BaseID: "nobody"}}})
	wantErr(b.t, "hybrid of an unknown base", err, repo.ErrNotFound)
}

// severalModels searches bases that are embedded by models of their own, by one text.
func severalModels(b *bench) {
	small, large := embedding.HashedWords(16), embedding.HashedWords(96)
	for id, e := range map[string]embedding.Embedder{"small": small, "large": large} {
		b.base(id, int64(e.Dimensions()), models.MetricCosine)
		b.pendingChunks(id+"-file", "Walruses swim to "+id+" islands.", "Penguins walk.")
		_, err := b.db.WithEmbedder(small, large).EmbedPending(b.ctx, id)
		wantNil(b.t, "embed "+id, err)
	}
	search := b.db.WithEmbedder(large, small)
	got, err := search.SearchSimilarAll(b.ctx, "swimming walruses", []repo.SimilarityQuery{{BaseID: "small"}, {BaseID: "large"}}, 2)
	wantNil(b.t, "search", err)
	deepEqual(b.t, "nearest", slices.Sorted(slices.Values(similarIDs(got))), []string{"large-file-0", "small-file-0"})
	hits, err := search.SearchHybrid(b.ctx, repo.HybridQuery{Text: "swimming walruses", BaseID: "small", Also: []repo.BaseVector{{BaseID: "large"}}, Limit: 2})
	wantNil(b.t, "hybrid", err)
	deepEqual(b.t, "hybrid", slices.Sorted(slices.Values(hybridIDs(hits))), []string{"large-file-0", "small-file-0"})
	_, err = b.db.WithEmbedder(small).SearchSimilarAll(b.ctx, "x", []repo.SimilarityQuery{{BaseID: "small"}, {BaseID: "large"}}, 2)
	wantErr(b.t, "one embedder for two models", err, repo.ErrDimension)
	_, err = b.db.WithEmbedder().SearchSimilarAll(b.ctx, "x", []repo.SimilarityQuery{{BaseID: "small"}}, 2)
	wantErr(b.t, "no embedder", err, repo.ErrUnsupported)
}

// exactOverIndex has an index, and asks past it.
func exactOverIndex(b *bench) {
	const n = 1100
	b.base("kb", 4, models.MetricCosine)
	b.base("bare", 4, models.MetricCosine)
	own := map[string][]float32{}
	var order []string
	for i := range n {
		id := fmt.Sprintf("v%04d", i)
		order, own[id] = append(order, id), wave(4, i*31)
	}
	b.vectors("kb-file", order, own)
	_, err := b.db.CreateOptimalIndexes(b.ctx)
	wantNil(b.t, "create indexes", err)
	for _, k := range []int{1, 10, 1000} {
		q := repo.SimilarityQuery{BaseID: "kb", Vector: wave(4, 5), Limit: k}
		answers := b.similar(q)
		equal(b.t, "answers", len(answers), k)
		q.Exact = true
		exact := b.similar(q)
		slices.SortFunc(order, func(x, y string) int {
			return int(math.Copysign(1, cosineTo(q.Vector, own[x])-cosineTo(q.Vector, own[y])))
		})
		for i, c := range exact {
			if !near(c.Distance, cosineTo(q.Vector, own[order[i]])) {
				b.t.Fatalf("exact, place %d: got %s at %v, want %s at %v", i+1, c.VectorID, c.Distance, order[i], cosineTo(q.Vector, own[order[i]]))
			}
		}
	}
	r, err := b.db.MeasureRecall(b.ctx, repo.RecallQuery{BaseID: "kb", Queries: 20})
	wantNil(b.t, "measure recall", err)
	want := b.pick("sketches", "hnsw")
	if r.Index != want || r.Indexed != 20 || r.Queries != 20 || r.K != 10 || r.Recall < 0.9 || r.Recall > 1 || r.Worst > r.Recall || r.Exact.P50 <= 0 || r.Answers.P95 < r.Answers.P50 {
		b.t.Errorf("recall: got %+v, want 20 queries answered by %s", r, want)
	}
	r, err = b.db.MeasureRecall(b.ctx, repo.RecallQuery{BaseID: "kb", K: 3, Vectors: [][]float32{wave(4, 1), wave(4, 2)}})
	wantNil(b.t, "measure recall of given queries", err)
	equal(b.t, "given queries", r.Queries, 2)
	r, err = b.db.MeasureRecall(b.ctx, repo.RecallQuery{BaseID: "bare"})
	wantNil(b.t, "measure recall of no vectors", err)
	deepEqual(b.t, "recall of no vectors", r, repo.RecallReport{BaseID: "bare", K: 10, Recall: 1, Worst: 1})
	b.vectors("bare-file", []string{"x", "y"}, map[string][]float32{"x": {1, 0, 0, 0}, "y": {0, 1, 0, 0}})
	r, err = b.db.MeasureRecall(b.ctx, repo.RecallQuery{BaseID: "bare", Queries: 5})
	wantNil(b.t, "measure recall without an index", err)
	equal(b.t, "index of few vectors", r.Index, "")
	equal(b.t, "recall of few vectors", r.Recall, 1)
	_, err = b.db.MeasureRecall(b.ctx, repo.RecallQuery{BaseID: "nobody"})
	wantErr(b.t, "recall of an unknown base", err, repo.ErrNotFound)
	_, err = b.db.MeasureRecall(b.ctx, repo.RecallQuery{BaseID: "kb", Vectors: [][]float32{{1}}})
	wantErr(b.t, "recall by vectors of another length", err, repo.ErrDimension)
	for _, q := range []repo.RecallQuery{{BaseID: "kb", K: -1}, {BaseID: "kb", Queries: -1}} {
		_, err = b.db.MeasureRecall(b.ctx, q)
		wantErr(b.t, "a negative number", err, repo.ErrInvalid)
	}
}

func cosineTo(a, b []float32) float64 {
	var dot, aa, bb float64
	for i := range a {
		dot, aa, bb = dot+float64(a[i])*float64(b[i]), aa+float64(a[i])*float64(a[i]), bb+float64(b[i])*float64(b[i])
	}
	return 1 - dot/math.Sqrt(aa*bb)
}
