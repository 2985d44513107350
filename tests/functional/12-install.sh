#!/usr/bin/env bash
# `make install` and `uninstall`: the binary, manual pages and completions, below DESTDIR and PREFIX and nowhere else.
source "$(dirname "$0")/common.sh"
need_command make man
unset MAKEFLAGS MFLAGS MAKELEVEL

install=(make -C "$top" MODE="${RAYCTL_MODE:-release}" DESTDIR="$T/to" PREFIX=/usr)
expect 0 "${install[@]}" install
cmp to/usr/bin/rayctl "$RAYCTL"
for page in rayctl rayctl-version; do
  man -l -Tutf8 --warnings=w "to/usr/share/man/man1/$page.1" >page.txt 2>warnings </dev/null
  grep_quiet 'rayctl' page.txt
  [ ! -s warnings ] || fail "$page.1: $(cat warnings)"
done
bash -n to/usr/share/bash-completion/completions/rayctl
bash -c 'source to/usr/share/bash-completion/completions/rayctl; complete -p rayctl' >completion
grep_quiet 'rayctl' completion
for file in zsh/site-functions/_rayctl fish/vendor_completions.d/rayctl.fish; do grep_quiet 'version' "to/usr/share/$file"; done

expect 0 "${install[@]}" uninstall
equal "$(find to -type f -o -type l)" '' 'uninstall leaves files'
