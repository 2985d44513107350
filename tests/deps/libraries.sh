#!/usr/bin/env bash
# libraries.sh ARCH PREFIX NAME...: builds libraries from Debian's source packages, static and with no more in them than
# rayctl uses, and installs them under PREFIX; for another processor against PREFIX/sysroot (sysroot.sh). Debian's own
# archives of these want a dozen libraries that have no static form (libkrb5, ...), or do not exist (isa-l). What is there
# in Debian's newest revision is left alone. Run by deps.sh, under its lock. Verified: a library counts as built once its
# archive has the symbols we call.
set -euo pipefail
arch=$1 prefix=$2; shift 2
jobs=$(nproc)
work=$(mktemp -d "${TMPDIR:-/tmp}/rayctl-deps.XXXXXX")
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/deps/archive.sh
. "$(dirname "${BASH_SOURCE[0]}")/archive.sh"

revision() {  # the newest that the archive has
  archive_apt --print-uris --dsc-only --download-only source "$1" 2>/dev/null |
    sed -n "s/^'[^']*' $1_\([^ ]*\)\.dsc .*/\1/p"
}

flags='-O2 -g0 -fPIC -ffunction-sections -fdata-sections'
target=$arch-linux-gnu
export CC=gcc AR=ar RANLIB=ranlib NM=nm PKG_CONFIG=/bin/false
if [ "$arch" != "$(uname -m)" ]; then
  export CC="$target-gcc --sysroot=$prefix/sysroot" AR=$target-ar RANLIB=$target-ranlib NM=$target-nm
fi

has_symbol() { [ "$("$NM" "$1" 2>/dev/null | grep -c " T $2$")" -gt 0 ]; }

# HTTP and HTTPS only. The configure script of the release is used as it is: Debian's patches to configure.ac concern
# what is off here, so its time stamp is put back and no autotools are needed.
build_curl() {
  touch aclocal.m4 && find . -name Makefile.in -exec touch {} + && touch configure lib/curl_config.h.in
  ./configure -q --build="$(uname -m)-linux-gnu" --host="$target" --prefix="$1" \
    --disable-shared --enable-static --disable-dependency-tracking \
    --with-openssl --with-zlib --with-nghttp2 --enable-ares --enable-http --enable-proxy --enable-ipv6 --enable-http-auth \
    --disable-ftp --disable-file --disable-ldap --disable-ldaps --disable-rtsp --disable-dict --disable-telnet \
    --disable-tftp --disable-pop3 --disable-imap --disable-smb --disable-smtp --disable-gopher --disable-mqtt \
    --disable-manual --disable-ntlm --disable-ntlm-wb --disable-tls-srp --disable-unix-sockets --disable-alt-svc \
    --disable-hsts --disable-websockets --disable-libcurl-option --disable-doh --disable-aws --disable-netrc \
    --without-libpsl --without-libidn2 --without-brotli --without-zstd --without-librtmp --without-libssh2 \
    --without-gssapi --without-libgsasl --without-ngtcp2 --without-nghttp3 --without-quiche --without-hyper \
    --with-ca-bundle=/etc/ssl/certs/ca-certificates.crt --without-ca-path CFLAGS="$flags" LIBS='-lpthread -ldl'
  make -s -j"$jobs" -C lib install
  make -s -C include install
  has_symbol "$1/lib/libcurl.a" curl_multi_poll
  grep -q '^#define USE_ARES 1' lib/curl_config.h
  grep -q '^#define USE_NGHTTP2 1' lib/curl_config.h
}

# tar with zlib and zstd; the digests that tar needs none of, ACLs, XML and the rest are off.
build_libarchive() {
  touch aclocal.m4 && touch Makefile.in && touch configure config.h.in
  ./configure -q --build="$(uname -m)-linux-gnu" --host="$target" --prefix="$1" \
    --disable-shared --enable-static --disable-dependency-tracking \
    --disable-bsdtar --disable-bsdcat --disable-bsdcpio --disable-acl --disable-xattr --without-bz2lib --without-libb2 \
    --without-iconv --without-lz4 --without-lzma --without-lzo2 --without-cng --without-mbedtls --without-nettle \
    --without-openssl --without-xml2 --without-expat --with-zlib --with-zstd CFLAGS="$flags"
  make -s -j"$jobs" libarchive.la
  install -D -m 644 -t "$1/lib" .libs/libarchive.a
  install -D -m 644 -t "$1/include" libarchive/archive.h libarchive/archive_entry.h
  has_symbol "$1/lib/libarchive.a" archive_read_support_filter_zstd
  grep -q '^#define HAVE_ZSTD_H 1' config.h
  grep -q '^#define HAVE_LIBZSTD 1' config.h
}

# igzip only: deflate and inflate, CRC and Adler.
build_libisal() {
  make -s -f Makefile.unx -j"$jobs" units='igzip crc' host_cpu="$arch" CC="$CC" AR="$AR" \
    "CFLAGS_$([ "$arch" = x86_64 ] || echo "$arch")=$flags -D_GNU_SOURCE" lib
  install -D -m 644 bin/isa-l.a "$1/lib/libisal.a"
  install -D -m 644 -t "$1/include/isa-l" include/igzip_lib.h include/crc.h include/crc64.h include/types.h
  has_symbol "$1/lib/libisal.a" isal_inflate
}

build() {  # NAME VERSION
  local name=$1 version=$2 log=$work/$1.log rc=0
  echo "deps: building $name $version" >&2
  set +e  # not `( ... ) ||`: that would switch errexit off inside
  ( set -e
    cd "$work"
    archive_apt source "$name=$version"
    cd "$(find . -maxdepth 1 -type d -name "$name-*" | head -n 1)"
    "build_$name" "$work/install-$name" ) >"$log" 2>&1
  rc=$?
  set -e
  if [ $rc != 0 ]; then
    tail -n 40 "$log" >&2
    cp "$log" "${prefix%/*}/$name.log"
    fail "cannot build $name (log: ${prefix%/*}/$name.log)"
  fi
  mkdir -p "$prefix"
  cp -a --remove-destination "$work/install-$name/." "$prefix/"
  printf '%s\n' "$version" >"$prefix/.stamp-$name.new"
  mv "$prefix/.stamp-$name.new" "$prefix/.stamp-$name"
}

find_archive deb-src "$(dpkg --print-architecture)"
for name; do
  version=$(revision "$name")
  [ -n "$version" ] || fail "Debian's archive has no source package '$name'"
  [ "$(cat "$prefix/.stamp-$name" 2>/dev/null)" = "$version" ] || build "$name" "$version"
done
