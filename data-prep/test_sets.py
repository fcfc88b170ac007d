"""Say where a news test set of WMT is, as sacreBLEU knows it: address with MD5, and its two files.

test_sets.py wmt14/full en de
"""

from __future__ import annotations

import argparse
import sys

from sacrebleu import DATASETS


def main() -> None:
    # sacreBLEU's own download starts over when it was cut, and cannot use a mirror or a folder.
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the test set, as `sacrebleu --list` prints it")
    parser.add_argument("source", help="language")
    parser.add_argument("target", help="language")
    args = parser.parse_args()
    test_set = DATASETS.get(args.name)
    files = test_set.langpairs.get(f"{args.source}-{args.target}") if test_set else None
    if files is None:
        sys.exit(f"sacreBLEU knows no test set {args.name} of {args.source}-{args.target}")
    print(f"{test_set.data[0]}#md5={test_set.md5[0]}", *files[:2], sep="\n")


if __name__ == "__main__":
    main()
