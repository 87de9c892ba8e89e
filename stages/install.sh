#!/usr/bin/env bash
# Installs a requirements file into .venv: bash stages/install.sh requirements.txt; without a file, says what .venv has.
#   PYTHON  makes .venv where there is none; without it, the oldest supported Python in PATH does
#   TORCH   the build of torch: cpu, a CUDA version such as cu126, pypi, or the URL of a package index. It is kept in
#           .venv/torch, so that later calls need not say it
# pip installs, or uv where .venv has no pip, as one that `uv venv` made.
set -euo pipefail

requirements=${1-}
python=${PYTHON-}
torch=${TORCH-}
supported=(3.11 3.12 3.13)
readable='3.11, 3.12 or 3.13'

refuse() {
  echo "error: $*" >&2
  exit 2
}

# A Python's version as "3.12"; empty where it does not start, as pyenv's names of versions that it does not use.
version_of() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

is_supported() {
  [[ " ${supported[*]} " == *" $1 "* ]]
}

# Every Python in PATH that starts, one on a line: its version, then its path.
pythons_in_path() {
  local path version
  { type -aP "${supported[@]/#/python}" python3 python || true; } | while read -r path; do
    version=$(version_of "$path")
    [ -z "$version" ] || echo "$version $path"
  done
}

find_python() {
  local found wanted version path others=
  found=$(pythons_in_path)
  for wanted in "${supported[@]}"; do
    while read -r version path; do
      if [ "$version" = "$wanted" ]; then echo "$path"; return; fi
    done <<<"$found"
  done
  while read -r version path; do
    # /usr/bin and /bin are one folder on most systems.
    [[ -z $version || $others == *"$version at "* ]] || others+="${others:+, }$version at $path"
  done <<<"$found"
  refuse "PYTHON: found ${others:-none} in PATH; install Python $readable, or give its path: make PYTHON=path"
}

make_venv() {
  local version
  [ -n "$python" ] || python=$(find_python)
  version=$(version_of "$python")
  [ -n "$version" ] || refuse "PYTHON: $python does not start; give Python $readable: make PYTHON=path"
  is_supported "$version" || refuse "PYTHON: $python is Python $version; give Python $readable: make PYTHON=path"
  # Debian and Ubuntu have ensurepip, which venv needs, in a package of its own.
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    refuse "PYTHON: $python has no module venv; install it: apt install python$version-venv"
  echo ".venv: Python $version, $python"
  "$python" -m venv .venv
}

check_venv() {
  local version given
  version=$(version_of .venv/bin/python)
  [ -n "$version" ] || refuse ".venv: its Python does not start; remove .venv and call make again"
  is_supported "$version" || refuse ".venv: has Python $version, not $readable; remove .venv and call make again"
  [ -n "$python" ] || return 0
  given=$(version_of "$python")
  [ -n "$given" ] || refuse "PYTHON: $python does not start; give Python $readable: make PYTHON=path"
  [ "$given" = "$version" ] ||
    refuse "PYTHON: $python is Python $given, but .venv has $version; remove .venv to make it anew"
}

install() {
  if .venv/bin/python -c 'import pip' 2>/dev/null; then
    # pip compiles one module after the other, which is two thirds of its time. Files for another Python do not compile,
    # and pip passes them over, too. Of transformers' hundreds of architectures a few are used, and compiled then.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile "$@" || return
    .venv/bin/python -m compileall -qq -j 0 -x '/(tests?|testing|transformers/models)/' .venv/lib || true
  elif type -P uv >/dev/null; then
    # uv looks into one index only for each package, so that torch's would hide newer versions on PyPI.
    UV_INDEX_STRATEGY=unsafe-best-match uv pip install --quiet --python .venv/bin/python "$@"
  else
    refuse ".venv: has no pip, and uv is not in PATH; install uv, or remove .venv and call make again"
  fi
}

# Where the chosen build of torch lies; empty for the default index.
torch_index() {
  case $1 in
    '' | pypi) ;;
    cpu | cu[1-9][0-9][0-9]) echo "https://download.pytorch.org/whl/$1" ;;
    http://* | https://* | file://*) echo "$1" ;;
    *) refuse "TORCH: $1 is no build of torch; give cpu, a CUDA version such as cu126, pypi, or an index's URL" ;;
  esac
}

kept=
[ ! -f .venv/torch ] || kept=$(<.venv/torch)
build=${torch:-${kept##* }}
index=$(torch_index "$build")

if [ -e .venv/bin/python ] || [ -L .venv/bin/python ]; then check_venv; else make_venv; fi

if [ -z "$requirements" ]; then
  .venv/bin/python -c 'import sys, importlib.metadata as m; print(f".venv: Python {sys.version.split()[0]}, torch " + m.version("torch"))'
  exit
fi

# torch alone comes from the chosen index; what it needs comes with the other requirements, in their versions. A build that
# is there already has the same version, so only a forced installation replaces it.
pin=$(grep '^torch==' requirements.txt)
if [ -n "$build" ] && [ "$kept" != "$pin $build" ]; then
  echo "TORCH=$build: $pin from ${index:-the default index}"
  install --force-reinstall --no-deps ${index:+--index-url "$index"} "$pin" ||
    refuse "TORCH: $pin could not be installed from ${index:-the default index}; give another build or index"
  echo "$pin $build" >.venv/torch
fi
install ${index:+--extra-index-url "$index"} -r "$requirements"
