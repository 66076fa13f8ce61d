#!/bin/sh
# What the tests of deploy/ run for real: HAProxy, logrotate, rsyslog, `ip`, systemd-analyze and ShellCheck, each as
# .services/NAME. Those on the PATH where they are, else Debian's.
set -eu
cd "$(dirname "$0")/.."
. tests/debian.sh
mkdir -p .services

# fetch NAME PACKAGES PATH [OPTION...]: the program, with its own libraries, and options that say where its parts lie.
fetch() {
    name=$1 packages=$2 path=$3
    shift 3
    ! use ".services/$name" "$name" || return 0
    # shellcheck disable=SC2086 # several words
    unpack "$name" --yes --no-install-recommends --download-only --reinstall install $packages
    libraries=$(find "$root" -name '*.so*' -exec dirname {} + | sort -u | tr '\n' ':')
    {
        echo '#!/bin/sh'
        echo "export LD_LIBRARY_PATH=\"$libraries\""
        echo "exec \"$root/$path\" $* \"\$@\""
    } >".services/$name"
    chmod +x ".services/$name"
}

fetch ip iproute2 bin/ip
fetch haproxy haproxy usr/sbin/haproxy
fetch logrotate logrotate usr/sbin/logrotate
fetch rsyslogd "rsyslog rsyslog-relp" usr/sbin/rsyslogd -M "$PWD/.services/debian/rsyslogd/root/usr/lib/$(uname -m)-linux-gnu/rsyslog"
fetch shellcheck shellcheck usr/bin/shellcheck
fetch systemd-analyze systemd bin/systemd-analyze
touch .services/host-programs
