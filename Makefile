# Everything a developer runs. Each interpreter has a virtual environment of its own, made on first use; stamps in it
# tell what is installed and built, so that a second run does no work twice.
#
#   make test PYTHON=python3.13 ARGS="-k xlocal -x"

PYTHON ?= python3
# Three for two cores: for a third of their time, tests wait for other processes.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(max(2, (os.cpu_count() or 1) * 3 // 2))')
# quick or full: tests/helpers/effort.py says what each means.
EFFORT ?= $(or $(XCTX_EFFORT),quick)
STRESS_SECONDS ?= 30
STRESS_KILLS ?= 10000
STRESS_PROCESSES ?= 2000
FUZZ_SECONDS ?= 60
ARGS ?=

# 3.11, 3.13t: names the environment. Interpreters share the tree, for the names of built modules carry the same.
TAG := $(shell $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) and print("%d.%d" % sys.version_info[:2] + sys.abiflags)')
VENV := .venv-$(or $(TAG),$(error $(PYTHON) is no Python of 3.11 or later: say which one with PYTHON=...))
PY := $(VENV)/bin/python
# The dependency groups that the tests of this interpreter take.
GROUPS := $(shell $(PYTHON) tests/helpers/packages.py)
GREENLETS := $(filter test-greenlet test-gevent,$(GROUPS))
sources = $(wildcard $(foreach ending,$(1),xctx/*.$(ending) xctx/*/*.$(ending)))
COMPILED := $(call sources,pyx pxd pxi h c) pyproject.toml setup.cfg $(wildcard .ci/*.py)
PACKAGE := $(COMPILED) $(call sources,py pyi) xctx/py.typed
SETUP := -W ignore -c 'import setuptools; setuptools.setup()' --quiet
groups = $(addprefix $(VENV)/.group-,$(1))
EXAMPLES := $(patsubst examples/%.py,example-%,$(subst _,-,$(filter-out %/serving.py %/postgres_server.py,$(wildcard examples/*.py))))
TESTS := $(call groups,build $(GROUPS))
POSTGRES := $(call groups,$(if $(findstring t,$(TAG)),test-postgres,test-postgres-binary))
pytest = XCTX_EFFORT=$(EFFORT) $(1)/bin/python -m pytest -n $(WORKERS) --dist worksteal $(2) $(ARGS)

# Imports come from the environment, never from the directory a command happens to stand in.
export PYTHONSAFEPATH := 1

.PHONY: help demo check examples $(EXAMPLES) test test-node test-embedding apache test-postgres stress-postgres postgres-server test-full test-free-threaded test-all test-greenlets test-suites nightly stress fuzz lint warnings dependencies stub-docs types bench docs dist debug test-portable sanitize fuzz-sanitize tsan clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## show this help
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.built $(call groups,test-gevent) ## see a gevent server keep a thousand requests apart (ARGS="--mode threads")
	$(PY) examples/gevent_server.py $(ARGS)

check: $(VENV)/.built ## try what was built, in a few seconds (it is `python -m xctx --check`)
	$(PY) -m xctx --check

examples: $(EXAMPLES) ## run all programs under examples; one alone is `make example-flask-gunicorn` or the like
	@echo "All well: $(EXAMPLES)"

example-postgres-machines: postgres-server $(POSTGRES)

$(EXAMPLES): example-%: $(VENV)/.built $(call groups,examples)
	PYTHONPATH=examples $(PY) -W error examples/$(subst -,_,$*).py $(ARGS)

test: $(VENV)/.built $(TESTS) ## run the tests, less of each law (PYTHON=python3.13 for another interpreter, ARGS for pytest)
	$(call pytest,$(VENV))

test-full: EFFORT := full
test-full: test ## run all of the tests

test-postgres: $(VENV)/.built $(TESTS) $(POSTGRES) postgres-server ## run the tests that need a PostgreSQL server, which they start
	$(call pytest,$(VENV),tests/postgres)

stress-postgres: $(VENV)/.built $(TESTS) $(POSTGRES) postgres-server ## fifty processes use locks on PostgreSQL, and some are killed
	XCTX_EFFORT=full XCTX_STRESS_SECONDS=$(STRESS_SECONDS) $(PY) -m pytest tests/postgres -m stress $(ARGS)

test-embedding: $(VENV)/.built $(TESTS) $(call groups,test-embedding) apache .venv-apache/.built ## run two applications under Apache with mod_wsgi and uWSGI
	$(call pytest,$(VENV),tests/embedding)

# The programs alone, and what a build for the Python of mod_wsgi needs: nothing is started.
APACHE_PYTHON ?= /usr/bin/python3
apache:
	@test -x /usr/sbin/apache2 && test -e /usr/lib/apache2/modules/mod_wsgi.so \
		&& $(APACHE_PYTHON) -c 'import ensurepip, sysconfig; open(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || { \
		echo "Installing Apache with mod_wsgi…"; \
		apt-get install -qq -y --no-install-recommends apache2 libapache2-mod-wsgi-py3 python3-dev python3-venv >/dev/null; }

.venv-apache/.built: $(PACKAGE) Makefile | apache
	$(APACHE_PYTHON) -m venv .venv-apache
	.venv-apache/bin/python -m pip install -qq --upgrade 'pip>=25.1'
	.venv-apache/bin/python -m pip install -qq --prefer-binary --group build --group test-greenlet
	.venv-apache/bin/python .ci/build.py --temporary build/apache --into "$$(echo .venv-apache/lib/python3*/site-packages)"
	@touch $@

