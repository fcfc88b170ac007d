#!/usr/bin/env bash
# Prepare IWSLT'14 German-English, transcribed talks; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
