# The one way to build, test and try wflo. `make help` lists the verbs.
#
# Two profiles, on purpose: the Rust tests build in the dev profile (overflow and debug
# assertions on), everything that runs the program as a user has it (end-to-end tests, docs
# snippets, the demo, the benchmarks) uses the one release wheel that `make install` puts
# into .venv. Nothing is compiled a third time.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# cargo uses every core by itself; two verbs at once would fight for its lock.
.NOTPARALLEL:

# The Python that .venv is made from, and the folder cargo builds in (an absolute path from
# the environment, else ./target).
PYTHON ?= python3
export CARGO_TARGET_DIR ?= $(CURDIR)/target

VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
WHEELS := $(CARGO_TARGET_DIR)/wheels
# Cargo.lock is committed: a build that would change it is an error, not a surprise.
CARGO_FLAGS ?= --locked
PYTEST_FLAGS ?=
# Tests that share nothing run at once, on as many cores as there are, up to eight.
PYTEST_AT_ONCE ?= -n auto --maxprocesses 8 --dist worksteal
# Folders of Python tests; each must hold tests.
PYTHON_TESTS := python/tests
CONFORMANCE_TESTS := tests/conformance
E2E_TESTS := tests/e2e
CLIENT_TESTS := tests/clients
ATTACK_TESTS := tests/attacks
E2B_TESTS := tests/e2b

.PHONY: help venv dev install demo test test-rust test-python test-conformance test-e2e test-attacks attacks-table test-clients clients-table test-e2b-sdks e2b-table test-docs test-demo \
        check fmt bench deny clean-venv

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- the environment -----------------------------------------------------------------------

# A .venv whose Python has gone (an upgraded pyenv, a moved folder) is made anew.
venv:
	@"$(BIN)/python" -c '' 2>/dev/null || { rm -rf "$(VENV)"; "$(PYTHON)" -m venv "$(VENV)"; }

# The stamp makes a second `make` free of pip.
dev: venv ## Put the build and test tools into .venv
	@cmp --silent scripts/requirements-dev.txt "$(VENV)/.dev-stamp" || { \
	  "$(BIN)/pip" install --quiet --disable-pip-version-check -r scripts/requirements-dev.txt; \
	  cp scripts/requirements-dev.txt "$(VENV)/.dev-stamp"; }

install: dev ## Build the release wheel and install wflo and its SDK into .venv
	@rm -rf "$(WHEELS)"
	"$(BIN)/maturin" build --release --quiet $(CARGO_FLAGS) --compatibility linux --out "$(WHEELS)"
	"$(BIN)/pip" install --quiet --disable-pip-version-check --force-reinstall --no-deps "$(WHEELS)"/wflo_ai-*.whl
	@"$(BIN)/wflo" --version

demo: install ## Run the example end to end on a real local model, with an approval and a kill
	"$(BIN)/python" scripts/demo.py --wflo "$(BIN)/wflo"

# --- tests ---------------------------------------------------------------------------------

test: test-rust test-python test-conformance test-e2e test-attacks test-clients test-e2b-sdks test-docs test-demo ## Everything

test-rust: ## Unit, property and integration tests of every crate
	cargo test --workspace $(CARGO_FLAGS)

test-python: install ## The SDK's own tests
	"$(BIN)/python" -m pytest $(PYTEST_FLAGS) $(PYTEST_AT_ONCE) $(PYTHON_TESTS)

test-conformance: install ## The worker protocol, against the runners for Python and Node
	"$(BIN)/python" -m pytest $(PYTEST_FLAGS) $(CONFORMANCE_TESTS)

# A few of these kill wflo at a named place, which only the debug build of the Rust tests has.
test-e2e: install ## The installed wheel, driven as a user drives it
	cargo test --workspace $(CARGO_FLAGS) --no-run --quiet
	PATH="$(BIN):$$PATH" WFLO_FAILPOINT_BIN="$(CARGO_TARGET_DIR)/debug/wflo" "$(BIN)/python" -m pytest $(PYTEST_FLAGS) $(PYTEST_AT_ONCE) $(E2E_TESTS)

test-attacks: install ## Ways out of a sandbox, tried in each kind of it and without one
	"$(BIN)/python" -m pytest $(PYTEST_FLAGS) $(ATTACK_TESTS)

attacks-table: install ## Try them and write docs/reference/attacks.md
	WFLO_ATTACKS_TABLE=1 "$(BIN)/python" -m pytest $(PYTEST_FLAGS) $(ATTACK_TESTS)

# The clients are installed once, into the user's cache (about 2 GB); Node comes with them.
test-e2b-sdks: install ## The stock SDKs of E2B, and who would misuse what serves them
	"$(BIN)/python" -m pytest $(PYTEST_FLAGS) $(E2B_TESTS)

e2b-table: install ## Try their calls and write docs/reference/e2b.md
	WFLO_E2B_TABLE=docs/reference/e2b.md "$(BIN)/python" -m pytest $(PYTEST_FLAGS) $(E2B_TESTS)/test_calls.py

test-clients: install ## Unchanged clients of all makers, in steps of `wflo run`
	"$(BIN)/python" -m pytest $(PYTEST_FLAGS) $(CLIENT_TESTS)

clients-table: install ## Measure the clients and write docs/reference/clients.md
	WFLO_CLIENTS_TABLE=docs/reference/clients.md "$(BIN)/python" -m pytest $(PYTEST_FLAGS) $(CLIENT_TESTS)

test-docs: install ## The commands and code in the README and the guides
	PATH="$(BIN):$$PATH" "$(BIN)/python" scripts/docs_snippets.py README.md docs/quickstart.md docs/concepts.md docs/guides
	"$(BIN)/python" -m pytest $(PYTEST_FLAGS) scripts/tests

# The demo checks itself: it ends with 0 only if no finished call was made again.
test-demo: install ## The demo, off a terminal
	"$(BIN)/python" scripts/demo.py --wflo "$(BIN)/wflo" </dev/null | cat

# --- quality -------------------------------------------------------------------------------

check: dev ## Format, lint, types and docs, in seconds when warm
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(CARGO_FLAGS) -- -D warnings
	"$(BIN)/ruff" format --check python crates/wflo-e2b/kernel scripts examples tests bench
	"$(BIN)/ruff" check python crates/wflo-e2b/kernel scripts examples tests bench
	"$(BIN)/pyright" --pythonpath "$(BIN)/python"
	"$(BIN)/python" scripts/check.py

fmt: dev ## Format Rust and Python
	cargo fmt --all
	"$(BIN)/ruff" format python crates/wflo-e2b/kernel scripts examples tests bench

deny: ## Licences, advisories and duplicates (needs cargo-deny)
	cargo deny check

bench: install ## Speed beside its floors and peers, in one run
	PATH="$(BIN):$$PATH" "$(BIN)/python" bench/run.py

clean-venv: ## Remove .venv
	rm -rf "$(VENV)"
