#!/bin/bash
# installed.sh - the installed tree: what is in it, and that libcxe.so shows nothing but its API
. "$(dirname "$0")/lib.sh"

cmake --install "$build" --prefix "$work/usr" >/dev/null
for file in bin/fabricd bin/cxe lib/libcxe.so lib/libcxe.so.0 lib/libcxe-preload.so include/cxe.h include/cxe_sync.h \
    lib/pkgconfig/cxe.pc lib/cmake/cxe/cxe-config.cmake share/man/man1/cxe.1 share/man/man8/fabricd.8 \
    share/doc/cxe/examples/fabricd.yaml; do
    [ -e "$work/usr/$file" ] || fail "$file is not installed"
done

declared=$(grep -oE '\bcxe_[a-z_]+\(' -h "$work"/usr/include/cxe*.h | tr -d '(' | sort -u)
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

# What users build against it: C with pkg-config, C++, and CMake's find_package.
cat >"$work/use.cpp" <<'END'
#include <cxe.h>
#include <cxe_sync.h>

int main()
{
    cxe_connect_options options = {};
    cxe_connection *connection = nullptr;
    options.server = "127.0.0.1:1";
    options.server_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"; // no key: 33 bytes
    return cxe_connect(&options, &connection) == -EINVAL ? 0 : 1;
}
END
flags=$(PKG_CONFIG_PATH=$work/usr/lib/pkgconfig pkg-config --define-prefix --cflags --libs cxe)
# shellcheck disable=SC2086
g++ -Wall -Wextra -Werror "$work/use.cpp" $flags -o "$work/use-pkg-config" || fail "C++ does not build with pkg-config"
LD_LIBRARY_PATH=$work/usr/lib "$work/use-pkg-config" || fail "the C++ program does not run"

mkdir "$work/project"
sed 's/cxe_connect_options options = {}/struct cxe_connect_options options = {0}/; s/nullptr/NULL/; s/cxe_connection \*/struct cxe_connection */; s/main()/main(void)/; s,//.*,,' \
    "$work/use.cpp" >"$work/project/use.c"
cat >"$work/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(use LANGUAGES C)
find_package(cxe 0.1 REQUIRED)
add_executable(use use.c)
target_link_libraries(use PRIVATE cxe::cxe)
END
cmake -G Ninja -S "$work/project" -B "$work/project/build" -DCMAKE_PREFIX_PATH="$work/usr" >/dev/null
cmake --build "$work/project/build" >/dev/null || fail "a CMake project does not build with find_package(cxe)"
"$work/project/build/use" || fail "the CMake project's program does not run"
