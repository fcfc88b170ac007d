#!/usr/bin/env bash
# Every family of factorizations at about equal parameters: train, score, compare; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
