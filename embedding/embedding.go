// Package embedding turns texts into vectors: the interface a host fills with its embedding model, the
// checks that every answer of one has to pass, and an embedder that needs no model. Package
// embedding/openai is an adapter for servers that speak OpenAI's protocol.
package embedding

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// The errors of an Embedder, to be told apart with errors.Is.
var (
	// ErrRateLimited means that the server takes no more requests now, and did not within the retries.
	ErrRateLimited = errors.New("the embedding server limits the rate of requests")
	// ErrUnauthorized means that the server does not accept the key, or not for this model.
	ErrUnauthorized = errors.New("the embedding server refuses the API key")
	// ErrTooLong means that a text is longer than the model takes; the error is a *TextError.
	ErrTooLong = errors.New("text too long for the embedding model")
	// ErrUnavailable means that the server cannot be reached, does not answer in time, or fails.
	ErrUnavailable = errors.New("the embedding server cannot be reached")
	// ErrRejected means that the server refuses the request, such as for an unknown model.
	ErrRejected = errors.New("the embedding server refuses the request")
	// ErrResponse means that an answer is not what was asked for: broken, or with vectors that are
	// missing, of another length, or not of finite numbers.
	ErrResponse = errors.New("the embedding server's answer cannot be used")
	// ErrConfig means that an embedder cannot be made with these options.
	ErrConfig = errors.New("invalid configuration of the embedder")
)

// Embedder makes vectors of texts. It is safe for concurrent use.
type Embedder interface {
	// Embed returns one vector for each text, in their order, each of Dimensions finite elements. The same
	// model gives vectors that can be compared with each other. An error means that there are none.
	Embed(ctx context.Context, texts []string) ([][]float32, error)
	// Dimensions is the length of every vector.
	Dimensions() int
	// Model names what makes the vectors. Vectors of different models cannot be compared.
	Model() string
}

// TextError says which text of a call caused an error.
type TextError struct {
	// Index is the text's place in the call.
	Index int
	// Err is the cause.
	Err error
}

// Error says which text it was and what was wrong.
func (e *TextError) Error() string { return fmt.Sprintf("text %d: %v", e.Index, e.Err) }

// Unwrap returns the cause.
func (e *TextError) Unwrap() error { return e.Err }

// Check returns nil if vectors are what an embedder of so many dimensions may return for n texts,
// else an error that wraps ErrResponse.
func Check(vectors [][]float32, n, dimensions int) error {
	if len(vectors) != n {
		return fmt.Errorf("%w: %d vectors for %d texts", ErrResponse, len(vectors), n)
	}
	for i, v := range vectors {
		if len(v) != dimensions {
			return fmt.Errorf("%w: vector %d has %d dimensions, not %d", ErrResponse, i, len(v), dimensions)
		}
		for _, x := range v {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return fmt.Errorf("%w: vector %d has an element that is not a finite number", ErrResponse, i)
			}
		}
	}
	return nil
}
