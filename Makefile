# Chancery. GNU make; `make help` lists the targets.
#
#   B=dev|asan|release   build variant, in .build/$(B)        CC=gcc|clang

B ?= dev
CC = gcc
OUT = .build/$(B)
VERSION = 0.1

PREFIX ?= /usr/local
LIBEXEC = $(PREFIX)/libexec/chancery

LIBS_base = sqlite3 libgcrypt libuv libconfuse
LIBS_compliance = jansson
# Of the role anchor alone: what goes out to witnesses and authorities.
LIBS_anchor = libcurl libcrypto
LIBS_server = libosip2 gnutls libxml-2.0 jansson
LIBS_adapters = jansson libxml-2.0 libarchive
LIBS_export = jansson libxml-2.0 libarchive libcrypto

CFLAGS_dev = -O2 -g -Werror
CFLAGS_asan = -O1 -g -Werror -fsanitize=address,undefined \
	-fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_release = -O2 -g -D_FORTIFY_SOURCE=2
LDFLAGS_asan = -fsanitize=address,undefined

WARN = -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla
CPPFLAGS += -I. -D_GNU_SOURCE -DCHANCERY_VERSION='"$(VERSION)"' \
	-DCHANCERY_LIBEXEC='"$(LIBEXEC)"'
CFLAGS = -std=c17 $(WARN) -fstack-protector-strong -fPIE $(CFLAGS_$(B)) \
	$(CFLAGS_EXTRA)
LDFLAGS = -pie -Wl,-z,relro,-z,now $(LDFLAGS_$(B))

comma = ,
pkg_cflags = $(if $(1),$(shell pkg-config --cflags $(1)))
pkg_libs = $(if $(1),$(shell pkg-config --libs $(1)))

# Files with a main() of their own; all others go into their folder's library.
PROGRAM_SRC = server/chanceryd.c server/chancery.c \
	adapters/xml.c adapters/syslog.c adapters/tarball.c adapters/sample.c \
	export/chancery-export.c export/chancery-verify.c \
	export/chancery-witness.c
PROGRAMS = $(OUT)/chanceryd $(OUT)/chancery $(OUT)/chancery-export \
	$(OUT)/chancery-verify $(OUT)/chancery-witness $(OUT)/libexec/xml \
	$(OUT)/libexec/syslog $(OUT)/libexec/tarball $(OUT)/libexec/sample

