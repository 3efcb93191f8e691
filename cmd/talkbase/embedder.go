package main

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/talkbase/talkbase"
	"github.com/talkbase/talkbase/embedding"
	"github.com/talkbase/talkbase/embedding/openai"
	"github.com/talkbase/talkbase/models"
)

// The environment of the embedding server. The key has no flag: other users can read those.
const (
	envEmbedURL   = "TALKBASE_EMBED_URL"
	envEmbedModel = "TALKBASE_EMBED_MODEL"
	envEmbedKey   = "TALKBASE_EMBED_API_KEY"
)

// embedFlags say which server embeds.
type embedFlags struct{ url, model string }

func (e *embedFlags) register(f *pflag.FlagSet) {
	f.StringVar(&e.url, "embed-url", "", "OpenAI-compatible server that embeds TEXT, such as http://localhost:11434/v1 (default $"+envEmbedURL+"); its key is read from $"+envEmbedKey)
	f.StringVar(&e.model, "embed-model", "", "its model (default $"+envEmbedModel+", else the base's)")
}

// embedder returns the one that made a base's vectors.
func (e *embedFlags) embedder(base models.KnowledgeBase) (embedding.Embedder, error) {
	url, model := cmp.Or(e.url, os.Getenv(envEmbedURL)), cmp.Or(e.model, os.Getenv(envEmbedModel), base.EmbeddingModel)
	if base.EmbeddingModel == embedding.HashedWordsModel && e.url == "" && e.model == "" {
		return embedding.HashedWords(int(base.Dimensions)), nil
	}
	if url == "" {
		return nil, &failure{
			code: "NO_EMBEDDER", message: fmt.Sprintf("knowledge base %q is embedded with the model %q, which needs a server", oneLine(base.ID), oneLine(model)),
			hint: "name one with --embed-url or $" + envEmbedURL + ", its key in $" + envEmbedKey + "; --mode text needs none",
		}
	}
	if model == "" {
		return nil, usagef("knowledge base %q does not say which model embeds it: name it with --embed-model", oneLine(base.ID))
	}
	made, err := openai.New(openai.Options{URL: url, APIKey: os.Getenv(envEmbedKey), Model: model, Dimensions: int(base.Dimensions)})
	if err != nil {
		return nil, usage(err)
	}
	return made, nil
}

func baseOf(ctx context.Context, db *talkbase.DB, id string) (models.KnowledgeBase, error) {
	b, err := db.GetBase(ctx, id)
	return b, notFound(err, "knowledge base", id, "talkbase search without --base names those there are")
}

// basesOf returns bases by their ids, or without one the only base there is.
func basesOf(ctx context.Context, db *talkbase.DB, ids []string) (out []models.KnowledgeBase, err error) {
	for _, id := range ids {
		b, err := baseOf(ctx, db, id)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	if len(out) > 0 {
		return out, nil
	}
	b, err := onlyBase(ctx, db)
	return []models.KnowledgeBase{b}, err
}

func onlyBase(ctx context.Context, db *talkbase.DB) (models.KnowledgeBase, error) {
	bases, err := db.ListBases(ctx)
	switch {
	case err != nil:
		return models.KnowledgeBase{}, err
	case len(bases) == 1:
		return bases[0], nil
	case len(bases) == 0:
		return models.KnowledgeBase{}, &failure{code: "NO_BASE", message: "there is no knowledge base", hint: "take one over with talkbase import PATH; --mode text needs none"}
	}
	names := ""
	for i, b := range bases {
		if i == 10 {
			names += ", …"
			break
		}
		if i > 0 {
			names += ", "
		}
		names += oneLine(b.ID)
	}
	return models.KnowledgeBase{}, usagef("there are %d knowledge bases: choose one with --base: %s", len(bases), names)
}

// embedFailures are the errors of an embedding server, with what to do about them.
var embedFailures = []struct {
	err        error
	code, hint string
}{
	{embedding.ErrUnauthorized, "EMBED_UNAUTHORIZED", "set $" + envEmbedKey + " to a key that the server accepts for this model"},
	{embedding.ErrRateLimited, "EMBED_RATE_LIMITED", "try again later, or look at the limits of your key"},
	{embedding.ErrTooLong, "EMBED_TOO_LONG", "ask something shorter"},
	{embedding.ErrUnavailable, "EMBED_UNAVAILABLE", "check that the server runs and that --embed-url is its address, with the version: http://localhost:11434/v1"},
	{embedding.ErrRejected, "EMBED_REJECTED", "check --embed-model"},
	{embedding.ErrResponse, "EMBED_RESPONSE", "check that --embed-url and --embed-model are those that made the base's vectors"},
}
