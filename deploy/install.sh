#!/bin/sh
# Installs mosear as an appliance, on a Jetson or on any Debian or Ubuntu: a virtual environment, and, for root, a user,
# folders, systemd units and udev rules. Running it again brings everything up to date; --uninstall takes it all away.
set -eu

usage() {
    cat <<'END'
usage: install.sh [--source DIR | --wheel FILE] [options]

  --source DIR       install from this checkout (the one this script lies in by default)
  --wheel FILE       install from this wheel
  --prefix DIR       where the virtual environment goes (/opt/mosear)
  --extras A,B       what comes with it (cpu,serve,live,sinks)
  --python PROGRAM   the Python it is made with, 3.10 or later (python3)
  --jetpack VERSION  stop unless TensorRT is the one of JetPack 6.2 or 7.2
  --no-units         no systemd units and udev rules: for a container
  --uid N            user id of the user mosear (the system's choice)
  --root DIR         put files of the system below DIR, and leave users, packages and services alone
  --dry-run          say what would be done, and do nothing
  --uninstall        remove what was installed; what was changed or added since stays
END
}

fail() {
    printf 'error: %s\n  fix: %s\n' "$1" "$2" >&2
    exit "${3:-1}"
}

say() { printf '%s\n' "$*" >&2; }

# Runs a command, or only says it.
run() {
    if [ "$dry_run" = yes ]; then
        say "would run: $*"
    else
        "$@"
    fi
}

prefix=/opt/mosear extras=cpu,serve,live,sinks python=python3 root='' source='' wheel='' jetpack='' uid=''
units=yes dry_run=no uninstall=no

while [ $# -gt 0 ]; do
    case $1 in
        --source | --wheel | --prefix | --extras | --python | --jetpack | --uid | --root)
            [ $# -ge 2 ] || fail "$1 needs a value" "see install.sh --help" 2
            case $1 in
                --source) source=$2 ;;
                --wheel) wheel=$2 ;;
                --prefix) prefix=$2 ;;
                --extras) extras=$2 ;;
                --python) python=$2 ;;
                --jetpack) jetpack=$2 ;;
                --uid) uid=$2 ;;
                --root) root=$2 ;;
            esac
            shift 2
            ;;
        --no-units) units=no && shift ;;
        --dry-run) dry_run=yes && shift ;;
        --uninstall) uninstall=yes && shift ;;
        --help | -h) usage && exit 0 ;;
        *) fail "$1 is no option" "see install.sh --help" 2 ;;
    esac
done

here=$(cd -- "$(dirname -- "$0")" && pwd)
case $prefix in
    /?*) prefix=${prefix%/} ;;
    *) fail "--prefix $prefix is no absolute path" "name a folder such as /opt/mosear" 2 ;;
esac
# It ends up in unit files and in a sed expression.
case $prefix$root in
    *[!A-Za-z0-9._/+-]*) fail "--prefix and --root take letters, digits and ._/+- only" "choose another folder" 2 ;;
esac
case $extras in
    *[!a-z,]*) fail "--extras $extras is no list of names" "write them as cpu,serve" 2 ;;
esac
# Files of the system are put in place by root, or below another root.
if [ "$(id -u)" = 0 ] || [ -n "$root" ]; then system=yes; else system=no; fi
# Users, packages and services are touched on this very system only.
if [ "$system" = yes ] && [ -z "$root" ]; then live=yes; else live=no; fi
record=$prefix/installed

# --- what was installed is recorded, a line each: kind, checksum, path ---

sum_of() { sha256sum "$1" | cut -d' ' -f1; }

note() {
    line="$1 $2 $3"
    if [ "$dry_run" = no ] && ! grep -qxF "$line" "$record" 2>/dev/null; then
        printf '%s\n' "$line" >>"$record"
    fi
}

