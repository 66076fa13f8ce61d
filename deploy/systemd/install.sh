#!/bin/sh
# Puts KalGuard on a machine with systemd, or takes it off. Can be run again at any time: to upgrade, or after a failure.
#
#   install.sh [--lock FILE] [--wheel FILE | --package SPEC] [--python PROGRAM] [--no-start]
#   install.sh --rollback            start the version before: the last one that stayed up when this script started it
#   install.sh --remove              stop it, take it off; keep configuration, secrets, state and audit logs
#   install.sh --remove --purge      and configuration, secrets and state; keep audit logs
#   install.sh --remove --purge-logs and audit logs, and the user
#
# Each version has a folder of its own in /opt/kalguard/releases, and /opt/kalguard/current points at one of them: what
# runs is not touched until it is restarted. A file that you have changed is never replaced; what would have come in its
# place is in /opt/kalguard/share. With DESTDIR the files go under that folder, and nothing else is done: no user, no
# Python environment, no start.
set -eu
umask 022

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=${DESTDIR:-}
opt=$root/opt/kalguard
etc=$root/etc/kalguard
unit=kalguard.service
command=/opt/kalguard/current/bin/kalguard
link=$root/usr/local/bin/kalguard
python=python3
package='kalguard[sidecar]'
lock=''
action=install
start=yes
purge=no
purge_logs=no

fail() {
    echo "install.sh: $1" >&2
    exit "${2:-1}"
}

value() {
    [ "$1" -ge 2 ] || fail "$2 needs a value" 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --wheel) value $# "$1"; [ -f "$2" ] || fail "there is no file $2" 2; package="$(realpath "$2")[sidecar]"; shift ;;
        --package) value $# "$1"; package=$2; shift ;;
        --lock) value $# "$1"; [ -f "$2" ] || fail "there is no file $2" 2; lock=$(realpath "$2"); shift ;;
        --python) value $# "$1"; python=$2; shift ;;
        --no-start) start=no ;;
        --rollback) action=rollback ;;
        --remove) action=remove ;;
        --purge) purge=yes ;;
        --purge-logs) purge=yes; purge_logs=yes ;;
        -h | --help) sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) fail "what is $1? --help says what there is" 2 ;;
    esac
    shift
