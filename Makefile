# demo: a workflow on a fake claude, without an account and without cost.   test: the suite, on that fake claude.
# long: the tests that take more than a few seconds each.   real: the tests on the real claude, in each generation of the list.
# soak: the longest tests.   check: format, lints, documentation, packages, layers, prose.   fuzz: random input for each parser.
# figures: prose and shape of the sources.   coverage: of the suite.   bench: the cost of zen beside its alternatives.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
REAL_CLAUDE = target/claude

.PHONY: demo test long real fuzz soak coverage bench check figures static reproducible install real-claude clean

demo:
	@$(CARGO) build --quiet --package zen --bin zen --package zen-harness --bin fake-claude
	@echo 'A workflow of four instances, on a fake claude: no account, no cost, half a minute.'
	@echo 'The same with the real claude:  target/debug/zen --config fixtures/sequential_workflow.json --startup-delay 3'
	@echo
	@ZEN_CLAUDE=target/debug/fake-claude IS_SANDBOX=1 HOME=$$(mktemp -d) target/debug/zen \
		--config fixtures/sequential_workflow.json --workspace fixtures/demo \
		--startup-delay 3 --status-report-interval 4 --no-logs

# Tests of a few seconds and more, by parts of their names.
LONG_TESTS = faults::floods:: faults::pipes:: attacks::escapes:: attacks::lost_signals:: attacks::crowded:: \
	signals::suspended:: a_suspension_longer the_summary_is_never_lost slow_rename large_configs_full layered_config \
	each_example_config_runs processes_of_another_user_are_reported wait_for_a_first_message_is_bounded cleared_session_continues \
	many_waiting_instances_share stream_with_any_field_missing_or_wrong

# Uses the same random cases each time; `make fuzz` tries new ones.
test: export PROPTEST_RNG_SEED ?= 1
test:
	$(CARGO) test --quiet --workspace -- --test-threads 6 --skip ::real_ $(LONG_TESTS:%=--skip %)

long:
	ZEN_SIMULATED_RUNS=100000 $(CARGO) test --quiet --lib engine::simulation
	$(CARGO) test --quiet --test e2e --test fuzz_corpora -- --test-threads 4 --skip ::real_ $(LONG_TESTS)

real: real-claude
	$(CARGO) test --quiet --test e2e ::real_ -- --test-threads 2

# The real CLI in each generation of the list, or one. Exit status 3 says that it cannot be had here, which is no failure.
real-claude:
	@sh .ci/install-claude $(REAL_CLAUDE) || [ $$? = 3 ]

# FUZZ_SECONDS=1200 tries longer. Needs a C++ compiler.
FUZZ_SECONDS ?= 60
fuzz:
	PROPTEST_CASES=3000 $(CARGO) test --quiet --lib
	@CARGO='$(CARGO)' sh tests/fuzz/run $(FUZZ_SECONDS)

# On the binary as it is shipped: ten thousand instances, ten million lines, a hundred deaths of zen.
soak: real-claude
	$(CARGO) test --release --test e2e -- --ignored --test-threads 1 --nocapture

# How much of src the suite runs, without the real CLI. Needs cargo-tarpaulin (cargo install cargo-tarpaulin), and no LLVM.
coverage:
	$(CARGO) tarpaulin --engine llvm --follow-exec --implicit-test-threads --no-fail-fast --skip-clean --timeout 1800 \
		--target-dir target/coverage --objects target/coverage/debug/zen --include-files 'src/*' --out Lcov --output-dir target/coverage \
		-- --skip ::real_ --test-threads 8

# Prose, code shape and imports of the sources, with the limits that the suite holds them to.
figures:
	@$(CARGO) test --quiet --test source -- --nocapture

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --quiet --no-deps --document-private-items
	@CARGO='$(CARGO)' sh .ci/check-packages
	$(CARGO) test --quiet --test source

# Writes the cost of zen and of its alternatives to target/bench.md; ROWS=memory,idle measures only these rows. netra-zen is one
# of the alternatives if it can be installed.
bench:
	@sh .ci/install-netra-zen target/netra-zen || [ $$? = 3 ]
	$(CARGO) bench --quiet --bench bench

# One file that runs anywhere: with musl by the program that MUSL_BUILDER names, or where that target is installed; else
# with a static glibc. The tests run on it with ZEN_BINARY naming that file.
static:
	@sh .ci/build-static target/static/zen

# The same bytes from two directories, without a path of the builder. Two release builds from nothing.
reproducible:
	@sh .ci/check-reproducible

install:
	RUSTC_WRAPPER='$(CURDIR)/.ci/rustc-remapped' $(CARGO) build --release --locked --bin zen
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 target/release/zen $(DESTDIR)$(PREFIX)/bin/zen
	install -m 644 man/zen.1 $(DESTDIR)$(PREFIX)/share/man/man1/zen.1

clean:
	$(CARGO) clean
