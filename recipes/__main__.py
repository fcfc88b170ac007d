"""Run the program of a script: `python -m recipes multi30k.en-de.sh --dry-run`."""

from __future__ import annotations

import re
import sys
from importlib import import_module

from . import console


def main() -> None:
    script, *arguments = sys.argv[1:]
    name = re.sub("[.-]", "_", script.removesuffix(".sh"))
    package = "recipes.experiments"
    if script.startswith("prepare-"):
        name, package = name.removeprefix("prepare_"), "preparation.datasets"
    console.run(script, lambda: import_module(f"{package}.{name}").main(arguments))


if __name__ == "__main__":
    main()
