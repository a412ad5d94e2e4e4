#!/bin/sh
# Checks that the programs which the tests need are there. As root it installs
# the Debian packages that are missing, otherwise it names them.
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
