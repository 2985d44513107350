# make            bin/rayctl: release, fully static, stripped; its symbols are in build/release/rayctl.debug
# make demo       a Ray cluster of three nodes on this machine computes pi
# make test       every test: lint, units, functional      make unit ONLY='[tag]'    make functional ONLY='10-* pull'
# make e2e        whole clusters in virtual machines (QEMU; a quarter of an hour and more without KVM)
# make bench      figures beside those of peers             make fuzz TIME=60 ONLY=name
# make lint       layers, house rules, layout               make tidy (clang-tidy: slow)
# make dist       dist/rayctl-VERSION-linux-ARCH, x86_64 and aarch64; make install | uninstall PREFIX=/usr/local DESTDIR=
# ARCH=aarch64    cross-built: bin/rayctl-aarch64, build/release-aarch64; runs under qemu-user-static
# MODE=dev        -O0 in build/dev (with ccache)            MODE=asan: ASan and UBSan; runs the units
# Each works first on a bare Debian 12: as root it installs what it lacks, else it says what to install. V=1 shows commands.
VERSION := 0.1.0

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif
SHELL := /bin/bash

# `make build/dev/obj/oci/store.o` means MODE=dev
MODE ?= $(or $(word 2,$(subst /, ,$(firstword $(filter build/%,$(MAKECMDGOALS))))),release)
ifeq ($(filter $(MODE),release dev asan fuzz),)
$(error MODE is '$(MODE)': it must be release, dev, asan or fuzz)
endif
HOST := $(shell uname -m)
ARCH ?= $(HOST)
cross = $(if $(filter $(HOST),$(ARCH)),,$1)
ifneq ($(filter-out $(HOST) aarch64,$(ARCH))$(call cross,$(filter asan fuzz,$(MODE))),)
$(error ARCH is '$(ARCH)': it must be $(HOST), or aarch64 where MODE is release or dev)
endif
O := build/$(MODE)$(call cross,-$(ARCH))
DEPS_PREFIX := $(shell tests/deps/deps.sh --prefix $(ARCH))

Q := $(if $(V),,@)
say = @printf '  %-6s %s\n' '$(1)' '$(2)'

# --- flags ---
CXX_release := g++
CXX_dev := g++
CXX_asan := g++
CXX_fuzz := clang++
ifneq ($(filter default undefined,$(origin CXX)),)
CXX := $(call cross,$(ARCH)-linux-gnu-)$(CXX_$(MODE))
endif
# the C library is Debian's newest, too: the one of its cross-compiler isn't kept up to date
SYSROOT := $(DEPS_PREFIX)/sysroot
override CXX += $(call cross,--sysroot=$(SYSROOT) $(addsuffix $(SYSROOT)/usr/lib/$(ARCH)-linux-gnu,-B -L))
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPT_small_release := -Os
OPT_release := -O2 -g1 -ffile-prefix-map=$(CURDIR)=.
OPT_dev := -O0 -g1
OPT_asan := -O1 -g1 $(SANITIZE)
OPT_fuzz := -O1 -g1 $(SANITIZE) -fsanitize=fuzzer-no-link
LINK_release := -static -Wl,--gc-sections
LINK_dev := -static
LINK_asan := $(SANITIZE)
LINK_fuzz := $(SANITIZE)
WERROR ?= $(if $(filter release,$(MODE)),,1)
# (clang takes the kernel's headers for ours: they have arrays of size zero)
# When it optimises, GCC 12 sees overlaps in std::string and unset values in std::optional that aren't there (its PRs 105651, 80635)
GCC_NOISE := $(if $(filter g++,$(CXX_$(MODE))),-Wno-restrict -Wno-maybe-uninitialized)
WARNINGS := -Wall -Wextra -Wpedantic -Wno-missing-field-initializers $(GCC_NOISE) $(if $(filter fuzz,$(MODE)),-Wno-zero-length-array) $(if $(filter-out 0,$(WERROR)),-Werror)
CPPFLAGS := -Isrc -isystem $(DEPS_PREFIX)/include
CXXFLAGS := -std=c++20 $(OPT_$(MODE)) -pthread -ffunction-sections -fdata-sections $(if $(filter aarch64,$(ARCH)),-fsigned-char) $(WARNINGS)
# tests are compiled once and run once: their own code isn't worth optimising
TEST_CXXFLAGS := $(if $(filter release,$(MODE)),$(patsubst -O2,-O0,$(CXXFLAGS)),$(CXXFLAGS)) -Itests
LDFLAGS := $(LINK_$(MODE)) -pthread -L$(DEPS_PREFIX)/lib
OBJCOPY := $(call cross,$(ARCH)-linux-gnu-)objcopy
LDLIBS := -larchive -lcurl -lcares -lnghttp2 -lssl -lcrypto -lisal -lzstd -lz -lseccomp -lyaml -lpugixml -ldl

