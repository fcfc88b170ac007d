#!/usr/bin/env bash
# Multi30k task 1 at the papers' size; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
