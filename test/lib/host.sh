# host.sh: what demo, check and .ci/run need from the machine.  To be sourced.
# shellcheck shell=bash

say() { printf '%s\n' "$*"; }
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# become_root SCRIPT ARGUMENT...: go on as root, through sudo where needed.
# Packages and make install need it; servers never run as root.
become_root() {
	[ "$(id -u)" -ne 0 ] || return 0
	command -v sudo > /dev/null || die "must run as root, or as a user with sudo"
	exec sudo --preserve-env=PROVE_FLAGS,MC_ROOTS -- "$@"
}

# require_space MEGABYTES DIRECTORY
require_space() {
	local free_mb
	free_mb=$(df -Pm "$2" | awk 'NR == 2 {print $4}')
	[ "$free_mb" -ge "$1" ] || die "needs $1 MB of free disk space in $2, there are only $free_mb MB"
}

# install_missing "FILE-OR-COMMAND PACKAGE"...: install the packages whose file
# is not there.  Asking for files instead of packages lets a PostgreSQL that
# came from elsewhere do.
install_missing() {
	local pair what package missing=() log
	for pair in "$@"; do
		read -r what package <<< "$pair"
		case $what in
			/*) [ -e "$what" ] || missing+=("$package") ;;
			*) command -v "$what" > /dev/null || missing+=("$package") ;;
		esac
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get > /dev/null || die "please install: ${missing[*]} (this is no Debian machine)"

	say "installing ${missing[*]} ..."
	# PostgreSQL's packages would otherwise make a cluster on port 5432.
	mkdir -p /etc/postgresql-common/createcluster.d
	if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
		echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/multicenter.conf
	fi
	# In a shell of its own, which removes its file however it ends.
	(
		log=''
		trap 'rm -f "$log"' EXIT
		trap 'exit 130' INT TERM HUP
		log=$(mktemp)
		if ! {
			apt-get -q update || true
			DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
				-o Acquire::Retries=3 install --no-install-recommends "${missing[@]}"
		} > "$log" 2>&1 < /dev/null; then
			tail -n 20 "$log" >&2
			exit 1
		fi
	) || die "could not install ${missing[*]}"
}

# server_packages RELEASE: what building and running needs, for install_missing.
server_packages() {
	printf '%s\n' \
		"/usr/lib/postgresql/$1/bin/postgres postgresql-$1" \
		"/usr/include/postgresql/$1/server/postgres.h postgresql-server-dev-$1" \
		"/usr/include/postgresql/libpq-fe.h libpq-dev" \
		"gcc gcc" "make make"
}

# Prometheus, its exporter and HAProxy for the tests of monitoring/, as Debian's
# packages have them.  They are unpacked, not installed: no service starts, no
# user is made, and the forty packages of Prometheus' web pages are not needed.
monitoring_tools=/var/cache/multicenter-tools

# unpack_monitoring: make that directory, if it is not there; false if the
# packages could not be fetched.
unpack_monitoring() {
	local packages=(prometheus prometheus-postgres-exporter haproxy
		liblua5.3-0 libopentracing1 libopentracing-c-wrapper0)
	[ ! -e "$monitoring_tools/.ready" ] || return 0
	command -v apt-get > /dev/null || return 1
	say "unpacking ${packages[*]} ..."
	# What a run that was killed has left.
	find "${monitoring_tools%/*}" -maxdepth 1 -name "${monitoring_tools##*/}.*" -mmin +60 -exec rm -rf {} +
	# In a shell of its own, which removes its files however it ends.  Under
	# "||" set -e has no effect.
	(
		new=''
		trap '[ -z "$new" ] || rm -rf "$new" "$new.log"' EXIT
		trap 'exit 130' INT TERM HUP
		new=$(mktemp -d "$monitoring_tools.XXXX") || exit 1
		(fetch_monitoring "$new" "${packages[@]}") > "$new.log" 2>&1 < /dev/null || { tail -n 5 "$new.log" >&2 && exit 1; }
		# Another run may have been quicker.
		mv -T "$new" "$monitoring_tools" 2> /dev/null || true
	) || return 1
}

# fetch_monitoring DIRECTORY PACKAGE...: unpack them there; leaves a file .ready.
fetch_monitoring() {
	local fetch package
	cd "$1" || return 1
	shift
	fetch=(apt-get -q -o APT::Sandbox::User=root -o Acquire::Retries=3 download "$@")
	"${fetch[@]}" || { apt-get -q update && "${fetch[@]}"; } || return 1
	for package in *.deb; do
		dpkg-deb --fsys-tarfile "$package" |
			tar -xf - --wildcards './usr/bin/*' './usr/sbin/*' './usr/lib/*/*' 2> /dev/null
		[ "${PIPESTATUS[0]}" -eq 0 ] || return 1
	done
	[ -x usr/bin/prometheus ] && [ -x usr/bin/prometheus-postgres-exporter ] && [ -x usr/sbin/haproxy ] || return 1
	rm -f ./*.deb
	chmod 755 . && touch .ready
}

# has_parameter POSTGRES NAME: does this server know the parameter?  An unknown
# one in postgresql.conf keeps a server from starting.
has_parameter() {
	"$1" --describe-config 2> /dev/null | awk -F '\t' -v name="$2" '$1 == name {found = 1} END {exit !found}'
}

# copy_tree FROM TO: the working tree without its history and its products.
copy_tree() {
	tar -C "$1" --exclude=./.git --exclude=./.briefs --exclude='./tmp_*' --exclude='*.o' --exclude='*.so' -cf - . |
		tar -C "$2" --no-same-owner -xf -
}