test-node: $(VENV)/.built $(TESTS) ## run the tests that need node, with OpenTelemetry for JavaScript in build/node
	@npm install --silent --prefix build/node @opentelemetry/api @opentelemetry/core
	$(call pytest,$(VENV),tests/wire/test_wire_w3c.py)

# The programs alone: nothing is started.
postgres-server:
	@$(PY) examples/postgres_server.py >/dev/null 2>&1 || { \
		echo "Installing PostgreSQL…"; apt-get install -qq -y --no-install-recommends postgresql >/dev/null; }

# Those of the names that start: a pyenv shim is on PATH whether or not it leads anywhere.
found = $(strip $(foreach python,$(1),$(if $(shell $(python) -c 'print(1)' 2>/dev/null),$(python))))
FREE_THREADED ?= $(firstword $(call found,python3.15t python3.14t python3.13t))
EVERY = $(call found,python3.11 python3.12 python3.13 python3.14 python3.15 python3.13t python3.14t python3.15t)

test-free-threaded: ## run the tests without the GIL (FREE_THREADED=path of a python3.13t or later not on PATH)
	@test -n "$(FREE_THREADED)" || { echo "No python3.13t or later on PATH: say FREE_THREADED=path." >&2; exit 1; }
	$(MAKE) --no-print-directory test PYTHON=$(FREE_THREADED)

test-all: ## run all of the tests on every supported interpreter on PATH, also with older versions of greenlet
	@failed=; for python in $(EVERY) $(filter-out $(EVERY),$(FREE_THREADED)); do \
		$(MAKE) --no-print-directory test-full test-greenlets PYTHON=$$python || failed="$$failed $$python"; \
	done; test -z "$$failed" || { echo "Failed:$$failed" >&2; exit 1; }

# One of each series that programs still have, as far as this interpreter has wheels of them.
OLD_GREENLETS_3.11 := 2.0.2 3.0.3 3.2.4
OLD_GREENLETS_3.12 := 3.0.3 3.2.4
OLD_GREENLETS_3.13 := 3.2.4
OLD_GREENLETS_3.14 := 3.2.4

test-greenlets: $(addprefix test-greenlet-,$(OLD_GREENLETS_$(TAG))) ## run the tests of units and stores with older versions of greenlet

test-greenlet-%: $(VENV)-greenlet-%/.made $(TESTS) $(VENV)/.built
	$(call pytest,$(VENV)-greenlet-$*,-k "greenlet and not gevent" tests/core tests/stores tests/carry)

nightly: EFFORT := full
nightly: $(VENV)/.built $(TESTS) ## run all of the tests with new examples, XCTX_EXAMPLES=10 times as many
	XCTX_EXAMPLES=$(or $(XCTX_EXAMPLES),10) $(call pytest,$(VENV),-o faulthandler_timeout=3000)

stress: $(VENV)/.built $(TESTS) ## run the stress tests for long (STRESS_SECONDS=30 each; STRESS_KILLS=10000 and STRESS_PROCESSES=2000 of locks)
	XCTX_EFFORT=full XCTX_STRESS_SECONDS=$(STRESS_SECONDS) XCTX_STRESS_KILLS=$(STRESS_KILLS) XCTX_STRESS_PROCESSES=$(STRESS_PROCESSES) \
	$(PY) -m pytest -m stress $(ARGS)

fuzz: $(VENV)/.built $(TESTS) ## do anything with hostile objects (FUZZ_SECONDS=60; ARGS="--round 17" for one that failed)
	$(PY) tests/fuzz.py --seconds $(FUZZ_SECONDS) $(ARGS)

