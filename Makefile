# Learning in Motion. `make help` lists what there is.
#
# Every path here is relative and every expansion is quoted where a shell reads it, so the folder may have
# spaces in its name (the one that VENV names may not). What is installed is remembered in stamps named after a
# checksum of this folder's path, pyproject.toml and constraints.txt: edit one, or move the folder, and the next call
# installs again.

# The Python that makes .venv: the first of these that is 3.11 or newer. `make lab PYTHON=...` overrides it.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$python"; break; }; done)
# Options passed on: to pip, to JupyterLab, to the tests (`--fast`, names of groups), to sync (`--check`, `--force`),
# to the audit of the lock (`--offline`, `--licences`).
PIP_ARGS ?=
LAB_ARGS ?=
TEST_ARGS ?=
SYNC_ARGS ?=
AUDIT_ARGS ?=

# Where the environment is made. If this folder is read-only: `make lab VENV=/a/folder/of/yours`.
VENV := .venv

BIN := $(VENV)/bin
KEY := $(shell { pwd; cat pyproject.toml constraints.txt; } | cksum | cut -d' ' -f1)
LAB := $(VENV)/.lab-$(KEY)
TEST := $(VENV)/.test-$(KEY)
BENCH := $(VENV)/.bench-$(KEY)
REQUIRED := import tomllib; given = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	print(*given["dependencies"], *given["optional-dependencies"]["lab"], sep="\n")
LEAD_HERE := import os, sysconfig; \
	open(sysconfig.get_path("purelib") + "/learning-in-motion.pth", "w", encoding="utf-8").write(os.getcwd() + "\n")
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt $(PIP_ARGS)

# This project's Jupyter reads its own settings only: none of the user's kernels, start-up files or styles. They lie in
# the environment, so the home folder need not be writable; in a new folder, if the environment is somebody else's.
OWN := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))/jupyter
ifneq ($(shell test -e "$(VENV)" && ! test -w "$(VENV)" && echo read-only),)
OWN := $(shell mktemp -d)
endif
export JUPYTER_CONFIG_DIR := $(OWN)/config
export JUPYTER_DATA_DIR := $(OWN)/data
export JUPYTER_RUNTIME_DIR := $(OWN)/runtime
export IPYTHONDIR := $(OWN)/ipython
export MPLCONFIGDIR := $(OWN)/matplotlib
export JUPYTER_PREFER_ENV_PATH := 1
export PYTHONNOUSERSITE := 1
unexport PYTHONPATH PYTHONHOME MPLBACKEND JUPYTER_PATH JUPYTER_CONFIG_PATH VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help lab test test-fast book sync claims checkpoints bench bench-gpu lint audit clean distclean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'

lab: $(LAB) ## set everything up and open JupyterLab on the first notebook
	@"$(BIN)/python" -m companion lab -- $(LAB_ARGS)

test: $(TEST) ## set everything up and run all the tests
	@"$(BIN)/python" tests/run.py $(TEST_ARGS)

test-fast: $(TEST) ## what can be tested in two minutes
	@"$(BIN)/python" tests/run.py --fast $(TEST_ARGS)

book: $(TEST) ## build the book: open book/_build/html/index.html
	@"$(BIN)/python" -m companion book

sync: $(TEST) ## make again what is generated: notebook pairs, student notebooks
	@"$(BIN)/python" -m companion sync $(SYNC_ARGS)

claims: $(BENCH) ## make the stored comparisons and the table of claims again (long)
	@"$(BIN)/python" -m companion claims
	@"$(BIN)/python" -m companion seeds --jobs 2

checkpoints: $(LAB) ## train again what ships with the package (long)
	@"$(BIN)/python" -m companion checkpoints

bench: $(BENCH) ## compare speed and memory with other packages
	@"$(BIN)/python" tests/benchmarks/run.py

bench-gpu: $(LAB) ## measure each lesson's inner loop, on the CPU and on a GPU if there is one
	@"$(BIN)/python" tests/benchmarks/gpu.py

lint: $(TEST) ## style, and which part imports which
	@"$(BIN)/python" -m ruff check . && "$(BIN)/python" -m ruff format --check .
	@"$(BIN)/python" -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

audit: $(TEST) ## check the lock: versions, licences and known vulnerabilities (these need the network)
	@"$(BIN)/python" scripts/audit.py $(AUDIT_ARGS)

clean: ## remove what was built; the installed environment stays
	@rm -rf book/_build book/generated build .pytest_cache .ruff_cache .hypothesis .import_linter_cache .jupyter_cache
	@find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## remove the environment, too
	@rm -rf .venv *.egg-info

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@mkdir -p "$(VENV)" || { echo "Name a folder that you can write: make lab VENV=/a/folder/of/yours"; exit 1; }
	@test -e "$(VENV)/pyvenv.cfg" || test -z "$$(ls -A "$(VENV)")" || { echo "VENV is $(VENV), but must be new, empty or an environment."; exit 1; }
	@"$(BIN)/python" -c "import pip, sys; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear "$(VENV)"
	@touch $@

# In a read-only folder pip cannot build the package: what it requires is installed, and a .pth file leads here.
$(LAB): | $(VENV)/.created
	@echo "Installing what the lessons need into $(VENV): some minutes the first time."
	@if test -w .; then $(INSTALL) -e ".[lab]"; else "$(BIN)/python" -c '$(REQUIRED)' > "$(VENV)/required.txt" && \
		$(INSTALL) -r "$(VENV)/required.txt" && "$(BIN)/python" -c '$(LEAD_HERE)'; fi
	@rm -f "$(VENV)"/.lab-* && touch $@

$(TEST): | $(VENV)/.created
	@echo "Installing what the lessons, the book and the tests need into $(VENV): some minutes the first time."
	@$(INSTALL) -e ".[lab,book,test,hf,transfer,classroom,sweep,several]"
	@rm -f "$(VENV)"/.lab-* "$(VENV)"/.test-* && touch $(LAB) $@

# smalldiffusion and curvlinops (by way of backpack) ask for torchvision, of which what we compare uses nothing and
# whose usual build does not run beside torch's CPU build: they come alone, and the extra `bench` has the rest.
$(BENCH): | $(LAB)
	@echo "Installing the packages to compare with."
	@$(INSTALL) -e ".[lab,book,test,hf,transfer,sweep,bench]"
	@$(INSTALL) --no-deps "curvlinops-for-pytorch>=3.0.1,<3.1" smalldiffusion
	@rm -f "$(VENV)"/.bench-* && touch $@
