# The goals that need something installed say so and install it: Node's packages with npm ci, the rest from Debian.

PLUGINS ?= /usr/local/lib/prosody/modules
DESTDIR ?=
DIST    ?= build/dist

LUA_OUT := lua-out/mod_privilege.lua
LUAS    := lua5.1 lua5.2 lua5.3 lua5.4 luajit
BIN     := node_modules/.bin
# What is formatted: `.` as soon as `make format` has been run on all of it.
FORMATTED := .

# Packages of Debian for each goal
DIST_PACKAGES        := luarocks lua5.1 liblua5.1-0-dev zip unzip
LINT_PACKAGES        := $(LUAS) lua-check pyflakes3
UNIT_PACKAGES        := $(LUAS) lua-unit prosody
INTEGRATION_PACKAGES := prosody prosody-modules lua-busted lua-socket lua-sec lua-expat lua-dbi-sqlite3 lua-unbound python3-slixmpp ruby-xmpp4r git \
	patch $(DIST_PACKAGES)
SLIDGE_PACKAGES := prosody lua-busted lua-filesystem lua-socket lua-sec lua-expat lua-unbound python3-venv
LIBERVIA_PACKAGES := prosody prosody-modules lua-busted lua-filesystem lua-socket lua-sec lua-expat lua-unbound libervia-pubsub postgresql

# busted has to run with the Lua that Prosody runs with: both load the same compiled libraries.
lua_of = $(shell command -v "$$(sed -n '1s/^\#! *\([^ ]* \)*//p' "$$(command -v $(1))")")
PROSODY_LUA = $(call lua_of,prosody)
RUN_SPECS = LUAS="$(LUAS)" PROSODY_LUA="$(PROSODY_LUA)" BUSTED="$(BUSTED)" scripts/run-specs
PROGRESS = --output=spec/support/progress.lua

.DEFAULT_GOAL := help
.PHONY: help node build check format lint test test-unit test-integration test-docker test-slidge test-libervia soak fuzz demo serve bench install uninstall dist patch unpatch clean \
	debian-lint debian-unit debian-integration debian-slidge debian-libervia debian-test debian-demo debian-bench debian-dist
# What installs something comes first.
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

node:
	@scripts/setup node
debian-lint:
	@scripts/setup debian $(LINT_PACKAGES)
debian-unit:
	@scripts/setup debian $(UNIT_PACKAGES)
debian-integration:
	@scripts/setup debian $(INTEGRATION_PACKAGES)
debian-slidge:
	@scripts/setup debian $(SLIDGE_PACKAGES)
debian-libervia:
	@scripts/setup debian $(LIBERVIA_PACKAGES)
debian-test:
	@scripts/setup debian $(sort $(LINT_PACKAGES) $(UNIT_PACKAGES) $(INTEGRATION_PACKAGES))
debian-demo:
	@scripts/setup debian prosody
debian-bench:
	@scripts/setup debian prosody prosody-modules lua-filesystem lua-socket lua-sec lua-expat lua-unbound
debian-dist:
	@scripts/setup debian $(DIST_PACKAGES)

build: node ## make lua-out/mod_privilege.lua out of src/
	@node scripts/build.mjs

check: node ## that the Lua is what src/ makes
	@printf 'check: ' && node scripts/build.mjs --check

format: node ## lay out what is written by hand in TypeScript, JavaScript and Lua
	@$(BIN)/prettier --write --log-level warn .

lint: check debian-lint ## check the sources, and that the Lua is what they make
	@printf 'eslint: ' && $(BIN)/eslint . && echo "no problems"
	@printf 'prettier: ' && $(BIN)/prettier --check --log-level warn $(FORMATTED) && echo "no problems"
	@for folder in . demo examples/typescript spec/types; do \
		printf 'tsc: %s: ' "$$folder" && $(BIN)/tsc -p $$folder --noEmit && echo "no problems" || exit 1; \
	done
	@printf 'pyflakes: ' && pyflakes3 examples spec/support spec/gateways && echo "no problems"
	@scripts/check-lua $(LUA_OUT)
	@scripts/check-specs

test: node debian-test lint ## lint, then all tests
	@$(RUN_SPECS) all

test-unit: debian-unit ## the pure parts, on every Lua
	@$(RUN_SPECS) unit

