# make alone prints the targets.

PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(wildcard bpm/_native/*.[ch]) build_ffi.py setup.py pyproject.toml
CFLAGS_LINT := -std=gnu11 -Wall -Wextra -Werror -fsyntax-only -Ibpm/_native

AARCH64_CC := aarch64-linux-gnu-gcc
CFLAGS_AARCH64 := -std=gnu11 -O2 -Wall -Wextra -Werror -Ibpm/_native

.PHONY: check-aarch64 differential docs help build run test test-hosts lint check-c golden bench model interpreters wheel clean
.DELETE_ON_ERROR:

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: $(VENV)/.built ## build into .venv: leaves .venv/bin/bpm

run: $(VENV)/.built ## the example: a BOSH root with two jobs, started, looked at, stopped (as root)
	docs/example/tour $(abspath $(BIN)/bpm)

# The machines take what the tests here leave of the CPUs: both spend much of their time waiting.
test: $(VENV)/.tools lint ## lint, every test that this machine can run, and those that touch the kernel on two virtual hosts
	@mkdir -p build
	@nice -n 19 $(BIN)/python -m tests.vm --where-possible --host v2 systemd-v2 >build/hosts.log 2>&1 & hosts=$$!; \
	trap 'kill $$hosts' INT TERM; \
	$(BIN)/python -m pytest; here=$$?; \
	wait $$hosts; there=$$?; cat build/hosts.log; exit $$((here | there))

test-hosts: $(VENV)/.tools ## the tests that touch the kernel, on virtual hosts: all kinds, or HOSTS="v2 nested"
	$(BIN)/python -m tests.vm --table --timeout 3600 $(addprefix --host ,$(HOSTS))

lint: $(VENV)/.tools check-c ## ruff, ruff format, mypy --strict, and the C with -Wall -Wextra -Werror
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check-c:
	$(CC) $(CFLAGS_LINT) -DBPM_INIT_PATH='"x"' bpm/_native/spawn.c bpm/_native/letter.c bpm/_native/child.c bpm/_native/rootfs.c bpm/_native/plumb.c
	$(CC) $(CFLAGS_LINT) -ffreestanding bpm/_native/init.c

check-aarch64: ## compile the C for aarch64 (Debian: gcc-aarch64-linux-gnu)
	@mkdir -p build/aarch64
	$(AARCH64_CC) $(CFLAGS_AARCH64) -ffreestanding -fno-stack-protector -static -nostdlib -no-pie -o build/aarch64/init bpm/_native/init.c
	for file in $(filter-out bpm/_native/init.c,$(wildcard bpm/_native/*.c)); do \
		$(AARCH64_CC) $(CFLAGS_AARCH64) -DBPM_INIT_PATH='"build/aarch64/init"' -c -o build/aarch64/$$(basename $$file .c).o $$file || exit 1; \
	done

differential: $(VENV)/.tools ## 5,000 generated jobs, run by bpm and as OCI bundles by runc, seen alike from inside (as root)
	BPM_DIFFERENTIAL=5000 $(BIN)/python -m pytest tests/differential

golden: $(VENV)/.tools ## write the golden plans, the plan's schema and the page of bpm.yml's keys anew, to be read as a diff
	$(BIN)/python -m tests.plan.golden
	$(BIN)/python -m tests.insight.publish

bench: $(VENV)/.tools ## the speed bounds, as ratios in one run (as root)
	$(BIN)/python -m tests.bench; first=$$?; $(BIN)/python -m tests.bench.sandbox && exit $$first

model: $(VENV)/.tools ## the model of mounts against the kernel, thirty times as long (as root)
	BPM_EFFORT=30 $(BIN)/python -m pytest --timeout 0 tests/model

docs: $(VENV)/.docs ## the manual, in build/manual: the pages of docs/ and the reference of all public names
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/manual

interpreters: $(VENV)/.tools ## the library's tests under every supported Python of this machine (as root)
	$(BIN)/python -m tests.interpreters

wheel: $(VENV)/.tools ## a wheel from the sdist, installed alone, must import and spawn
	$(BIN)/python -m tests.wheel

clean: ## remove what was built
	rm -rf $(VENV) build dist *.egg-info bpm/_native/*.so .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.built: $(VENV)/bin/python $(NATIVE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable .
	@touch $@

$(VENV)/.tools: $(VENV)/.built
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable '.[test,lint]'
	@touch $@

$(VENV)/.docs: $(VENV)/.built
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable '.[docs]'
	@touch $@
