#!/usr/bin/env bash
# Gupta et al., trained models as factors, fine-tuned on GLUE, table 3 and figure 3; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
