ROUNDS ?= 20

.PHONY: torture
torture: build ## kill daemons at random and compare what came out: ROUNDS=20
	@MLIST_DIST=$(abspath $(DIST)) $(GO) run ./test/torture -rounds $(ROUNDS)
