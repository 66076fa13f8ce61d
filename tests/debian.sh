# shellcheck shell=sh
# Sourced by the scripts that fetch services: Debian's own packages, unpacked into .services/debian/ and nowhere else.
# No root is needed, nothing is installed, no service is started.

# apt-get with lists and downloads of its own, so that it works for anybody and leaves the system's alone.
apt() {
    apt-get -qq -o Dir::State::lists="$folder/lists" -o Dir::Cache="$folder/cache" \
        -o APT::Sandbox::User= -o Debug::NoLocking=1 "$@"
}

# unpack NAME APT-COMMAND...: what the command downloads, in .services/debian/NAME. Sets `root` to that folder.
unpack() {
    command -v apt-get >/dev/null || { echo "the tests need $1 on the PATH" >&2; exit 1; }
    folder=$PWD/.services/debian/$1
    root=$folder/root
    shift
    rm -rf "$folder"
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
    apt update
    (cd "$folder/cache/archives" && apt "$@" >/dev/null)
    for package in "$folder"/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$root"
    done
    rm -rf "$folder/lists" "$folder/cache"
}

# use TARGET NAME...: make TARGET start the first program of these names on the PATH. Fails where there is none.
use() {
    target=$1
    shift
    for name in "$@"; do
        if found=$(command -v "$name"); then
            printf '#!/bin/sh\nexec "%s" "$@"\n' "$found" >"$target"
            chmod +x "$target"
            return 0
        fi
    done
    return 1
}
