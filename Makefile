# The goals that need something installed say so and install it: Node's packages with npm ci, the rest from Debian.

PLUGINS ?= /usr/local/lib/prosody/modules
DESTDIR ?=
DIST    ?= build/dist

LUA_OUT := lua-out/mod_privilege.lua
LUAS    := lua5.1 lua5.2 lua5.3 lua5.4 luajit
BIN     := node_modules/.bin

# Packages of Debian: debian-lint installs those of lint_packages.
server_packages      := prosody lua-filesystem lua-socket lua-sec lua-expat lua-unbound
demo_packages        := prosody
bench_packages       := $(server_packages) prosody-modules
dist_packages        := luarocks lua5.1 liblua5.1-0-dev zip unzip
lint_packages        := $(LUAS) lua-check pyflakes3
unit_packages        := $(LUAS) lua-unit prosody
integration_packages := $(server_packages) prosody-modules lua-busted lua-dbi-sqlite3 python3-slixmpp ruby-xmpp4r git patch $(dist_packages)
slidge_packages      := $(server_packages) lua-busted python3-venv
libervia_packages    := $(server_packages) prosody-modules lua-busted libervia-pubsub postgresql
test_packages        := $(lint_packages) $(unit_packages) $(integration_packages)
DEBIAN := $(patsubst %_packages,debian-%,$(filter %_packages,$(.VARIABLES)))

PROSODY_LUA = $(shell scripts/lua-of prosody)
RUN_SPECS = LUAS="$(LUAS)" PROSODY_LUA="$(PROSODY_LUA)" BUSTED="$(BUSTED)" scripts/run-specs
PROGRESS = --output=spec/support/progress.lua

.DEFAULT_GOAL := help
.PHONY: help node build check format lint test test-unit test-integration test-docker test-slidge test-libervia soak fuzz demo serve bench install uninstall dist patch unpatch clean $(DEBIAN)
# What installs something comes first.
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

node:
	@scripts/setup node
$(DEBIAN): debian-%:
	@scripts/setup debian $(sort $($*_packages))

build: node ## make lua-out/mod_privilege.lua out of src/
	@node scripts/build.mjs

check: node ## that the Lua is what src/ makes
	@printf 'check: ' && node scripts/build.mjs --check

format: node ## lay out what is written by hand in TypeScript, JavaScript and Lua
	@$(BIN)/prettier --write --log-level warn .

lint: check debian-lint ## check the sources, and that the Lua is what they make
	@printf 'eslint: ' && $(BIN)/eslint . && echo "no problems"
	@printf 'prettier: ' && $(BIN)/prettier --check --log-level warn . && echo "no problems" || { echo "Run: make format" >&2; exit 1; }
	@for folder in . demo examples/typescript spec/types; do \
		printf 'tsc: %s: ' "$$folder" && $(BIN)/tsc -p $$folder --noEmit && echo "no problems" || exit 1; \
	done
	@printf 'pyflakes: ' && pyflakes3 examples spec/support spec/gateways && echo "no problems"
	@scripts/check-lua $(LUA_OUT)

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
		"$$(scripts/lua-of "$(or $(PROSODY),prosody)")" bench/run.lua

install: ## copy the module to PLUGINS=DIR
	@install -d "$(DESTDIR)$(PLUGINS)" && install -m 644 $(LUA_OUT) "$(DESTDIR)$(PLUGINS)/mod_privilege.lua" || { \
		echo "Nothing was installed in $(DESTDIR)$(PLUGINS). Where only root may write: sudo make install." >&2; \
		echo "To install it in another folder: make install PLUGINS=DIR" >&2; \
		exit 1; \
	}
	@echo 'mod_privilege.lua is in $(DESTDIR)$(PLUGINS). An example of the configuration, as in README.md:'
	@echo
	@awk '/^```lua$$/ { inside = 1; next } inside && /^```$$/ { exit } inside { print ($$0 == "" ? "" : "    " $$0) }' README.md \
		| if [ "$(PLUGINS)" = /usr/local/lib/prosody/modules ]; then cat; else sed 's,/usr/local/lib/prosody/modules,$(PLUGINS),; s,; Debian has this line already,,'; fi

uninstall: ## remove the module from PLUGINS=DIR
	@if [ ! -e "$(DESTDIR)$(PLUGINS)/mod_privilege.lua" ]; then \
		echo 'mod_privilege.lua was not in $(DESTDIR)$(PLUGINS).'; \
	elif rm -f "$(DESTDIR)$(PLUGINS)/mod_privilege.lua"; then \
		echo 'mod_privilege.lua is not in $(DESTDIR)$(PLUGINS) any more. Take "privilege" and privileged_entities out of the configuration.'; \
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
