.PHONY: packages package-test

# A package that is built again from the same commit is the same file.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
# A version before the release, 1.0.0-rc1, sorts before it with a tilde alone.
PACKAGE_VERSION ?= $(or $(subst -,~,$(VERSION:v%=%)),0~git$(shell TZ=UTC git log -1 --date=format-local:%Y%m%d%H%M%S --format=%cd.%h))
PACKAGES        ?= $(DIST)/packages
ARCHES          ?= amd64 arm64

packages: $(DIST)/tools/nfpm ## build the .deb and the .rpm for amd64 and arm64, in dist/packages/
	DIST=$(DIST) PACKAGES=$(PACKAGES) PACKAGE_VERSION=$(PACKAGE_VERSION) GO=$(GO) packaging/build $(ARCHES)

package-test: $(DIST)/tools/nfpm ## install, wire, use, upgrade and remove the packages in a clean Debian; needs root
	@DIST=$(DIST) GO=$(GO) packaging/test