FOLDERS = base compliance server adapters export
src = $(filter-out $(PROGRAM_SRC),$(wildcard $(1)/*.c))
obj = $(patsubst %.c,$(OUT)/%.o,$(1))
lib = $(OUT)/$(1).a

all: $(PROGRAMS)

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(PKG_$(firstword $(subst /, ,$*))) $(CFLAGS) \
	    -MMD -MP -c -o $@ $<

# The folder of the adapters is in the configuration's defaults.
$(OUT)/libexec.dir: FORCE
	@mkdir -p $(@D)
	@echo '$(LIBEXEC)' | cmp -s - $@ || echo '$(LIBEXEC)' > $@
$(OUT)/base/conf.o: $(OUT)/libexec.dir

PKG_base := $(call pkg_cflags,$(LIBS_base))
PKG_compliance := $(PKG_base) $(call pkg_cflags,$(LIBS_compliance) $(LIBS_anchor))
PKG_server := $(PKG_base) $(call pkg_cflags,$(LIBS_server))
PKG_adapters := $(PKG_base) $(call pkg_cflags,$(LIBS_adapters) relp)
PKG_export := $(PKG_base) $(call pkg_cflags,$(LIBS_export))
PKG_tests := $(PKG_base) $(PKG_compliance) $(PKG_server) $(PKG_adapters) \
	$(call pkg_cflags,cmocka)
L_base := $(call pkg_libs,$(LIBS_base))
L_compliance := $(call pkg_libs,$(LIBS_compliance))
L_anchor := $(call pkg_libs,$(LIBS_anchor))
L_server := $(call pkg_libs,$(LIBS_server))
L_adapters := $(call pkg_libs,$(LIBS_adapters))
L_export := $(call pkg_libs,$(LIBS_export))
L_witness := $(call pkg_libs,libmicrohttpd)

define folder_library
$(OUT)/$(1).a: $(call obj,$(call src,$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	$(AR) rcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call folder_library,$(f))))

link = $(CC) $(CFLAGS) $(LDFLAGS) -o $@

# What a program links is what it may use: verify has nothing of compliance/.
$(OUT)/chanceryd: $(OUT)/server/chanceryd.o $(call lib,server) \
    $(call lib,compliance) $(call lib,base)
	$(link) $^ $(L_server) $(L_compliance) $(L_anchor) $(L_base)
$(OUT)/chancery: $(OUT)/server/chancery.o $(call lib,server) \
    $(call lib,compliance) $(call lib,base)
	$(link) $^ $(L_server) $(L_compliance) $(L_base)
$(OUT)/chancery-export: $(OUT)/export/chancery-export.o $(call lib,export) \
    $(call lib,compliance) $(call lib,base)
	$(link) $^ $(L_export) $(L_compliance) $(L_base)
$(OUT)/chancery-verify: $(OUT)/export/chancery-verify.o $(call lib,export) \
    $(call lib,base)
	$(link) $^ $(L_export) $(L_base)
$(OUT)/chancery-witness: $(OUT)/export/chancery-witness.o $(call lib,export) \
    $(call lib,base)
	$(link) $^ $(L_witness) $(L_base)
# librelp is GPL-3: it is linked into this one program.
$(OUT)/libexec/syslog: L_extra = $(call pkg_libs,relp gnutls)
$(OUT)/libexec/%: $(OUT)/adapters/%.o $(call lib,adapters) \
    $(call lib,compliance) $(call lib,base)
	@mkdir -p $(@D)
	$(link) $^ $(L_adapters) $(L_extra) $(L_base)

# Unit tests and micro-benchmarks: one program per file, with every library.
UNIT = $(patsubst %.c,$(OUT)/%,$(wildcard tests/unit/*.c))
all_libs = $(foreach f,$(FOLDERS),$(call lib,$(f)))
link_all = $(link) $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) \
	-Wl,--end-group $(L_server) $(L_adapters) $(L_export) $(L_anchor) \
	$(L_base)
$(OUT)/tests/unit/%: $(OUT)/tests/unit/%.o $(all_libs)
	$(link_all) $(call pkg_libs,cmocka)
# Tests that stand between the code and what it calls.
$(OUT)/tests/unit/test_base: LDFLAGS += $(addprefix -Wl$(comma)--wrap=, \
	gcry_pk_sign gcry_mpi_ec_new)
$(OUT)/tests/unit/test_db: LDFLAGS += -Wl,--wrap=sqlite3_sleep
$(OUT)/tests/unit/test_batch_memory: LDFLAGS += -Wl,--wrap=realloc
$(OUT)/tests/unit/test_roll_memory: LDFLAGS += $(addprefix -Wl$(comma)--wrap=, \
	crypto_verify malloc calloc realloc reallocarray strdup)
$(OUT)/tests/unit/test_flips $(OUT)/tests/unit/test_power: \
    LDFLAGS += -Wl,--wrap=crypto_verify
$(OUT)/tests/unit/test_power_roll $(OUT)/tests/unit/test_power_recover: \
    LDFLAGS += $(addprefix -Wl$(comma)--wrap=, \
	crypto_verify rename unlink fsync)
$(OUT)/tests/unit/test_power_signer: LDFLAGS += $(addprefix -Wl$(comma)--wrap=, \
	mkostemp write pwrite fsync renameat2 unlink unlinkat)
# What Go's packages are compared with.
$(OUT)/tests/go/%: $(OUT)/tests/go/%.o $(all_libs)
	$(link_all)
BENCH = $(patsubst %.c,$(OUT)/%,$(wildcard tests/bench/bench_*.c)) \
	$(OUT)/tests/bench/load
$(OUT)/tests/bench/load: $(OUT)/tests/bench/client.o $(OUT)/tests/bench/watch.o
$(OUT)/tests/bench/%: $(OUT)/tests/bench/%.o $(all_libs)
	$(link_all)

# The verifier, asked again and again with one bit of a file turned.
$(OUT)/tests/fault/turn: LDFLAGS += -Wl,--wrap=crypto_verify
$(OUT)/tests/fault/turn: $(OUT)/tests/fault/turn.o $(call lib,export) \
    $(call lib,base)
	$(link) $^ $(L_export) $(L_base)
# What makes a call of a running daemon fail; see tests/e2e/test_faults.py.
$(OUT)/tests/fault.so: tests/fault/fault.c
	@mkdir -p $(@D)
	$(CC) -std=c17 -D_GNU_SOURCE -Wall -Wextra -O2 -g -fPIC -shared -o $@ $<

# The headless host of Debian's unmodified SIPE plugin.
SIPE_SRC = $(wildcard tests/sipe/*.c)
PKG_sipe = $(call pkg_cflags,purple jansson glib-2.0 libxml-2.0)
$(OUT)/tests/sipe/%.o: tests/sipe/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(PKG_sipe) -std=c17 -Wall -Wextra -O2 -g -MMD -MP \
	    -c -o $@ $<
$(OUT)/tests/sipe-driver: $(patsubst %.c,$(OUT)/%.o,$(SIPE_SRC))
	$(CC) -rdynamic -o $@ $^ $(call pkg_libs,purple jansson glib-2.0 libxml-2.0) -ldl

# Fuzzing: clang's libFuzzer, one program per target, libraries built along.
FUZZ = $(patsubst tests/fuzz/%.c,.build/fuzz/%,$(wildcard tests/fuzz/*.c))
FUZZ_SECONDS ?= 60
FUZZ_FLAGS = -O1 -g -fsanitize=fuzzer,address,undefined \
	-fno-sanitize-recover=all -fno-omit-frame-pointer
FUZZ_LIB_SRC = $(foreach f,$(FOLDERS),$(call src,$(f)))
FUZZ_OBJ = $(patsubst %.c,.build/fuzz/obj/%.o,$(FUZZ_LIB_SRC))
.build/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	clang $(CPPFLAGS) $(PKG_$(firstword $(subst /, ,$*))) -std=c17 \
	    $(subst fuzzer,fuzzer-no-link,$(FUZZ_FLAGS)) -MMD -MP -c -o $@ $<
.build/fuzz/all.a: $(FUZZ_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^
.build/fuzz/%: tests/fuzz/%.c .build/fuzz/all.a
	clang $(CPPFLAGS) $(PKG_tests) -std=c17 $(FUZZ_FLAGS) -o $@ $^ \
	    $(L_server) $(L_adapters) $(L_export) $(L_anchor) $(L_base) \
	    $(call pkg_libs,cmocka)

setup:
	@tests/setup

# Lint, both compilers, then the whole suite on the sanitized build.
check: setup
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory -j2 B=dev CC=clang compile
	@$(MAKE) --no-print-directory -j2 B=dev all unit-programs \
	    .build/dev/tests/fault.so
	@$(MAKE) --no-print-directory -j2 B=asan all unit-programs \
	    .build/asan/tests/sipe-driver
	@CHANCERY_BUILD=.build/asan tests/run

compile: $(foreach f,$(FOLDERS),$(patsubst %.c,.build/clang/%.o,$(call src,$(f)))) \
    $(patsubst %.c,.build/clang/%.o,$(PROGRAM_SRC))
.build/clang/%.o: %.c
	@mkdir -p $(@D)
	clang $(CPPFLAGS) $(PKG_$(firstword $(subst /, ,$*))) -std=c17 $(WARN) \
	    -Werror -O1 -MMD -MP -c -o $@ $<

unit-programs: $(UNIT) $(OUT)/tests/go/prover $(OUT)/tests/fault/turn

unit: $(UNIT)
	@for t in $(UNIT); do $$t || exit 1; done

demo: setup
	@$(MAKE) --no-print-directory -j2 B=dev all .build/dev/tests/sipe-driver
	@CHANCERY_BUILD=.build/dev python3 tests/demo.py
demo-server: setup
	@$(MAKE) --no-print-directory -j2 B=dev all .build/dev/tests/sipe-driver
	@CHANCERY_BUILD=.build/dev python3 tests/demo.py --serve

bench: setup
	@$(MAKE) --no-print-directory -j2 B=release all bench-programs
	@CHANCERY_BUILD=.build/release python3 tests/bench/run.py
bench-programs: $(BENCH)

fuzz: setup
	@$(MAKE) --no-print-directory -j2 $(FUZZ)
	@for t in $(FUZZ); do echo "== $$t"; mkdir -p $$t.corpus; \
	    $$t -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=0 \
	    $$t.corpus || exit 1; done

# Unit programs with the roles that they fork, and the command line tools.
# valgrind gives nobody a lower limit of descriptors: it begins as low as roles.
VALGRIND = valgrind -q --error-exitcode=99 --leak-check=full \
	--show-leak-kinds=definite --errors-for-leak-kinds=definite
valgrind:
	@tests/setup valgrind
	@$(MAKE) --no-print-directory -j2 B=dev all unit-programs
	@ulimit -n 64 && CHANCERY_WRAP='$(VALGRIND)' tests/run --unit
	@CHANCERY_WRAP='$(VALGRIND)' tests/run --e2e test_cli test_proofs

lint:
	@tests/lint

install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin \
	    $(DESTDIR)$(LIBEXEC) $(DESTDIR)$(PREFIX)/share/man/man1 \
	    $(DESTDIR)$(PREFIX)/share/man/man5 \
	    $(DESTDIR)$(PREFIX)/share/man/man7 $(DESTDIR)$(PREFIX)/share/man/man8
	install $(OUT)/chanceryd $(OUT)/chancery $(DESTDIR)$(PREFIX)/sbin
	install $(OUT)/chancery-export $(OUT)/chancery-verify \
	    $(DESTDIR)$(PREFIX)/bin
	install $(OUT)/chancery-witness $(DESTDIR)$(PREFIX)/sbin
	install $(OUT)/libexec/xml $(OUT)/libexec/syslog $(OUT)/libexec/tarball \
	    $(DESTDIR)$(LIBEXEC)
	install -d $(DESTDIR)$(PREFIX)/share/chancery
	install -m 644 adapters/*.xsd $(DESTDIR)$(PREFIX)/share/chancery
	install -d $(DESTDIR)$(PREFIX)/share/chancery/verify
	install export/chancery-verify.py export/chancery_*.py \
	    $(DESTDIR)$(PREFIX)/share/chancery/verify
	ln -sf ../share/chancery/verify/chancery-verify.py $(DESTDIR)$(PREFIX)/bin
	for m in man/*.[1-8]; do install -m 644 $$m \
	    $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}; done

# Every bit, every operation at which the power can go, and every write, sync,
# rename and allocation of a role: hours on two processors that have nothing
# else to do. CHANCERY_STRIDE=1 takes each single allocation of
# test_roll_memory: three hours more.
faults: setup
	@$(MAKE) --no-print-directory -j2 B=dev all unit-programs \
	    .build/dev/tests/fault.so
	@for t in flips power power_roll power_recover power_signer; do \
	    CHANCERY_STRIDE=1 .build/dev/tests/unit/test_$$t || exit 1; done
	@CHANCERY_STRIDE=31 .build/dev/tests/unit/test_roll_memory
	@cd tests/e2e && CHANCERY_STRIDE=1 CHANCERY_BUILD=$(CURDIR)/.build/dev \
	    python3 -W ignore -m unittest -v test_bits
	@cd tests/e2e && CHANCERY_FAULTS=all python3 -W ignore -m unittest -v test_faults

help:
	@echo "all (B=dev|asan|release) check demo demo-server bench fuzz faults"
	@echo "lint valgrind install (DESTDIR= PREFIX=) unit setup clean"

clean:
	rm -rf .build

-include $(shell find .build $(OUT) -name '*.d' 2>/dev/null)

.PHONY: all setup check compile unit unit-programs demo demo-server bench \
	bench-programs fuzz faults valgrind lint install help clean FORCE
.SECONDARY:
