"""Entry point under the path of earlier versions: an app that is alive during an upgrade starts supervisors by it."""

import sys

from fluxgym.supervisor.__main__ import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