# make_folder PATH [OWNER], with those above it
make_folder() {
    if [ ! -d "$1" ]; then
        make_folder "$(dirname -- "$1")"
        run mkdir -- "$1"
        run chmod 0755 "$1"
        note folder - "$1"
    fi
    if [ $# -ge 2 ] && [ "$live" = yes ]; then run chown "$2" "$1"; fi
}

# put FROM TO: a file of ours, with the prefix filled in
put() {
    if [ "$dry_run" = yes ]; then
        say "would write: $2"
        return
    fi
    make_folder "$(dirname -- "$2")"
    sed "s|/opt/mosear|$prefix|g" "$1" >"$2.new"
    chmod 0644 "$2.new"
    mv -f -- "$2.new" "$2"
}

remove_all() {
    [ -f "$record" ] || fail "$prefix has no mosear that this script installed" "name its --prefix" 3
    if [ "$live" = yes ] && [ -d /run/systemd/system ]; then
        run systemctl disable --now mosear-watch.service mosear-serve.service mosear-serve.socket || true
    fi
    list=$(mktemp)
    # The last that came is the first that goes; the environment, and the record in it, came first.
    sed '1!G;h;$!d' "$record" >"$list"
    while read -r kind sum path; do
        case $kind in
            own) run rm -f -- "$path" ;;
            cache | venv) run rm -rf -- "$path" ;;
            theirs)
                if [ -f "$path" ] && [ "$(sum_of "$path")" != "$sum" ]; then
                    say "kept, since it was changed: $path"
                else
                    run rm -f -- "$path"
                fi
                ;;
            folder)
                if [ "$dry_run" = yes ]; then
                    say "would remove, if it is empty then: $path"
                elif [ -d "$path" ]; then
                    rmdir -- "$path" 2>/dev/null || say "kept, since it is not empty: $path"
                fi
                ;;
            user) run userdel "$path" || say "kept: the user $path" ;;
            group) run groupdel "$path" || say "kept: the group $path" ;;
        esac
    done <"$list"
    rm -f -- "$list"
    if [ "$live" = yes ] && [ -d /run/systemd/system ]; then run systemctl daemon-reload; fi
}

if [ "$uninstall" = yes ]; then
    remove_all
    [ "$dry_run" = yes ] || say "mosear is gone from $prefix"
    exit 0
fi

# --- what is needed ---

if [ -n "$wheel" ]; then
    [ -z "$source" ] || fail "--source and --wheel exclude each other" "give one of them" 2
    case $wheel in *.whl) ;; *) fail "$wheel is no wheel" "name a file that ends in .whl" 2 ;; esac
    [ -f "$wheel" ] || fail "$wheel is not there" "check its path" 3
    package=$(cd -- "$(dirname -- "$wheel")" && pwd)/$(basename -- "$wheel")
else
    source=${source:-$here/..}
    [ -f "$source/pyproject.toml" ] || fail "$source is no checkout of mosear" "name one with --source, or a --wheel" 3
    package=$(cd -- "$source" && pwd)
fi
if [ -e "$prefix" ] && [ ! -f "$record" ] && [ -n "$(ls -A "$prefix")" ]; then
    fail "$prefix holds something that this script did not install" "move it away, or choose another --prefix" 3
fi

missing=''
want() { missing="$missing $1"; }
# ensurepip is what Debian splits off from Python; without it there is no pip in a new environment.
command -v "$python" >/dev/null 2>&1 || want python3
"$python" -c 'import ensurepip, venv' 2>/dev/null || want python3-venv
case ,$extras, in
    *,live,*) ldconfig -p 2>/dev/null | grep -q libportaudio || want libportaudio2 ;;
esac
if [ -n "$missing" ]; then
    if [ "$live" = yes ] && command -v apt-get >/dev/null 2>&1; then
        say "packages of the system:$missing"
        run apt-get update -qq
        # shellcheck disable=SC2086 # a list of names
        run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
    else
        fail "the system lacks$missing" "apt-get install$missing, as root"
    fi
fi
if [ "$dry_run" = no ]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$python is older than 3.10" "name a newer one with --python"
fi

# The driver, CUDA and TensorRT of a Jetson belong to JetPack: its Python packages are used, and none is installed.
if [ -f /etc/nv_tegra_release ] || [ -n "$jetpack" ]; then site=--system-site-packages; else site=''; fi
case $jetpack in
    '') ;;
    6.2) tensorrt=10.3. ;;
    7.2) tensorrt=10.16. ;;
    *) fail "JetPack $jetpack is not known here" "give 6.2 or 7.2" 2 ;;
esac
if [ -n "$jetpack" ]; then
    # Not imported: its libraries need the board's driver, which is not there when an image is built.
    found=$("$python" -c 'from importlib.metadata import version; print(version("tensorrt"))' 2>/dev/null) || found=none
    case $found in
        "$tensorrt"*) ;;
        *) fail "JetPack $jetpack has TensorRT ${tensorrt}x, and here is $found" "take the base of JetPack $jetpack" ;;
    esac
