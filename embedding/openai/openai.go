// Package openai embeds texts through a server that speaks OpenAI's embeddings protocol: OpenAI
// itself, Ollama, vLLM, LM Studio, LiteLLM and many more.
package openai

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/talkbase/talkbase/embedding"
)

// DefaultURL is OpenAI's own server.
const DefaultURL = "https://api.openai.com/v1"

// The defaults of Options. OpenAI takes up to 2,048 texts and 300,000 tokens a request; a token is three
// to four bytes of English and about three of Chinese.
const (
	DefaultBatchTexts = 256
	DefaultBatchBytes = 256 << 10
	DefaultTimeout    = 60 * time.Second
	DefaultRetries    = 5
	DefaultMaxWait    = 60 * time.Second
)

// Options says which server embeds, and how it is asked.
type Options struct {
	// URL is the server's address with the version, DefaultURL when "". Plain http is refused where a key
	// would leave this machine on it.
	URL string
	// APIKey is sent as a bearer token; "" sends none. It is in no error and no log line.
	APIKey string
	// Model is the embedding model's name. It must be given.
	Model string
	// Dimensions is how long the vectors are. It must be given: an answer of another length is an error.
	Dimensions int
	// SendDimensions asks the server to shorten its vectors to Dimensions, which only some models can
	// (OpenAI's text-embedding-3 and later).
	SendDimensions bool
	// BatchTexts and BatchBytes bound one request: how many texts, and their length in bytes together. A
	// single longer text goes alone. 0 is the default. A request that the server finds too large is split.
	BatchTexts, BatchBytes int
	// Timeout bounds one request, DefaultTimeout when 0.
	Timeout time.Duration
	// Retries is how often a request is repeated that met a rate limit, a failing server or a broken
	// connection; DefaultRetries when 0, none when negative.
	Retries int
	// MaxWait bounds the wait before each repetition, DefaultMaxWait when 0. Where a server asks for a
	// longer one, the call ends with its error at once.
	MaxWait time.Duration
	// HTTPClient makes the requests; one of its own when nil.
	HTTPClient *http.Client
}

// String leaves out the key.
func (o Options) String() string { return o.Model + " at " + o.URL }

// GoString leaves out the key.
func (o Options) GoString() string { return "openai.Options{" + o.String() + "}" }

// Embedder embeds through a server.
type Embedder struct {
	o       Options
	service openai.EmbeddingService
}

var _ embedding.Embedder = (*Embedder)(nil)

// New returns an embedder. It does not talk to the server. The error wraps embedding.ErrConfig.
func New(o Options) (*Embedder, error) {
	if o.URL == "" {
		o.URL = DefaultURL
	}
	if err := checkURL(o.URL, o.APIKey != ""); err != nil {
		return nil, err
	}
	if o.Model == "" {
		return nil, fmt.Errorf("%w: name the model", embedding.ErrConfig)
	}
	if o.Dimensions < 1 {
		return nil, fmt.Errorf("%w: say how many dimensions the model %.60q has", embedding.ErrConfig, o.Model)
	}
	if strings.ContainsFunc(o.APIKey, func(r rune) bool { return r <= ' ' || r >= 0x7F }) {
		return nil, fmt.Errorf("%w: the API key holds a space, a line break or another character that cannot be sent", embedding.ErrConfig)
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.BatchTexts, DefaultBatchTexts}, {&o.BatchBytes, DefaultBatchBytes}, {&o.Retries, DefaultRetries}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.BatchTexts < 1 || o.BatchBytes < 1 {
		return nil, fmt.Errorf("%w: BatchTexts and BatchBytes cannot be negative", embedding.ErrConfig)
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxWait <= 0 {
		o.MaxWait = DefaultMaxWait
	}
	if o.HTTPClient == nil {
		o.HTTPClient = &http.Client{}
	}
	opts := []option.RequestOption{
		option.WithBaseURL(strings.TrimRight(o.URL, "/") + "/"), option.WithHTTPClient(o.HTTPClient), option.WithUnsafeAllowHTTP(),
		option.WithMaxRetries(0), // they are made here, where all of the rate-limit headers are read
		option.WithAPIKey(o.APIKey),
	}
	if o.APIKey == "" {
		opts = append(opts, option.WithHeaderDel("Authorization"))
	}
	// Not openai.NewClient, which takes keys and addresses from the environment.
	return &Embedder{o: o, service: openai.NewEmbeddingService(opts...)}, nil
}

// String names the model and the server.
func (e *Embedder) String() string { return e.o.String() }

// GoString is String, for it must not show the key either.
func (e *Embedder) GoString() string { return "openai.Embedder{" + e.o.String() + "}" }

func checkURL(s string, key bool) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%w: the server's address must be like %s", embedding.ErrConfig, DefaultURL)
	}
	if u.User != nil {
		return fmt.Errorf("%w: the server's address holds a password: give it as the API key", embedding.ErrConfig)
	}
	if u.Scheme == "http" && key && u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback() {
		return fmt.Errorf("%w: the API key would travel to %s unencrypted: use https", embedding.ErrConfig, u.Host)
	}
	return nil
}

// Dimensions is the length of every vector.
func (e *Embedder) Dimensions() int { return e.o.Dimensions }

// Model is the model's name.
func (e *Embedder) Model() string { return e.o.Model }

// Embed returns a vector for each text. The errors wrap those of package embedding, or the end of ctx.
// An empty text is refused, as servers do. Texts that are not valid UTF-8 are refused too.
func (e *Embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	for i, t := range texts {
		if t == "" || !utf8.ValidString(t) {
			return nil, &embedding.TextError{Index: i, Err: fmt.Errorf("%w: it is empty or not valid UTF-8", embedding.ErrRejected)}
		}
	}
	out := make([][]float32, 0, len(texts))
	for from := 0; from < len(texts); {
		to := e.batch(texts, from)
		vs, err := e.split(ctx, texts[from:to], from)
		if err != nil {
			return nil, err
		}
		out = append(out, vs...)
		from = to
	}
	return out, nil
}

// batch returns where the request ends that begins with texts[from].
func (e *Embedder) batch(texts []string, from int) int {
	size, to := len(texts[from]), from+1
	for to < len(texts) && to-from < e.o.BatchTexts && size+len(texts[to]) <= e.o.BatchBytes {
		size += len(texts[to])
		to++
	}
	return to
}

// split sends one request, or two halves where the server finds it too large. First is the place of
// texts[0] in the call.
func (e *Embedder) split(ctx context.Context, texts []string, first int) ([][]float32, error) {
	vs, err := e.retry(ctx, texts)
	if f := failureOf(err); f == nil || !f.tooLarge {
		return vs, err
	}
	if len(texts) == 1 {
		return nil, &embedding.TextError{Index: first, Err: fmt.Errorf("%w: %w", embedding.ErrTooLong, err)}
	}
	half := len(texts) / 2
	a, err := e.split(ctx, texts[:half], first)
	if err != nil {
		return nil, err
	}
	b, err := e.split(ctx, texts[half:], first+half)
	if err != nil {
		return nil, err
	}
	return append(a, b...), nil
}
