#!/usr/bin/env bash
# Translate a test set with a checkpoint and score it; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
