# Runs, tests and checks the project. Everything is installed into .venv, in the versions of constraints.txt.

# A distribution's own Python comes first: it is built with profile-guided optimization, and a third faster than one
# that was built by hand without it.
pythons = /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11
suitable = import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
# The Python that .venv is made from, when there is no .venv yet: make PYTHON=/usr/bin/python3.12
PYTHON ?= $(shell for python in $(pythons); do \
	if $$python -c '$(suitable)' 2>/dev/null; then echo $$python; break; fi; done)

bin = .venv/bin
# This is a URL since pip separates several files by spaces, and this directory may have a space in its name.
space = $() $()
hash = \#
directory = $(subst ?,%3F,$(subst $(hash),%23,$(subst $(space),%20,$(subst %,%25,$(CURDIR)))))
export PIP_CONSTRAINT = file://$(directory)/constraints.txt
export PIP_BUILD_CONSTRAINT = $(PIP_CONSTRAINT)
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help run test test-large format lint bench manual simulate fuzz properties raft-campaign watch-campaign kill-campaign move-campaign oldest wheel clean python

help:
	@echo 'make run            start one machine on 127.0.0.1:4001, with its data in ./machine0'
	@echo 'make test           run the tests; TESTS=tests.config.test_config for some of them'
	@echo 'make test-large     run the tests with large foreign programs: Chromium, wrk, etcd, Patroni, Salt, proxies, mypy'
	@echo 'make format         lay the code out as make lint wants it'
	@echo 'make lint           ruff, mypy --strict, and which module may import which'
	@echo 'make bench          run the benchmarks; BENCH_OUTPUT=FILE for the table of docs/performance.md as well'
	@echo 'make manual         write the manual page of txetcdctl, docs/txetcdctl.1'
	@echo 'make simulate       run simulated clusters; SEEDS=N for how many, SEED=n for one of them and its story, WORKERS=N'
	@echo 'make fuzz           try made-up and mangled input; FUZZ_SECONDS=N for how long, FUZZ_SEED=n for other input'
	@echo 'make properties     try more examples of each property; EXAMPLES_PERCENT=N for how many, 15 in make test'
	@echo 'make watch-campaign have watches follow 10,000 changes while leaders die; WATCH_CHANGES=N, WATCH_SEEDS=N'
	@echo 'make raft-campaign  run groups of the Raft core while everything goes wrong; RAFT_SEEDS=N for how many'
	@echo 'make kill-campaign  kill machines and clients, over and over, and look for lost writes and locks with two holders'
	@echo 'make move-campaign  export, import and mirror much, and kill all of them; MOVE_KEYS=N, MIRROR_SECONDS=N'
	@echo 'make oldest         run most of the tests with the oldest dependencies that setup.cfg allows, in a .venv of its own'
	@echo 'make wheel          build the wheel, into ./dist'
	@echo 'make clean          remove what the other targets left, but for .venv and data directories'

run: .venv/installed-run
	$(bin)/etcd-twisted --name machine0 --data-dir machine0

# The large tests: the type checker, short runs of the benchmarks, the commands of all pages, clusters of several
# processes, machines with workers, etcd itself and its clients, programs that other people wrote for it, machines behind
# proxies, and the dashboard in a browser. Those that take long alone come first, so that none of them ends last.
LARGE_TESTS ?= tests.types tests.benchmarks tests.pages tests.whole_clusters tests.multiprocess tests.etcd tests.foreign \
	tests.clients tests.proxies tests.browser

