#!/bin/sh
# The public header compiles alone as C11 and C++17 with all warnings; the library exports what it declares, only, and does
# not bring along what only servers need.
# Build: release/trimtab_shared
cd "$(dirname "$0")/../.." || exit 1
LIB="${TRIMTAB_BUILD:-build/release}/lib/libtrimtab.so"
n=0; bad=0
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=1; fi; }
F="-Wall -Wextra -Werror -Wpedantic -fsyntax-only -Iinclude"
echo '#include <trimtab/trimtab.h>' | gcc -std=c11 $F -x c - ; ok $? "the header is C11"
echo '#include <trimtab/trimtab.h>' | g++ -std=c++17 $F -x c++ - ; ok $? "the header is C++17"
declared=$(sed -n '/TRIMTAB_API/,/;/p' include/trimtab/trimtab.h | grep -o 'trimtab_[a-z_]*(' | tr -d '(' | sort -u)
exported=$(nm -D --defined-only "$LIB" | awk '$2 == "T" {print $3}' | sort -u)
[ "$declared" = "$exported" ]; ok $? "the library exports what the header declares, and nothing else"
extra=$(readelf -d "$LIB" | grep NEEDED | grep -oE 'yaml|expat|toml|stdc|sqlite|jemalloc' | sort -u | tr '\n' ' ')
[ -z "$extra" ] || echo "# it needs $extra"
[ -z "$extra" ]; ok $? "the library brings no parser of documents and no C++ into programs"
said=$(perl -MDynaLoader -e 'DynaLoader::dl_load_file($ARGV[0]) or die DynaLoader::dl_error()' "$LIB" 2>&1); loads=$?
[ -z "$said" ] || echo "# $said"
ok $loads "a program that runs already can load the library"
# Such a program has little room for thread-local storage, for all that it loads.
tls=$(readelf -lW "$LIB" | awk '$1 == "TLS" {print $6}')
[ $((${tls:-0})) -le 128 ] || echo "# it has $((tls)) bytes"
[ $((${tls:-0})) -le 128 ]; ok $? "the library has no more than 128 bytes of thread-local storage"
echo "1..$n"
exit $bad
