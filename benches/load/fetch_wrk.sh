#!/bin/sh
# wrk, the load generator: .services/wrk. The one on the PATH where there is one, else Debian's.
set -eu
cd "$(dirname "$0")/../.."
. tests/debian.sh
mkdir -p .services
if ! use .services/wrk wrk; then
    unpack wrk download wrk libluajit-5.1-2
    cat >.services/wrk <<SCRIPT
#!/bin/sh
export LD_LIBRARY_PATH="$(dirname "$(find "$root" -name 'libluajit-5.1.so.*' | head -n 1)")"
exec "$root/usr/bin/wrk" "\$@"
SCRIPT
    chmod +x .services/wrk
fi
.services/wrk --version | head -n 1
