#!/usr/bin/env bash
# Build sdist and wheel, install the wheel made from the sdist alone into an empty folder, and run it from there: what
# is missing from the package fails here. Needs the environment of `scripts/setup.sh test`; takes some ten seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
python=$root/.venv/bin/python
[ -z "${DPTT_VENV:-}" ] || python=$(cd "$DPTT_VENV" && pwd)/bin/python
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() {
    echo "error: $*" >&2
    exit 1
}

git -C "$root" ls-files -z | tar -c --null -T - | tar -x -C "$scratch"  # without what lies about in the checkout
cd "$scratch"
"$python" -m build --no-isolation --sdist --outdir dist . >build.log 2>&1 || { cat build.log; fail "no sdist"; }
mkdir source && tar -xzf dist/*.tar.gz -C source --strip-components=1
(cd source && "$python" -m build --no-isolation --wheel --outdir ../dist .) >build.log 2>&1 || { cat build.log; fail "no wheel"; }
"$python" -m pip --disable-pip-version-check install --quiet --no-deps --no-index --target site dist/*.whl

mkdir elsewhere && cd elsewhere
export PYTHONPATH=$scratch/site
dptt() { "$python" -P -m dptt "$@"; }
where=$("$python" -P -c 'import dptt; print(dptt.__file__)')
case $where in "$scratch"/site/*) ;; *) fail "imported $where instead of the wheel" ;; esac
[ "$(dptt --version)" = "dptt $(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$root/dptt/__init__.py")" ] || fail "wrong version"
dptt example 00_minimal && dptt example structures && dptt example jobs
for file in $(cd "$root" && git ls-files jobs); do
    [ -e "$file" ] || fail "$file is not in the wheel"
done
(cd "$root/dptt" && git ls-files) | while read -r file; do
    [ -e "$scratch/site/dptt/$file" ] || fail "dptt/$file is not in the wheel"
done
said=$(dptt validate 00_minimal.yaml 2>&1) || true
case $said in *"there is no such file"*) ;; *) fail "validate says: $said" ;; esac
echo "package: sdist and wheel are complete"
