#!/bin/sh
# A Redis for the tests: .services/redis-server. The one on the PATH where there is one (Valkey will do), else Debian's.
set -eu
cd "$(dirname "$0")/.."
. tests/debian.sh
mkdir -p .services
if ! use .services/redis-server redis-server valkey-server; then
    unpack redis-server --yes --no-install-recommends --download-only install redis-server
    libraries=$(dirname "$(find "$root" -name 'libjemalloc.so.*' | head -n 1)")
    cat >.services/redis-server <<EOF
#!/bin/sh
export LD_LIBRARY_PATH="$libraries"
exec "$root/usr/bin/redis-server" "\$@"
EOF
    chmod +x .services/redis-server
fi
.services/redis-server --version