# All other tests, but for the campaigns, which have targets of their own below. Those with processes come first.
LONG_TESTS = tests.processes tests.docs tests.simulation
TESTS ?= $(LONG_TESTS) $(filter-out $(LONG_TESTS) $(LARGE_TESTS) tests.campaigns,$(sort \
	$(subst /,.,$(patsubst %/__init__.py,%,$(wildcard tests/*/__init__.py)) $(basename $(wildcard tests/test_*.py)))))
# More processes run than there are processors, since the tests often wait for services that they start. The tests are
# compiled once here, since none of these processes may be allowed to keep what it compiles.
test: .venv/installed-test
	$(bin)/python -m compileall -q tests benchmarks
	$(bin)/trial -j6 $(TESTS)

test-large: .venv/installed-test .venv/installed-lint .venv/installed-axe .venv-foreign/installed
	$(bin)/python -m compileall -q tests benchmarks
	$(bin)/trial -j4 $(LARGE_TESTS)

format: .venv/installed-lint
	$(bin)/ruff format

lint: .venv/installed-lint
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy --strict
	$(bin)/lint-imports --no-logo

# BENCH_OUTPUT=FILE writes the one table there, as docs/performance.md has it; BENCH_OPTIONS='--rounds 2 --keys 1000'.
bench: .venv/installed-test
	$(bin)/python -m benchmarks client
	$(strip $(bin)/python -m benchmarks $(if $(BENCH_OUTPUT),--markdown $(BENCH_OUTPUT)) $(BENCH_OPTIONS))

manual: .venv/installed-test
	$(bin)/python -m etcd_twisted.ctl.manual > docs/txetcdctl.1

SEEDS ?= 200
FIRST ?= 0
simulate: .venv/installed-test
	$(bin)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--first $(FIRST) --seeds $(SEEDS)) \
		$(if $(WORKERS),--workers $(WORKERS)) $(if $(FORWARDS),--forwards $(FORWARDS))

FUZZ_SECONDS ?= 300
FUZZ_SEED ?= 0
fuzz: .venv/installed-test $(if $(filter hypothesis,$(FUZZ_ENGINE)),,.venv/installed-fuzz)
	$(bin)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED) \
		$(if $(FUZZ_ENGINE),--engine $(FUZZ_ENGINE)) $(if $(FUZZ_TARGET),--target $(FUZZ_TARGET)) \
		$(if $(FUZZ_EXAMPLES),--examples $(FUZZ_EXAMPLES)) $(if $(FUZZ_INPUT),--input $(FUZZ_INPUT))

EXAMPLES_PERCENT ?= 500
properties: .venv/installed-test
	EXAMPLES_PERCENT=$(EXAMPLES_PERCENT) $(bin)/trial -j2 \
		$$(grep -rlE --include='test_*.py' '^from hypothesis(\.stateful)? import' tests | sort | sed 's,/,.,g; s,\.py$$,,')

RAFT_SEEDS ?= 200
raft-campaign: .venv/installed-test
	RAFT_SEEDS=$(RAFT_SEEDS) $(bin)/trial tests.consensus.raft.test_faults

WATCH_CHANGES ?= 10000
WATCH_SEEDS ?= 5
watch-campaign: .venv/installed-test
	WATCH_CHANGES=$(WATCH_CHANGES) WATCH_SEEDS=$(WATCH_SEEDS) $(bin)/trial -j2 \
		tests.campaigns.test_watches tests.campaigns.test_watch_proxy tests.etcd.test_watch_proxy

KILL_ROUNDS ?= 20
kill-campaign: .venv/installed-test
	KILL_ROUNDS=$(KILL_ROUNDS) $(bin)/trial -j2 \
		tests.processes.test_durability tests.campaigns.test_client_outages \
		tests.campaigns.test_cluster_kills tests.campaigns.test_recipe_kills

MOVE_KEYS ?= 100000
MOVE_KILLS ?= 10
MIRROR_SECONDS ?= 600
MOVE_SEED ?= 0
move-campaign: .venv/installed-test
	MOVE_KEYS=$(MOVE_KEYS) MOVE_KILLS=$(MOVE_KILLS) MIRROR_SECONDS=$(MIRROR_SECONDS) MOVE_SEED=$(MOVE_SEED) \
		$(bin)/trial tests.etcd.test_moving

# Run this with the oldest Python that setup.cfg allows. It leaves out the tests with whole processes and browsers.
OLDEST_TESTS ?= tests.auth tests.keyspace tests.consensus tests.peer tests.web tests.httpd tests.process \
	tests.interfaces tests.config tests.logs tests.net tests.cluster tests.datadir tests.ctl tests.testing \
	tests.test_service
oldest: export PIP_CONSTRAINT =
oldest:
	rm -rf .venv-oldest
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet setuptools hypothesis jsonschema python-etcd \
		$$(sed -n '/^install_requires/,/^$$/s/^    \(.*\)>=/\1==/p' setup.cfg)
	.venv-oldest/bin/pip install --quiet --no-deps --editable .
	.venv-oldest/bin/trial -j4 --temp-directory=_trial_temp_oldest $(OLDEST_TESTS)
	rm -rf .venv-oldest

wheel: .venv/created
	$(bin)/pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf tests/browser/node_modules .venv/installed-axe
	rm -rf .venv-oldest .venv-foreign build dist *.egg-info _trial_temp* twisted/plugins/dropin.cache
	rm -rf .mypy_cache .ruff_cache .import_linter_cache .hypothesis .fuzz
	rm -rf docs/examples/*/build docs/examples/*/*.egg-info docs/examples/*/twisted/plugins/dropin.cache
	find etcd_twisted tests twisted benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

# Says which Python .venv would be made from, or what is missing.
python:
	@test -n '$(PYTHON)' || { \
		echo 'No Python 3.11 or later with its venv module was found.' \
			'Install one (Debian: apt-get install python3 python3-venv) or name one: make PYTHON=/path/to/python3' >&2; \
		exit 1; }
	@echo '$(PYTHON)'

.venv/created:
	@$(MAKE) --no-print-directory python
	$(PYTHON) -m venv .venv
	$(bin)/pip install --quiet pip setuptools
	@touch $@

# The install is editable, so this tree runs from any directory. It is compiled now, since a start that may not keep
# what it compiles takes 0.1 s longer.
.venv/installed-test: extras = [test]
.venv/installed-lint: extras = [lint]
.venv/installed-run .venv/installed-test .venv/installed-lint: .venv/created pyproject.toml setup.cfg setup.py constraints.txt
	$(bin)/pip install --quiet --editable '.$(extras)'
	$(bin)/python -m compileall -q etcd_twisted twisted
	@touch $@

# Only some Pythons and processors have wheels of atheris.
.venv/installed-fuzz: .venv/installed-test
	@if $(bin)/pip install --quiet --only-binary atheris --editable '.[fuzz]'; \
		then touch $@; \
		else echo 'atheris can not be installed here: hypothesis does its work.'; \
	fi

# This checks the dashboard's page for accessibility. The test that needs it is skipped where there is no npm.
.venv/installed-axe: .venv/created tests/browser/package-lock.json
	@if command -v npm >/dev/null; \
		then npm ci --prefix tests/browser --ignore-scripts --no-audit --no-fund --silent && touch $@; \
		else echo 'There is no npm: the accessibility of the dashboard is not tested.'; \
	fi

# These programs want other versions of what this project uses, so they are in an environment of their own.
.venv-foreign/installed: export PIP_CONSTRAINT =
.venv-foreign/installed: tests/foreign/requirements.txt
	@$(MAKE) --no-print-directory python
	$(PYTHON) -m venv .venv-foreign
	.venv-foreign/bin/pip install --quiet --no-deps --no-compile --requirement $<
	@touch $@
