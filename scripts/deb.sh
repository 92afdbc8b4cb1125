#!/bin/sh
# Debian packages of what make install has put below BUILD/deb/all, described by debian/control: BUILD/deb/*.deb.
# Needs dpkg-dev, which build-essential brings, and no root.
set -eu

[ "${1:-}" = -h ] && set -- --help
if [ $# -ne 1 ] || [ "$1" = --help ]; then
    echo "Usage: deb.sh BUILD   (called by make deb)"
    [ "${1:-}" = --help ] && exit 0
    exit 2
fi
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$1/deb"
version=$(sed -n 's/^#define RBE_VERSION_[A-Z]* //p' "$top/include/rbe/base.h" | paste -sd.)
minor=${version%.*}
libraries=usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
SOURCE_DATE_EPOCH=$(stat -c %Y "$top/include/rbe/base.h") # the same sources: the same packages
export SOURCE_DATE_EPOCH

rm -rf debian ./*.deb
mkdir debian
cp "$top/debian/control" debian
{
    echo "librbe ($version-1) unstable; urgency=medium"
    echo
    echo "  * Version $version: CHANGELOG.md of the sources says what is new."
    echo
    echo " -- $(sed -n 's/^Maintainer: //p' debian/control)  $(date -u -R -d "@$SOURCE_DATE_EPOCH")"
} > debian/changelog

move() { # PACKAGE FILE...
    package=$1
    shift
    for file in "$@"; do
        mkdir -p "debian/$package/DEBIAN" "debian/$package/$(dirname "${file#all/}")"
        mv "$file" "debian/$package/${file#all/}"
    done
}

# What its programs and libraries are linked with, as packages.
needs() { # PACKAGE
    find "debian/$1" -type f \( -name '*.so.*' -o -path '*/bin/*' \) -exec dpkg-shlibdeps -T"debian/$1.substvars" {} +
}

pack() { # PACKAGE
    root=debian/$1
    mkdir -p "$root/usr/share/doc/$1"
    cp "$top/debian/copyright" "$root/usr/share/doc/$1"
    gzip -9n < debian/changelog > "$root/usr/share/doc/$1/changelog.Debian.gz"
    find "$root" -type d -exec chmod 755 {} +
    find "$root" -type f ! -path '*/bin/*' -exec chmod 644 {} +
    (cd "$root" && find usr -type f -exec md5sum {} +) > "$root/DEBIAN/md5sums"
    dpkg-gencontrol -p"$1" -P"$root" -T"debian/$1.substvars"
    dpkg-deb --root-owner-group --build "$root" . > /dev/null
}

gzip -9n all/usr/share/man/man1/*
rm all/usr/share/doc/librbe-dev/LICENSE # debian/copyright has it

move librbe0 all/"$libraries"/librbe.so.*
move librbe-infer0 all/"$libraries"/librbe_infer.so.*
move rbe-tools all/usr/bin/rbe all/usr/share/man/man1 all/usr/share/rbe
move librbe-dev all/usr/include all/"$libraries" all/usr/share/doc/librbe-dev
left=$(find all -type f -o -type l)
if [ -n "$left" ]; then
    echo "deb.sh: in no package: $left" >&2
    exit 1
fi

# Before 1.0 a program needs the minor version that it was compiled with (rbe/base.h).
for name in librbe librbe_infer; do
    package=$(echo $name | tr _ -)0
    echo "$name 0 $package (>= $minor~), $package (<< ${minor%.*}.$((${minor#*.} + 1))~)" > "debian/$package/DEBIAN/shlibs"
    echo "activate-noawait ldconfig" > "debian/$package/DEBIAN/triggers"
done
for package in librbe0 librbe-infer0 rbe-tools; do needs $package; done
for package in librbe0 librbe-infer0 librbe-dev rbe-tools; do pack $package; done
ls -- *.deb
