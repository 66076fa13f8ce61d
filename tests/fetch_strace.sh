#!/bin/sh
# strace for the tests: .services/strace. The one on the PATH where there is one, else Debian's.
set -eu
cd "$(dirname "$0")/.."
. tests/debian.sh
mkdir -p .services
if ! use .services/strace strace; then
    unpack strace download strace libunwind8
    libraries=$(dirname "$(find "$root" -name 'libunwind.so.*' | head -n 1)")
    cat >.services/strace <<EOF
#!/bin/sh
LD_LIBRARY_PATH="$libraries" exec "$root/usr/bin/strace" "\$@"
EOF
    chmod +x .services/strace
fi
.services/strace --version | head -n 1
