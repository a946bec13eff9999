#!/bin/sh
# Fetches the Linux headers that the tables of this crate are compared with, from Debian's archive.
#
#   fw-cmds/judge/fetch-headers.sh [FOLDER]
#
# FOLDER is where the headers go; without it they go to
# ${XDG_CACHE_HOME:-$HOME/.cache}/mlx5-twin/headers/<version>, where the test finds them by itself.
# For any other folder tell the test: MLX5_TWIN_HEADERS=FOLDER. Nothing happens if they are there
# already.
#
# Needs no privileges. Needs curl or wget, tar, xz, sha256sum, and dpkg-deb or ar. With gpgv and
# Debian's keyring the archive's signature is checked; without, this says so and goes on.
#
# Settings: DEBIAN_MIRROR, DEBIAN_SUITE, MLX5_TWIN_KERNEL (the version to prefer).
set -eu

mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
suite=${DEBIAN_SUITE:-trixie-backports}
kernel=${MLX5_TWIN_KERNEL:-7.3.4}
index=main/binary-amd64/Packages.xz

say() { printf '%s\n' "fetch-headers: $*" >&2; }
die() { say "error: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# What the test needs is there: mlx5's own headers, and those of the MADs.
complete() { older "$1" && [ -f "$1/rdma/ib_mad.h" ] && [ -f "$1/rdma/ib_smi.h" ] && [ -f "$1/rdma/ib_pma.h" ]; }

# A folder of an older version of this script, which took mlx5's own headers only.
older() { [ -f "$1/mlx5_ifc.h" ] && [ -f "$1/device.h" ] && [ -f "$1/VERSION" ]; }

fetch() { # url file
    if have curl; then
        curl -fsSL --retry 3 -o "$2" "$1" || die "can't download $1"
    elif have wget; then
        wget -q -t 3 -O "$2" "$1" || die "can't download $1"
    else
        die "neither curl nor wget is installed"
    fi
}

check_sha256() { # file sum
    sum=$(sha256sum "$1" | cut -d ' ' -f 1)
    [ "$sum" = "$2" ] || die "SHA256 of ${1##*/} is $sum, the archive says $2"
}

for tool in tar xz sha256sum awk sort mktemp; do
    have "$tool" || die "$tool is not installed"
done
have dpkg-deb || have ar || die "neither dpkg-deb nor ar is installed"

# Where to? Answer without the network if the preferred version is there.
if [ $# -gt 1 ]; then
    die "one folder at most, got $#"
elif [ $# -eq 1 ]; then
    [ -n "$1" ] || die "the folder's name is empty"
    target=${1%/}
    case $target in */*) parent=${target%/*} ;; *) parent=. ;; esac
    if complete "$target"; then
        say "$(cat "$target/VERSION") is in $target already"
        exit 0
    fi
    # An empty folder may be replaced, an older one completed, nothing else.
    if [ -e "$target" ] && ! older "$target" && ! rmdir "$target" 2>/dev/null; then
        die "$target exists and holds something else"
    fi
else
    target=
    if [ -z "${XDG_CACHE_HOME:-}" ] && [ -z "${HOME:-}" ]; then
        die "neither XDG_CACHE_HOME nor HOME is set; name a folder"
    fi
    parent=${XDG_CACHE_HOME:-$HOME/.cache}/mlx5-twin/headers
    for found in "$parent/$kernel+"*; do
        if complete "$found"; then
            say "$(cat "$found/VERSION") is in $found already"
            exit 0
        fi
    done
fi
mkdir -p "${parent:-/}" || die "can't create $parent"

# Work beside the target, so that the last step is a rename.
work=$(mktemp -d "$parent/.fetch-XXXXXX") || die "can't write to $parent"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The signed list of the suite's indices.
fetch "$mirror/dists/$suite/InRelease" "$work/InRelease"
keyring=
for file in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
    if [ -f "$file" ]; then
        keyring=$file
    fi
done
if have gpgv && [ -n "$keyring" ]; then
    # gpgv fails if it lacks one of several keys, so judge by what it says: a good signature, no bad one.
    gpgv --status-fd 3 --keyring "$keyring" --output "$work/Release" "$work/InRelease" \
        3>"$work/status" 2>"$work/gpgv.log" || true
    if ! grep -q '^\[GNUPG:\] VALIDSIG ' "$work/status" || grep -q '^\[GNUPG:\] BADSIG ' "$work/status"; then
        cat "$work/gpgv.log" >&2
        die "the signature of $suite's InRelease is not good"
    fi
    signature="signature checked with gpgv"
else
    cp "$work/InRelease" "$work/Release"
    signature="SIGNATURE NOT CHECKED"
    say "warning: gpgv or Debian's keyring is not installed: the archive's signature is not checked"
fi

# The list of packages, by its hash: so it is the one the release means.
hash=$(awk -v file="$index" '
    /^[^ ]/ { section = $1 }
    section == "SHA256:" && $3 == file { print $1; exit }' "$work/Release")
[ -n "$hash" ] || die "$suite's Release does not list $index"
fetch "$mirror/dists/$suite/${index%/*}/by-hash/SHA256/$hash" "$work/Packages.xz"
check_sha256 "$work/Packages.xz" "$hash"
xz -dc "$work/Packages.xz" >"$work/Packages" || die "can't unpack $index"

# linux-headers-7.*-common, oldest first: package, version, file, SHA256.
awk '
    function flush() {
        if (package ~ /^linux-headers-7\.[0-9.]+[^-]*-common$/ && file != "" && sum != "")
            print package, version, file, sum
        package = version = file = sum = ""
    }
    $1 == "Package:" { package = $2 }
    $1 == "Version:" { version = $2 }
    $1 == "Filename:" { file = $2 }
    $1 == "SHA256:" { sum = $2 }
    /^$/ { flush() }
    END { flush() }' "$work/Packages" | sort -V >"$work/candidates"
chosen=$(awk -v prefix="linux-headers-$kernel+" 'index($1, prefix) == 1' "$work/candidates" | tail -n 1)
if [ -z "$chosen" ]; then
    chosen=$(tail -n 1 "$work/candidates")
    [ -n "$chosen" ] || die "$suite has no package linux-headers-7.*-common"
    say "note: $suite has no headers of $kernel any more, taking the newest"
fi
# shellcheck disable=SC2086 # split on purpose: four words without blanks
set -- $chosen
package=$1 version=$2 file=$3 sum=$4
name=${package#linux-headers-}
name=${name%-common}
target=${target:-$parent/$name}
if complete "$target"; then
    say "$(cat "$target/VERSION") is in $target already"
    exit 0
fi

say "taking $package $version ($signature)"
fetch "$mirror/$file" "$work/package.deb"
check_sha256 "$work/package.deb" "$sum"

# Only include/linux/mlx5, flat, and the MADs' headers of include/rdma, in rdma/.
mkdir "$work/tree" "$work/new" "$work/new/rdma"
if have dpkg-deb; then
    dpkg-deb --fsys-tarfile "$work/package.deb" >"$work/data.tar" || die "can't unpack $package"
else
    member=$(ar t "$work/package.deb" | grep '^data\.tar') || die "$package has no data.tar"
    case $member in
        *.xz) ar p "$work/package.deb" "$member" | xz -dc >"$work/data.tar" ;;
        *.tar) ar p "$work/package.deb" "$member" >"$work/data.tar" ;;
        *) die "$package holds $member, which only dpkg-deb unpacks" ;;
    esac
fi
tar -xf "$work/data.tar" -C "$work/tree" --wildcards '*/include/linux/mlx5/*.h' '*/include/rdma/ib_*.h' ||
    die "$package has no include/linux/mlx5 or include/rdma"
find "$work/tree" -type f -path '*/linux/mlx5/*' -exec cp {} "$work/new/" \;
find "$work/tree" -type f \( -name ib_mad.h -o -name ib_smi.h -o -name ib_pma.h \) -exec cp {} "$work/new/rdma/" \;
printf '%s\n' "$package $version, $signature" >"$work/new/VERSION"
complete "$work/new" || die "$package lacks mlx5_ifc.h, device.h or a header of the MADs"

# Two of us at once: the first has won. A folder that has come to be since is not replaced.
if complete "$target"; then
    say "$(cat "$target/VERSION") is in $target already"
    exit 0
fi
if older "$target" && grep -qF "$package $version," "$target/VERSION"; then
    mkdir -p "$target/rdma" && cp "$work/new/rdma/"*.h "$target/rdma/" || die "can't complete $target"
    say "headers of the MADs are in $target/rdma"
    exit 0
fi
[ ! -e "$target" ] || die "$target exists and does not hold the headers"
mv "$work/new" "$target" || die "can't create $target"
say "headers are in $target"
