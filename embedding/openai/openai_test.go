package openai_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talkbase/talkbase/embedding"
	"github.com/talkbase/talkbase/embedding/openai"
)

const key = "sk-secret-0123456789"

// server answers each request with the next of the handlers, and all further ones with the last.
type server struct {
	*httptest.Server
	calls atomic.Int64
}

type request struct {
	Input      []string `json:"input"`
	Model      string   `json:"model"`
	Dimensions int      `json:"dimensions"`
}

type handler func(t *testing.T, w http.ResponseWriter, r request)

func serve(t *testing.T, handlers ...handler) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(s.calls.Add(1)) - 1
		if r.URL.Path != "/v1/embeddings" || r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer "+key {
			t.Errorf("request: got %s %s with authorization %q", r.Method, r.URL.Path, r.Header.Get("Authorization"))
		}
		var body request
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Errorf("request: got %v, want JSON", err)
		}
		w.Header().Set("Content-Type", "application/json")
		handlers[min(n, len(handlers)-1)](t, w, body)
	}))
	t.Cleanup(s.Close)
	return s
}

// vector is what the server makes of a text.
func vector(s string) []float32 { return embedding.Hash(s, 4) }

func answer(order func(n int) []int, vector func(s string) []float32) handler {
	return func(t *testing.T, w http.ResponseWriter, r request) {
		type item struct {
			Object    string    `json:"object"`
			Index     int       `json:"index"`
			Embedding []float32 `json:"embedding"`
		}
		var data []item
		for _, i := range order(len(r.Input)) {
			data = append(data, item{"embedding", i, vector(r.Input[i])})
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"object": "list", "model": r.Model, "data": data, "usage": map[string]int{"prompt_tokens": 1, "total_tokens": 1}}); err != nil {
			t.Error(err)
		}
	}
}

