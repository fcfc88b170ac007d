#!/usr/bin/env bash
# Multi30k task 1, English to German, French or Czech; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
