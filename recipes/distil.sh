#!/usr/bin/env bash
# A corpus whose training targets are a trained model's translations; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
