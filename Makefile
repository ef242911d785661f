# `make demo` and `make run` work on a fresh Debian or Ubuntu machine; `make test` runs every test.
# Each begins with the set-up, which takes about a second if everything is installed.

# A link to one of the environments in .venvs; see .setup/environment.sh.
venv := .venv

.DEFAULT_GOAL := help
.PHONY: help setup demo run upgrade ready ready-to-test test coverage check bench faults roots pictures machine machine-to-test machine-to-bench
# Two simultaneous installations would break .venv.
.NOTPARALLEL:

help:
	@echo 'make demo    deploy a sample app twice without a failed request'
	@echo 'make run     run Keystone (the same as .venv/bin/keystone up)'
	@echo 'make upgrade  replace a running Keystone with the version in this folder'
	@echo 'make setup   only install Keystone; then use .venv/bin/keystone'
	@echo 'make test    run every test'
	@echo 'make coverage  run every test, and report the lines of code that ran'
	@echo 'make check   check formatting, lint, types and import contracts'
	@echo 'make faults  inject faults at every step, and count failures (ROUNDS=300 SEED=…)'
	@echo 'make roots   set up Keystone on clean roots of other distributions (ROOTS=bookworm …)'
	@echo 'make bench   measure deployments, swaps under load, the receiver, pages and more'

# Compile the code here, because the users that Keystone's parts run as may not write here.
compile = find receiver jobs dashboard -name '*.pyc' ! -perm -o=r -delete && \
	$(venv)/bin/python -m compileall -q receiver jobs dashboard

setup: ready
	@$(compile)

demo: setup
	@exec $(venv)/bin/keystone demo

run: setup
	@exec $(venv)/bin/keystone up

# The new environment is made beside the one in use; `.venv` leads to it once the upgrade is done.
upgrade: machine
	@environment=$$(.setup/environment.sh requirements.lock --beside) && \
		$$environment/bin/keystone upgrade && .setup/environment.sh requirements.lock

# Two processes for each processor (tests/conftest.py), because most tests wait for other programs.
in_parallel := --numprocesses=auto --dist=loadfile --no-loadscope-reorder

# Keep compiled code even if the shell has set PYTHONDONTWRITEBYTECODE: the tests start some hundred
# processes, and each of pytest's processes needs ten seconds to rewrite the assertions of all tests.
test: ready-to-test
	@$(compile)
	env -u PYTHONDONTWRITEBYTECODE $(venv)/bin/pytest $(in_parallel)

# Separate from `test`, because coverage slows down every process that the tests start.
coverage: ready-to-test
	$(venv)/bin/coverage erase
	$(venv)/bin/coverage run -m pytest $(in_parallel)
	$(venv)/bin/coverage combine --quiet
	$(venv)/bin/coverage report

check: ready-to-test
	$(venv)/bin/ruff format --check .
	$(venv)/bin/ruff check .
	$(venv)/bin/mypy
	$(venv)/bin/lint-imports

bench: machine-to-bench ready-to-test
	$(venv)/bin/python -m tests.benchmarks $(BENCHMARKS)

# ROUNDS is the number of rounds; the same SEED plays the same rounds again.
faults: ready-to-test
	ROUNDS=$(ROUNDS) SEED=$(SEED) $(venv)/bin/python -m tests.faults

# As root: `make setup` and the core story on clean roots of Debian 12 and 13, Ubuntu 24.04 and 26.04.
roots: ready-to-test
	$(venv)/bin/python -m tests.roots $(ROOTS)

# The README's screenshots: take them again after a change of the pages' look.
pictures: ready-to-test
	$(venv)/bin/python -m tests.dashboard.pictures .readme

machine:
	@.setup/machine.sh run

machine-to-test:
	@.setup/machine.sh test

machine-to-bench:
	@.setup/machine.sh bench

ready: machine
	@.setup/environment.sh requirements.lock

# The packages of the tests include those of Keystone, in the same versions.
ready-to-test: machine-to-test
	@.setup/environment.sh requirements-test.lock
