# make test passes every test that needs nothing but Go and Debian's packages.
# The other targets are for longer runs and foreign programs.
#
# Tests wait for events, not for times. What does not come within
# ATTESTLOG_TEST_PATIENCE, a duration that defaults to 2m, never comes: a very
# slow machine needs more.

GO ?= go

# How long the tests of one package may take: none does unless it hangs.
TIMEOUT = -timeout 20m

.PHONY: test race race-packages race-sqlite race-server race-client race-postgres interop acceptance soak fuzz bench lint

test:
	./scripts/need.sh gcc=gcc gcc=libc6-dev strace=strace python3=python3 curl=curl '/usr/lib/postgresql/*/bin/initdb=postgresql'
	$(GO) test $(TIMEOUT) ./...
	cd examples && $(GO) test $(TIMEOUT) ./...
	$(MAKE) --no-print-directory race

# SQLite is slow under the race detector: these tests append few entries. Two run at
# a time, since most of them keep one processor busy.
race:
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target race-packages race-sqlite race-server race-client race-postgres

RACE = CGO_ENABLED=1 $(GO) test -race $(TIMEOUT)

# Those that are skipped try byte after byte in one goroutine.
race-packages:
	$(RACE) -skip 'TestTornAtEveryByte|TestVerifyFindsAnyFlippedByteOfTheFile' . ./jsonl ./witness ./audithttp ./auditslog ./auditpolicy
race-sqlite:
	$(RACE) -run 'TestEverythingAtOnce|Outbox|TestConformance/(Append|Record|Spool)' ./sqlite
race-server:
	$(RACE) -run 'Tail|Verification|Witness|Disk|People|Ingest|Guess' ./server
race-client:
	$(RACE) ./client
race-postgres:
	$(RACE) -run 'Committed|TestConformance/(Append|Record|Spool)' ./postgres

interop:
	./scripts/need.sh lognormalizer=liblognorm-utils /usr/sbin/rsyslogd=rsyslog '/usr/lib/*/rsyslog/lmnsd_ossl.so=rsyslog-openssl'
	cd interop && $(GO) test $(TIMEOUT) ./...

# Ten million entries; ATTESTLOG_EVENTS changes that.
acceptance:
	$(GO) build -o bin/attestlog ./cmd/attestlog
	./bin/attestlog bench --events $${ATTESTLOG_EVENTS:-10000000}

soak:
	./scripts/need.sh strace=strace
	ATTESTLOG_ROUNDS=$${ATTESTLOG_ROUNDS:-300} $(GO) test -timeout 2h -v ./internal/crashtest

# Each target for FUZZTIME.
FUZZTIME ?= 2m
fuzz:
	@$(GO) list ./... | while read -r pkg; do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; \
			$(GO) test -run XXX -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

bench:
	$(GO) run ./cmd/attestlog bench
	./scripts/bench-server.sh
	$(GO) test -run XXX -bench . -benchmem . ./internal/bench ./server

lint:
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	cd interop && $(GO) vet ./...
	cd examples && $(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...

# Static programs of the usual platforms in dist/, with their checksums.
PLATFORMS = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 freebsd/amd64

.PHONY: dist
dist:
	rm -rf dist
	@set -e; for platform in $(PLATFORMS); do \
		os=$${platform%/*} arch=$${platform#*/} exe=; \
		test $$os != windows || exe=.exe; \
		echo "dist/attestlog-$$os-$$arch$$exe"; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath \
			-o dist/attestlog-$$os-$$arch$$exe ./cmd/attestlog; \
	done
	cd dist && sha256sum attestlog-* >SHA256SUMS

# The man pages in man/, made from the program's own help.
.PHONY: man
man:
	rm -rf man
	$(GO) run ./cmd/attestlog man man
