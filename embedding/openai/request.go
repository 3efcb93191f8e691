package openai

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"

	"github.com/talkbase/talkbase/embedding"
)

// failure is a request that the server did not fulfil. It does not wrap the client library's error,
// which holds the request with the key.
type failure struct {
	kind   error // of package embedding
	status int   // 0 without an answer
	detail string
	again  bool // a repetition may help
	// wait is how long the server asks to wait, if asked.
	wait     time.Duration
	asked    bool
	tooLarge bool // a smaller request may help
}

func (f *failure) Error() string {
	s := f.kind.Error()
	if f.status != 0 {
		s += fmt.Sprintf(" (%d %s)", f.status, http.StatusText(f.status))
	}
	if f.detail != "" {
		s += ": " + f.detail
	}
	return s
}

func (f *failure) Unwrap() error { return f.kind }

func failureOf(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return nil
}

// retry sends a request until it is fulfilled, cannot be, or was repeated often enough.
func (e *Embedder) retry(ctx context.Context, texts []string) ([][]float32, error) {
	waits := backoff.NewExponentialBackOff()
	waits.MaxInterval = e.o.MaxWait
	for attempt := 0; ; attempt++ {
		vs, err := e.once(ctx, texts)
		f := failureOf(err)
		if f == nil || !f.again || attempt >= e.o.Retries {
			return vs, err
		}
		wait := min(waits.NextBackOff(), e.o.MaxWait)
		if f.asked {
			if f.wait > e.o.MaxWait {
				return nil, fmt.Errorf("%w: it asks to wait %s", err, f.wait.Round(time.Second))
			}
			wait = max(f.wait, time.Millisecond)
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
			return nil, err // rather than wait for nothing
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("%w, after: %w", ctx.Err(), err)
		case <-timer.C:
		}
	}
}

// once sends one request and checks the answer.
func (e *Embedder) once(ctx context.Context, texts []string) ([][]float32, error) {
	params := openai.EmbeddingNewParams{
		Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: texts}, Model: e.o.Model,
		EncodingFormat: openai.EmbeddingNewParamsEncodingFormatFloat,
	}
	if e.o.SendDimensions {
		params.Dimensions = param.NewOpt(int64(e.o.Dimensions))
	}
	rctx, cancel := context.WithTimeout(ctx, e.o.Timeout)
	defer cancel()
	var res *http.Response
	answer, err := e.service.New(rctx, params, option.WithResponseInto(&res))
	if err != nil {
		return nil, e.classify(ctx, rctx, res, err)
	}
	return e.read(answer, len(texts))
}

// read puts the vectors into the order of their index.
func (e *Embedder) read(answer *openai.CreateEmbeddingResponse, n int) ([][]float32, error) {
	broken := func(format string, args ...any) error {
		return &failure{kind: embedding.ErrResponse, detail: fmt.Sprintf(format, args...)}
	}
	if answer == nil || len(answer.Data) != n {
		got := 0
		if answer != nil {
			got = len(answer.Data)
		}
		return nil, broken("%d vectors for %d texts", got, n)
	}
	out := make([][]float32, n)
	for _, d := range answer.Data {
		i := d.Index
		if !d.JSON.Index.Valid() || i < 0 || i >= int64(n) || out[i] != nil {
			return nil, broken("index %d is missing, out of range or there twice", i)
		}
		// A value that is no number would be read as 0.
		if raw := d.JSON.Embedding.Raw(); !d.JSON.Embedding.Valid() || strings.ContainsAny(raw, "nNuUtTfF") && !strings.HasPrefix(raw, `"`) {
			return nil, broken("vector %d is not an array of numbers", i)
		}
		v := make([]float32, len(d.Embedding))
		for j, x := range d.Embedding {
			v[j] = float32(x)
		}
		out[i] = v
	}
	return out, embedding.Check(out, n, e.o.Dimensions)
}

// sizeComplaint is how servers say, with status 400 or 422, that a request or a text is too large. They
// have no code for it in common.
var sizeComplaint = regexp.MustCompile(`(?i)too (long|large|many|big)|context.?length|maximum.{0,40}(token|length|batch|size|input)|max_tokens|above_max|exceed`)

// classify makes a failure of what the client library returned.
func (e *Embedder) classify(ctx, rctx context.Context, res *http.Response, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("embed: %w", ctx.Err())
	}
	var api *openai.Error
	if !errors.As(err, &api) {
		f := &failure{kind: embedding.ErrUnavailable, again: true, detail: e.redact(err.Error())}
		switch {
		case rctx.Err() != nil:
			f.detail = fmt.Sprintf("no answer within %s", e.o.Timeout)
		case res != nil: // it answered, but not to the end, or not with JSON
			f.kind = embedding.ErrResponse
		}
		return f
	}
	f := &failure{status: api.StatusCode, detail: e.redact(api.Message)}
	if f.detail == "" {
		f.detail = e.redact(api.RawJSON())
	}
	switch s := api.StatusCode; {
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		f.kind = embedding.ErrUnauthorized
	case s == http.StatusTooManyRequests:
		// A spent quota does not come back by waiting.
		f.kind, f.again = embedding.ErrRateLimited, api.Code != "insufficient_quota"
	case s == http.StatusRequestEntityTooLarge,
		(s == http.StatusBadRequest || s == http.StatusUnprocessableEntity) && sizeComplaint.MatchString(api.Code+" "+f.detail):
		f.kind, f.tooLarge = embedding.ErrRejected, true
	case s == http.StatusRequestTimeout || s == http.StatusConflict || s >= 500:
		f.kind, f.again = embedding.ErrUnavailable, true
	default:
		f.kind = embedding.ErrRejected
	}
	if api.Response != nil && f.again {
		f.wait, f.asked = askedWait(api.Response.Header, time.Now())
	}
	return f
}

// redact makes a server's words fit for a log line: short, and without the key, which some repeat.
func (e *Embedder) redact(s string) string {
	if e.o.APIKey != "" {
		s = strings.ReplaceAll(s, e.o.APIKey, "[API key]")
	}
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return s
}

// askedWait reads how long a server asks to wait: Retry-After (RFC 9110, seconds or a date), its form in
// milliseconds, or the times at which OpenAI's limits of requests and tokens are reset (1s, 6m0s, 20ms;
// the longer of those that are used up).
func askedWait(h http.Header, now time.Time) (time.Duration, bool) {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms >= 0 && ms < 1e12 {
		return time.Duration(ms * float64(time.Millisecond)), true
	}
	if s := h.Get("Retry-After"); s != "" {
		if sec, err := strconv.ParseFloat(s, 64); err == nil && sec >= 0 && sec < 1e9 {
			return time.Duration(sec * float64(time.Second)), true
		}
		if at, err := http.ParseTime(s); err == nil {
			return max(at.Sub(now), 0), true
		}
	}
	var wait time.Duration
	asked := false
	for _, what := range []string{"Requests", "Tokens"} {
		reset := h.Get("X-Ratelimit-Reset-" + what)
		d, err := time.ParseDuration(reset)
		if sec, serr := strconv.ParseFloat(reset, 64); serr == nil && sec < 1e9 {
			d, err = time.Duration(sec*float64(time.Second)), nil
		}
		if err != nil || d < 0 {
			continue
		}
		if left := h.Get("X-Ratelimit-Remaining-" + what); left != "" && left != "0" && what == "Requests" {
			continue // of tokens some can be left, yet too few
		}
		wait, asked = max(wait, d), true
	}
	return wait, asked
}
