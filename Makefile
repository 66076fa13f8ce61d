# Two commands matter: `make run` and `make test`. Both set up whatever is missing first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find rust/core/src rust/audit/src rust/confine/src rust/py -type f; find rust -name Cargo.toml | grep -v '^rust/\(fuzz\|yardsticks\)') Cargo.toml Cargo.lock pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help run build wheel image test test-deploy test-replicas test-systemd lint rust-test rust-compiled python-test services trace-syscalls fuzz bench load soak train lock clean

help:
	@echo "make run     start the service on http://127.0.0.1:9292 with an example policy; prints two requests to try"
	@echo "make test    lints, types, Rust tests, Python tests (what continuous integration runs)"
	@echo "make fuzz    bodies and tokens under atheris, SECONDS=600 each (the core: rust/fuzz/README.md)"
	@echo "make services   what the tests need beside the packages (a Redis, promtool, HAProxy, kustomize and others), in .services"
	@echo "make test-replicas   three replicas behind HAProxy, in network namespaces; part of make test"
	@echo "make test-systemd    the unit in a container that boots systemd, as root; not part of make test"
	@echo "make trace-syscalls   which system calls the service makes, against the list that it is confined to"
	@echo "make build   the environment in $(VENV) and the compiled extension"
	@echo "make wheel   a wheel in dist/"
	@echo "make image   the sidecar's image, kalguard/sidecar:latest, and what is in it in dist/sbom; needs Docker"
	@echo "make test-deploy   builds the image and runs it, compose and the manifests for real; needs root and Debian"
	@echo "make bench   benchmarks, and KalGuard's times as ratios to the yardsticks'"
	@echo "make load    what the service carries beside bare servers on the same Granian; LOAD=\"--seconds 4\" (benches/README.md)"
	@echo "make soak    half an hour of mixed load: nothing lost, nothing wrong, no memory that grows"
	@echo "make train   the learned scorer's weights anew: make train DATA=folder (see docs/model-card.md)"
	@echo "make lock    resolve the Python dependencies anew into requirements.lock"

run: build
	@$(BIN)/python deploy/run_local.py

build: $(VENV)/.built

# The environment: exactly what requirements.lock says, by hash.
$(VENV)/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it with: make PYTHON=/path/to/python3.11"; exit 1; }
	@command -v cargo >/dev/null || { echo "a Rust toolchain (cargo, 1.88 or newer) is needed"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV)."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

# The extension, optimised, into python/kalguard; the package itself is installed so that it is used from here.
$(VENV)/.built: $(VENV)/.installed $(SOURCES)
	@echo "Building the extension. The first time takes a few minutes."
	PIP_QUIET=1 VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --quiet
	@touch $@

