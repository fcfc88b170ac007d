#!/usr/bin/env bash
# IWSLT'14 German to English, table 5b of the dissertation; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
