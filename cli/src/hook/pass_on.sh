#!/bin/sh
# Written by "secretscan hook install --global", taken out by "secretscan hook uninstall --global".
# With core.hooksPath Git no longer runs the repository's own hook. This does.
hook=@HOOK@
before=@BEFORE@
[ ! -x "$before" ] || exec "$before" "$@"
