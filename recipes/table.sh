#!/usr/bin/env bash
# Several models of a recipe and several seeds side by side, and one table of them; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
