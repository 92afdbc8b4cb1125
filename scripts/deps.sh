#!/bin/sh
# Installs the Debian packages that building, testing and plotting need, or those of a developer of the library:
# those that are missing, and only those.
set -eu

packages="build-essential pkg-config libgsl-dev libopenblas-dev zlib1g-dev libcjson-dev check"
packages="$packages gnuplot-nox fonts-dejavu-core python3-numpy curl ca-certificates"

developer="clang libclang-rt-dev clang-format cmake codespell cppcheck shellcheck"

mpi="mpich libmpich-dev"

# Compilers for other machines, their C libraries, and qemu, which runs what they make.
targets="gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm qemu-user"
targets="$targets gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf libc6-dev-armhf-cross"
targets="$targets gcc-riscv64-linux-gnu libc6-dev-riscv64-cross gcc-s390x-linux-gnu libc6-dev-s390x-cross"

case ${1:-} in
'') ;;
--developer) packages="$packages $developer" ;;
--mpi) packages="$packages $mpi" ;;
--targets) packages="$packages $targets" ;;
-h | --help)
    echo "Usage: deps.sh [--developer|--mpi|--targets]"
    echo "Installs what is missing of: $packages"
    echo "and with --developer, for make docs-check, fuzz, format, lint and scripts/newcomer.sh, of: $developer"
    echo "or with --mpi, for make MPI=1, of: $mpi (Open MPI will do, too)"
    echo "or with --targets, for make targets, of: $targets (260 MB)"
    echo "with apt-get, as root or through sudo. Does nothing, and needs no network, if nothing is missing."
    exit 0
    ;;
*)
    echo "deps.sh: unexpected argument '$1' (try --help)" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query > /dev/null; then
    echo "deps.sh: this is not a Debian system; install what corresponds to: $packages" >&2
    exit 1
fi

missing=
for package in $packages; do
    # shellcheck disable=SC2016 # dpkg's own variable
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null) || status=
    [ "$status" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "deps.sh: nothing to do, all packages are installed"
    exit 0
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo > /dev/null; then
    as_root=sudo
else
    echo "deps.sh: missing:$missing" >&2
    echo "deps.sh: installing them needs root or sudo; as root: apt-get install$missing" >&2
    exit 1
fi

echo "deps.sh: installing$missing"
# shellcheck disable=SC2086 # a list, and an empty prefix
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing
