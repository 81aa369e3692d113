PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow docs pictures lint bench bench-gpu clean

help: ## list the targets
	@echo 'make TARGET [PYTHON=python3.12]'
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' \
		| while IFS='|' read -r name text; do printf '  %-10s %s\n' "$$name" "$$text"; done

venv: $(STAMP) ## create .venv with the package and its development tools

# Again only when pyproject.toml changes: the package itself is installed in place.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: venv ## simulate, train and reconstruct a small scan; results in demo/
	$(BIN)/ptychopinn demo --out demo --overwrite

# A process per core with one thread each: small tensors gain nothing from more threads.
test: venv ## run the tests, without those marked slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --benchmark-disable

test-slow: venv ## run only the tests marked slow
	$(BIN)/python -m pytest -m slow

docs: venv ## build the manual; open build/site/index.html
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/mkdocs build --strict

pictures: venv ## draw the pictures of docs/bad_images.md anew, by the commands that it shows
	$(BIN)/python packaging/site/pictures.py

lint: venv ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: venv ## run the benchmarks on the CPU; results and table in benchmarks/
	$(call benchmarks,not cuda,cpu)

bench-gpu: venv ## the same on an NVIDIA GPU
	$(call benchmarks,cuda,cuda)

# Iterative engines are faster with one thread: their batches are small.
define benchmarks
	mkdir -p .benchmarks
	$(BIN)/python -m pytest benchmarks/ -m '$(1)' --benchmark-only --benchmark-json=.benchmarks/$(2).json \
		--ignore=benchmarks/bench_peers.py
	$(BIN)/python -m benchmarks.results .benchmarks/$(2).json
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest benchmarks/bench_peers.py -m '$(1)' --benchmark-only \
		--benchmark-json=.benchmarks/$(2)-peers.json
	$(BIN)/python -m benchmarks.results .benchmarks/$(2)-peers.json
endef

clean: ## remove build products and caches; keeps .venv and results
	rm -rf build dist *.egg-info .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
