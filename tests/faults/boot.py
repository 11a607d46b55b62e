"""Runs in a separate PID namespace: starts a real supervisor with a trainer, and ends, which tears everything in the namespace down."""

import sys
from pathlib import Path

from fluxgym.runs.process_identity import read_record
from tests.support.runs import launch, make_run, wait_for


def main(outputs: Path) -> None:
    """Start one training and leave while it runs."""
    run = make_run(outputs)
    launch(run, "progress(2); time.sleep(100)")
    wait_for(lambda: (record := read_record(run)) and record.trainer and run.progress.exists())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
