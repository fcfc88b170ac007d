"""`python -m shapeshifter_fairseq`: the same as the installed command `shapeshifter`."""

import sys

from .cli import main

sys.exit(main())
