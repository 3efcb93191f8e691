-- SQLite keeps codes of its vectors from this version on; pgvector has indexes of its own.

-- +goose Up
SELECT 1;

-- +goose Down
SELECT 1;
