"""``python -m xbackprop``: the command."""

import sys

from xbackprop.cli import main

sys.exit(main())
