#!/usr/bin/env bash
# word2ket on SQuAD, answers to questions about a paragraph, table 3; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
