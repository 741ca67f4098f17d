.PHONY: demo
demo: build ## show the main job on real mail; KEEP=1 leaves it running, MTA=builtin does without Postfix
	@$(if $(filter builtin,$(MTA)),,test/install-postfix)
	@MLIST_DIST=$(abspath $(DIST)) $(GO) run ./test/demo $(if $(KEEP),-keep) $(if $(filter builtin,$(MTA)),-no-postfix)
