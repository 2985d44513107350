#!/usr/bin/env bash
# --ca-bundle and proxies: RUN steps see them; no layer, configuration, history or cache key does.
# timeout: 180
source "$(dirname "$0")/common.sh"
source "$here/build_lib.sh"
need_command openssl

base_context ctx
make_ca "$T/pki" company; make_ca "$T/public" public
cp public/ca.pem ctx/public.crt
line() { { echo "$BASE"; printf '%s\n' "$@"; } >ctx/Dockerfile; }
DEBIAN='RUN mkdir -p /etc/ssl/certs /usr/share/ca-certificates && chmod 750 /etc/ssl && echo old >/etc/ssl/certs/ca-certificates.crt'
bundle() { build "$1" ctx --ca-bundle "$T/pki/ca.pem" "${@:2}"; }
sees='[ "$(sed -n 2p $SSL_CERT_FILE)" = '"$(sed -n 2p pki/ca.pem)"' ] && cmp $SSL_CERT_FILE /etc/ssl/certs/ca-certificates.crt'

line "RUN $sees && echo \"\$SSL_CERT_FILE \$PIP_CERT \$REQUESTS_CA_BUNDLE \$CURL_CA_BUNDLE \$NODE_EXTRA_CA_CERTS\" >&2; echo step >/step"
bundle scratch; grep_quiet '^    (/etc/ssl/rayctl-build-ca.pem ?){5}$' scratch.log
equal "$(members scratch -1)" 'step '
line "$DEBIAN" "ENV SSL_CERT_FILE=/opt/own.pem" "RUN $sees; echo step >/etc/ssl/step" 'RUN ls -la /etc/ssl/ >/list'
bundle debian
equal "$(members debian 5)" 'etc/ etc/ssl/ etc/ssl/step '; layer debian 5 | grep_quiet '^drwxr-x--- 0/0 etc/ssl/$' /dev/stdin
tree "$T/oci:debian" >files; grep_none rayctl-build-ca files; equal "$(cat .bundle/rootfs/etc/ssl/certs/ca-certificates.crt)" old
config debian >config.json; manifest debian >>config.json; grep_none 'pki|rayctl-build|BEGIN' config.json
# not in the key: without it, and with another one, the same steps are cached
build without ctx; grep_none 'done in' without.log; equal "$(cat debian.id)" "$(cat without.id)"
build other ctx --ca-bundle "$T/public/ca.pem"; grep_none 'done in' other.log

# the file may be replaced, removed, and refreshed, as packages do
line "$DEBIAN" 'COPY public.crt /usr/share/ca-certificates/public.crt' \
  'RUN cp /usr/share/ca-certificates/public.crt /etc/ssl/certs/new && mv /etc/ssl/certs/new /etc/ssl/certs/ca-certificates.crt && head -c 20 $SSL_CERT_FILE' \
  'RUN rm /etc/ssl/certs/ca-certificates.crt' 'RUN rm -rf /etc/ssl'
bundle replaced; tree "$T/oci:replaced" >files; grep_none 'ca-certificates.crt$|/etc/ssl' files
equal "$(members replaced 6)" 'etc/ etc/ssl/ etc/ssl/certs/ etc/ssl/certs/ca-certificates.crt '
equal "$(members replaced 8)" 'etc/ etc/.wh.ssl '

# a step that keeps it fails by name, however it does so
leaks() {  # FILE COMMAND
  line "$DEBIAN" 'COPY public.crt /usr/share/ca-certificates/public.crt' "RUN $2"
  expect 1 rayctl build -t leak ctx --ca-bundle "$T/pki/ca.pem"
  equal "$(tail -n 1 "$T/err")" "rayctl: ctx/Dockerfile:14: RUN $2: cannot keep '/$1': the step put a certificate of --ca-bundle into it (the bundle is for the build alone; COPY the certificate if the image shall have it)"
}
leaks copy 'cp $SSL_CERT_FILE /copy'
leaks etc/ssl/certs/ca-certificates.crt 'chmod 600 /etc/ssl/certs/ca-certificates.crt'
leaks etc/ssl/rayctl-build-ca.pem 'touch /etc/ssl/rayctl-build-ca.pem'
leaks d/appended 'mkdir /d && dd if=/dev/zero bs=1048000 count=1 2>/dev/null >/d/appended && cat $SSL_CERT_FILE >>/d/appended'
leaks tar 'tar -cf /tar -C /etc/ssl rayctl-build-ca.pem'
leaks der 'grep -v -e ----- $SSL_CERT_FILE | base64 -d >/der'
line "$DEBIAN" 'COPY public.crt /usr/share/ca-certificates/public.crt' 'RUN cp /usr/share/ca-certificates/public.crt /copy'
build public ctx --ca-bundle "$T/public/ca.pem"  # a public certificate may be in an image
echo none >none.pem; fails "cannot use 'none.pem' as a CA bundle: it holds no certificate in PEM form" ctx --ca-bundle none.pem
SSL_CERT_FILE=$T/pki/ca.pem build host ctx --ca-bundle host

# proxies reach RUN, by our environment or by --build-arg, and are recorded nowhere
line 'ARG http_proxy' 'RUN echo "p $HTTP_PROXY $http_proxy $NO_PROXY" >&2' 'RUN env >/dev/null'
HTTP_PROXY=http://user:hush@127.0.0.1:1 build proxy ctx --build-arg http_proxy=http://hush2@127.0.0.1 --build-arg NO_PROXY=x
grep_quiet '^    p http://user:hush@127.0.0.1:1 http://hush2@127.0.0.1 x$' proxy.log
config proxy >config.json; grep_none hush config.json; grep_none 'is not used' proxy.log
build noproxy ctx; grep_none 'done in' noproxy.log; equal "$(cat proxy.id)" "$(cat noproxy.id)"
