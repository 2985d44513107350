#!/usr/bin/env bash
# `rayctl get`: repositories of specs by git, with what they import, from bare repositories on this machine.
source "$(dirname "$0")/common.sh"
need_command git
export GIT_CONFIG_GLOBAL=$T/gitconfig GIT_CONFIG_NOSYSTEM=1
git config --global user.email t@example.com; git config --global user.name t; git config --global init.defaultBranch main

# repository NAME FILE TEXT...: a bare one at remote/NAME
repository() {
  local name=$1 work=$T/work/$1; shift
  [ -d "$work" ] || git init -q "$work"
  while [ $# -gt 0 ]; do mkdir -p "$(dirname "$work/$1")"; printf '%s\n' "$2" >"$work/$1"; shift 2; done
  git -C "$work" add -A; git -C "$work" commit -qm more
  [ -d "remote/$name" ] || { mkdir -p "$(dirname "remote/$name")"; git clone -q --bare "$work" "remote/$name"; }
  git -C "$work" push -q --tags "$T/remote/$name" main
}
repository example.com/a/ray quilt/ray.spec '(import "example.com/b/lib/deep/names")
(define image (names.Image "ray"))' quilt/run.spec '(import "ray") (import "github.com/NetSys/quilt/specs/stdlib/strings")
(docker ray.Image)'
repository example.com/b/lib deep/names.spec '(import "example.com/c/more/base")
(define (Image x) (+ base.Host x))' broken.spec '(' ; ln -s /etc/passwd work/example.com/b/lib/link.spec
mkdir -p work/example.com/b/lib/.hooks
repository example.com/b/lib other.spec '(import "nowhere")'
repository example.com/c/more base.spec '(define Host "v1/")'
git -C work/example.com/c/more tag v1
export QUILT_PATH=$T/quilt RAYCTL_GET_ENDPOINT=file://$T/remote

expect 0 rayctl get example.com/a/ray/quilt
equal "$(cat out)" "$(printf '%s\n' "$T"/quilt/example.com/{a/ray,b/lib,c/more})"
grep_quiet "^warning: $T/quilt/example.com/b/lib/broken.spec:1:1: unbalanced parenthesis" err
grep_quiet "imports 'nowhere', which is in no repository" err
[ ! -L quilt/example.com/b/lib/link.spec ] || fail 'a symbolic link was made'
equal "$(find quilt -maxdepth 1 | wc -l)" 2 'something temporary is left'
printf '(import "example.com/b/lib/deep/names")\n(docker (names.Image "x"))\n' >use.spec
expect 0 rayctl spec eval use.spec
grep_quiet '"image": "v1/x"' out

# again: forward to what is new; one's own change is kept, in the way of an update it is an error
repository example.com/c/more base.spec '(define Host "v2/")'
expect 0 rayctl get https://example.com/c/more.git
expect 0 rayctl spec eval use.spec
grep_quiet '"image": "v2/x"' out
expect 0 rayctl get example.com/c/more@v1
expect 0 rayctl spec eval use.spec
grep_quiet '"image": "v1/x"' out
echo '// mine' >>quilt/example.com/a/ray/quilt/run.spec
expect 0 rayctl get example.com/a/ray
grep_quiet '// mine' quilt/example.com/a/ray/quilt/run.spec
repository example.com/a/ray quilt/run.spec '(docker "new")'
expect 1 rayctl get example.com/a/ray
grep_quiet "^rayctl: cannot update '$T/quilt/example.com/a/ray': git: .*\(the clone has changes or commits of your own" err
expect 1 rayctl get example.com/c/more@v9
grep_quiet "^rayctl: cannot check out 'v9' of 'example.com/c/more': it has no such branch, tag or commit" err
expect 1 rayctl get example.com/no/such
grep_quiet "^rayctl: cannot clone 'example.com/no/such': git: " err
equal "$(ls quilt/example.com)" "$(printf 'a\nb\nc\nno')"
repository example.com/d/lost x.spec '(import "example.com/no/such/y")'
expect 1 rayctl get example.com/d/lost
grep_quiet "cannot clone 'example.com/no/such': .*\(imported by $T/quilt/example.com/d/lost/x.spec\)" err

# hostile names and references
for name in -uX/a/b example.com/../b a/b/c example.com/a/.git 'example.com/a/b;x' /etc/a/b 'ext::sh -c x/a/b' example.com//a \
    example.com/a/b@--upload-pack=x example.com/a/b@a..b 'example.com/a/b@x y' example.com/a/b@ "example.com/a/b@\$(x)"; do
  expect 2 rayctl get -- "$name"
  grep_quiet '^rayctl: cannot get ' err
done
mkdir empty
expect 1 env PATH="$T/empty" "$RAYCTL" get example.com/a/ray
grep_quiet 'cannot fetch specs: the program git is not on PATH' err
