#!/usr/bin/env bash
# Sets up .venv, compiles native_plugins/ into build/plugins/, and runs what was asked for.
#
#   ./build.sh          build
#   ./build.sh run      build, and run examples/host.py
#   ./build.sh test     build, and run the quick suite on all processors; further words go to pytest: ./build.sh test -k elf
#                       A path runs its tests one after the other (test tests/test_elf.py), --all those of the marker `long`, too
#   ./build.sh lint     ruff, mypy and pyright
#   ./build.sh docs     write the generated pages again, and the documentation as a site in build/docs
#   ./build.sh lock     renew constraints.txt: the versions of what tests, lint and docs install
#   ./build.sh bench    build, and measure hardpoint beside its peers; further words: ./build.sh bench --help
#   ./build.sh clean    remove what it made
#
# PYTHON (default python3), CC (default cc, gcc or clang) and CXX (default c++, g++ or clang++) are honoured. What is in C++
# is compiled where there is a compiler for it. Only what changed is made again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

CFLAGS=(-O2 -fPIC -fvisibility=hidden -Wall -Wextra -Wpedantic -Werror -Icontract)
LDFLAGS=(-shared -Wl,-z,defs,-z,relro,-z,now,-z,noexecstack,--version-script=contract/hardpoint.map)

fail() {
    printf 'build.sh: %s\n' "$@" >&2
    exit 1
}

find_python() {
    PYTHON=${PYTHON:-python3}
    command -v "$PYTHON" >/dev/null ||
        fail "$PYTHON was not found, and Python 3.11 or newer is needed." "    apt-get install python3 python3-venv"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$("$PYTHON" --version) is too old: Python 3.11 or newer is needed. Name another with PYTHON=..."
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python's venv module is missing." "    apt-get install python3-venv"
    PYTHON=$("$PYTHON" -c 'import os, sys; print(os.path.realpath(sys._base_executable))') # not the one in .venv, which may be removed
}

find_compiler() {
    local candidate
    if [[ -z ${CC:-} ]]; then
        for candidate in cc gcc clang; do
            command -v "$candidate" >/dev/null && CC=$candidate && break
        done
    fi
    [[ -n ${CC:-} ]] || fail "A C compiler is missing." "    apt-get install gcc libc6-dev"
    # CC may hold several words, such as "ccache gcc" or "python3 -m ziglang cc".
    read -ra compiler <<<"$CC"
    command -v "${compiler[0]}" >/dev/null || fail "The C compiler CC=$CC was not found." "    apt-get install gcc libc6-dev"
    echo '#include <stdio.h>' | "${compiler[@]}" -xc -fsyntax-only - 2>/dev/null ||
        fail "$CC finds no headers of the C library." "    apt-get install libc6-dev"
}

find_cxx() {
    local candidate
    if [[ -z ${CXX:-} ]]; then
        for candidate in c++ g++ clang++; do
            command -v "$candidate" >/dev/null && CXX=$candidate && break
        done
    fi
    read -ra cxx <<<"${CXX:-}"
}

# The environment is made again when the folder or the Python is another; the package is installed again when
# pyproject.toml, constraints.txt or a C extension is another, when Python.h came, or when an extra is wanted that was not.
environment() {
    local extras=$1 folder=${2:-.venv} requirements=${3:-} stamp wanted state
    stamp=$folder/.hardpoint
    find_python
    wanted="$PWD $PYTHON $("$PYTHON" -VV)"
    state=$(cat pyproject.toml constraints.txt src/hardpoint/binding/_*.[ch] src/hardpoint/benchmark/_*.c src/hardpoint/isolation/channel/_*.[ch] contract/hardpoint.h ${requirements:+"$requirements"} | cksum)
    state+=$("$PYTHON" -c 'import os, sysconfig; print(os.path.exists(sysconfig.get_path("include") + "/Python.h"))')
    if [[ $(head -n 1 "$stamp" 2>/dev/null) != "$wanted" ]]; then
        echo "build.sh: making $folder" >&2
        rm -rf "$folder"
        "$PYTHON" -m venv "$folder"
        echo "$wanted" >"$stamp"
    fi
    if ! grep -qxF "$extras $state" "$stamp"; then
        # From pip 25.3 on, the second variable is for what the package is built with; a variable must not have blanks.
        PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
            "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".${extras:+[$extras]}" \
            ${requirements:+--requirement "$requirements"}
        { echo "$wanted" && sed 1d "$stamp" | grep -F " $state" || true; } >"$stamp.new"
        echo "$extras $state" >>"$stamp.new"
        mv "$stamp.new" "$stamp"
    fi
}

