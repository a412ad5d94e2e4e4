#!/bin/sh
# Sees to it that the programs a test needs are there: installs Debian's
# packages as root, and otherwise says what is missing.
set -eu
missing=
for pair in "$@"; do
	command=${pair%%=*}
	case $command in
	*/*) ls $command >/dev/null 2>&1 ;; # a path, perhaps with wildcards
	*) command -v "$command" >/dev/null 2>&1 ;;
	esac || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "installing$missing" >&2
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq >&2 && apt-get install -y -qq --no-install-recommends $missing >&2
	exit 0
fi
echo "the tests need these packages:$missing (on Debian: apt-get install$missing)" >&2
exit 1