fi

# --- the virtual environment ---

if [ "$dry_run" = no ]; then
    # Recorded before it is made: what an installation that broke off leaves behind can be taken away too.
    above=$(dirname -- "$prefix")
    made=''
    while [ ! -d "$above" ]; do
        made="$above $made"
        above=$(dirname -- "$above")
    done
    mkdir -p -- "$prefix"
    for folder in $made; do note folder - "$folder"; done
fi
note venv - "$prefix"
if ! "$prefix/bin/python" -m pip --version >/dev/null 2>&1; then
    say "environment: $prefix"
    # shellcheck disable=SC2086 # nothing, or one option
    run "$python" -m venv $site "$prefix"
fi

say "package: $package, with $extras"
# A cache would stay behind.
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
if [ -n "$source" ]; then
    # Built from a copy: what lies about in a checkout must not get in, and nothing is left behind in it.
    run sh -c 'tar -C "$1" -cf - --exclude=./.git --exclude=./.venv --exclude=./build --exclude=./demo --exclude=./tests \
        --exclude="*.egg-info" --exclude=__pycache__ . | tar -C "$2" -xf -' sh "$package" "$work"
    run "$prefix/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$work/wheel" "$work"
    [ "$dry_run" = yes ] || package=$(echo "$work"/wheel/*.whl)
fi
# First by itself: its version may be the same while its content is not.
run "$prefix/bin/python" -m pip install --quiet --no-deps --force-reinstall "$package"
run "$prefix/bin/python" -m pip install --quiet "${package}[$extras]"
run "$prefix/bin/mosear" --version >&2

# --- the system ----

if [ "$system" = no ]; then
    say "not root: no user, units or folders were made. Try: $prefix/bin/mosear --help"
    exit 0
fi

if [ "$live" = yes ]; then
    for group in video audio render; do
        if ! getent group "$group" >/dev/null; then
            run groupadd --system "$group"
            note group - "$group"
        fi
    done
    if ! getent passwd mosear >/dev/null; then
        run useradd --system ${uid:+--uid "$uid"} --user-group --home-dir /var/lib/mosear --no-create-home \
            --shell /usr/sbin/nologin --groups video,audio,render mosear
        note user - mosear
    fi
fi
make_folder "$root/etc/mosear"
make_folder "$root/var/lib/mosear" mosear:mosear
make_folder "$root/var/cache/mosear" mosear:mosear
note cache - "$root/var/cache/mosear"
if [ ! -e "$root/etc/mosear/mosear.toml" ]; then
    put "$here/mosear.toml" "$root/etc/mosear/mosear.toml"
    [ "$dry_run" = yes ] || note theirs "$(sum_of "$root/etc/mosear/mosear.toml")" "$root/etc/mosear/mosear.toml"
fi
link=$root/usr/local/bin/mosear
if [ "$live" = yes ] && [ ! -e "$link" ] && [ ! -L "$link" ]; then
    run ln -s "$prefix/bin/mosear" "$link"
    note own - "$link"
fi

if [ "$units" = yes ]; then
    for file in systemd/system/mosear-watch.service systemd/system/mosear-serve.service \
        systemd/system/mosear-serve.socket systemd/journald@mosear.conf udev/rules.d/99-mosear.rules; do
        put "$here/$(basename -- "$file")" "$root/etc/$file"
        note own - "$root/etc/$file"
    done
    token=$root/etc/mosear/token
    if [ ! -e "$token" ]; then
        # shellcheck disable=SC2016 # for the inner shell
        run sh -c 'umask 077 && "$1" -c "import secrets; print(secrets.token_urlsafe())" >"$2"' sh \
            "$prefix/bin/python" "$token"
        note own - "$token"
    fi
    if [ "$live" = yes ] && [ -d /run/systemd/system ]; then
        run systemctl daemon-reload
        run udevadm control --reload || say "udev did not take the rules: they count from the next start on"
    fi
    say "next: put a bundle at /var/lib/mosear/bundle, look at /etc/mosear/mosear.toml, then"
    say "      systemctl enable --now mosear-watch    (or mosear-serve.socket and mosear-serve)"
fi
