#!/bin/sh
# AppArmor's parser for the tests: .services/apparmor_parser, with the files that profiles include. Debian's, and not the
# machine's own, whose files may be of another version.
set -eu
cd "$(dirname "$0")/.."
. tests/debian.sh
mkdir -p .services
unpack apparmor download apparmor
cat >.services/apparmor_parser <<EOF
#!/bin/sh
exec "$root/sbin/apparmor_parser" --base "$root/etc/apparmor.d" --config-file /dev/null "\$@"
EOF
chmod +x .services/apparmor_parser
.services/apparmor_parser --version | head -n 1