test-integration: node debian-integration ## against a real Prosody; BUSTED=OPTIONS, such as --shuffle, for busted
	@$(RUN_SPECS) integration

test-docker: ## in an image for each Debian release, or PROSODY=0.11, 0.12, 13 or sid alone
	@scripts/with-docker scripts/test-docker $(PROSODY)

fuzz: debian-integration ## a million malformed stanzas, or FUZZ=… of them; SEED=… for others
	@FUZZ="$(or $(FUZZ),1000000)" SEED="$(SEED)" busted --lua=$(PROSODY_LUA) $(PROGRESS) spec/integration/hostile_spec.lua

test-slidge: debian-slidge ## slidge itself, of PyPI, against a real Prosody; SLIDGE=latest or another version
	@scripts/test-slidge $(SLIDGE)

test-libervia: debian-libervia ## Libervia PubSub of Debian against a real Prosody
	@scripts/test-libervia

soak: debian-integration ## everything at the same time, for ten minutes or SOAK=SECONDS; SEED=NUMBER for another run
	@SOAK="$(or $(SOAK),600)" SEED="$(SEED)" busted --lua=$(PROSODY_LUA) $(PROGRESS) spec/integration/soak_spec.lua

demo: node debian-demo ## play through what the module does, against a real Prosody
	@$(BIN)/tsc -p demo
	@node build/demo/main.js

serve: node debian-demo ## run a Prosody with the module until interrupted
	@$(BIN)/tsc -p demo
	@node build/demo/serve.js

bench: debian-bench ## what the module costs; QUICK=1, OUT=FILE for Markdown, PLOT=FILE for SVG, PROSODY=PROGRAM; see bench/run.lua
	@PROSODY_BIN="$(or $(PROSODY),prosody)" QUICK="$(QUICK)" OUT="$(OUT)" PLOT="$(PLOT)" DATA="$(DATA)" BESIDE="$(BESIDE)" ONLY="$(ONLY)" \
		$(call lua_of,$(or $(PROSODY),prosody)) bench/run.lua

install: ## copy the module to PLUGINS=DIR
	@install -d "$(DESTDIR)$(PLUGINS)" && install -m 644 $(LUA_OUT) "$(DESTDIR)$(PLUGINS)/mod_privilege.lua" || { \
		echo "Nothing was installed in $(DESTDIR)$(PLUGINS). Where only root may write: sudo make install." >&2; \
		echo "To install it in another folder: make install PLUGINS=DIR" >&2; \
		exit 1; \
	}
	@echo 'mod_privilege.lua is in $(DESTDIR)$(PLUGINS). An example of the configuration, as in README.md:'
	@echo
	@awk '/^```lua$$/ { inside = 1; next } inside && /^```$$/ { exit } inside { print ($$0 == "" ? "" : "    " $$0) }' README.md \
		| sed 's,/usr/local/lib/prosody/modules,$(PLUGINS),'

uninstall: ## remove the module from PLUGINS=DIR
	@if [ ! -e "$(DESTDIR)$(PLUGINS)/mod_privilege.lua" ]; then \
		echo 'mod_privilege.lua was not in $(DESTDIR)$(PLUGINS).'; \
	elif rm -f "$(DESTDIR)$(PLUGINS)/mod_privilege.lua"; then \
		echo 'mod_privilege.lua is not in $(DESTDIR)$(PLUGINS) any more. Take "privilege" out of modules_enabled.'; \
	else \
		echo "Nothing was removed from $(DESTDIR)$(PLUGINS). Where only root may write: sudo make uninstall." >&2; \
		exit 1; \
	fi

dist: $(if $(shell command -v node),check) debian-dist ## make a release of the files as they are, for prosodyctl install too, in DIST=DIR
	@command -v node >/dev/null || echo "Without Node.js it is not checked that $(LUA_OUT) is what src/ makes." >&2
	@scripts/dist "$(DIST)"

patch: ## have mod_component of Prosody 0.9.0 to 0.9.8 in PROSODY=DIR tell the module of components
	@scripts/patch-prosody apply "$(PROSODY)"

unpatch: ## take that back
	@scripts/patch-prosody revert "$(PROSODY)"

clean: ## remove build/
	@rm -rf build
