"""``python -m xbackprop``: the command."""

import sys

from xbackprop.cli.main import main

sys.exit(main())
