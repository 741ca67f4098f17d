.PHONY: story stories
story: build ## run the stories whose name matches NAME over a real Postfix
	@test/install-postfix
	@test/install-mtas $(DIST)/test/mtas
	MLIST_DIST=$(abspath $(DIST)) $(GO) test -count=1 -v -run '(?i)$(NAME)' ./test/stories/...

# Not for others than root, since Postfix can be started by nobody else.
stories: build
	@test/install-postfix
	@test/install-mtas $(DIST)/test/mtas
	@if [ "$$(id -u)" = 0 ]; then \
		echo "MLIST_DIST=$(abspath $(DIST)) $(GO) test ./test/harness ./test/stories/..."; \
		MLIST_DIST=$(abspath $(DIST)) $(GO) test -count=1 ./test/harness ./test/stories/...; \
	else \
		echo "NOT RUN: the stories over a real Postfix, which need root: sudo make stories"; \
	fi
