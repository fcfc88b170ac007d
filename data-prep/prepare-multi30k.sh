#!/usr/bin/env bash
# Prepare Multi30k, picture captions in two languages; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
