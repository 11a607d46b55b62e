"""`python -m fluxgym`: parse the command line, run one command, return its exit code.

Exit codes: 0 done; 1 the training did not end as completed; 2 a user error, reported with one error message on stderr; 130 interrupted.
"""

import argparse
import io
import sys
from collections.abc import Sequence
from functools import partial

from fluxgym.app_settings import COMMON_VARIABLES, Parser, Settings, add_folders
from fluxgym.cli import library_commands, run_commands
from fluxgym.cli.terminal import detail_lines, printable
from fluxgym.errors import FluxGymError


def main(argv: Sequence[str]) -> int:
    """Run a command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a file name may not be valid text
    try:
        args = build_parser().parse_args(argv)
        return int(args.run(args, Settings.from_namespace(args)))
    except FluxGymError as error:
        print(f"error: {printable(str(error))}", *detail_lines(error.details), sep="\n", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; running trainings continue. See: python -m fluxgym sessions", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the program that reads stdout has closed it
        return 0
    except OSError as error:  # an invalid file name, or a full disk under the output
        print(f"error: {printable(str(error.filename or 'the output')[:80])} cannot be used: {error.strerror}.", file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = Parser(prog="python -m fluxgym", description="Train FLUX.1 LoRAs, and see the state of every run.", allow_abbrev=False)
    parser.epilog, parser.formatter_class = COMMON_VARIABLES, argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    for group in (run_commands, library_commands):
        group.add_commands(partial(_add_command, commands))
    return parser


def _add_command(commands: "argparse._SubParsersAction[Parser]", name: str, run: object, about: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", allow_abbrev=False)
    add_folders(parser)
    parser.set_defaults(run=run)
    return parser