lint: $(call groups,lint) warnings ## check the style of Python and Cython, and that C compilers have nothing to say
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	PYTHONPATH=. $(PY) .ci/stub_docs.py --check
	PATH="$(VENV)/bin:$$PATH" cython-lint $(call sources,pyx pxd pxi)

warnings: $(VENV)/.built ## compile all C once more, with every warning an error
	$(PY) .ci/check_c.py

dependencies: ## write into pyproject.toml what each compiled module is built from
	@$(PYTHON) .ci/dependencies.py

stub-docs: $(VENV)/.built ## write the docstrings of compiled classes into their stubs, where editors look
	PYTHONPATH=. $(PY) .ci/stub_docs.py

types: $(VENV)/.built $(call groups,types $(GREENLETS)) ## check the types, and the stubs against what was compiled
	$(PY) -m mypy
	$(PY) -m basedpyright --project pyproject.toml
	$(PY) -m mypy.stubtest xctx --mypy-config-file pyproject.toml --allowlist tests/stubtest.allow

bench: $(VENV)/.built $(call groups,bench $(GREENLETS)) ## measure against the peers, and draw it (ARGS for the runner)
	PYTHONPATH=. $(PY) -m benchmarks $(ARGS)

test-suites: $(VENV)/.built ## run the tests of Flask, Django and others before and after `xctx run` (ARGS="flask celery")
	$(PY) tests/suites.py $(ARGS)

.PHONY: bench-quick bench-compare bench-postgres bench-programs
# Where there is no GIL, what is installed with the tests: greenlet and what needs it have no wheels for it.
PROGRAMS := $(call groups,bench $(if $(findstring t,$(TAG)),bench-threads,bench-programs))
bench-programs: $(VENV)/.built $(PROGRAMS) ## measure Flask, Django and Celery before and after `xctx run` (ARGS="--only flask")
	@command -v vgdb >/dev/null || { echo "Installing valgrind…"; apt-get install -qq -y --no-install-recommends valgrind >/dev/null; }
	PYTHONPATH=. $(PY) -m benchmarks.programs $(ARGS)

bench-postgres: $(VENV)/.built $(POSTGRES) postgres-server ## measure locks on PostgreSQL beside what one writes by hand
	PYTHONPATH=.:examples $(PY) -m benchmarks.postgres $(ARGS)

bench-quick: $(VENV)/.built $(call groups,bench $(GREENLETS)) ## the same in under a minute, less sure, into build/benchmarks
	PYTHONPATH=. $(PY) -m benchmarks --quick $(ARGS)

bench-compare: $(call groups,bench) ## name what got slower from OLD=file.json to NEW=file.json
	PYTHONPATH=. $(PY) -m benchmarks.compare $(OLD) $(NEW) $(ARGS)

docs: $(VENV)/.built $(call groups,docs) ## build the manual into docs/_build
	$(PY) -m sphinx -W -E -a --keep-going -q docs docs/_build
	@echo "The manual is docs/_build/index.html."

# What is distributed has no symbols, which take five sixths of its size. Debuggers want those of builds in the tree.
STRIPPED := $(if $(filter Linux,$(shell uname -s 2>/dev/null)),-s)

