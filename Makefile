# `make demo` and `make run` on a fresh Debian or Ubuntu machine; `make test` for every test.
# Each begins with the set-up, which takes about a second when there is nothing to do.

venv := .venv
ready := $(venv)/.ready
ready_to_test := $(venv)/.ready-to-test

.DEFAULT_GOAL := help
.PHONY: help setup demo run test coverage check bench faults pictures machine machine-to-test machine-to-bench
# Two installations at once into one .venv would break it.
.NOTPARALLEL:

help:
	@echo 'make demo    see it work: a sample app, deployed twice without a failed request'
	@echo 'make run     run Keystone (the same as .venv/bin/keystone up)'
	@echo 'make setup   only install what it needs; afterwards use .venv/bin/keystone'
	@echo 'make test    run every test'
	@echo 'make coverage  the same, and which lines of the code were run'
	@echo 'make check   formatting, lint, types, import contracts'
	@echo 'make faults  break it at every point, many times, and count (ROUNDS=200 SEED=…)'
	@echo 'make bench   push to live beside a shell script, swaps under load, the receiver'

# Compiled here, by whoever may write here: the users that Keystone's parts run as may not.
compile = find receiver jobs dashboard -name '*.pyc' ! -perm -o=r -delete && \
	$(venv)/bin/python -m compileall -q receiver jobs dashboard

setup: machine $(ready)
	@$(compile)

demo: setup
	@exec $(venv)/bin/keystone demo

run: setup
	@exec $(venv)/bin/keystone up

# Twice as many processes as processors: most tests wait for other programs.
in_parallel := --numprocesses=auto --dist=loadfile --no-loadscope-reorder

# Compiled code is kept, whatever the shell has set: the tests start some hundred processes, and
# rewriting the assertions of all tests takes each of pytest's processes ten seconds.
test: machine-to-test $(ready_to_test)
	@$(compile)
	env -u PYTHONDONTWRITEBYTECODE $(venv)/bin/pytest $(in_parallel)

# Apart from the tests: every process they start is slower when it is measured.
coverage: machine-to-test $(ready_to_test)
	$(venv)/bin/coverage erase
	$(venv)/bin/coverage run -m pytest $(in_parallel)
	$(venv)/bin/coverage combine --quiet
	$(venv)/bin/coverage report

check: $(ready_to_test)
	$(venv)/bin/ruff format --check .
	$(venv)/bin/ruff check .
	$(venv)/bin/mypy
	$(venv)/bin/lint-imports

bench: machine-to-bench $(ready_to_test)
	$(venv)/bin/python -m tests.benchmarks $(BENCHMARKS)

# ROUNDS says how many, SEED which: the same seed plays the same rounds again.
faults: machine-to-test $(ready_to_test)
	ROUNDS=$(ROUNDS) SEED=$(SEED) $(venv)/bin/python -m tests.faults

# The README's: after a change of how the pages look.
pictures: machine-to-test $(ready_to_test)
	$(venv)/bin/python -m tests.dashboard.pictures .readme

machine:
	@.setup/machine.sh run

machine-to-test:
	@.setup/machine.sh test

machine-to-bench:
	@.setup/machine.sh bench

$(ready): requirements.lock pyproject.toml | machine
	@.setup/environment.sh requirements.lock
	@touch $@

# What the tests need includes what Keystone needs, at the same versions.
$(ready_to_test): requirements-test.lock pyproject.toml | machine-to-test
	@.setup/environment.sh requirements-test.lock
	@touch $(ready) $@