func inOrder(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func backwards(n int) []int {
	out := inOrder(n)
	slices.Reverse(out)
	return out
}

var good = answer(inOrder, vector)

// fails answers with a status, a body and headers.
func fails(status int, body string, headers ...string) handler {
	return func(_ *testing.T, w http.ResponseWriter, _ request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func raw(body string) handler { return fails(http.StatusOK, body) }

func apiError(message, code string) string {
	b, _ := json.Marshal(map[string]any{"error": map[string]any{"message": message, "type": "invalid_request_error", "param": nil, "code": code}})
	return string(b)
}

func hangUp(_ *testing.T, w http.ResponseWriter, _ request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = c.Close()
	}
}

func client(t *testing.T, s *server, change func(*openai.Options)) *openai.Embedder {
	t.Helper()
	o := openai.Options{URL: s.URL + "/v1", APIKey: key, Model: "m", Dimensions: 4, MaxWait: 20 * time.Millisecond, HTTPClient: s.Client()}
	if change != nil {
		change(&o)
	}
	e, err := openai.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// noSecret checks that an error shows no key, however it is printed.
func noSecret(t *testing.T, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, s := range []string{e.Error(), fmt.Sprintf("%v|%+v|%#v|%q", e, e, e, e)} {
			if strings.Contains(s, key) || strings.Contains(s, "Bearer") {
				t.Errorf("the error shows the key: %s", s)
			}
		}
	}
}

func TestEmbed(t *testing.T) {
	t.Parallel()
	texts := []string{"one", "two 数据库", "three", "four", strings.Repeat("five ", 10)}
	for name, c := range map[string]struct {
		handlers []handler
		change   func(*openai.Options)
		calls    int64
	}{
		"one request":                  {[]handler{good}, nil, 1},
		"shuffled":                     {[]handler{answer(backwards, vector)}, nil, 1},
		"batches by number":            {[]handler{good}, func(o *openai.Options) { o.BatchTexts = 2 }, 3},
		"batches by size":              {[]handler{good}, func(o *openai.Options) { o.BatchBytes = 16 }, 3},
		"rate limit without headers":   {[]handler{fails(429, apiError("slow down", "rate_limit_exceeded")), good}, nil, 2},
		"rate limit, Retry-After":      {[]handler{fails(429, "{}", "Retry-After", "0"), good}, nil, 2},
		"rate limit, milliseconds":     {[]handler{fails(429, "{}", "retry-after-ms", "3"), good}, nil, 2},
		"rate limit, reset":            {[]handler{fails(429, "{}", "x-ratelimit-reset-tokens", "5ms", "x-ratelimit-reset-requests", "1h", "x-ratelimit-remaining-requests", "7"), good}, nil, 2},
		"a date in the past":           {[]handler{fails(503, "", "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"), good}, nil, 2},
		"failures":                     {[]handler{fails(500, "oops"), fails(502, "<html>"), fails(503, ""), good}, nil, 4},
		"connection reset":             {[]handler{hangUp, good}, nil, 2},
		"too large by status":          {[]handler{fails(413, ""), good}, nil, 3},
		"too large by code":            {[]handler{fails(400, apiError("Requested 300001 tokens, max 300000 tokens per request", "max_tokens_per_request")), good}, nil, 3},
		"too large by words, repeated": {[]handler{fails(400, `{"error":{"message":"batch size 5 exceeds 2"}}`), fails(422, `{"error":{"message":"too many inputs"}}`), good}, nil, 5},
		"base64": {
			[]handler{raw(`{"object":"list","model":"m","data":[{"object":"embedding","index":0,"embedding":"AACAPwAAAAAAAAAAAAAAAA=="}],"usage":{}}`), good},
			func(o *openai.Options) { o.BatchTexts = 1 }, 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, c.handlers...)
			vs, err := client(t, s, c.change).Embed(t.Context(), texts)
			if err != nil || len(vs) != len(texts) {
				t.Fatalf("got %d vectors and %v", len(vs), err)
			}
			for i, v := range vs {
				want := vector(texts[i])
				if name == "base64" && i == 0 {
					want = []float32{1, 0, 0, 0}
				}
				if !slices.Equal(v, want) {
					t.Errorf("text %d: got %v, want %v", i, v, want)
				}
			}
			if got := s.calls.Load(); got != c.calls {
				t.Errorf("requests: got %d, want %d", got, c.calls)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	short := func(s string) []float32 { return vector(s)[:3] }
	item := func(index, vector string) handler {
		return raw(`{"object":"list","model":"m","data":[{"object":"embedding",` + index + `"embedding":` + vector + `}],"usage":{"prompt_tokens":1,"total_tokens":1}}`)
	}
	for name, c := range map[string]struct {
		handler handler
		kind    error
		calls   int64
	}{
		"401":                      {fails(401, apiError("Incorrect API key provided: "+key, "invalid_api_key")), embedding.ErrUnauthorized, 1},
		"403":                      {fails(403, ""), embedding.ErrUnauthorized, 1},
		"unknown model":            {fails(404, apiError("The model m does not exist", "model_not_found")), embedding.ErrRejected, 1},
		"400":                      {fails(400, apiError("bad key "+key, "")), embedding.ErrRejected, 1},
		"too long":                 {fails(400, apiError("This model's maximum context length is 8192 tokens", "")), embedding.ErrTooLong, 1},
		"rate limit for ever":      {fails(429, apiError("slow down", "rate_limit_exceeded"), "retry-after-ms", "1"), embedding.ErrRateLimited, 3},
		"rate limit for an hour":   {fails(429, "{}", "Retry-After", "3600"), embedding.ErrRateLimited, 1},
		"spent quota":              {fails(429, apiError("You exceeded your current quota", "insufficient_quota")), embedding.ErrRateLimited, 1},
		"failure for ever":         {fails(500, "oops "+key), embedding.ErrUnavailable, 3},
		"hung up for ever":         {hangUp, embedding.ErrUnavailable, 3},
		"truncated":                {raw(`{"object":"list","data":[{"index":0,"embed`), embedding.ErrResponse, 3},
		"not JSON":                 {raw(`<html>` + key + `</html>`), embedding.ErrResponse, 3},
		"empty object":             {raw(`{}`), embedding.ErrResponse, 1},
		"one too many":             {answer(func(int) []int { return []int{0, 0} }, vector), embedding.ErrResponse, 1},
		"none":                     {answer(func(int) []int { return nil }, vector), embedding.ErrResponse, 1},
		"wrong dimensions":         {answer(inOrder, short), embedding.ErrResponse, 1},
		"index out of range":       {item(`"index":1,`, "[1,0,0,0]"), embedding.ErrResponse, 1},
		"negative index":           {item(`"index":-1,`, "[1,0,0,0]"), embedding.ErrResponse, 1},
		"no index":                 {item("", "[1,0,0,0]"), embedding.ErrResponse, 1},
		"null":                     {item(`"index":0,`, "null"), embedding.ErrResponse, 1},
		"null in it":               {item(`"index":0,`, "[1,null,0,0]"), embedding.ErrResponse, 1},
		"text in it":               {item(`"index":0,`, `[1,"NaN",0,0]`), embedding.ErrResponse, 1},
		"beyond a float32":         {item(`"index":0,`, "[1,1e300,0,0]"), embedding.ErrResponse, 1},
		"base64 of another length": {item(`"index":0,`, `"AACAPw=="`), embedding.ErrResponse, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, c.handler)
			vs, err := client(t, s, func(o *openai.Options) { o.Retries = 2 }).Embed(t.Context(), []string{"a text"})
			if !errors.Is(err, c.kind) || vs != nil {
				t.Errorf("got %v and %v, want %v", vs, err, c.kind)
			}
			noSecret(t, err)
			if got := s.calls.Load(); got != c.calls {
				t.Errorf("requests: got %d, want %d", got, c.calls)
			}
			var te *embedding.TextError
			if errors.As(err, &te) != errors.Is(err, embedding.ErrTooLong) {
				t.Errorf("got %v, want a TextError exactly for a text that is too long", err)
			}
		})
	}
}

func TestTooLongNamesTheText(t *testing.T) {
	t.Parallel()
	s := serve(t, func(t *testing.T, w http.ResponseWriter, r request) {
		if slices.ContainsFunc(r.Input, func(s string) bool { return len(s) > 50 }) {
			fails(400, apiError("maximum context length is 50 bytes", ""))(t, w, r)
			return
		}
		good(t, w, r)
	})
	texts := []string{"a", "b", "c", strings.Repeat("d", 51), "e", "f", "g"}
	_, err := client(t, s, func(o *openai.Options) { o.BatchTexts = 3 }).Embed(t.Context(), texts)
	var te *embedding.TextError
	if !errors.As(err, &te) || te.Index != 3 || !errors.Is(err, embedding.ErrTooLong) {
		t.Errorf("got %v, want ErrTooLong for text 3", err)
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	s := serve(t, func(*testing.T, http.ResponseWriter, request) { <-over })
	t.Cleanup(func() { close(over) }) // before the server is closed, which waits for it

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := client(t, s, nil).Embed(ctx, []string{"x"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline of the call: got %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := client(t, s, nil).Embed(ctx, []string{"x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled call: got %v", err)
	}
	before := s.calls.Load()
	_, err := client(t, s, func(o *openai.Options) { o.Timeout, o.Retries = 20*time.Millisecond, 1 }).Embed(t.Context(), []string{"x"})
	if !errors.Is(err, embedding.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("timeout of the request: got %v, want ErrUnavailable, for the caller's time is not over", err)
	}
	if got := s.calls.Load() - before; got != 2 {
		t.Errorf("requests: got %d, want 2", got)
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	t.Parallel()
	s := serve(t, fails(429, "{}", "Retry-After", "30"))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(30*time.Millisecond, cancel)
	_, err := client(t, s, func(o *openai.Options) { o.MaxWait = time.Minute }).Embed(ctx, []string{"x"})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, embedding.ErrRateLimited) {
		t.Errorf("got %v, want the cancellation and the rate limit", err)
	}
	// A wait that the caller's time does not allow is not begun.
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = client(t, s, func(o *openai.Options) { o.MaxWait = time.Minute }).Embed(ctx, []string{"x"})
	if !errors.Is(err, embedding.ErrRateLimited) || ctx.Err() != nil {
		t.Errorf("got %v, want the rate limit at once", err)
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	s := serve(t, func(t *testing.T, w http.ResponseWriter, r request) {
		if r.Model != "m" || r.Dimensions != 4 || !slices.Equal(r.Input, []string{"x"}) {
			t.Errorf("got %+v", r)
		}
		good(t, w, r)
	})
	e := client(t, s, func(o *openai.Options) { o.SendDimensions = true })
	if _, err := e.Embed(t.Context(), []string{"x"}); err != nil {
		t.Error(err)
	}
	if vs, err := e.Embed(t.Context(), nil); err != nil || len(vs) != 0 {
		t.Errorf("no texts: got %v and %v", vs, err)
	}
	var te *embedding.TextError
	for _, bad := range []string{"", "\xff"} {
		if _, err := e.Embed(t.Context(), []string{"x", bad}); !errors.Is(err, embedding.ErrRejected) || !errors.As(err, &te) || te.Index != 1 {
			t.Errorf("%q: got %v, want ErrRejected for text 1", bad, err)
		}
	}
}

func TestWithoutKey(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a, ok := r.Header["Authorization"]; ok {
			t.Errorf("authorization: got %v, want none", a)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"object":"list","model":"m","data":[{"object":"embedding","index":0,"embedding":[1]}]}`))
	}))
	defer s.Close()
	e, err := openai.New(openai.Options{URL: s.URL, Model: "m", Dimensions: 1})
	if err != nil {
		t.Fatal(err)
	}
	if vs, err := e.Embed(t.Context(), []string{"x"}); err != nil || vs[0][0] != 1 {
		t.Errorf("got %v and %v", vs, err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]openai.Options{
		"no model":      {Dimensions: 4},
		"no dimensions": {Model: "m"},
		"no address":    {URL: "localhost", Model: "m", Dimensions: 4},
		"no host":       {URL: "http://", Model: "m", Dimensions: 4},
		"a file":        {URL: "file:///x", Model: "m", Dimensions: 4},
		"a password":    {URL: "https://u:" + key + "@host/v1", Model: "m", Dimensions: 4},
		"plain http":    {URL: "http://example.com/v1", APIKey: key, Model: "m", Dimensions: 4},
		"a broken key":  {APIKey: key + "\n", Model: "m", Dimensions: 4},
		"negative":      {Model: "m", Dimensions: 4, BatchTexts: -1},
	} {
		_, err := openai.New(o)
		if !errors.Is(err, embedding.ErrConfig) {
			t.Errorf("%s: got %v, want ErrConfig", name, err)
		}
		noSecret(t, err)
	}
	e, err := openai.New(openai.Options{APIKey: key, Model: "m", Dimensions: 4})
	if err != nil || e.Model() != "m" || e.Dimensions() != 4 {
		t.Errorf("got %v", err)
	}
	if s := fmt.Sprintf("%v %+v %#v %v %#v", e, e, e, openai.Options{APIKey: key}, openai.Options{APIKey: key}); strings.Contains(s, key) {
		t.Errorf("printing the embedder shows the key: %s", s)
	}
}
