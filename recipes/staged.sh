#!/usr/bin/env bash
# What staged factorization buys: fine-tuned at once, in stages, trained from scratch; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
