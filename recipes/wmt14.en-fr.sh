#!/usr/bin/env bash
# WMT'14 English to French, table 7 of the dissertation; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
