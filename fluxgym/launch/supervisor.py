"""Entry point under the path of earlier versions: an app that is alive during an upgrade starts supervisors by it."""

import sys

from fluxgym.supervisor.__main__ import main

sys.exit(main(sys.argv[1:]))
