# make demo   synthetic heads in, brain masks out: the main job on a small data set
# make test   the tests
# make lint   style, types, and which folder may import which
# make dist   wheel and source distribution of the last commit; make release: of a tagged one
#
# Each makes the virtual environment it needs, once. Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
NEEDS := setup.py pyproject.toml constraints.txt pumba_pipe/_version.py

.PHONY: demo test lint dist release
.DELETE_ON_ERROR:

demo: $(DEMO)/bids/dataset_description.json
	$(BIN)/pumba $(DEMO)/bids $(DEMO)/derivatives participant \
	    --skip-bids-validation -w $(DEMO)/work
	@echo 'Done. Masks and stripped images: $(DEMO)/derivatives/sub-*/anat'
	@echo 'To look at: $(DEMO)/derivatives/sub-*.html. To go on: . $(BIN)/activate'

$(DEMO)/bids/dataset_description.json: | $(VENV)/installed
	$(BIN)/pumba-synth $(DEMO)/bids -n 3

# The tests' images are tiny: more threads only wait for each other. A process a core.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
test: $(VENV)/installed-dev
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(JOBS) --dist worksteal \
	    --cov --cov-report=term

# Type checker and import linter cannot see that workflows/ and bids_app/ are parts of pumba_pipe: show it the
# package as it will be installed, put together from links.
lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/typing && mkdir -p build/typing/pumba_pipe
	cd build/typing/pumba_pipe && \
	    ln -s ../../../pumba_pipe/* ../../../workflows ../../../bids_app .
	bin="$$(cd $(BIN) && pwd)" && cd build/typing && \
	    "$$bin/mypy" --config-file ../../pyproject.toml -p pumba_pipe && \
	    "$$bin/lint-imports" ../../pyproject.toml

dist: $(VENV)/installed-dev
	$(BIN)/python .ci/release.py

release: $(VENV)/installed-dev
	$(BIN)/python .ci/release.py --release

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(NEEDS) | $(BIN)/python
	@echo 'Installing into $(VENV); the first time this takes some minutes.'
	$(INSTALL) -e .
	@touch $@

$(VENV)/installed-dev: $(NEEDS) | $(BIN)/python
	@echo 'Installing into $(VENV); the first time this takes some minutes.'
	$(INSTALL) -e '.[dev]'
	@touch $(VENV)/installed $@
