.DEFAULT_GOAL := help
.PHONY: help demo test lint fmt bench migration fuzz kill soak crash cover ci

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' | expand -t 10

demo: ## import a sample legacy pair and ask it something
	go run ./cmd/talkbase demo

test: ## run all tests, Postgres included
	./scripts/test

lint: ## run the linter
	scripts/tool golangci-lint run ./...

fmt: ## format the code
	scripts/tool gofumpt -w .

bench: ## compare with raw SQL through the same drivers, side by side
	scripts/postgres run -- sh -c 'cd bench && go run ./cmd/report'

migration: ## compare whole imports with bare copies and with pgloader, and show their memory (minutes, 12 GB of disk)
	scripts/postgres run -- sh -c 'cd bench && go run ./cmd/report -only migration'

FUZZTIME ?= 30s
fuzz: ## run every fuzz target for FUZZTIME
	@set -e; for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "==> $$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$pkg; \
		done; \
	done

KILLS ?= 2000
kill: ## kill importing processes KILLS times on each engine, and import 100 random legacy sets
	TALKBASE_KILLS=$(KILLS) TALKBASE_RANDOM_SETS=100 scripts/postgres run -- \
		go test ./tests -count=1 -timeout 4h -run 'KilledImports|RandomImports' -v -rapid.checks=100

SOAK ?= 5m
soak: ## mix all operations from many goroutines and two processes for SOAK on each engine, with the race detector
	TALKBASE_SOAK=$(SOAK) scripts/postgres run -- go test ./tests -race -count=1 -timeout 4h -run Soak -v

CRASHES ?= 5000
crash: ## kill writing processes CRASHES times, and a Postgres server under load
	scripts/postgres install
	TALKBASE_CRASHES=$(CRASHES) go test ./tests -count=1 -timeout 8h -run 'Crashes$$' -v

cover: ## write the coverage of all tests to cover.html
	scripts/postgres run -- go test -coverpkg=./... -coverprofile=cover.out ./...
	go tool cover -html=cover.out -o cover.html

ci: ## run what CI runs
	.ci/run