# A plugin is compiled when it is older than its source, a header or the compiler's flags, under another name first: a host may have it open.
plugins() {
    local source target command flags=build/plugins/.flags
    find_compiler
    find_cxx
    mkdir -p build/plugins
    if [[ $(cat "$flags" 2>/dev/null) != "$CC, ${CXX:-} ${CFLAGS[*]} ${LDFLAGS[*]}" ]]; then
        echo "$CC, ${CXX:-} ${CFLAGS[*]} ${LDFLAGS[*]}" >"$flags"
    fi
    for source in native_plugins/*/*.c native_plugins/*/*.cpp; do
        command=("${compiler[@]}" -std=c11)
        if [[ $source == *.cpp ]]; then
            [[ -n ${CXX:-} ]] || continue
            command=("${cxx[@]}" -std=c++17)
        fi
        target=build/plugins/$(basename "${source%.c*}").so
        if [[ ! -e $target || -n $(find "$source" contract/*.h contract/*.hpp "$flags" -newer "$target") ]]; then
            echo "build.sh: compiling $target" >&2
            "${command[@]}" "${CFLAGS[@]}" "${LDFLAGS[@]}" "$source" -o "$target.new"
            mv "$target.new" "$target"
        fi
    done
}

# The newest versions that the oldest Python can have, since they run on newer ones too. Nothing is installed.
lock() {
    find_python
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
        fail "lock needs Python 3.11, the oldest that is supported, found $("$PYTHON" --version). Name it with PYTHON=..."
    rm -rf build/lock
    "$PYTHON" -m venv build/lock
    build/lock/bin/python -m pip install --quiet --disable-pip-version-check --dry-run --report build/lock/report.json \
        ".[test,lint,docs]"
    build/lock/bin/python - >constraints.txt.new <<'PYTHON'
import json

with open("build/lock/report.json") as report:
    found = [each["metadata"] for each in json.load(report)["install"]]
print("# The versions of what build.sh installs for tests, lint and docs. `./build.sh lock` writes this file.")
print(*sorted(f"{each['name'].lower()}=={each['version']}" for each in found if each["name"] != "hardpoint"), sep="\n")
PYTHON
    mv constraints.txt.new constraints.txt
}

# Where tests are named, starting processes to share them would take longer than it saves.
run_tests() {
    local word words=() processes=(--numprocesses $(($(nproc) + 1)) --dist worksteal) # one more: half of the tests' time is waiting
    for word in "$@"; do
        case $word in
            --all) words+=(-m "not container") ;;
            tests/*) words+=("$word") processes=() ;;
            *) words+=("$word") ;;
        esac
    done
    unset PYTHONDONTWRITEBYTECODE # else pytest rewrites every file for its asserts in each process, which takes 5 s
    exec .venv/bin/python -m pytest "${processes[@]}" "${words[@]}"
}

# One command a line: behind && or || a failure within a function would go unnoticed.
case ${1:-build} in
    build)
        environment ""
        plugins
        ;;
    run)
        environment ""
        plugins
        exec .venv/bin/python examples/host.py
        ;;
    test)
        environment test
        plugins
        run_tests "${@:2}"
        ;;
    lint)
        environment lint
        environment test
        .venv/bin/ruff check
        .venv/bin/ruff format --check
        .venv/bin/mypy
        .venv/bin/pyright --pythonpath .venv/bin/python
        ;;
    docs)
        environment docs .venv-docs
        .venv-docs/bin/python docs/generate.py
        # All of it anew each time: a page that did not change keeps its warnings to itself, and an old sidebar.
        .venv-docs/bin/python -m sphinx --quiet --fresh-env --write-all --nitpicky --fail-on-warning --keep-going \
            --doctree-dir build/doctrees docs build/docs
        echo "build.sh: build/docs/index.html" >&2
        ;;
    lock)
        lock
        ;;
    bench)
        environment "" .venv-bench benchmarks/requirements.txt
        plugins
        mkdir -p build/bench
        exec .venv-bench/bin/python -m benchmarks.run --startup --json build/bench/results.json \
            --plot build/bench/results.svg "${@:2}"
        ;;
    clean)
        rm -rf .venv .venv-bench .venv-docs build src/hardpoint.egg-info src/hardpoint/*/*.so src/hardpoint/*/*/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
        find . -name __pycache__ -prune -exec rm -rf {} +
        ;;
    *) fail "unknown command '$1'" "usage: ./build.sh [build|run|test|lint|docs|lock|bench|clean]" ;;
esac
