#!/usr/bin/env bash
# The lint scripts find what they are for: each violation is tried in a tree that is otherwise clean.
source "$(dirname "$0")/common.sh"

lint() { ( cd tree && bash "$top/tests/lint/$1.sh" ); }
fresh() {
  rm -rf tree
  mkdir -p tree/{src/{base,oci,run,cli},tests,.ci}
  touch tree/Makefile
  printf '#pragma once\n\n#include <string>\n' | tee tree/src/base/a.h >tree/src/run/a.h
  printf '#include "base/a.h"\n' >tree/src/oci/a.cc
}
violation() {  # SCRIPT EXPECTED-OUTPUT FILE TEXT
  fresh
  expect 0 lint "$1"
  printf "$4" >"tree/$3"
  expect 1 lint "$1"
  grep_quiet "$2" out
}

violation 10-layers 'src/oci/b.cc:1: oci may include only: base oci' src/oci/b.cc '#include "run/a.h"\n'
violation 10-layers 'base may include only: base' src/base/b.cc '  #  include "cli/a.h"\n'
violation 20-house-rules 'O_CLOEXEC' src/oci/b.cc 'std::ifstream in("x");\n'
violation 20-house-rules 'O_CLOEXEC' src/oci/b.cc 'FILE* f = fopen(path, "rb");\n'
violation 20-house-rules 'O_CLOEXEC' src/oci/b.cc 'int n = ::pipe(fds);\n'
violation 20-house-rules 'no shell' src/oci/b.cc 'int n = system("ls");\n'
violation 20-house-rules 'CLI11' src/cli/b.cc '#include <CLI/CLI.hpp>\n'
violation 20-house-rules 'json_fwd' src/oci/b.h '#pragma once\n#include <nlohmann/json.hpp>\n'
violation 20-house-rules 'unfinished' src/oci/b.cc '// TO''DO: the rest\n'
violation 20-house-rules 'clang 14' src/oci/b.cc '#include <format>\n'
violation 20-house-rules 'pragma once' src/oci/b.h 'int a();\n'
violation 20-house-rules 'snake_case' src/oci/Store.cc '\n'
violation 20-house-rules 'less than 500 lines' src/oci/b.cc "$(printf '\\n%.0s' $(seq 500))"
violation 30-shell 'b.sh' tests/b.sh '#!/bin/bash\nif\n'
violation 30-shell 'registry is named' src/oci/b.cc '// https://py''pi.org\n'
violation 40-format 'should be clang-formatted' src/oci/b.cc 'int   a ;\n'
