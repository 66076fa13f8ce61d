#!/bin/sh
# A bubblewrap for the tests: .services/bwrap. The one on the PATH where there is one, else Debian's.
set -eu
cd "$(dirname "$0")/.."
. tests/debian.sh
mkdir -p .services
if ! use .services/bwrap bwrap; then
    unpack bwrap --yes --no-install-recommends --download-only install bubblewrap
    libraries=$(find "$root" -name '*.so*' -exec dirname {} \; | sort -u | paste -s -d : -)
    cat >.services/bwrap <<EOF
#!/bin/sh
export LD_LIBRARY_PATH="$libraries"
exec "$root/usr/bin/bwrap" "\$@"
EOF
    chmod +x .services/bwrap
fi
.services/bwrap --version
