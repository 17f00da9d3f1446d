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
LIBS_server = libosip2 gnutls libxml-2.0 jansson
LIBS_adapters = jansson libxml-2.0 libarchive
LIBS_export = jansson libxml-2.0 libarchive

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

pkg_cflags = $(if $(1),$(shell pkg-config --cflags $(1)))
pkg_libs = $(if $(1),$(shell pkg-config --libs $(1)))

# Files with a main() of their own; all others go into their folder's library.
PROGRAM_SRC = server/chanceryd.c server/chancery.c \
	adapters/xml.c adapters/syslog.c adapters/tarball.c adapters/sample.c \
	export/chancery-export.c export/chancery-verify.c
PROGRAMS = $(OUT)/chanceryd $(OUT)/chancery $(OUT)/chancery-export \
	$(OUT)/chancery-verify $(OUT)/libexec/xml $(OUT)/libexec/syslog \
	$(OUT)/libexec/tarball $(OUT)/libexec/sample

FOLDERS = base compliance server adapters export
src = $(filter-out $(PROGRAM_SRC),$(wildcard $(1)/*.c))
obj = $(patsubst %.c,$(OUT)/%.o,$(1))
lib = $(OUT)/$(1).a

all: $(PROGRAMS)

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(PKG_$(firstword $(subst /, ,$*))) $(CFLAGS) \
	    -MMD -MP -c -o $@ $<

PKG_base := $(call pkg_cflags,$(LIBS_base))
PKG_compliance := $(PKG_base) $(call pkg_cflags,$(LIBS_compliance))
PKG_server := $(PKG_base) $(call pkg_cflags,$(LIBS_server))
PKG_adapters := $(PKG_base) $(call pkg_cflags,$(LIBS_adapters) relp)
PKG_export := $(PKG_base) $(call pkg_cflags,$(LIBS_export))
PKG_tests := $(PKG_base) $(PKG_compliance) $(PKG_server) $(PKG_adapters) \
	$(call pkg_cflags,cmocka)
L_base := $(call pkg_libs,$(LIBS_base))
L_compliance := $(call pkg_libs,$(LIBS_compliance))
L_server := $(call pkg_libs,$(LIBS_server))
L_adapters := $(call pkg_libs,$(LIBS_adapters))
L_export := $(call pkg_libs,$(LIBS_export))

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
	$(link) $^ $(L_server) $(L_compliance) $(L_base)
$(OUT)/chancery: $(OUT)/server/chancery.o $(call lib,server) \
    $(call lib,compliance) $(call lib,base)
	$(link) $^ $(L_server) $(L_compliance) $(L_base)
$(OUT)/chancery-export: $(OUT)/export/chancery-export.o $(call lib,export) \
    $(call lib,compliance) $(call lib,base)
	$(link) $^ $(L_export) $(L_compliance) $(L_base)
$(OUT)/chancery-verify: $(OUT)/export/chancery-verify.o $(call lib,export) \
    $(call lib,base)
	$(link) $^ $(L_export) $(L_base)
# librelp is GPL-3: it is linked into this one program.
$(OUT)/libexec/syslog: L_extra = $(call pkg_libs,relp gnutls)
$(OUT)/libexec/%: $(OUT)/adapters/%.o $(call lib,adapters) \
    $(call lib,compliance) $(call lib,base)
	@mkdir -p $(@D)
	$(link) $^ $(L_adapters) $(L_extra) $(L_base)

# Unit tests: one program per file, linked with every library.
UNIT = $(patsubst tests/unit/%.c,$(OUT)/tests/unit/%,$(wildcard tests/unit/*.c))
$(OUT)/tests/unit/%: $(OUT)/tests/unit/%.o $(foreach f,$(FOLDERS),$(call lib,$(f)))
	$(link) $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
	    $(L_server) $(L_adapters) $(L_export) $(L_base) \
	    $(call pkg_libs,cmocka)

unit: $(UNIT)
	@for t in $(UNIT); do $$t || exit 1; done

clean:
	rm -rf .build

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)

.PHONY: all unit clean
.SECONDARY:
