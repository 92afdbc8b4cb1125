# librbe: neural networks whose linear layers are trained, stored and run in compressed form.
#
#   make                static and shared libraries, librbe and librbe_infer (include/rbe/infer.h), examples, rbe
#   make check          all tests, several at a time (as -j says, or one for each processor): the suites of tests/main.c
#                       and "programs", "programs_ranks", the command lines; SUITE="name ..." runs some of all these,
#                       make suites lists them
#   make sanitize       the suites under ASan and UBSan            (SUITE too)
#   make tsan           suites in which threads meet, "threads" and "parallel" first, under ThreadSanitizer (SUITE too)
#   make pressure       the library when memory is short: requests that fail, a limited address space
#                       (PRESSURE=--short: some of the cases)
#   make targets        exported models (rbe/export.h) for other machines: compilers, sizes, their tests in qemu
#                       (TARGETS="cortex-m4 s390x": only these)
#   make soak           trainings that are killed at random moments, on a disk that is full at times, and resumed
#                       (SOAK_SECONDS=60; SOAK_SEED=N repeats one)
#   make soak-ranks     with MPI=1: ranks that are killed, interrupted or different from the others (SOAK_TRIALS=50)
#   make fuzz           the readers of files against random damage (FUZZ_SECONDS=60 each; needs clang)
#   make demo           the main job: trains dense and compressed digits classifiers, draws the curves
#   make experiments    growth, pruning, block sizes: tables and pictures, on DATA=data
#   make bench          speed against OpenBLAS
#   make bench-codec    compression: memory, accuracy, speed
#   make bench-infer    librbe_infer against librbe: loading MODEL=file, a sample at a time
#   make install        into PREFIX=/usr/local, below DESTDIR=; make uninstall
#   make deb            Debian packages of the same, in BUILD/deb
#   make data           the digits in data/, made again
#   make format lint headers   the source: laid out, searched, each public header by itself
#   make exports        the names that the shared libraries export are those of src/*.symbols; make symbols writes these
#   make docs-check     runs every command and program of README.md and docs/, compares outputs, checks links and spelling,
#                       and that each public name has a text
#   make reference      BUILD/reference.html, made from the headers
#   make guide          the programs of docs/guide.md, in BUILD/guide
#   make clean          removes BUILD
#
# MPI=1 adds ranks that are processes of MPI (rbe/comm.h), of which MPICC=mpicc says where it is.
# V=1 shows the commands. DEBUG=1 makes another build, in build/debug, that checks its own work (src/base/assert.h) and
# aborts where it is wrong: make DEBUG=1 check. Everything that is made is in BUILD=build, one folder for each choice of
# flags; an object is made anew when they change there, and not when this file does.

BUILD ?= $(if $(DEBUG),build/debug,build)
VERSION := $(shell sed -n 's/^\#define RBE_VERSION_[A-Z]* //p' include/rbe/base.h | paste -sd.)
SOVERSION := $(shell sed -n 's/^\#define RBE_VERSION_MAJOR //p' include/rbe/base.h)

PACKAGES := openblas gsl zlib libcjson
PACKAGE_CFLAGS := $(shell pkg-config --cflags $(PACKAGES))
# GSL's own CBLAS, a hundred times slower, has the same names as OpenBLAS: it must not be linked.
PACKAGE_LIBS := $(filter-out -lgslcblas,$(shell pkg-config --libs $(PACKAGES)))
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Werror
OPTIMIZE ?= $(if $(DEBUG),-O1,-O3)
# -mtune=generic: tuning for znver3, which gcc 12 does by itself on Zen, halves the speed of the kernels.
# -fno-math-errno: without it no compiler vectorises the square roots of Adam.
OBJCOPY ?= objcopy
CFLAGS ?= $(OPTIMIZE) -g -mtune=generic -fno-math-errno
ALL_CFLAGS = -std=c11 $(WARNINGS) $(CFLAGS) -fopenmp-simd -pthread -fPIC -fvisibility=hidden -D_GNU_SOURCE \
             -Iinclude -Isrc $(PACKAGE_CFLAGS) $(SANITIZE) $(if $(DEBUG),-DRBE_DEBUG)
LIBS = $(PACKAGE_LIBS) $(MPI_LIBS) -lm -pthread

# What the compiler of MPI would add; its headers are not ours to warn about.
MPICC ?= mpicc
ifdef MPI
MPI_SHOWN := $(shell $(MPICC) -show)
$(if $(MPI_SHOWN),,$(error MPI=1 needs $(MPICC): scripts/deps.sh --mpi))
MPI_CFLAGS := -DRBE_MPI $(patsubst -I%,-isystem %,$(filter -I%,$(MPI_SHOWN)))
MPI_LIBS := $(filter -L% -l% -Wl%,$(MPI_SHOWN))
endif

SOURCES := $(filter-out src/infer/%,$(wildcard src/*/*.c))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(BUILD)/snippets.o
EXAMPLE_SHARED := $(wildcard examples/common.c examples/openblas.c examples/experiment.c examples/recipe.c \
                             examples/budget.c examples/resume.c examples/character.c examples/tensors.c \
                             examples/draw_layer.c examples/gnuplot.c examples/compression.c examples/sweep.c \
                             examples/thresholds.c examples/table.c)
EXAMPLES := $(patsubst examples/%.c,$(BUILD)/examples/%,$(filter-out $(EXAMPLE_SHARED),$(wildcard examples/*.c)))
EXAMPLE_COMMON := $(EXAMPLE_SHARED:%.c=$(BUILD)/%.o)
COMMANDS := $(shell sed -n 's/^    X("[a-z-]*", \([a-z_]*\), ".*").*/\1/p' tools/rbe.c)
TESTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/*.c))
BENCH_SHARED := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/bench/bench_%,$(wildcard tests/bench/*.c)))
STATIC := $(BUILD)/librbe.a
SHARED := $(BUILD)/librbe.so.$(VERSION)
INFER_STATIC := $(BUILD)/librbe_infer.a
INFER_SHARED := $(BUILD)/librbe_infer.so.$(VERSION)

# $(call say,CC,FILE) in front of a command that only V=1 shows.
Q := $(if $(filter 1,$(V)),,@)
say = @$(if $(Q),printf '  %-3s %s\n' '$(1)' '$(2)',:)

.PHONY: all examples check suites run-suites sanitize tsan pressure targets soak soak-ranks fuzz run-fuzzers demo
.PHONY: experiments bench bench-codec bench-infer install uninstall deb format lint headers exports symbols docs-check
.PHONY: reference guide data clean FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: $(STATIC) $(SHARED) $(INFER_STATIC) $(INFER_SHARED) examples $(BUILD)/rbe

# ---- the library -------------------------------------------------------------------------------------------------

AVX512 := -mavx512f -mavx512vl -mavx512dq -mavx512bw -mavx2 -mfma
AVX2 := -mavx2 -mfma
$(BUILD)/%_avx512.o: ISA_FLAGS = $(AVX512)
$(BUILD)/%_avx2.o: ISA_FLAGS = $(AVX2)
# Kernels take a quarter of the time of a build, so both libraries have the same objects of them; the linker of the small
# one drops what it does not need. What would make them larger and slower to compile is left out: a copy of a recursive
# transform for every length; where variables are, for debuggers; vectorising what is written in vectors. The panels have a
# loop that needs the vectoriser (lists.h).
SPLIT := -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables
accepted = $(shell for f in $(1); do $(CC) -Werror $$f -fsyntax-only -x c /dev/null 2> /dev/null && echo $$f; done)
QUICK := $(call accepted,-fno-ipa-cp-clone) $(if $(DEBUG),,-g1)
PLAIN := $(call accepted,-fno-tree-vectorize -fno-tree-pre)
# Nobody looks at the floating-point exceptions of an operation: so a loop with a choice in it becomes vectors. clang would
# fuse products with sums where there is an instruction for it: other bits on each machine.
$(BUILD)/src/tensor/%.o $(BUILD)/src/data/warp_%.o: CFLAGS += -fno-trapping-math -ffp-contract=off
$(BUILD)/src/comm/mpi.o $(BUILD)/tests/test_ranks_fail.o: CFLAGS += $(MPI_CFLAGS)
$(BUILD)/src/kernels/methods_%.o: CFLAGS += $(SPLIT) $(QUICK)
$(BUILD)/src/kernels/narrow_%.o: CFLAGS += $(SPLIT) $(QUICK) $(PLAIN)

# All that commands are made of, and what MPI adds to two of them; written when it differs from last time.
FLAGS = $(CC) $(AR) $(ALL_CFLAGS) $(AVX512) $(AVX2) $(QUICK) $(PLAIN) $(INSTRUMENT) $(SPLIT) $(LDFLAGS) \
    $(PACKAGE_LIBS)
MPI_FLAGS = $(MPI_CFLAGS) $(MPI_LIBS)
$(BUILD)/flags: TEXT = $(FLAGS)
$(BUILD)/mpi_flags: TEXT = $(MPI_FLAGS)
$(BUILD)/flags $(BUILD)/mpi_flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(TEXT))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(TEXT))' > $@
$(BUILD)/src/comm/mpi.o $(BUILD)/tests/test_ranks_fail.o: $(BUILD)/mpi_flags

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) $(ISA_FLAGS) -MMD -MP -c $< -o $@

# The routines of exported files: each text in snippets/ as a string.
SNIPPETS := $(sort $(wildcard src/export/snippets/*.c))
$(BUILD)/snippets.c: $(SNIPPETS) Makefile
	@mkdir -p $(@D)
	@{ echo '#include "export/snippets.h"'; for f in $(SNIPPETS); do \
	    echo "const char rbe_snippet_$$(basename $$f .c)[] ="; \
	    sed -e 's/[\\"]/\\&/g' -e 's/.*/    "&\\n"/' $$f; echo '    ;'; done; } > $@

$(BUILD)/snippets.o: $(BUILD)/snippets.c $(BUILD)/flags
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(STATIC): $(OBJECTS)
	$(call say,AR,$@)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(SHARED): $(OBJECTS)
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-soname,librbe.so.$(SOVERSION) $(LDFLAGS) $(SANITIZE) $^ $(LIBS) -o $@
	@ln -sf $(notdir $@) $(BUILD)/librbe.so.$(SOVERSION)
	@ln -sf $(notdir $@) $(BUILD)/librbe.so

# ---- the small library: src/infer/ in the place of OpenBLAS, GSL, cJSON and zlib ----------------------------------

# Compiled a second time, but for the kernels. src/infer/make_tables.c is a program for the build.
INFER_SOURCES := $(filter-out src/infer/make_tables.c,$(wildcard src/infer/*.c)) \
    $(addprefix src/base/,alloc.c arena.c failure.c gemm.c input_file.c parallel.c status.c threads.c utf8.c warning.c) \
    $(addprefix src/tensor/,loops.c loops_portable.c loops_avx2.c loops_avx512.c ops_activation.c ops_arithmetic.c \
        ops_attention.c ops_context.c ops_dropout.c ops_gather.c ops_join.c ops_matmul.c ops_norm.c ops_rotary.c \
        ops_shape.c ops_softmax.c tape.c tensor.c) \
    $(addprefix src/codec/,basis.c blocks.c blocks_check.c geometry.c positions.c quantise.c rows.c side.c transform.c) \
    $(addprefix src/kernels/,batch.c isa.c plan.c small_batch.c) \
    $(addprefix src/nn/,attention.c bits.c container.c dense.c dropout.c embedding.c kinds.c layer.c linear.c \
        linear_product.c model.c norm.c operation.c param.c parameter.c) \
    $(addprefix src/io/,bit_stream.c blocks_read.c convert.c golomb_code.c json.c layer_read.c metadata.c model_read.c \
        packed_code.c packed_read.c positions_code.c positions_golomb.c range_code.c safetensors_open.c \
        safetensors_read.c source.c store.c store_float.c store_int8.c) \
    src/data/text.c src/gpt/generator.c src/gpt/sample.c src/train/memory.c src/train/predict.c
INFER_OBJECTS := $(INFER_SOURCES:%.c=$(BUILD)/infer/%.o) $(BUILD)/infer/tables.o \
    $(patsubst %.c,$(BUILD)/%.o,$(wildcard src/kernels/methods_*.c src/kernels/narrow_*.c))
INFER_FUNCTIONS := $(shell sed -n 's/^    X(\(rbe_[a-z0-9_]*\)).*/\1/p' include/rbe/infer.h)

# What takes the time, the loops of each instruction set, is compiled as in the full library, the rest for -O2.
$(BUILD)/infer/%.o: private CFLAGS := $(subst -O3,-O2,$(CFLAGS))
$(BUILD)/infer/%_portable.o $(BUILD)/infer/%_avx2.o $(BUILD)/infer/%_avx512.o: private CFLAGS += $(OPTIMIZE)
$(BUILD)/infer/src/tensor/%.o: private CFLAGS += -fno-trapping-math -ffp-contract=off

$(BUILD)/infer/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -DRBE_INFER $(SPLIT) $(ISA_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/make_tables: $(BUILD)/src/infer/make_tables.o $(STATIC)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $(SANITIZE) $^ $(LIBS) -o $@

$(BUILD)/infer/tables.c: $(BUILD)/make_tables
	@mkdir -p $(@D)
	$(Q)$< > $@

$(BUILD)/infer/tables.o: $(BUILD)/infer/tables.c
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -DRBE_INFER $(SPLIT) -c $< -o $@

# One object of what its functions need: the rest of the sources, and what that would need, is dropped, and no other names
# can be seen.
$(BUILD)/infer/whole.o: $(INFER_OBJECTS) include/rbe/infer.h
	$(call say,LD,$@)
	$(Q)$(CC) -r -nostdlib -Wl,--gc-sections $(INFER_FUNCTIONS:%=-Wl,-u,%) $(INFER_OBJECTS) -o $@
	$(Q)$(OBJCOPY) --wildcard --strip-unneeded-symbol='rbe_*' $(INFER_FUNCTIONS:%=--keep-symbol=%) \
	    $(INFER_FUNCTIONS:%=--keep-global-symbol=%) $@

$(INFER_STATIC): $(BUILD)/infer/whole.o
	$(call say,AR,$@)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(INFER_SHARED): $(BUILD)/infer/whole.o
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-Bsymbolic -Wl,-soname,librbe_infer.so.$(SOVERSION) $(LDFLAGS) $(SANITIZE) $^ -lm -pthread -o $@
	@ln -sf $(notdir $@) $(BUILD)/librbe_infer.so.$(SOVERSION)
	@ln -sf $(notdir $@) $(BUILD)/librbe_infer.so

# ---- programs ----------------------------------------------------------------------------------------------------

examples: $(EXAMPLES)

$(BUILD)/examples/%: $(BUILD)/examples/%.o $(EXAMPLE_COMMON) $(STATIC)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $(SANITIZE) $^ $(LIBS) -o $@

# The examples as commands of one program (tools/rbe.c): their objects, in which main has another name.
$(BUILD)/commands/%.o: $(BUILD)/examples/%.o
	@mkdir -p $(@D)
	$(Q)$(OBJCOPY) --redefine-sym main=$*_main $< $@

$(BUILD)/rbe: $(BUILD)/tools/rbe.o $(COMMANDS:%=$(BUILD)/commands/%.o) $(EXAMPLE_COMMON) $(STATIC)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $(SANITIZE) $^ $(LIBS) -o $@

$(BUILD)/bench/%: $(BUILD)/tests/bench/%.o $(BENCH_SHARED) $(EXAMPLE_COMMON) $(STATIC)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $(SANITIZE) $^ $(LIBS) -o $@

CHECK_LIBS := $(shell pkg-config --libs check 2>/dev/null)
# The small library's products are tested by themselves; the rest of it is loaded (tests/test_infer.c).
INFER_PRODUCTS := $(patsubst %.c,$(BUILD)/infer/%.o,$(wildcard src/infer/multiply_*.c))
$(BUILD)/tests/run: $(TESTS) $(BUILD)/tests/bench/infer_library.o $(INFER_PRODUCTS) $(STATIC)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $(SANITIZE) $^ $(CHECK_LIBS) $(LIBS) -o $@

# The library when memory is short, in a program whose malloc fails; PRESSURE=--short runs some of the cases.
PRESSURE ?=
PRESSURE_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/memory/*.c))
$(BUILD)/tests/pressure: $(PRESSURE_OBJECTS) $(STATIC)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $^ $(LIBS) -o $@

pressure: $(BUILD)/tests/pressure
	$< $(PRESSURE)

# Exported models on other machines: tests/targets.sh, which says what it needs.
TARGETS ?=
$(BUILD)/tests/make_models: $(BUILD)/tests/targets/make_models.o $(STATIC)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $(SANITIZE) $^ $(LIBS) -o $@

targets: $(BUILD)/tests/make_models $(BUILD)/examples/export_c $(BUILD)/examples/train_digits
	sh tests/targets.sh $(BUILD) $(TARGETS)

# Kills, full disks and resumes: the bytes of trainings that nothing happened to; SOAK_SEED repeats a run.
SOAK_SECONDS ?= 60
SOAK_SEED ?=
soak: $(BUILD)/examples/train_digits
	SOAK_SECONDS=$(SOAK_SECONDS) SOAK_SEED=$(SOAK_SEED) sh tests/soak.sh $(BUILD)

# Ranks that are killed, interrupted or different from the others; needs MPI=1.
SOAK_TRIALS ?= 50
soak-ranks: $(BUILD)/examples/train_digits $(BUILD)/examples/make_digits
	SOAK_TRIALS=$(SOAK_TRIALS) SOAK_SEED=$(SOAK_SEED) sh tests/soak_ranks.sh $(BUILD)

# Command lines, tested by tests/NAME.sh, then the suites of libcheck. Those that take longest begin first.
SCRIPTS := programs programs_ranks
SLOW := export faults checkpoint io parallel
SUITES := $(SCRIPTS) $(SLOW) \
    $(filter-out $(SLOW),$(shell sed -n 's/^    {"\([a-z_]*\)", [a-z_]*_suite},$$/\1/p' tests/main.c))
SUITE ?= $(SUITES)

suites:
	@echo $(SUITES)

# What these scripts run.
PROGRAMS = examples $(BUILD)/rbe $(BUILD)/bench/bench_linear $(BUILD)/bench/bench_gpt $(BUILD)/bench/bench_ranks $(BUILD)/bench/bench_infer $(SHARED) $(INFER_SHARED) \
    $(INFER_STATIC)

check: $(BUILD)/tests/run $(BUILD)/tests/pressure $(PROGRAMS) headers exports run-suites

# Several at a time, each with its output in one piece; at the end the sum of what they counted.
SUITE_LOGS = $(SUITE:%=$(BUILD)/check/%.log)
run-suites: $(BUILD)/tests/run $(if $(filter $(SCRIPTS),$(SUITE)),$(PROGRAMS)) $(if $(filter infer,$(SUITE)),$(INFER_SHARED))
	@mkdir -p $(BUILD)/check
	@rm -f $(SUITE_LOGS)
	@status=0; \
	$(MAKE) --no-print-directory --keep-going --output-sync=target \
	    $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc)) $(SUITE:%=run-suite-%) || status=1; \
	awk -F '[^0-9]+' -f tests/summary.awk $(SUITE_LOGS); exit $$status

RUN_AND_SHOW = > $(BUILD)/check/$*.log 2>&1; status=$$?; cat $(BUILD)/check/$*.log; exit $$status
run-suite-%: FORCE
	@$(if $(filter $(SCRIPTS),$*),sh tests/$*.sh $(BUILD),$(if $(ONE_PROCESS),CK_FORK=no )$(BUILD)/tests/run $*) $(RUN_AND_SHOW)

SANITIZERS = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# A process looks for leaks when it ends, which takes 0.1 s: the tests of a suite share one. Each of "infer" needs its own.
run-suite-%: ONE_PROCESS = $(filter-out infer,$(if $(findstring address,$(SANITIZE)),$*))
sanitize:
	@$(MAKE) BUILD=$(BUILD)/sanitize OPTIMIZE=-O1 SANITIZE="$(SANITIZERS)" SUITE="$(filter-out $(SCRIPTS),$(SUITE))" run-suites

# What the caller's own threads do at once, and the library's. Not "processes": ThreadSanitizer does not follow forks.
TSAN_SUITE = $(if $(filter command line environment,$(origin SUITE)),$(SUITE),threads parallel predict augment ranks)
tsan:
	@TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 $(MAKE) BUILD=$(BUILD)/tsan OPTIMIZE=-O1 \
	    SANITIZE="-fsanitize=thread" SUITE="$(TSAN_SUITE)" run-suites

# The readers of files against random damage, FUZZ_SECONDS each; needs clang. The kernels are not instrumented: that
# takes clang minutes.
FUZZ_SECONDS ?= 60
FUZZ_FLAGS = -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
             -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION -Wno-pass-failed
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

fuzz:
	$(MAKE) CC=clang BUILD=$(BUILD)/fuzz OPTIMIZE=-O1 INSTRUMENT="$(FUZZ_FLAGS)" run-fuzzers

run-fuzzers: $(FUZZERS:%=$(BUILD)/fuzz_%) $(BUILD)/make_corpus
	$(BUILD)/make_corpus $(BUILD)/corpus
	@for f in $(FUZZERS); do \
	    echo "fuzz_$$f: $(FUZZ_SECONDS) seconds"; \
	    mkdir -p $(BUILD)/corpus/found_$$f; \
	    dictionary=tests/fuzz/$$f.dict; [ -e $$dictionary ] && dictionary=-dict=$$dictionary || dictionary=; \
	    $(BUILD)/fuzz_$$f -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=10 -rss_limit_mb=2048 $$dictionary \
	        -print_final_stats=1 -artifact_prefix=$(BUILD)/ $(BUILD)/corpus/found_$$f $(BUILD)/corpus/$$f \
	        > $(BUILD)/fuzz_$$f.log 2>&1 || { tail -n 40 $(BUILD)/fuzz_$$f.log; exit 1; }; \
	    grep number_of_executed_units $(BUILD)/fuzz_$$f.log; \
	done

$(foreach room,base codec data io train,$(filter $(BUILD)/src/$(room)/%,$(OBJECTS))): CFLAGS += $(INSTRUMENT)
$(BUILD)/tests/fuzz/%.o: CFLAGS += $(INSTRUMENT)

FUZZ_SHARED := $(BUILD)/tests/fuzz/memory.o $(BUILD)/tests/fuzz/training.o
$(BUILD)/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(FUZZ_SHARED) $(STATIC)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $(INSTRUMENT) -fsanitize=fuzzer $^ $(LIBS) -o $@

$(BUILD)/make_corpus: $(BUILD)/tests/fuzz/make_corpus.o $(FUZZ_SHARED) $(STATIC)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $(INSTRUMENT) $^ $(LIBS) -o $@

demo: examples
	sh scripts/demo.sh $(BUILD)

DATA ?= data
experiments: examples
	sh scripts/experiments.sh $(BUILD) out $(DATA)

# The digits in data/, byte for byte (with the same zlib).
data: $(BUILD)/examples/make_digits
	$< --train 6000 --test 1000 --seed 1 --out data

bench: $(BUILD)/bench/bench_linear $(BUILD)/bench/bench_gpt
	sh scripts/bench.sh $(BUILD)
	OPENBLAS_NUM_THREADS=1 $(BUILD)/bench/bench_gpt
	OPENBLAS_NUM_THREADS=1 $(BUILD)/bench/bench_gpt --width 512

# The small library against the full one, on MODEL.
bench-infer: $(BUILD)/bench/bench_infer $(INFER_SHARED)
	OPENBLAS_NUM_THREADS=1 $< $(MODEL)

bench-codec: $(BUILD)/bench/bench_codec
	sh scripts/bench_codec.sh $(BUILD)

# ---- installation ------------------------------------------------------------------------------------------------

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/rbe
STRIP ?= strip

# What @NAMES@ stand for in scripts/*.in; the CMake files find the headers from where they are.
FILL = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@SOVERSION@|$(SOVERSION)|' \
    -e 's|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR:$(PREFIX)/%=$${prefix}/%)|' \
    -e 's|@PACKAGES@|$(PACKAGES)|' -e 's|@MPI_LIBS@|$(MPI_LIBS)|' \
    -e "s|@INCLUDE_FROM_CMAKE@|$$(realpath -m --relative-to=$(LIBDIR)/cmake/rbe $(INCLUDEDIR))|"

$(BUILD)/man/rbe.1: $(BUILD)/rbe scripts/manpages.sh scripts/manpages.awk
	$(Q)sh scripts/manpages.sh $< $(@D)

install: $(STATIC) $(SHARED) $(INFER_STATIC) $(INFER_SHARED) $(BUILD)/rbe $(BUILD)/man/rbe.1
	$(call say,INSTALL,$(DESTDIR)$(PREFIX))
	$(Q)install -d $(addprefix $(DESTDIR),$(BINDIR) $(LIBDIR)/pkgconfig $(LIBDIR)/cmake/rbe $(INCLUDEDIR)/rbe $(MANDIR)/man1 \
	    $(DOCDIR)/examples $(PREFIX)/share/rbe)
	$(Q)install -m 755 -s --strip-program=$(STRIP) $(BUILD)/rbe $(DESTDIR)$(BINDIR)
	$(Q)install -m 644 include/rbe/*.h $(DESTDIR)$(INCLUDEDIR)/rbe
	$(Q)install -m 644 $(STATIC) $(INFER_STATIC) $(SHARED) $(INFER_SHARED) $(DESTDIR)$(LIBDIR)
	$(Q)cd $(DESTDIR)$(LIBDIR) && $(STRIP) --strip-debug librbe.a librbe_infer.a && \
	    $(STRIP) --strip-unneeded $(notdir $(SHARED) $(INFER_SHARED))
	$(Q)for l in librbe librbe_infer; do \
	    ln -sf $$l.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$$l.so.$(SOVERSION) && \
	    ln -sf $$l.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/$$l.so || exit 1; \
	done
	$(Q)for f in pkgconfig/rbe.pc pkgconfig/rbe_infer.pc cmake/rbe/rbe-config.cmake cmake/rbe/rbe-config-version.cmake; do \
	    $(FILL) scripts/$${f##*/}.in > $(DESTDIR)$(LIBDIR)/$$f || exit 1; \
	done
	$(Q)install -m 644 $(BUILD)/man/rbe*.1 $(DESTDIR)$(MANDIR)/man1
	$(Q)install -m 644 python/rbe_reader.py $(DESTDIR)$(PREFIX)/share/rbe
	$(Q)install -m 644 $(wildcard *.md) LICENSE $(DESTDIR)$(DOCDIR)
	$(Q)cd docs && find . -type f -exec install -D -m 644 {} $(abspath $(DESTDIR)$(DOCDIR))/{} \;
	$(Q)install -m 644 examples/*.[ch] $(DESTDIR)$(DOCDIR)/examples
	@$(if $(DESTDIR),:,ldconfig -p 2> /dev/null | grep -q '=> $(LIBDIR)/librbe\.so\.$(SOVERSION)$$' || \
	    echo "Programs find $(LIBDIR)/librbe.so.$(SOVERSION) after ldconfig (as root), or with LD_LIBRARY_PATH=$(LIBDIR)")

uninstall:
	$(call say,UNINSTALL,$(DESTDIR)$(PREFIX))
	$(Q)rm -rf $(addprefix $(DESTDIR),$(INCLUDEDIR)/rbe $(PREFIX)/share/rbe $(DOCDIR) $(LIBDIR)/cmake/rbe)
	$(Q)rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,librbe.* librbe_infer.* pkgconfig/rbe.pc pkgconfig/rbe_infer.pc)
	$(Q)rm -f $(DESTDIR)$(BINDIR)/rbe $(DESTDIR)$(MANDIR)/man1/rbe.1 $(DESTDIR)$(MANDIR)/man1/rbe-*.1

DEB_LIBDIR = /usr/lib/$(shell dpkg-architecture -qDEB_HOST_MULTIARCH)
deb:
	$(Q)rm -rf $(BUILD)/deb
	$(Q)$(MAKE) --no-print-directory install DESTDIR=$(abspath $(BUILD)/deb/all) PREFIX=/usr LIBDIR=$(DEB_LIBDIR) \
	    DOCDIR=/usr/share/doc/librbe-dev
	$(Q)sh scripts/deb.sh $(BUILD)

# ---- care of the source --------------------------------------------------------------------------------------------

C_FILES := $(wildcard include/rbe/*.h src/*/*.[ch] examples/*.[ch] examples/*/*.[ch] tools/*.[ch] tests/*.[ch] \
    tests/*/*.[ch])

format:
	clang-format -i $(C_FILES)

lint:
	clang-format --dry-run -Werror $(C_FILES)
	cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr --enable=warning,portability \
	    --suppress=missingIncludeSystem -Iinclude -Isrc src examples tools
	shellcheck -x scripts/*.sh tests/*.sh .ci/run

# Every public header compiles by itself, as C11 and as C++11; so does an operation of a user's own. A program that adds
# layers and an optimiser needs nothing else.
headers:
	@for h in include/rbe/*.h tests/swish.c; do \
	    echo "#include \"$${h#include/}\"" | $(CC) -std=c11 -Wall -Wextra -Wpedantic -Werror -Iinclude -I. -fsyntax-only -x c - && \
	    echo "#include \"$${h#include/}\"" | $(CXX) -std=c++11 -Wall -Wextra -Wpedantic -Werror -Iinclude -I. -fsyntax-only -x c++ - \
	    || exit 1; done
	@$(CC) -std=c11 -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only examples/extend.c

# What programs may be linked with (versions: include/rbe/base.h).
NAMES = LC_ALL=C nm -D --defined-only --format=posix $(1) | cut -d ' ' -f 1 | LC_ALL=C sort
exports: $(SHARED) $(INFER_SHARED)
	@for l in librbe librbe_infer; do \
	    $(call NAMES,$(BUILD)/$$l.so) | diff -U 0 src/$$l.symbols - || \
	    { echo "$$l.so exports other names than src/$$l.symbols; if that is meant: make symbols" >&2; exit 1; }; done

symbols: $(SHARED) $(INFER_SHARED)
	@for l in librbe librbe_infer; do $(call NAMES,$(BUILD)/$$l.so) > src/$$l.symbols; done

# ---- documents -----------------------------------------------------------------------------------------------------

docs-check: $(STATIC) $(SHARED) $(INFER_STATIC) $(INFER_SHARED) examples $(BUILD)/bench/bench_linear \
    $(BUILD)/bench/bench_codec $(BUILD)/bench/bench_gpt
	python3 scripts/reference.py --check $(SHARED)
	python3 scripts/docs_check.py --build $(BUILD)

reference:
	python3 scripts/reference.py $(BUILD)/reference.html

guide:
	python3 scripts/docs_check.py --extract docs/guide.md $(BUILD)/guide

clean:
	rm -rf $(BUILD)

-include $(OBJECTS:.o=.d) $(INFER_OBJECTS:.o=.d) $(BUILD)/src/infer/make_tables.d $(patsubst %.c,$(BUILD)/%.d,$(wildcard examples/*.c tools/*.c tests/*.c tests/*/*.c))
