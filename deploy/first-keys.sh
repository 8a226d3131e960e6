#!/bin/sh
# The key that Prometheus asks with, made once; it is not shown, and not made a second time.
set -eu
cd "$(dirname "$0")"
mkdir -p -m 0700 secrets
if [ -e secrets/scraper.key ]; then
    echo "secrets/scraper.key is there already"
    exit 0
fi
umask 077
python3 -c 'import secrets; print(secrets.token_urlsafe(32), end="")' > secrets/scraper.key
# Containers read it as their own users: 10001 and 65534.
chmod 0444 secrets/scraper.key
echo "made secrets/scraper.key"
