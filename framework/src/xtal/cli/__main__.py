"""``python -m xtal.cli``: the command where the script ``xtal`` is not on the path."""

import sys

from xtal.cli.main import main

sys.exit(main())
