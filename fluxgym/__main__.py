"""`python -m fluxgym …`: the same actions as the page, in a terminal."""

import sys

from fluxgym.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
