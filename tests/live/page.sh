# shellcheck shell=bash
# The page of `beluga-o11y report --html` in Chromium: its figures, charts, tables and calls against what was written, by
# mouse and by keyboard, light and dark, wide and narrow; 100,000 calls, hardly any, none; and calls whose every text
# tries to act on the page.

page() {
    want node npm
    local playwright=playwright-core@1.65.1 browser program kind pictures=${BELUGA_O11Y_SCREENSHOTS:-}
    local -a kinds=(few empty november hostile many)
    chromium_is_there
    browser=$(command -v chromium)
    echo "-- installing $playwright"
    mkdir "$tmp/node" "$tmp/pages"
    (cd "$tmp/node" && npm init --yes >/dev/null 2>&1 \
        && npm install --silent --no-audit --no-fund --no-update-notifier --prefer-offline "$playwright")

    echo '-- building the command, and pages with it'
    build_cli
    program=$(realpath "${examples%/examples}/beluga-o11y")
    for kind in "${kinds[@]}"; do
        python3 tests/live/page/calls.py "$kind" "$tmp/pages/$kind.jsonl" >"$tmp/pages/$kind.json"
        (cd "$tmp/pages" && env -i "HOME=$tmp" "$program" report "$kind.jsonl" --by model,user,session,tag \
            --html "$kind.html") | sed 's/^/   /'
    done

    [ -z "$pictures" ] || pictures=$(realpath -m "$pictures")
    echo "-- looking at them in $("$browser" --version 2>/dev/null)${pictures:+, pictures in $pictures}"
    cp tests/live/page/look.mjs "$tmp/node/"
    (cd "$tmp/node" && env -i "PATH=$PATH" "HOME=$tmp" "BELUGA_O11Y_SCREENSHOTS=$pictures" \
        node look.mjs "$browser" "$tmp/pages" "${kinds[@]}")
}

# Debian's package, if there is no Chromium.
chromium_is_there() {
    local -a root=()
    ! command -v chromium >/dev/null || return 0
    command -v apt-get >/dev/null || fail 'chromium is missing; install it to run this test'
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail 'chromium is missing, and only root can install it: apt-get install chromium'
        root=(sudo)
    fi
    echo '-- installing chromium'
    local -a install=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium)
    # Lists of packages that are old, or not there, name none that can be fetched.
    "${install[@]}" >"$tmp/apt.log" 2>&1 \
        || { "${root[@]}" apt-get update -qq >>"$tmp/apt.log" 2>&1 && "${install[@]}" >>"$tmp/apt.log" 2>&1; } \
        || { tail -n 20 "$tmp/apt.log" >&2; fail 'chromium is missing, and apt-get cannot install it'; }
}
