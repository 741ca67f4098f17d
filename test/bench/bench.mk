.PHONY: bench
bench: build ## measure, each figure beside the machine's own limit: ONLY=lmtp,idle
	@MLIST_DIST=$(abspath $(DIST)) $(GO) run ./test/bench $(if $(ONLY),-only $(ONLY))
