# make run    set up and run the main job         make lint        style and types
# make test   set up and run all tests, the central ones on both interpreters of contracts
# make docs-check  documentation against the program
# make test-sqlserver   those tests alone that need a SQL Server (docs/sql-server.md says where from)
# make faults  break the program 500 times and more, and prove that nothing is lost or twice (half an hour)
# make bench  print the figures of docs/benchmarks.md
# make native-check  the native interpreter under memory checkers, a million documents for leaks (half an hour, Linux)
# make fuzz   hostile documents, contracts and expressions: FUZZ_SECONDS=600 for each of three fuzzers (Linux)
#
# Needs Python 3.11+ with venv and pip, and nothing else: everything goes into .venv.
# PYTHON=python3.13 make run   takes another Python;   make run ARGS='--limit 100'   adds flags.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
PYTEST_ARGS ?=
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
NATIVE_SOURCES := $(wildcard xml_extractor/mapping/*.pyx xml_extractor/mapping/native/*.pxi)
# Whoever has nothing left to do takes tests from others: the slowest would otherwise be waited for at the end.
IN_PARALLEL := -n auto --maxprocesses 4 --dist worksteal
# Once more without the native interpreter: where documents become rows, records and tables.  The tests of the
# mapping itself hold both interpreters against each other, document by document.
PYTHON_TESTS := tests/fuzz tests/integration/contracts tests/integration/engines/test_round_trip.py \
	tests/end_to_end/test_real_releases.py tests/end_to_end/test_same_answer.py \
	tests/end_to_end/test_quarantine.py
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: run test browser test-sqlserver faults lint format docs-check fuzz native-check bench clean
.DEFAULT_GOAL := run

run: $(VENV)/installed
	@status=0; \
	$(BIN)/python production_processor.py --workers 4 --batch-size 1000 $(ARGS) || status=$$?; \
	if [ $$status -eq 3 ]; then \
		echo; \
		echo "Done. Some documents were refused and are in quarantine; to see which and why:"; \
		echo "    $(BIN)/python -m xml_extractor quarantine list"; \
		status=0; \
	fi; \
	exit $$status

test: $(VENV)/installed-dev browser
	$(BIN)/python -m pytest $(IN_PARALLEL) $(PYTEST_ARGS)
	XML_EXTRACTOR_INTERPRETER=python $(BIN)/python -m pytest $(IN_PARALLEL) $(PYTHON_TESTS) $(PYTEST_ARGS)

# The tests of --report look at the page in a real browser.
browser:
	@sh tests/browser/install_browser.sh

test-sqlserver: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m sqlserver $(IN_PARALLEL) $(PYTEST_ARGS)

faults: $(VENV)/installed-dev
	$(BIN)/python -m tests.faults $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: $(VENV)/installed-dev
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

docs-check: $(VENV)/installed-dev
	$(BIN)/python -m pytest tests/unit/docs $(PYTEST_ARGS)

# Each of the three coverage-guided fuzzers for so many seconds; what they find is kept in .fuzz/found.
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/installed-dev
	@$(PIP) -r requirements-fuzz.txt || true
	$(BIN)/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS)

native-check: $(VENV)/installed-dev
	@$(PIP) --upgrade 'Cython>=3.1' setuptools
	$(BIN)/python -m tests.native $(ARGS)

bench: $(VENV)/installed-dev
	for program in performance_tuning/benchmarks/*.py; do \
		case $$program in */_*) continue;; esac; \
		case $$program in *insert_paths*) [ -n "$$XML_EXTRACTOR_TEST_MSSQL_URL" ] || continue;; esac; \
		case $$program in *discogskit*|*xml2db*) [ -n "$$XML_EXTRACTOR_PEERS" ] || continue;; esac; \
		case $$program in *xml2db*) [ -n "$$XML_EXTRACTOR_ORDERS" ] || continue;; esac; \
		$(BIN)/python $$program || exit $$?; \
	done

clean:
	rm -rf $(VENV) build dist xml_extractor/mapping/_native*.so xml_extractor/mapping/_native*.pyd .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The stamps make a second run start at once; a changed list of requirements is installed anew.
# Installed in place: that is what builds the native interpreter, where there is a C compiler.
$(VENV)/installed: requirements.txt pyproject.toml setup.py $(NATIVE_SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	@echo "Setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable . || $(PIP) -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt requirements-telemetry.txt $(VENV)/installed
	@echo "Installing what tests and checks need"
	@$(PIP) -r requirements-dev.txt -r requirements-telemetry.txt
	@touch $@
