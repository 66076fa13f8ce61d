#!/bin/sh
# Prometheus' promtool for the tests: .services/promtool. The one on the PATH where there is one, else Debian's.
set -eu
cd "$(dirname "$0")/.."
. tests/debian.sh
mkdir -p .services
if ! use .services/promtool promtool; then
    unpack promtool download prometheus
    mv "$root/usr/bin/promtool" .services/promtool
    touch .services/promtool  # else it is as old as the package, and fetched again each time
    rm -rf "$root"  # the rest is large, and nobody asks for it
fi
.services/promtool --version
