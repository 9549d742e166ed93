# make demo   real heads in, brain masks out: the main job on a small data set
# make test   the tests; make coverage   and which lines they reach
# make fuzz   random input to readers, options and runs, for FUZZ_SECONDS (600)
# make lint   style, spelling, types, and which folder may import which
# make docs   the documentation site, in build/site; make links: its links to other sites
# make descriptors   the Boutiques descriptors, from the parsers
# make image   the container image, with ENGINE (docker); make image-sbom: build/image-sbom.json
# make picture   the picture that README opens with
# make gallery   masks of real images, in docs/gallery.md; of your own: CASES=DIR GALLERY=PAGE.md
# make ablation CASES=DIR   what each part of the synthesis is worth; two and a half hours of a core
# make paper   the description of the method as a PDF, build/method.pdf
# make licences   the licences of all parts, docs/licences.md; make sbom: build/sbom.json
# make conda   reads and renders the conda recipe
# make dist   wheel and source distribution of the last commit; make release: of a tagged one
#
# Each makes the virtual environment it needs, once. Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
NEEDS := setup.py pyproject.toml constraints.txt pumba_pipe/_version.py

.PHONY: demo test coverage fuzz lint docs links descriptors image picture gallery paper
.PHONY: ablation image-sbom licences sbom conda dist release
.DELETE_ON_ERROR:

# Three people, one with two contrasts, and a phantom whose mask has to be flagged.
PHANTOM := sub-phantom/anat/sub-phantom
demo: $(DEMO)/heads/$(PHANTOM)_T1w.nii.gz
	@echo 'Stripping three people and sub-phantom, which is no head: look for its flag.'
	$(BIN)/pumba $(DEMO)/heads $(DEMO)/masks participant \
	    --skip-bids-validation -w $(DEMO)/work
	@echo 'Comparing with the reference masks, which there are of sub-ms12.'
	$(BIN)/pumba-evaluate tests/data/references --bids $(DEMO)/heads \
	    --predictions $(DEMO)/masks --out $(DEMO)/scores
	@if grep -q '"flags": \[\]' $(DEMO)/masks/$(PHANTOM)_desc-brain_mask.json; \
	    then echo 'sub-phantom is no head, but its mask was not flagged. That is wrong.'; \
	    else echo 'sub-phantom is no head, and its mask is flagged. That is right.'; fi
	@echo 'Done. Masks and stripped images: $(DEMO)/masks/sub-*/anat'
	@echo 'Pages to look at: $(DEMO)/masks/sub-*.html. To go on: . $(BIN)/activate'

$(DEMO)/heads/$(PHANTOM)_T1w.nii.gz: tests/data/make_phantom.py | $(VENV)/installed
	mkdir -p $(DEMO)/heads
	cp -R tests/data/bids/. $(DEMO)/heads
	$(BIN)/python tests/data/make_phantom.py $(DEMO)/heads

picture: $(VENV)/installed
	$(BIN)/python tests/data/make_picture.py docs/images/masks.png

# Pictures of other images than those in tests/data stay out of the repository: see build/gallery.
GALLERY ?= $(if $(CASES),build/gallery/index.md,docs/gallery.md)
gallery: $(VENV)/installed
	$(BIN)/python tests/data/make_gallery.py $(GALLERY) $(if $(CASES),--cases '$(CASES)')

# The tests' images are tiny: more threads only wait for each other. A process a core.
JOBS ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
test: $(VENV)/installed-dev
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

# The same, and slower; fails where less is covered than before.
coverage: $(VENV)/installed-dev
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup \
	    --cov --cov-report=term

# The ordinary tests try a fixed little of this. A failure prints how to repeat it.
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/installed-dev
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python tests/fuzz/run_long.py $(FUZZ_SECONDS)

lint: $(VENV)/installed-dev types imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

# Type checker and import linter cannot see that workflows/ and bids_app/ are parts of pumba_pipe: show it the
# package as it will be installed, put together from links.
.PHONY: types imports joined
joined:
	rm -rf build/typing && mkdir -p build/typing/pumba_pipe
	cd build/typing/pumba_pipe && \
	    ln -s ../../../pumba_pipe/* ../../../workflows ../../../bids_app .

types: $(VENV)/installed-dev joined
	bin="$$(cd $(BIN) && pwd)" && cd build/typing && \
	    "$$bin/mypy" --config-file ../../pyproject.toml -p pumba_pipe

imports: $(VENV)/installed-dev joined
	bin="$$(cd $(BIN) && pwd)" && cd build/typing && "$$bin/lint-imports" ../../pyproject.toml

# The root is the source, docs/site the settings. A warning, such as of a broken link, is an error.
# Notebooks are run, for what they print and draw: none of that is stored in the repository.
SPHINX := $(BIN)/python -m sphinx -W --keep-going -q -E -c docs/site -d build/doctrees
docs: $(VENV)/installed-docs
	rm -rf build/site
	NIPYPE_NO_ET=1 $(SPHINX) -D nb_execution_mode=force -b html . build/site
	@echo 'Documentation: build/site/index.html'

ablation: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python .ci/ablation.py $(CASES)

paper: $(VENV)/installed-docs
	$(BIN)/python .ci/paper.py build/method.pdf

links: $(VENV)/installed-docs
	$(SPHINX) -b linkcheck . build/links

descriptors: $(VENV)/installed
	$(BIN)/python docker/boutiques/make_descriptors.py

# Tools that look at an environment have one of their own, or they would find themselves.
TOOLS := build/tools/bin
$(TOOLS)/installed: constraints.txt
	$(PYTHON) -m venv build/tools
	$(TOOLS)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	    cyclonedx-bom pip-licenses py-rattler-build
	@touch $@

licences: $(VENV)/installed $(TOOLS)/installed
	$(BIN)/python .ci/licences.py $(TOOLS)/pip-licenses

sbom: $(VENV)/installed $(TOOLS)/installed
	$(TOOLS)/cyclonedx-py environment --output-reproducible --of JSON -o build/sbom.json \
	    $(BIN)/python
	@echo 'All packages of $(VENV): build/sbom.json'

conda: $(TOOLS)/installed
	$(TOOLS)/python docker/conda/check.py

ENGINE ?= docker
IMAGE ?= pumba_pipe
image:
	$(ENGINE) build -f docker/Dockerfile -t $(IMAGE) .

# The tool is installed in a container, which is removed: an image's Python runs only there.
image-sbom:
	mkdir -p build
	$(ENGINE) run --rm -v "$(CURDIR)/constraints.txt:/constraints.txt:ro" \
	    --entrypoint sh $(IMAGE) -ec 'tools=$$(mktemp -d); python -m venv $$tools; \
	    $$tools/bin/python -m pip install --quiet -c /constraints.txt cyclonedx-bom >&2; \
	    $$tools/bin/cyclonedx-py environment --output-reproducible --of JSON /opt/venv' \
	    > build/image-sbom.json
	@echo 'All Python packages of $(IMAGE): build/image-sbom.json'

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

$(VENV)/installed-docs: $(NEEDS) | $(BIN)/python
	@echo 'Installing into $(VENV); the first time this takes some minutes.'
	$(INSTALL) -e '.[docs]'
	@touch $@

$(VENV)/installed-dev: $(NEEDS) | $(BIN)/python
	@echo 'Installing into $(VENV); the first time this takes some minutes.'
	$(INSTALL) -e '.[dev]'
	@touch $(VENV)/installed $(VENV)/installed-docs $@
