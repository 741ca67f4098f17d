.PHONY: simulate
simulate: ## a day of 64 daemons and 10^9 deliveries, balanced by the same code: SEED=2 SVG=docs/balance.svg
	@$(GO) run ./test/simulate $(if $(SEED),-seed $(SEED)) $(if $(SVG),-svg $(SVG))
