# Everything that is done with this repository. `make` alone says what there is.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -qq --require-hashes
PROTOS := $(wildcard protos/chatkit/v1/*.proto)
SERVICES := $(filter %_service.proto,$(PROTOS))
CODE := chatkit_client gateway session_service protos runtime docs/generator tests run.py doctor.py

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: .venv/runtime ## Install what is needed to run, into .venv

.PHONY: run
run: .venv/runtime ## Run everything here, MODE=self_hosted or hosted; without OPENAI_API_KEY on an emulator
	@$(if $(MODE),CHATKIT_MODE='$(MODE)') $(BIN)/python run.py

.PHONY: doctor
doctor: .venv/runtime ## Check that everything is in order, with remedies (ARGS=--json, ARGS="--lang en")
	@$(BIN)/python doctor.py $(ARGS)

.PHONY: test
test: .venv/development .venv/browser .venv/node/installed .venv/promtool ## Run all tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: test-failed
test-failed: .venv/development ## Run what failed in the last `make test` once more, one at a time
	@$(BIN)/python -m pytest --last-failed --last-failed-no-failures none

.PHONY: bench
bench: .venv/development ## Measure beside what one would use instead (ARGS=--quick, --full, "--only streams")
	@$(BIN)/python -m tests.bench $(ARGS)

.PHONY: chaos
chaos: .venv/development ## Let everything go wrong under load (ARGS="--only killed", ARGS=--quick)
	@$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: soak
soak: .venv/development ## Run both modes under load for MINUTES=10, and see whether anything grows
	@$(BIN)/python -m tests.soak $(if $(MINUTES),--minutes '$(MINUTES)')

.PHONY: lint
lint: .venv/development ## Check style, import rules, protos, Dockerfile
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check --quiet $(CODE)
	@$(BIN)/lint-imports --no-logo 2>&1
	@$(BIN)/buf lint
	@$(BIN)/hadolint Dockerfile

.PHONY: format
format: .venv/development ## Format the code
	@$(BIN)/ruff check --quiet --fix --select I $(CODE)
	@$(BIN)/ruff format --quiet $(CODE)

.PHONY: types
types: .venv/development ## Check types
	@$(BIN)/mypy $(CODE)

.PHONY: proto
proto: .venv/development ## Generate code from protos/
	@$(MAKE) --no-print-directory generate INTO=.

.PHONY: proto-check
proto-check: .venv/development ## Fail if the generated code is stale or the contract breaks its callers
	@.ci/proto-check

.PHONY: docs
docs: .venv/development ## Generate .env.example and the references in docs/
	@$(BIN)/python -m docs.generator

.PHONY: docs-check
docs-check: .venv/development ## Fail if what `make docs` generates is stale
	@$(BIN)/python -m docs.generator --check

.PHONY: generate
generate:
	@PATH=$(BIN):$$PATH $(BIN)/python -m grpc_tools.protoc -I. --python_out=$(INTO) --pyi_out=$(INTO) $(PROTOS)
	@PATH=$(BIN):$$PATH $(BIN)/python -m grpc_tools.protoc -I. --grpc_python_out=$(INTO) --mypy_grpc_out=quiet:$(INTO) $(SERVICES)

.PHONY: wheel
wheel: .venv/development ## Build the wheel and the sdist, into dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@$(BIN)/python -c "import setuptools.build_meta as backend; backend.build_sdist('dist')" >/dev/null
	@ls dist/*

.PHONY: requirements
requirements: .venv/development ## Pin the newest allowed versions, with hashes; needs uv
	@uv pip compile $(PIN) pyproject.toml -o requirements.txt
	@uv pip compile $(PIN) -c requirements.txt --group dev pyproject.toml -o requirements-dev.txt
PIN := --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate

.PHONY: up
up: ## Run everything in containers; needs Docker and a .env with OPENAI_API_KEY
	docker compose up --build --detach --wait

.PHONY: down
down: ## Stop the containers
	docker compose down

.PHONY: clean
clean: ## Remove what was installed and generated; keeps data/
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say which pins .venv was made from, so that it is made once and renewed when they change.
.venv/runtime: requirements.txt
	@.ci/venv $(PYTHON)
	@echo "Installing into .venv (once, takes a minute) ..."
	@$(PIP) -r requirements.txt
	@touch $@

.venv/development: requirements-dev.txt .venv/runtime
	@echo "Installing what the tests need into .venv (once, takes a minute) ..."
	@$(PIP) -r requirements-dev.txt
	@touch $@

.venv/browser: .venv/development
	@.ci/browser
	@touch $@

.venv/promtool: .venv/development
	@.ci/promtool
	@touch $@

.venv/node/installed: .venv/development tests/node/package-lock.json
	@.ci/node
	@touch $@
