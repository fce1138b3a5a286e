# multicenter: PGXS makefile.  `make help` lists the developer's targets.
EXTENSION  = multicenter
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" multicenter.control)
MODULE_big = multicenter

# By layer: each folder may use itself and those above it, never below.
OBJS = \
	$(patsubst %.c,%.o,$(sort $(wildcard src/core/*.c))) \
	$(patsubst %.c,%.o,$(sort $(wildcard src/state/*.c))) \
	$(patsubst %.c,%.o,$(sort $(wildcard src/origin/*.c))) \
	$(patsubst %.c,%.o,$(sort $(wildcard src/target/*.c))) \
	$(patsubst %.c,%.o,$(sort $(wildcard src/control/*.c)))

DATA       = $(wildcard src/sql/upgrade/multicenter--*--*.sql)
DATA_built = multicenter--$(EXTVERSION).sql

PG_CPPFLAGS = -I$(libpq_srcdir) -I$(srcdir)/src
SHLIB_LINK_INTERNAL = $(libpq)
SHLIB_LINK = -lpq

# LZ4 and zstd come with the server, which is linked with them; where a library
# cannot take from it what it was not linked with itself, it has to be.
SHLIB_LINK += $(if $(filter darwin win32,$(PORTNAME)),$(filter -llz4 -lzstd,$(LIBS)))

REGRESS      = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
TEST_CONF    = --temp-config=$(srcdir)/test/test.conf \
	$(if $(filter 15 16 17,$(MAJORVERSION)),,--temp-config=$(srcdir)/test/test-18.conf)
REGRESS_OPTS = --temp-instance=$(CURDIR)/tmp_regress $(TEST_CONF)
ISOLATION      = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(srcdir)/test/isolation --outputdir=$(CURDIR)/tmp_isolation \
	--temp-instance=$(CURDIR)/tmp_isolation/instance $(TEST_CONF)
# The isolation tester makes no more than one level of directories.
REGRESS_PREP = tmp_isolation
TAP_TESTS    = 1
PROVE_TESTS  = test/t/*.pl
override PROVE_FLAGS += -I $(srcdir)/test/lib

EXTRA_CLEAN = tmp_regress tmp_isolation tmp_check multicenter--$(EXTVERSION).sql

# Objects from an earlier PG_CONFIG would be mixed in silently: with_llvm only
# adds bitcode for JIT, which an extension of ours does not need.
override with_llvm = no

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(wildcard $(srcdir)/src/*.h $(srcdir)/src/*/*.h)

multicenter--$(EXTVERSION).sql: $(sort $(wildcard src/sql/[0-9]*.sql))
	cat $^ > $@

.PHONY: tmp_isolation
tmp_isolation:
	$(MKDIR_P) $@