# worktrees share the cache: paths are relative, so the directory needn't be part of the hash
CCACHE ?= $(if $(filter release,$(MODE)),,$(shell command -v ccache))
export CCACHE_NOHASHDIR := 1
COMPILE = $(CCACHE) $(CXX) $(CPPFLAGS) $(CXXFLAGS)
# where nothing is hot, smaller is better: the binary is copied to every machine
SMALL := cli cloud cluster fleet ray stitch
small = $(if $(filter $(SMALL:%=src/%/%),$1),$(OPT_small_$(MODE)))

# --- what there is ---
SOURCES := $(sort $(shell find src -name '*.cc'))
UNIT_SOURCES := $(sort $(shell find tests/unit -name '*.cc'))
FUZZ_SOURCES := $(sort $(wildcard tests/fuzz/*.cc))
GENERATOR_SOURCE := src/run/seccomp_generator.cc
LIBRARY := $(O)/librayctl.a
LIBRARY_OBJECTS := $(patsubst src/%.cc,$(O)/obj/%.o,$(filter-out src/cli/main.cc $(GENERATOR_SOURCE),$(SOURCES))) \
	$(O)/gen/seccomp_default.o $(O)/gen/specs.o
MAIN_OBJECT := $(O)/obj/cli/main.o
UNIT_OBJECTS := $(patsubst tests/unit/%.cc,$(O)/unit/%.o,$(UNIT_SOURCES))
UNITS := $(O)/units
FUZZERS := $(patsubst tests/fuzz/%.cc,build/fuzz/bin/%,$(FUZZ_SOURCES))
BINARY := $(if $(filter release,$(MODE)),bin/rayctl$(call cross,-$(ARCH)),$(O)/rayctl)

.PHONY: all deps units unit functional test e2e bench fuzz fuzzers lint tidy format demo dist install uninstall clean FORCE
all: $(BINARY)

deps:
	@tests/deps/deps.sh --arch $(ARCH) build
# a newer revision of a library in Debian's archive is taken by: make deps-update
deps-%:
	$(if $(filter update,$*),@tests/deps/deps.sh --update build,@tests/deps/deps.sh $(subst -, ,$*))

# --- objects, library, binary ---
$(O)/flags: FORCE
	@mkdir -p $(O); echo '$(COMPILE) $(OPT_small_$(MODE)) $(LDFLAGS) $(LDLIBS)' | cmp -s - $@ || echo '$(COMPILE) $(OPT_small_$(MODE)) $(LDFLAGS) $(LDLIBS)' >$@

$(O)/obj/%.o: src/%.cc $(O)/flags | deps
	$(call say,CXX,$<)
	@mkdir -p $(@D)
	$(Q)$(COMPILE) $(call small,$<) -MMD -MP -c -o $@ $<

# the one file that knows the version
isal_version = $$(cut -d- -f1 $(DEPS_PREFIX)/.stamp-libisal)
$(O)/obj/base/version.o: CPPFLAGS += -DRAYCTL_VERSION='"$(VERSION)"' -DRAYCTL_ISAL_VERSION="\"$(isal_version)\""
$(O)/obj/base/version.o: Makefile

# the engines' seccomp profile becomes a BPF program while rayctl is built, by a program of the machine that builds
SECCOMP_PROFILE := /usr/share/containers/seccomp.json
$(SECCOMP_PROFILE): | deps
GENERATOR_OBJECTS := $(patsubst %,$(O)/obj/%.o,run/seccomp_generator run/seccomp_compile run/seccomp_profile \
	run/capabilities base/error base/fd base/file base/fmt base/json base/text)
GENERATOR := build/$(MODE)/gen/generator
ifeq ($(ARCH),$(HOST))
$(GENERATOR): $(GENERATOR_OBJECTS)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^ -lseccomp
else
$(GENERATOR): FORCE
	@$(MAKE) --no-print-directory MODE=$(MODE) ARCH=$(HOST) $@
endif
$(O)/gen/seccomp_default.cc: $(GENERATOR) $(SECCOMP_PROFILE)
	$(call say,GEN,$@)
	@mkdir -p $(@D)
	$(Q)$< $(SECCOMP_PROFILE) $(ARCH) >$@
# the specs that anyone can import are part of the program
SPECS := $(sort $(wildcard specs/*.spec specs/*/*.spec))
$(O)/gen/specs.cc: $(SPECS) Makefile
	$(call say,GEN,$@)
	@mkdir -p $(@D)
	$(Q){ printf '#include "stitch/stitch.h"\nnamespace rayctl::stitch {\nconst std::vector<BuiltinSpec>& builtin_specs() {\n  static const std::vector<BuiltinSpec> specs{\n'; \
	  for f in $(SPECS); do printf '{"%s", R"SPEC(' "$$f"; cat "$$f"; printf ')SPEC"},\n'; done; \
	  printf '  };\n  return specs;\n}\n}  // namespace rayctl::stitch\n'; } >$@
$(O)/gen/%.o: $(O)/gen/%.cc $(O)/flags | deps
	$(call say,CXX,$<)
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

# the list of members is a prerequisite, so that a removed source leaves the archive
$(O)/members: FORCE
	@mkdir -p $(O); echo '$(LIBRARY_OBJECTS)' | cmp -s - $@ || echo '$(LIBRARY_OBJECTS)' >$@
$(LIBRARY): $(LIBRARY_OBJECTS) $(O)/members
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcsT $@ $(LIBRARY_OBJECTS)

$(O)/rayctl: $(MAIN_OBJECT) $(LIBRARY)
	$(call say,LINK,$@)
	$(Q)tests/deps/link.sh $(CXX) $(LDFLAGS) -o $@ $^ $(LDLIBS)

bin/rayctl$(call cross,-$(ARCH)): $(O)/rayctl
	$(call say,STRIP,$@)
	@mkdir -p bin
	$(Q)$(OBJCOPY) --only-keep-debug $< $<.debug
	$(Q)$(OBJCOPY) --strip-all --add-gnu-debuglink=$<.debug $< $@

# --- tests ---
$(O)/unit/%.o: tests/unit/%.cc $(O)/flags | deps deps-unit
	$(call say,CXX,$<)
	@mkdir -p $(@D)
	$(Q)$(CCACHE) $(CXX) $(CPPFLAGS) $(TEST_CXXFLAGS) -MMD -MP -c -o $@ $<
$(UNITS): $(UNIT_OBJECTS) $(LIBRARY)
	$(call say,LINK,$@)
	$(Q)tests/deps/link.sh $(CXX) $(LDFLAGS) -o $@ $(UNIT_OBJECTS) $(LIBRARY) $(LDLIBS) -lCatch2WithMain
