# What there is to do with mlist: `make help`.

GO      ?= go
DIST    ?= dist
VERSION ?=

# A release says which it is; any other build shows the commit that Go notes in it.
LDFLAGS := -s -w $(if $(VERSION),-X main.version=$(VERSION))
BUILD   := $(GO) build -ldflags '$(LDFLAGS)'

# Whatever is built, it is in the way of a release, so that each package is compiled once: a good
# part of what all checks take goes there.
export CGO_ENABLED := 0
export GOFLAGS     := $(filter-out -trimpath,$(GOFLAGS)) -trimpath

.PHONY: help build test lint generate clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build dist/mlist, and the handlers in dist/plugins/
	@mkdir -p $(DIST)/plugins
	$(BUILD) -o $(DIST)/mlist ./cmd/mlist
	$(BUILD) -o $(DIST)/plugins/standard ./plugins/standard
	@chmod 755 $(DIST)/plugins $(DIST)/plugins/standard # mlist refuses what a group can write

# Packages that start goroutines or processes: their tests run under the race detector, which
# needs a C compiler, and once is enough. It makes them many times as long, so those that do one
# thing after another, start other programs or look at memory run without it.
RACE  := ./cmd/... ./lmtpd ./milter ./pipeline ./outbound/... ./sdk ./sdk/conformance \
	./internal/archive/... ./internal/control ./internal/host ./internal/listen ./internal/metrics \
	./internal/socketmap ./internal/spool/... ./internal/store/... ./internal/trace
PLAIN := ^TestCommands$$|TestCommandBlocks|TestANewHandlerBuilds|TestTheHandlersThatCome|TestAHandlerInPython|TestTheCorpus|TestMessageCheck|TestPluginsAreListed|TestARestore|TestAnExample|TestTheMan|DoesNotGrow|TestEveryStatement|FuzzMembers
# SQLite is C made Go, in memory of its own that the detector does not look at: to tell it of
# each access finds nothing, and takes eight times as long.
race  := $(if $(shell command -v $$($(GO) env CC) 2>/dev/null),-race -gcflags='modernc.org/sqlite/lib=-race=false' -gcflags='modernc.org/libc/...=-race=false')

# Stories are apart: they need root and Postfix, and say so where they cannot run.
apart := /mlist/test/(stories|harness)(/|$$)

test: build ## run all tests; as root on Debian this installs Postfix if it is missing
	$(GO) test -timeout 20m $$($(GO) list ./... | grep -Ev '$(apart)' | grep -vxF "$$($(GO) list $(RACE))")
ifneq ($(race),)
	$(GO) test -timeout 20m -run '$(PLAIN)' $(RACE)
	CGO_ENABLED=1 $(GO) test $(race) -vet=off -timeout 20m -skip '$(PLAIN)' $(RACE)
else
	@echo "no C compiler: nothing runs under the race detector" >&2
	$(GO) test -timeout 20m $(RACE)
endif
	@$(MAKE) -s stories

lint: $(DIST)/tools/staticcheck ## check style: gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard --deduplicate -- '*.go' | xargs ls -d 2>/dev/null)); \
		test -z "$$unformatted" || { echo "not gofmt-ed:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(abspath $(DIST))/tools/staticcheck ./...

# Tools have a go.mod of their own, so that what they need does not pull mlist's modules along.
$(DIST)/tools/%: tools/go.mod tools/go.sum
	@mkdir -p $(DIST)/tools
	cd tools && $(GO) build -o $(abspath $(DIST))/tools/$* $$($(GO) list tool | grep '/$*$$')

generate: ## write again what is made from other files: etc/mlist.toml, references in docs/, the plugin contract's Go form
	$(GO) generate ./internal/config ./sdk/proto ./docs

clean: ## remove what was built
	rm -rf $(DIST)

# demo, torture, bench and story are beside what they run, packages beside what is in them.
-include test/*/*.mk packaging/*.mk
