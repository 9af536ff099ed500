# make run    set up, replay the recording, check the installed ports, draw the figures: out/report.html
# make test   set up, lint, type-check, run all tests
# make simulate  set up, compare the controllers in twelve noise regimes (a minute)
# make report  set up, answer the questions about the method: out/report/report.html (minutes)
# make figures  set up, build every figure and table of a paper: out/figures (minutes, then seconds)
# make notebooks  set up JupyterLab and open the notebooks
# make docs   set up, build the documentation site: out/docs/index.html
# make check-ports  set up with torch and JAX, check the ports in every dtype and over ranks
# make check-gpu  on a GPU machine: check and measure the ports there, write docs/reports (no installs)
# make power  measure what the checks find: mutants, impostors, correct controls (minutes)
# make mutation  change the comparator and the tolerances at random, and run their tests (half an hour)
# make bench  set up, measure speed: out/bench.json, bench_simulations.json, ...
# make record make the shipped recording again (needs torch and TRL; minutes)
# make study  train the small transformer under seven rules again, 5 seeds each (half an hour)

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TRACE  ?= simulations/recording/trace
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: run test lint simulate report figures notebooks docs check-ports check-gpu power mutation bench record study lock clean

run: $(VENV)/.figures
	@$(BIN)/python -m overview $(TRACE)

test: $(VENV)/.dev lint
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q -rs

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: $(VENV)/.torch $(VENV)/.sim
	@mkdir -p out
	@$(BIN)/python benchmarks/bench.py --out out/bench.json
	@$(BIN)/python benchmarks/bench_simulations.py --out out/bench_simulations.json
	@$(BIN)/python benchmarks/bench_conformance.py --out out/bench_conformance.json
	@$(BIN)/python benchmarks/bench_analysis.py --out out/bench_analysis.json

check-ports: $(VENV)/.torch $(VENV)/.jax
	@mkdir -p out
	@OMP_NUM_THREADS=1 $(BIN)/gac-ref check gac_ref.ports.torch:adapter --dtype all --ranks 2,3 \
	  --jsonl out/check-torch.jsonl --html out/check-torch.html
	@for mode in adapter adapter_x64; do OMP_NUM_THREADS=1 \
	  $(BIN)/gac-ref check gac_ref.ports.jax:$$mode --dtype all --timeout 120 || exit 1; done
	@if command -v node >/dev/null; then \
	  $(BIN)/gac-ref check "stdio: node gac_ref/ports/javascript/stdio.mjs" --dtype all; \
	else echo "Node is not installed: the JavaScript port is not checked"; fi
	@if command -v g++ >/dev/null; then \
	  $(BIN)/python -m gac_ref.ports.cuda.build --host --out out/cuda && \
	  $(BIN)/gac-ref check out/cuda/libgac_cuda_host.so --dtype all; \
	else echo "g++ is not installed: the CUDA port is not checked"; fi

check-gpu:
	@$(PYTHON) benchmarks/check_gpu.py

power: $(VENV)/.torch $(VENV)/.jax
	@mkdir -p out
	@$(BIN)/gac-ref power --markdown docs/power.md --format json > out/power.json

figures: $(VENV)/.figures
	@$(BIN)/python -m paper_figures --workers 2

notebooks: $(VENV)/.notebooks
	@$(BIN)/jupytext --quiet --sync notebooks/[0-9]*.py
	@$(BIN)/jupyter lab notebooks

docs: $(VENV)/.docs
	@$(BIN)/python -m sphinx -W --keep-going -q -j 2 -b html -d out/docs-trees docs out/docs
	@echo "out/docs/index.html; for the explorer: $(BIN)/python -m http.server -d out/docs --bind 127.0.0.1"

mutation: $(VENV)/.mutation
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/mutmut run --max-children 1 '*__mutmut_*3'
	@$(BIN)/mutmut results

simulate: $(VENV)/.sim
	@$(BIN)/python -m simulations run default --workers 2 --out out/simulations

report: $(VENV)/.sim
	@$(BIN)/python -m simulations analyse --workers 2
	@$(BIN)/python -m simulations report

study: $(VENV)/.record
	@$(BIN)/python -m simulations.recording.study --out out/study

record: $(VENV)/.record
	@$(BIN)/python -m simulations.recording --out $(TRACE) --force

# One stamp a set of requirements, so that a command installs only what it needs, once.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; run make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.lock pyproject.toml | $(VENV)/bin/python
	@$(PIP) install --require-hashes -r requirements/run.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.sim: requirements/sim.lock $(VENV)/.run
	@echo "installing the simulation requirements"
	@$(PIP) install --require-hashes -r requirements/sim.lock
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.run
	@echo "installing the development requirements"
	@$(PIP) install --require-hashes -r requirements/dev.lock
	@touch $@

$(VENV)/.figures: requirements/figures.lock $(VENV)/.run
	@echo "installing the requirements of the figures"
	@$(PIP) install --require-hashes -r requirements/figures.lock
	@touch $@

$(VENV)/.notebooks: requirements/notebooks.lock $(VENV)/.sim
	@echo "installing JupyterLab"
	@$(PIP) install --require-hashes -r requirements/notebooks.lock
	@touch $@

$(VENV)/.docs: requirements/docs.lock $(VENV)/.dev
	@echo "installing the documentation requirements"
	@$(PIP) install --require-hashes -r requirements/docs.lock
	@touch $@

$(VENV)/.mutation: requirements/mutation.txt $(VENV)/.dev
	@$(PIP) install -r requirements/mutation.txt
	@touch $@

$(VENV)/.torch: requirements/torch.txt $(VENV)/.dev
	@echo "installing torch (large)"
	@$(PIP) install -r requirements/torch.txt
	@touch $@

$(VENV)/.jax: requirements/jax.txt $(VENV)/.dev
	@echo "installing JAX (large)"
	@$(PIP) install -r requirements/jax.txt
	@touch $@

$(VENV)/.record: requirements/record.txt $(VENV)/.torch
	@$(PIP) install -r requirements/record.txt
	@touch $@

# Needs uv; writes hashes, and neither addresses nor the name of an index.
lock:
	@for name in run sim figures dev notebooks docs; do \
	  uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header requirements/$$name.in -o requirements/$$name.lock; done

clean:
	@rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis mutants notebooks/*.ipynb
