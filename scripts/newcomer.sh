#!/bin/bash
# The way of a stranger: both commands of the README, the programs of the documentation, make install, Debian packages,
# and projects outside of this folder that use what is installed. In a bare Debian 12, or what can be done of it here.
set -Eeuo pipefail
trap 'echo "newcomer.sh: line $LINENO has failed" >&2' ERR

usage() {
    echo "Usage: newcomer.sh FOLDER   in FOLDER, made a bare Debian 12 by debootstrap and kept for the next time; needs root"
    echo "       newcomer.sh --here   without root: make install and make deb below a temporary folder (BUILD=build)"
}

cd "$(dirname "$0")/.."
export BUILD=${BUILD:-build}
jobs=-j$(nproc)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

step() {
    echo
    echo "==> $*  ($SECONDS s)"
}

# Programs outside, with what is installed below ROOT: "" or a folder in which the paths of /usr begin.
# shellcheck disable=SC2046 # flags are lists
outside() ( # ROOT LIBDIR
    root=$1 libdir=$1$2
    export PKG_CONFIG_PATH=$libdir/pkgconfig
    rm -rf "$work/outside"
    cp -r tests/outside "$work"
    cp examples/hello.c examples/extend.c "$work/outside"
    cd "$work/outside"
    with() { PKG_CONFIG_SYSROOT_DIR=$root pkg-config "$@"; }
    cc hello.c $(with --cflags --libs rbe) -lm -o hello-shared
    cc -Wall -Wextra -Wpedantic -Werror extend.c $(with --cflags --libs rbe) -lm -o extend
    cc infer.c $(with --cflags --libs rbe_infer) -o infer-shared
    # Its dependencies are the system's.
    cc hello.c $(with --cflags rbe) "$libdir/librbe.a" $(pkg-config --libs $(pkg-config --print-requires-private rbe)) \
        -lm -pthread -o hello-static
    cc -static infer.c $(with --static --cflags --libs rbe_infer) -o infer-static
    for program in hello-shared extend infer-shared; do LD_LIBRARY_PATH=$libdir "./$program"; done
    ./hello-static
    ./infer-static extend.safetensors 2> refused && exit 1 # it has layers of its own
    grep -q 'its kind, .*, is unknown' refused
    if command -v cmake > /dev/null; then
        cmake -S . -B made -DCMAKE_PREFIX_PATH="${libdir%/lib*}" > cmake.log || { cat cmake.log; exit 1; }
        cmake --build made > cmake.log || { cat cmake.log; exit 1; }
        made/hello
        made/infer
        sed -i 's/rbe 0\.1/rbe 9.0/' CMakeLists.txt
        cmake -S . -B other -DCMAKE_PREFIX_PATH="${libdir%/lib*}" > cmake.log 2>&1 && exit 1
        grep -q 'requested version "9.0"' cmake.log
    else
        echo "cmake is not installed: find_package is not tried"
    fi
)

# The program, its pages and the libraries that are installed there.
installed() { # ROOT LIBDIR
    "$1/bin/rbe" --help
    version=$("$1/bin/rbe" --version)
    test "$(find "$1/share/man/man1" -name 'rbe-*.1*' | wc -l)" -eq "$("$1/bin/rbe" --help | sed -n '4,/^$/p' | grep -c ' ')"
    for file in "$2"/librbe.so."${version#rbe }" "$2"/librbe_infer.so."${version#rbe }" "$1/bin/rbe"; do
        nm "$file" 2>&1 | grep -q 'no symbols' || { echo "$file is not stripped"; return 1; }
    done
}

here() {
    step "make install, and projects outside of this folder"
    make "$jobs" BUILD="$BUILD" install DESTDIR="$work/stage" PREFIX=/usr > "$work/log" || { cat "$work/log"; exit 1; }
    installed "$work/stage/usr" "$work/stage/usr/lib"
    outside "$work/stage" /usr/lib
    make BUILD="$BUILD" uninstall DESTDIR="$work/stage" PREFIX=/usr > "$work/log"
    left=$(find "$work/stage" ! -type d)
    test -z "$left" || { echo "make uninstall leaves $left"; exit 1; }

    command -v dpkg-deb dpkg-shlibdeps > /dev/null || { echo "dpkg-dev is not installed: no make deb"; return 0; }
    step "make deb, and projects that use what is in the packages"
    make BUILD="$BUILD" deb
    for package in "$BUILD"/deb/*.deb; do dpkg-deb -x "$package" "$work/unpacked"; done
    installed "$work/unpacked/usr" "$(echo "$work"/unpacked/usr/lib/*-*)"
    outside "$work/unpacked" "/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)"
}

# In the bare Debian, as root; this folder is a copy of the project.
bare() {
    export DEBIAN_FRONTEND=noninteractive
    for tool in git python3 cc make; do
        ! command -v $tool > /dev/null || echo "$tool is there already: this Debian is not bare"
    done
    step "sh scripts/deps.sh && make -j2 demo"
    sh scripts/deps.sh && make -j2 demo
    step "sh scripts/deps.sh && make -j2 check"
    sh scripts/deps.sh && make -j2 check
    if grep -q '^docs-check:' Makefile; then
        step "make docs-check"
        make docs-check
    fi
    apt-get install --yes --no-install-recommends cmake lintian man-db > "$work/log"

    step "make install"
    make install PREFIX=/usr/local
    ldconfig
    installed /usr/local /usr/local/lib
    outside "" /usr/local/lib
    man rbe-train | head -n 5
    make uninstall PREFIX=/usr/local > "$work/log"
    ldconfig
    left=$(find /usr/local -name '*rbe*')
    test -z "$left" || { echo "make uninstall leaves $left"; exit 1; }

    step "make deb: install, use, purge"
    make deb
    lintian --fail-on error "$BUILD"/deb/*.deb
    apt-get install --yes "./$BUILD"/deb/*.deb > "$work/log"
    installed /usr "$(echo /usr/lib/*/librbe.so.0 | xargs dirname)"
    outside "" "/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)"
    rbe train --epochs 1 --budget 16113 --out "$work/run"
    rbe classify "$work/run/model.safetensors"
    apt-get purge --yes librbe0 librbe-infer0 librbe-dev rbe-tools > "$work/log"
    left=$(find /usr /etc /var/lib/dpkg/info -name '*rbe[-_.]*' -o -name 'librbe*' -o -name rbe)
    test -z "$left" || { echo "the packages leave $left"; exit 1; }
}

case ${1:-} in
--here) here ;;
--bare) bare ;; # called below
-h | --help) usage ;;
-* | '')
    usage >&2
    exit 2
    ;;
*)
    root=$1
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null | grep -E '^(URIs:|deb) ' |
        grep -oE 'https?://[^ ]+' | head -n 1) || true
    [ -d "$root/usr" ] || debootstrap --variant=minbase bookworm "$root" "${mirror:-http://deb.debian.org/debian}"
    cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/" # a proxy, certificates
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
    trap 'umount "$root/proc"; rm -rf "$work"' EXIT
    rm -rf "$root/root/project"
    mkdir -p "$root/root/project"
    git archive HEAD | tar x -C "$root/root/project"
    chroot "$root" sh -c 'cd /root/project && bash scripts/newcomer.sh --bare'
    ;;
esac
step "done"
