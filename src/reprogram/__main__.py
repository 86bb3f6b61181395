"""``python -m reprogram``."""

import sys

from reprogram.cli import main

sys.exit(main())
