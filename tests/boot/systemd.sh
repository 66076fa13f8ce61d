#!/bin/sh
# Boots a Debian with systemd in a container of its own and plays the life of an installation there: `make test-systemd`.
# Root, a Debian machine, some minutes and 600 MB in .services/boot; the Debian that is fetched the first time is kept.
# The container has no network but the loopback. It ends with this script, whatever happens.
#
#   tests/boot/systemd.sh [WHEEL]      the newest of dist/ where none is named
set -eu
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "only root can boot a container" >&2; exit 1; }
for program in debootstrap systemd-nspawn nsenter; do
    command -v "$program" >/dev/null || { echo "$program is needed (Debian: apt install debootstrap systemd-container)" >&2; exit 1; }
done

if [ $# -gt 0 ]; then
    wheel=$1
else
    # shellcheck disable=SC2012 # names without blanks
    wheel=$(ls -t dist/*.whl 2>/dev/null | head -n 1)
fi
[ -f "$wheel" ] || { echo "there is no wheel in dist/: make wheel" >&2; exit 1; }

store=${BOOT_STORE:-.services/boot}
mkdir -p "$store"
if [ ! -e "$store/base/etc/logrotate.conf" ]; then
    rm -rf "$store/base"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' | head -n 1)
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,python3,python3-venv,logrotate,curl \
        bookworm "$store/base" "$mirror" >"$store/debootstrap.log" 2>&1 || { tail -n 5 "$store/debootstrap.log" >&2; exit 1; }
fi
root=$store/machine
rm -rf "$root"
cp -a --reflink=auto "$store/base" "$root"

# What the installation needs, since there is no network inside: packages for the Python of that Debian.
mkdir -p "$root/root/wheels" "$root/root/deploy"
rm -f "$store"/wheels/kalguard-*.whl
python3 -m pip download --quiet --disable-pip-version-check --dest "$store/wheels" --python-version 3.11 \
    --only-binary :all: "${wheel}[sidecar]" 'async-timeout>=4.0.3'  # that Python, 3.11.2, wants it; this one may not
cp "$store"/wheels/*.whl "$root/root/wheels/"
cp -a deploy/systemd/. "$root/root/deploy/"
cp tests/boot/inside.sh "$root/root/inside.sh"

# Root here cannot raise limits, so the container keeps those that there are.
systemd-nspawn --quiet --directory "$root" --boot --register=no --keep-unit --private-network \
    --machine kalguard-test --console=pipe >"$store/console.log" 2>&1 </dev/null &
nspawn=$!
halt() {
    kill -TERM "$nspawn" 2>/dev/null || true
    sleep 1
    kill -KILL "$nspawn" 2>/dev/null || true
    wait "$nspawn" 2>/dev/null || true
}
trap halt EXIT

leader=''
for _ in $(seq 60); do
    sleep 1
    leader=$(cut -d' ' -f1 "/proc/$nspawn/task/$nspawn/children" 2>/dev/null || true)
    [ -n "$leader" ] || continue
    state=$(nsenter -t "$leader" -m -u -i -n -p -r -w systemctl is-system-running 2>/dev/null || true)
    case $state in running | degraded) break ;; esac
done
[ -n "$leader" ] || { tail -n 20 "$store/console.log" >&2; exit 1; }
nsenter -t "$leader" -m -u -i -n -p -r -w env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 sh /root/inside.sh