done
[ "$purge" = no ] || [ "$action" = remove ] || fail "--purge goes with --remove" 2
[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "only root can do this"

# place NAME TARGET MODE: a file of ours. One that was changed since we put it there is kept.
place() {
    if [ ! -e "$2" ] || cmp -s "$opt/share/$1" "$2" || cmp -s "$here/$1" "$2"; then
        mkdir -p "$(dirname "$2")"
        install -m "$3" "$here/$1" "$2.kalguard-new"
        mv -f "$2.kalguard-new" "$2"
    else
        echo "kept $2, which you have changed; the new one is $opt/share/$1"
    fi
    install -m 0644 "$here/$1" "$opt/share/$1"
}

# give NAME TARGET MODE: a file that is the operator's from the beginning, if there is none.
give() {
    if [ ! -e "$2" ]; then
        install -m "$3" "$here/$1" "$2.kalguard-new"
        of_the_service "$2.kalguard-new"
        mv -f "$2.kalguard-new" "$2"
    fi
    install -m 0644 "$here/$1" "$opt/share/$1"
}

# of_the_service PATH: may be read by the service, and changed by root alone.
of_the_service() {
    [ -n "$root" ] || chown root:kalguard "$1"
}

# Older ones do not know %d, the folder of credentials.
check_systemd() {
    [ -z "$root" ] || return 0
    found=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    [ "${found:-0}" -ge 251 ] || fail "systemd 251 or newer is needed; this is ${found:-none}"
}

add_user() {
    [ -z "$root" ] || return 0
    id kalguard >/dev/null 2>&1 || useradd --system --user-group --home-dir /nonexistent --no-create-home \
        --shell /usr/sbin/nologin kalguard
}

add_files() {
    mkdir -p "$opt/share" "$etc/credentials"
    chmod 0750 "$etc"
    of_the_service "$etc"
    chmod 0700 "$etc/credentials"
    give policy.json "$etc/policy.json" 0640
    give kalguard.env "$etc/kalguard.env" 0640
    give revoked-tokens "$etc/revoked-tokens" 0640
    if [ ! -e "$etc/credentials/token-secret" ]; then
        (umask 077 && od -An -vtx1 -N32 /dev/urandom | tr -d ' \n' >"$etc/credentials/token-secret.new")
        [ "$(wc -c <"$etc/credentials/token-secret.new")" = 64 ] || fail "no secret could be made"
        mv "$etc/credentials/token-secret.new" "$etc/credentials/token-secret"
    fi
    for name in cloud.conf redis.conf audit-key.conf; do
        install -m 0644 "$here/$name" "$opt/share/$name"
    done
    place "$unit" "$root/etc/systemd/system/$unit" 0644
    place kalguard.logrotate "$root/etc/logrotate.d/kalguard" 0644
    add_command
}

# `kalguard` for everybody. What is there and is not our link is left alone.
add_command() {
    if [ ! -e "$link" ] && [ ! -L "$link" ]; then
        mkdir -p "$(dirname "$link")"
        ln -s "$command" "$link"
    elif [ "$(readlink "$link")" != "$command" ]; then
        echo "kept $link, which is not ours; the command is $command"
    fi
}

# A new version in a folder of its own. `current` points at it only when it is whole, and can say its version.
add_release() {
    release=$opt/releases/$(date -u +%Y%m%dT%H%M%SZ)-$$
    mkdir -p "$opt/releases"
    trap 'rm -rf "$release"' EXIT
    "$python" -m venv "$release" || fail "no Python environment could be made with $python (Debian: apt install python3-venv)"
    if [ -n "$lock" ]; then
        "$release/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$lock"
        "$release/bin/pip" install --quiet --disable-pip-version-check --no-deps "$package"
        "$release/bin/pip" check
    else
        "$release/bin/pip" install --quiet --disable-pip-version-check "$package"
    fi
    version=$("$release/bin/kalguard" version)
    keep_previous "$release"
    point current "$release"
    trap - EXIT
    echo "KalGuard $version is in $release"
}

# point NAME FOLDER: make a link anew, at once.
point() {
    ln -sfn "$2" "$opt/$1.new"
    mv -fT "$opt/$1.new" "$opt/$1"
}

# keep_previous NEXT: before NEXT becomes current. What --rollback goes to is what the service last stayed up with (`good`),
# never a release that has failed.
keep_previous() {
    rm -f "$opt/previous"
    if [ -L "$opt/good" ] && [ "$(readlink "$opt/good")" != "$1" ]; then
        point previous "$(readlink "$opt/good")"
    fi
}

# All but the current one and the one before. Only after a restart: what runs has to be one of these.
remove_old_releases() {
    for old in "$opt"/releases/*; do
        case $old in
            "$(readlink "$opt/current")" | "$(readlink "$opt/previous" 2>/dev/null)") ;;
            *) rm -rf "$old" ;;
        esac
    done
}

restart() {
    [ "$start" = yes ] || return 0
    systemctl daemon-reload
    systemctl enable --quiet "$unit"
    systemctl restart "$unit"
    # A bad configuration ends it within a second or so, and it is started again under another invocation.
    begun=$(systemctl show --property InvocationID --value "$unit")
    sleep 3
    if ! systemctl is-active --quiet "$unit" || [ "$begun" != "$(systemctl show --property InvocationID --value "$unit")" ]; then
        journalctl --quiet --no-pager --lines 10 --output cat --unit "$unit" >&2
        fail "$unit does not stay up: journalctl -u $unit"
    fi
    echo "$unit is up; /health says whether it is fit to decide"
    point good "$(readlink "$opt/current")"
    remove_old_releases
}

install_it() {
    check_systemd
    add_user
    add_files
    [ -z "$root" ] || return 0
    add_release
    restart
}

roll_back() {
    [ -d "$opt/previous" ] || fail "there is no version before"
    next=$(readlink "$opt/previous")
    keep_previous "$next"
    point current "$next"
    echo "KalGuard $("$opt/current/bin/kalguard" version) is current"
    restart
}

# take NAME TARGET: remove a file of ours, unless it was changed.
take() {
    if [ ! -e "$2" ] || [ "$purge" = yes ] || cmp -s "$opt/share/$1" "$2"; then
        rm -f "$2"
    else
        echo "kept $2, which you have changed"
    fi
}

remove_it() {
    if [ -z "$root" ]; then
        [ ! -e "/etc/systemd/system/$unit" ] || systemctl disable --now --quiet "$unit"
    fi
    take "$unit" "$root/etc/systemd/system/$unit"
    take kalguard.logrotate "$root/etc/logrotate.d/kalguard"
    [ "$(readlink "$link")" != "$command" ] || rm -f "$link"
    rm -rf "$opt"
    if [ "$purge" = yes ]; then
        rm -rf "$etc" "$root/etc/systemd/system/$unit.d" "$root/var/lib/kalguard"
    fi
    if [ "$purge_logs" = yes ]; then
        rm -rf "$root/var/log/kalguard"
        [ -n "$root" ] || ! id kalguard >/dev/null 2>&1 || userdel kalguard
    elif [ -d "$root/var/log/kalguard" ]; then
        echo "kept $root/var/log/kalguard"
    fi
    [ -n "$root" ] || systemctl daemon-reload
}

# One at a time. The lock goes with the process.
if [ -n "$root" ]; then
    mkdir -p "$root"
    exec 9<"$root"
else
    exec 9>/run/kalguard-install.lock
fi
flock -n 9 || fail "another install.sh is at work"

case $action in
    install) install_it ;;
    rollback) roll_back ;;
    remove) remove_it ;;
esac
