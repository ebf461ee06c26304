#!/bin/sh
# Root on Debian or Ubuntu gets a browser and its driver for the tests of the report, where there are none.
# At once where they are there already. Never a reason to end `make test`: the tests say what is missing,
# and fail for it in CI.
for browser in chromium chromium-browser google-chrome google-chrome-stable microsoft-edge; do
    if command -v "$browser" >/dev/null 2>&1; then
        # Chrome and Edge bring no driver; Debian's Chromium has its own in another package.
        command -v chromedriver >/dev/null 2>&1 && exit 0
        command -v msedgedriver >/dev/null 2>&1 && exit 0
    fi
done
command -v apt-get >/dev/null 2>&1 || exit 0
[ "$(id -u)" = 0 ] || exit 0
echo "Installing Chromium for the tests of the report"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install --yes --no-install-recommends chromium chromium-driver; } >"$log" 2>&1
then
    tail -n 5 "$log" >&2
    echo "Chromium could not be installed; the tests of the report will say what they lack" >&2
fi
rm -f "$log"
exit 0