wheel: $(VENV)/.installed
	rm -f dist/*.whl
	$(BIN)/maturin build --release --locked --out dist

# WHEEL=copy takes the wheel in dist/ instead of compiling one in the image's own stage.
WHEEL ?= build
IMAGE ?= kalguard/sidecar
IMAGE_VERSION = $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
DOCKER_BUILD = DOCKER_BUILDKIT=1 docker build --file deploy/docker/Dockerfile --build-arg WHEEL=$(WHEEL) \
	--build-arg VERSION=$(IMAGE_VERSION) --build-arg REVISION=$(shell git rev-parse HEAD) $(DOCKER_OPTIONS)

image:
	$(DOCKER_BUILD) --tag $(IMAGE):latest --tag $(IMAGE):$(IMAGE_VERSION) .
	$(DOCKER_BUILD) --target sbom --output dist/sbom .

# Not part of `make test`: it installs Docker and Podman where they are missing, and takes a quarter of an hour; with
# the API server, which is compiled once, an hour.
test-deploy: wheel services build
	$(BIN)/pytest tests/deploy_real --override-ini=python_files='real_*.py' --verbosity=1 -rs --capture=no

# What has to be fetched is fetched while Rust is compiled; the tests themselves run one kind after the other.
test:
	@$(MAKE) --no-print-directory --jobs=3 build services rust-compiled
	@$(MAKE) --no-print-directory --jobs=1 lint rust-test python-test

lint: build
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets --locked --quiet -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest kalguard._core --allowlist python/stubtest-allowlist.txt

# With the extension among the packages, though it has no tests: so that what they depend on has the features that it was
# built with, and is not built again.
RUST_TEST = cargo test --release --package kalguard-core --package kalguard-audit --package kalguard-confine --package kalguard-py --locked --quiet

rust-test: build
	$(RUST_TEST)

rust-compiled:
	$(RUST_TEST) --no-run

# More at a time is quicker, until what has to be in time no longer is.
PROCESSES ?= 3

python-test: build services
	@$(BIN)/python -m compileall -q python/kalguard  # some hundred servers are started, and not every environment keeps this
	$(BIN)/pytest --numprocesses=$(PROCESSES) --dist=loadfile --no-loadscope-reorder

services: .services/redis-server .services/promtool .services/host-programs .services/bwrap .services/strace .services/apparmor_parser .services/kustomize .services/kubernetes-validate/installed

.services/redis-server: tests/fetch_redis.sh tests/debian.sh
	@echo "Fetching a Redis for the tests."
	sh tests/fetch_redis.sh

.services/promtool: tests/fetch_promtool.sh tests/debian.sh
	@echo "Fetching Prometheus' promtool for the tests."
	sh tests/fetch_promtool.sh

.services/host-programs: tests/fetch_host_programs.sh tests/debian.sh
	@echo "Fetching HAProxy, logrotate, rsyslog and others for the tests of deploy/."
	sh tests/fetch_host_programs.sh

# Part of `make test` too; this shows what was measured.
test-replicas: build services
	$(BIN)/pytest tests/replicas -s

# As root, on a machine that can fetch Debian packages: boots systemd in a container, with the wheel in dist/.
test-systemd: wheel
	sh tests/boot/systemd.sh

.services/kustomize: tests/fetch_kustomize.sh
	@echo "Fetching kustomize for the tests."
	PYTHON=$(PYTHON) sh tests/fetch_kustomize.sh

# Kept out of the environment: a hundred megabytes of schemas.
.services/kubernetes-validate/installed: tests/deploy/requirements.txt | $(VENV)/.installed
	@echo "Fetching the schemas of Kubernetes for the tests."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --upgrade \
		--target .services/kubernetes-validate/packages --requirement tests/deploy/requirements.txt
	@touch $@

.services/bwrap: tests/fetch_bwrap.sh tests/debian.sh
	@echo "Fetching bubblewrap for the tests."
	sh tests/fetch_bwrap.sh

.services/strace: tests/fetch_strace.sh tests/debian.sh
	@echo "Fetching strace for the tests."
	sh tests/fetch_strace.sh

.services/apparmor_parser: tests/fetch_apparmor.sh tests/debian.sh
	@echo "Fetching AppArmor's parser for the tests."
	sh tests/fetch_apparmor.sh

# Every server that these tests start is traced, which is slow: what fails because it takes too long says nothing.
TRACED ?= tests/sidecar tests/sdk/test_documents.py tests/deploy

trace-syscalls: build services
	rm -rf .traces
	-TRACES=.traces $(BIN)/pytest -p tests.hardening.tracing $(TRACED)

# Atheris is kept out of the environment: only this needs it, and not every Python has a wheel of it.
SECONDS ?= 600

fuzz: build .fuzz/installed
	PYTHONPATH=.fuzz/packages $(BIN)/python -m tests.fuzz.bodies -max_total_time=$(SECONDS)
	PYTHONPATH=.fuzz/packages $(BIN)/python -m tests.fuzz.tokens -max_total_time=$(SECONDS)

.fuzz/installed: tests/fuzz/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --upgrade \
		--target .fuzz/packages --requirement tests/fuzz/requirements.txt
	@touch $@

bench: build services
	$(BIN)/pytest benches --benchmark-only --benchmark-group-by=group --benchmark-json=.benchmarks/latest.json
	@$(BIN)/python -m benches.ratios .benchmarks/latest.json
	CARGO_TARGET_DIR=target cargo bench --manifest-path rust/yardsticks/Cargo.toml --quiet

# Sets up wrk, which only this needs. Numbers mean something on a machine that does nothing else.
LOAD ?=

load: build .services/wrk
	$(BIN)/python -m benches.load $(LOAD)

.services/wrk: benches/load/fetch_wrk.sh tests/debian.sh
	@echo "Fetching wrk."
	sh benches/load/fetch_wrk.sh

soak: build
	$(BIN)/python -m benches.soak

# Validates with whole sources left out, then trains on everything. The same data gives the same file.
train:
	@test -n "$(DATA)" || { echo "name the folder with attacks.jsonl, benign.jsonl and harmful.jsonl: make train DATA=folder"; exit 1; }
	cargo run --release --locked --quiet -p kalguard-train -- $(DATA) rust/core/src/model/weights.bin

# The image has what is in requirements.lock and no version of its own; what builds it is locked apart.
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host --no-header --no-annotate --strip-extras --allow-unsafe

lock:
	$(COMPILE) --extra sidecar --extra dev --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra sidecar --extra otel --constraint requirements.lock \
		--output-file deploy/docker/requirements.lock pyproject.toml
	$(COMPILE) --output-file deploy/docker/build.lock deploy/docker/build.in
	$(COMPILE) --output-file tests/deploy/requirements.txt tests/deploy/requirements.in

clean:
	rm -rf target $(VENV) dist .services .fuzz .traces python/kalguard/*.so
