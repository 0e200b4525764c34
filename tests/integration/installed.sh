#!/bin/bash
# installed.sh - the installed tree: what is in it, and that libcxe.so shows nothing but its API
. "$(dirname "$0")/lib.sh"

cmake --install "$build" --prefix "$work/usr" >/dev/null
for file in bin/fabricd bin/cxe lib/libcxe.so lib/libcxe.so.0 lib/libcxe-preload.so include/cxe.h \
    lib/pkgconfig/cxe.pc lib/cmake/cxe/cxe-config.cmake share/man/man1/cxe.1 share/man/man8/fabricd.8 \
    share/doc/cxe/examples/fabricd.yaml; do
    [ -e "$work/usr/$file" ] || fail "$file is not installed"
done

declared=$(grep -oE '\bcxe_[a-z_]+\(' "$work/usr/include/cxe.h" | tr -d '(' | sort -u)
shown=$(nm -D --defined-only "$work/usr/lib/libcxe.so" | awk '$2 ~ /[TWDBRV]/ { print $3 }' | sed 's/@.*//' |
    grep -v '^CXE_0$' | sort -u)
[ "$declared" = "$shown" ] || fail "declared and exported differ: $(diff <(echo "$declared") <(echo "$shown"))"

readelf -d "$work/usr/lib/libcxe.so" | grep -q 'SONAME.*libcxe.so.0' || fail "the soname is wrong"
for file in bin/fabricd bin/cxe; do
    readelf -d "$work/usr/$file" | grep -q 'BIND_NOW\|NOW' || fail "$file is not linked with full RELRO"
done
for file in "$work"/usr/lib/libcxe*.so; do
    ! readelf -lW "$file" | grep GNU_STACK | grep -q E || fail "$file wants an executable stack"
done
