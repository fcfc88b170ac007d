#!/usr/bin/env bash
# Prepare WMT'14 English-German or English-French; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
