#!/usr/bin/env bash
# A corpus of your own, from training to report; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
