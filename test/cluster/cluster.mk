.PHONY: cluster-test
cluster-test: build ## three hosts in network namespaces on one PostgreSQL with a standby; root. ONLY=words takes some steps
	@MLIST_DIST=$(abspath $(DIST)) $(GO) run ./test/cluster -only "$(ONLY)"