dist: export LDFLAGS := $(STRIPPED) $(LDFLAGS)
dist: $(call groups,build) ## build the sdist, and the wheel from it, into dist
	rm -rf dist
	$(PY) $(SETUP) sdist
	$(PY) -m pip wheel -qq --no-deps --wheel-dir dist dist/*.tar.gz

# A build with other flags is installed into an environment of its own, which borrows the packages of the plain one.
# The refnanny is left out: it sees what Cython counts by itself, not the references that these rooms count by hand.
FLAGS_debug := -O0 -g -UNDEBUG
# No red zones on the stack: greenlets copy it as a whole.
FLAGS_sanitize := -O1 -g -UNDEBUG -fsanitize=address,undefined -fno-sanitize-recover=undefined \
	-fno-omit-frame-pointer --param asan-stack=0

# As where there is no Linux: no locks, and nothing else changes.
FLAGS_portable := -O1 -DXCTX_NO_LOCKS=1

debug: $(VENV)-debug/.built $(TESTS) ## run the tests with the assertions of C and Cython compiled in
	$(call pytest,$(VENV)-debug,-m "not slow")

test-portable: $(VENV)-portable/.built $(TESTS) ## run the tests with a build that has no locks, as on macOS and the BSDs
	$(call pytest,$(VENV)-portable,-m "not slow")

# libstdc++ is there for greenlet, whose C++ exceptions the sanitizer intercepts. capture=sys lets reports through, which
# pytest would hold and lose in the crash. Objects come from malloc, which the sanitizer watches, where there is a GIL;
# free-threaded builds insist on an allocator of their own.
preloaded = LD_PRELOAD="$$(for name in $(1) stdc++; do $(CC) -print-file-name=lib$$name.so; done | xargs)"
sanitized = $(call preloaded,asan ubsan) ASAN_OPTIONS=detect_leaks=0:handle_segv=2 UBSAN_OPTIONS=print_stacktrace=1 \
	PYTHONMALLOC=$(if $(filter %t,$(TAG)),default,malloc)

sanitize: $(VENV)-sanitize/.built $(TESTS) ## run the tests with the address and undefined-behaviour sanitizers
	$(sanitized) $(call pytest,$(VENV)-sanitize,--capture=sys -m "not slow")

fuzz-sanitize: $(VENV)-sanitize/.built $(TESTS) ## do anything with hostile objects under these sanitizers
	$(sanitized) $(VENV)-sanitize/bin/python tests/fuzz.py --seconds $(FUZZ_SECONDS) $(ARGS)

# The interpreter is instrumented too, for else the sanitizer sees nothing of how it guards its own objects. Only a build
# without the GIL has anything to tell: ./configure --disable-gil --with-thread-sanitizer. .ci/tsan.supp has what it says of itself.
FLAGS_tsan := -O1 -g -UNDEBUG -fsanitize=thread -fno-omit-frame-pointer

tsan: export TSAN_OPTIONS := suppressions=$(CURDIR)/.ci/tsan.supp:exitcode=66:history_size=7
tsan: instrumented $(VENV)-tsan/.built $(TESTS) ## fuzz with the thread sanitizer (PYTHON=path of a python3.13t that has it)
	$(VENV)-tsan/bin/python tests/fuzz.py --seconds $(FUZZ_SECONDS) $(ARGS)

.PHONY: instrumented
instrumented:
	@$(PYTHON) -c 'import sysconfig; options = sysconfig.get_config_var("CONFIG_ARGS") or ""; "--with-thread-sanitizer" in options or \
		exit("$(PYTHON) was not built by ./configure --disable-gil --with-thread-sanitizer: say with PYTHON=... which one was.")'

clean: ## remove everything that was built, installed or cached
	rm -rf .venv-* build dist docs/_build *.egg-info xctx/*.so xctx/*/*.so .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(PY):
	@echo "Setting up $(VENV)…"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -qq --upgrade 'pip>=25.1'
	@pwd > $$(echo $(VENV)/lib/python*/site-packages)/tree.pth

# Wheels are preferred to newer releases: some have none yet for a free-threaded build.
$(VENV)/.group-%: pyproject.toml | $(PY)
	@wanted="$$($(PY) tests/helpers/packages.py $*)"; test "$$wanted" = "$$(cat $@ 2>/dev/null)" || { \
		echo "Installing what the group '$*' of pyproject.toml names…"; \
		$(PY) -m pip install -qq --prefer-binary --group $*; \
	} && echo "$$wanted" >$@

$(VENV)/.built: $(COMPILED) $(VENV)/.group-build
	@$(PY) .ci/build.py
	@touch $@

$(VENV)-greenlet-%/.made: Makefile $(VENV)/.group-build
	$(PYTHON) -m venv --clear --without-pip $(VENV)-greenlet-$*
	site=$$(echo $(VENV)-greenlet-$*/lib/python*/site-packages) && \
		printf '%s\n' $(CURDIR) $(CURDIR)/$(VENV)/lib/python*/site-packages >$$site/borrowed.pth && \
		$(PY) -m pip install -qq --target $$site greenlet==$*
	@touch $@

$(VENV)-%/.built: $(PACKAGE) Makefile $(VENV)/.group-build
	$(PYTHON) -m venv --clear --without-pip $(VENV)-$*
	echo $(CURDIR)/$(VENV)/lib/python*/site-packages > $$(echo $(VENV)-$*/lib/python*/site-packages)/borrowed.pth
	CFLAGS="$(FLAGS_$*)" LDFLAGS="$(FLAGS_$*)" $(PY) .ci/build.py --temporary build/$*-$(TAG) \
		--into $$(echo $(VENV)-$*/lib/python*/site-packages)
	@touch $@