units: $(UNITS)
# programs that functional tests use to reach a part by itself
$(O)/drivers/%: tests/drivers/%.cc $(LIBRARY) $(O)/flags
	$(call say,DRIVER,$<)
	@mkdir -p $(@D)
	$(Q)tests/deps/link.sh $(CXX) $(CPPFLAGS) $(TEST_CXXFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(LIBRARY) $(LDLIBS)
DRIVERS := $(patsubst tests/drivers/%.cc,$(O)/drivers/%,$(wildcard tests/drivers/*.cc))

export RAYCTL_BUILD := $(CURDIR)/$(O)
export RAYCTL := $(CURDIR)/$(BINARY)
export RAYCTL_MODE := $(MODE)
export RAYCTL_RUNNER := $(call cross,qemu-$(ARCH)-static)
unit: $(UNITS)
	@tests/run.sh unit
functional: $(BINARY) $(DRIVERS) deps-test
	@tests/run.sh functional
lint: deps-lint
	@tests/run.sh lint
test: $(BINARY) $(UNITS) $(DRIVERS) deps-lint deps-test
	@tests/run.sh lint $(EXTRA_SUITES) unit functional
bench: $(BINARY) $(DRIVERS) deps-bench
	@tests/run.sh bench
e2e: $(BINARY) $(DRIVERS) deps-e2e
	@tests/run.sh e2e
demo: $(BINARY) deps-demo
	@tests/demo/run.sh

tidy: compile_commands.json deps-lint
	$(Q)printf '%s\n' $(SOURCES) | xargs -P "$$(nproc)" -n 1 clang-tidy --quiet -p . 2>/dev/null
	@echo 'tidy: $(words $(SOURCES)) files'
format: deps-lint
	$(Q)find src tests -name '*.cc' -o -name '*.h' | xargs clang-format -i

# --- fuzzing: everything is compiled by clang in build/fuzz ---
TIME ?= 30
build/fuzz/bin/%: tests/fuzz/%.cc $(O)/flags $(LIBRARY) | deps deps-fuzz
	$(call say,FUZZER,$<)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(CPPFLAGS) $(CXXFLAGS) -Itests -MMD -MP -fsanitize=fuzzer $(LDFLAGS) -o $@ $< $(LIBRARY) $(LDLIBS)
ifeq ($(MODE),fuzz)
fuzzers: $(FUZZERS)
fuzz: fuzzers
	@TIME='$(TIME)' tests/run.sh fuzz
else
fuzz fuzzers: deps deps-fuzz
	@$(MAKE) --no-print-directory MODE=fuzz $@
endif

# --- for editors and clang-tidy ---
compile_commands.json: $(O)/flags $(SOURCES) $(UNIT_SOURCES)
	$(call say,JSON,$@)
	@{ sep='['; for s in $(SOURCES) $(UNIT_SOURCES); do \
	  printf '%s\n{"directory": "%s", "file": "%s", "command": "%s -c %s"}' "$$sep" '$(CURDIR)' "$$s" \
	    '$(CXX) $(CPPFLAGS) -DRAYCTL_VERSION=\\\"\\\" -DRAYCTL_ISAL_VERSION=\\\"\\\" $(CXXFLAGS) -Itests' "$$s"; sep=,; done; printf '\n]\n'; } >$@

# --- one file on PATH is the whole installation; manual and completions come from its own table of commands ---
PREFIX ?= /usr/local
DIST := dist/rayctl-$(VERSION)-linux
DIST_ARCHS ?= $(sort $(HOST) aarch64)
$(DIST)-$(ARCH): $(BINARY)
	$(call say,DIST,$@)
	$(Q)install -D -m 755 $< $@
dist:
	@rm -f dist/*
	@$(foreach a,$(DIST_ARCHS),$(MAKE) --no-print-directory MODE=release ARCH=$a $(DIST)-$a &&) true
	$(Q)cd dist && sha256sum $(notdir $(DIST_ARCHS:%=$(DIST)-%)) >SHA256SUMS
	@tests/dist.sh $(DIST_ARCHS:%=$(DIST)-%)
to = $(DESTDIR)$(PREFIX)
BASH_COMPLETION = $(to)/share/bash-completion/completions/rayctl
ZSH_COMPLETION = $(to)/share/zsh/site-functions/_rayctl
FISH_COMPLETION = $(to)/share/fish/vendor_completions.d/rayctl.fish
install: $(BINARY)
	$(call say,COPY,$(to)/bin/rayctl)
	$(Q)install -D -m 755 $(BINARY) '$(to)/bin/rayctl'
	$(Q)install -d '$(to)/share/man/man1' '$(dir $(BASH_COMPLETION))' '$(dir $(ZSH_COMPLETION))' '$(dir $(FISH_COMPLETION))'
	$(Q)$(RAYCTL_RUNNER) $(BINARY) man '$(to)/share/man/man1'
	$(Q)$(RAYCTL_RUNNER) $(BINARY) completion bash >'$(BASH_COMPLETION)'
	$(Q)$(RAYCTL_RUNNER) $(BINARY) completion zsh >'$(ZSH_COMPLETION)'
	$(Q)$(RAYCTL_RUNNER) $(BINARY) completion fish >'$(FISH_COMPLETION)'
uninstall:
	$(Q)rm -f '$(to)/bin/rayctl' '$(to)'/share/man/man1/rayctl.1 '$(to)'/share/man/man1/rayctl-*.1
	$(Q)rm -f '$(BASH_COMPLETION)' '$(ZSH_COMPLETION)' '$(FISH_COMPLETION)'

clean:
	$(Q)rm -rf build bin dist compile_commands.json

-include $(shell find $(O) -name '*.d' 2>/dev/null)
