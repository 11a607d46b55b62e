"""Where log lines go: --console_log_level, --console_log_file, --console_log_simple. The bar and what is printed stay on the console."""

import logging
import sys
from argparse import Namespace
from pathlib import Path

from library.files import disk_errors


def set_up_logging(args: Namespace) -> None:
    """Send log lines to stderr with their level, plain to stdout (simple), or to a file, to which a resumed training appends."""
    handler: logging.Handler = logging.StreamHandler(sys.stdout if args.console_log_simple else sys.stderr)
    if args.console_log_file:
        with disk_errors(Path(args.console_log_file)):
            Path(args.console_log_file).parent.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(args.console_log_file, encoding="utf-8")
            logging.getLogger("flux_train_network").handlers[:] = [handler]  # what errors.warn says
    logging.basicConfig(
        level=args.console_log_level or logging.INFO,
        format="%(message)s" if args.console_log_simple else "%(levelname)s %(message)s",
        handlers=[handler],
        force=True,
    )
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of kernels for 4 bits that nobody asked for
