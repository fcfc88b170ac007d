#!/usr/bin/env bash
# Tatoeba, German to English, at the papers' size; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
