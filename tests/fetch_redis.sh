#!/bin/sh
# A Redis for the tests: .services/redis-server. The one on the PATH where there is one (Valkey will do), else Debian's
# own packages, unpacked into .services/ and nowhere else: no root is needed, no service is started.
set -eu
cd "$(dirname "$0")/.."
target=.services/redis-server
mkdir -p .services
for name in redis-server valkey-server; do
    if found=$(command -v "$name"); then
        printf '#!/bin/sh\nexec "%s" "$@"\n' "$found" >"$target"
        chmod +x "$target"
        exec "$target" --version
    fi
done
command -v apt-get >/dev/null || { echo "the tests need redis-server or valkey-server on the PATH" >&2; exit 1; }

folder=$PWD/.services/debian
rm -rf "$folder"
mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
apt() {
    # Lists and downloads of its own, so that it works for anybody and leaves the system's alone.
    apt-get -qq -o Dir::State::lists="$folder/lists" -o Dir::Cache="$folder/cache" \
        -o APT::Sandbox::User= -o Debug::NoLocking=1 "$@"
}
apt update
apt --yes --no-install-recommends --download-only install redis-server >/dev/null
for package in "$folder"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$folder/root"
done
rm -rf "$folder/lists" "$folder/cache"
libraries=$(dirname "$(find "$folder/root" -name 'libjemalloc.so.*' | head -n 1)")
cat >"$target" <<EOF
#!/bin/sh
export LD_LIBRARY_PATH="$libraries"
exec "$folder/root/usr/bin/redis-server" "\$@"
EOF
chmod +x "$target"
"$target" --version
