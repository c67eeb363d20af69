#!/bin/sh
# Written by "secretscan hook install", taken out by "secretscan hook uninstall".
# A hook that was here before runs first: it may change what is staged.
hook=@HOOK@
program=@PROGRAM@
before=@BEFORE@

# Both read what Git writes to standard input.
case $hook in pre-push | pre-receive) reads=yes input=$(cat) ;; *) reads='' ;; esac
run() {
    if [ -z "$reads" ]; then
        "$@"
    elif [ -z "$input" ]; then
        "$@" </dev/null
    else
        printf '%s\n' "$input" | "$@"
    fi
}

if [ -x "$before" ]; then
    run "$before" "$@" || exit
fi
if [ ! -x "$program" ] && ! program=$(command -v secretscan); then
    echo "secretscan: the program is gone, so nothing was scanned" >&2
    [ "$(git config --get secretscan.onFailure)" = warn ] && exit 0
    echo "Install it again, or take out this hook: $0" >&2
    exit 2
fi
run "$program" hook "$hook" "$@"
