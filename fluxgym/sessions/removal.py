"""Entry point under the path of earlier versions: an app that is alive during an upgrade removes deleted runs by it."""

import sys
from pathlib import Path

from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.cleanup import remove_deleted

if __name__ == "__main__":
    remove_deleted(OutputsPaths(Path(sys.argv[1])))
