# shellcheck shell=bash
#
# Installing what is missing with apt-get; the other scripts source this.

say() { printf '==> %s\n' "$*" >&2; }
die() {
	printf '%s: %s\n' "scripts/${0##*/}" "$*" >&2
	exit 1
}

as_root() {
	if ((EUID == 0)); then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this needs root or sudo: $*"
	fi
}

# candidate PACKAGE: the version apt would install, or nothing.
candidate() { LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -nE 's/^ *Candidate: ([^(].*)/\1/p'; }

apt_updated=''
apt_update() {
	[[ -z $apt_updated ]] || return 0
	say "apt-get update"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
	apt_updated=1
}

# apt_install PACKAGE… refreshes apt's lists first where they know a package
# not at all, and afterwards where they were too old to install it.
apt_install() {
	local package
	for package; do
		if [[ -z $(candidate "$package") ]]; then apt_update; fi
	done
	say "apt-get install $* (a minute or so)"
	local log install=(as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends
		-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 "$@")
	log=$("${install[@]}" </dev/null 2>&1) && return
	if [[ -z $apt_updated ]]; then
		apt_update
		log=$("${install[@]}" </dev/null 2>&1) && return
	fi
	printf '%s\n' "$log" >&2
	die "apt-get could not install $*"
}

# can_install: is this a machine and a user that can install packages?
can_install() { command -v apt-get >/dev/null && { ((EUID == 0)) || command -v sudo >/dev/null; }; }

# need_install WHY OTHERWISE ends the script where nothing can be installed.
need_install() {
	command -v apt-get >/dev/null || die "$1, and there is no apt-get to install it with; $2"
	can_install || die "$1, and installing it needs root or sudo; $2"
}
