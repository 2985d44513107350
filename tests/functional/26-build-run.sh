#!/usr/bin/env bash
# RUN: what a step sees, and the layer that it leaves: whiteouts, opaque directories, hard links, attributes, setuid.
# timeout: 180
source "$(dirname "$0")/common.sh"
source "$here/build_lib.sh"
need_command setcap setfattr

base_context ctx
cp /bin/true ctx/capable; setcap cap_net_raw+ep ctx/capable
{
  echo "$BASE"
  cat <<'END'
RUN mkdir -p /a/deep /b/x /c /keep && for f in /a/1 /a/2 /a/deep/3 /b/x/1 /b/2 /c/f /keep/me; do echo $f >$f; done; chmod 1777 /keep
RUN rm /a/1 && rm -rf /b && mkdir /b && echo new >/b/n && rm -rf /c && echo file >/c && touch /keep/x && rm /keep/x
RUN ln /a/2 /a/hard && echo h >/h1 && ln /h1 /h2 && ln -s /h1 /s && mkfifo /p && cp /bin/busybox /suid && chmod 4755 /suid && chown 1000:100 /a/deep
RUN rm -rf /b && mkdir -p /b/x && echo again >/b/x/2
RUN mv /a/deep /moved && true >/gone && rm /gone
RUN true
END
} >ctx/Dockerfile
build run ctx
equal "$(members run 4)" 'a/ a/1 a/2 a/deep/ a/deep/3 b/ b/2 b/x/ b/x/1 c/ c/f keep/ keep/me '
equal "$(members run 5)" 'a/ a/.wh.1 b/ b/.wh.2 b/.wh.x b/n c '  # and not keep/: nothing is left of its change
equal "$(members run 6)" 'a/ a/2 a/deep/ a/hard h1 h2 p s suid '
layer run 6 >list
grep_quiet '^-rwsr-xr-x 0/0 suid$' list; grep_quiet '^hrw-r--r-- 0/0 h2 link to h1$' list; grep_quiet '^drwxr-xr-x 1000/100 a/deep/$' list
grep_quiet '^hrw-r--r-- 0/0 a/hard link to a/2$' list; grep_quiet '^lrwxrwxrwx 0/0 s -> /h1$' list
equal "$(members run 7)" 'b/ b/.wh.n b/x/ b/x/2 '
equal "$(members run 8)" 'a/ a/.wh.deep moved/ moved/3 '
equal "$(manifest run | jq '.layers | length')" 8 'RUN true makes no layer'
equal "$(config run | jq '[.history[] | select(.empty_layer == true and .created_by == "RUN /bin/sh -c true")] | length')" 1
tree "$T/oci:run" | grep -vE ' \./(bin|etc)' | sed "s/ $(stat -c %s ctx/busybox) / SIZE /" >ours
diff - ours <<'END'
d 1777 0:0 ./keep 
d 755 0:0 ./a 
d 755 0:0 ./b 
d 755 0:0 ./b/x 
d 755 1000:100 ./moved 
f 4755 0:0 SIZE 1 ./suid
f 644 0:0 10 1 ./moved/3
f 644 0:0 2 2 ./h1
f 644 0:0 2 2 ./h2
f 644 0:0 5 1 ./c
f 644 0:0 5 2 ./a/2
f 644 0:0 5 2 ./a/hard
f 644 0:0 6 1 ./b/x/2
f 644 0:0 9 1 ./keep/me
l 777 0:0 ./s /h1
p 644 0:0 ./p 
END

# capabilities and attributes come from a stage as they are; sockets stay out
cat >ctx/Dockerfile <<'END'
FROM scratch AS one
ADD caps.tar /
FROM scratch
COPY --from=one / /copy/
END
mkdir caps && cp ctx/capable caps/ && setcap cap_net_raw+ep caps/capable && setfattr -n user.note -v hi caps/capable && ln caps/capable caps/twin
tar -C caps --xattrs --xattrs-include='*' -cf ctx/caps.tar .
build caps ctx
tree "$T/oci:caps" | grep_quiet ' 2 ./copy/twin$' /dev/stdin
equal "$(getcap "$T/.bundle/rootfs/copy/capable" | sed 's/.* //')" cap_net_raw=ep
equal "$(getfattr --only-values -n user.note "$T/.bundle/rootfs/copy/twin" 2>/dev/null)" hi

# what a step sees
{
  echo "$BASE"
  cat <<'END'
ARG WHO=world
ENV A=1
USER ray
WORKDIR /home/ray/w
RUN echo "hello $WHO $A $(id -u):$(id -g) $(pwd) $HOME $(hostname)"; ls -ld .; cat /proc/1/comm; ls /proc/self/fd | tr '\n' ' '; \
    for d in /proc/self /sys/class /dev/null /dev/shm; do test -e $d || echo missing $d; done
USER root
RUN grep -E '^(NoNewPrivs|CapEff)' /proc/self/status; cat /etc/hosts >/dev/null && ls -A /etc /dev/pipes 2>/dev/null | tr '\n' ' '
RUN <<E
#!/bin/busybox sh
echo "script $0"
E
RUN 5<<A cat /dev/fd/5 - <<B
fd five
A
stdin
B
SHELL ["/bin/busybox", "ash", "-ec"]
RUN false; echo not reached
END
} >ctx/Dockerfile
expect 1 rayctl build ctx
grep_quiet '^    hello world 1 1000:100 /home/ray/w /home/ray build$' "$T/err"
grep_quiet '^    drwxr-xr-x +2 ray +users .* \.$' "$T/err"
grep_none '^    (missing|not reached)' "$T/err"
grep_quiet '^    NoNewPrivs:.0$' "$T/err"
grep_quiet '^    CapEff:.00000000a80425fb$' "$T/err"
grep_quiet '^    /etc: group hosts passwd resolv.conf $' "$T/err"
grep_quiet '^    script /dev/pipes/E$' "$T/err"
grep_quiet '^    fd five$' "$T/err"; grep_quiet '^    stdin$' "$T/err"
grep_quiet "^rayctl: ctx/Dockerfile:30: RUN false; echo not reached: exit code 1; it printed nothing\$" "$T/err"
equal "$(ls -A "$RAYCTL_STATE_DIR/layers" | grep -c '^new-' || true)" 0 'no draft is left'
