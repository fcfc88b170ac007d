#!/usr/bin/env bash
# WMT'18 English to Romanian, table 4 of the dissertation; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
