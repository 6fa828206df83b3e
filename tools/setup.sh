#!/usr/bin/env bash
# Create a virtual environment with embedstore, its plugins and the development tools.
# Usage: tools/setup.sh PYTHON VENV [INSTALLER ARGUMENT...]
# What is installed already and new enough is kept: a CPU build of torch put there beforehand stays.
set -euo pipefail

python=$1
venv=$2
shift 2

fail() {
    echo "setup: $*" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "no '$python' here; install Python 3.11 or newer, or run make with PYTHON=/path/to/python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old; embedstore needs Python 3.11 or newer (make PYTHON=/path/to/python)"
if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv" || fail "could not create '$venv' (on Debian and Ubuntu: apt install python3-venv)"
fi

# A folder called embedstore (this clone) in a script's own folder would hide the package from the editable install's
# finder; with the clone on the path the real package wins.
findable() {
    "$venv/bin/python" -c 'import pathlib, sys, sysconfig
pathlib.Path(sysconfig.get_path("purelib"), "embedstore-clone.pth").write_text(sys.argv[1] + "\n")' "$PWD"
}

projects=(-e .)
for plugin in plugins/embedstore-*; do
    projects+=(-e "$plugin")
done

echo "setup: installing into $venv; the first time this takes some minutes, most of them for torch" >&2
if "$venv/bin/python" -m pip install --quiet uv "$@" &&
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" "$@" "${projects[@]}" --group dev; then
    findable
    exit 0
fi
echo "setup: uv could not do it; trying pip" >&2
"$venv/bin/python" -m pip install --quiet --upgrade "pip>=25.1" "$@"
"$venv/bin/python" -m pip install --quiet "$@" "${projects[@]}" --group dev ||
    fail "installation failed; see the messages above (a proxy or a package index to configure?)"
findable
