"""`python -m sonogloss`: the console script `sonogloss`."""

import sys

from sonogloss.pipelines.command_line import main

sys.exit(main())
