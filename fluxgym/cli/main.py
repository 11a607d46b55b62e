"""The command line: sessions, start, stop, resume and demo; cli_keep adds the rest. Owns words on the terminal; every action is fluxgym.sessions' own.

Exit codes: 0 done, 1 the training did not end as completed, 2 a mistake of the user's, told in one sentence on stderr.
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from fluxgym.app_settings import Parser, Settings, add_folders
from fluxgym.cli import library_commands
from fluxgym.cli.library_commands import image_folder, read_state_file
from fluxgym.cli.watch import progress_words, watch
from fluxgym.contract.codes import Status
from fluxgym.errors import FluxGymError, NameTaken
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.status import SYMBOLS
from fluxgym.sessions import demo
from fluxgym.sessions.control import stop, wait_until_ended
from fluxgym.sessions.listing import Session, find_run, list_sessions
from fluxgym.sessions.resume import resume, resume_preview
from fluxgym.sessions.start import StartRequest, start


def main(argv: Sequence[str]) -> int:
    """Run a command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a file's name may be no text
    try:
        args = build_parser().parse_args(argv)
        return int(args.run(args, Settings.from_namespace(args)))
    except FluxGymError as error:
        print(f"error: {_plain(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nYou left; whatever trains goes on. See: python -m fluxgym sessions", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone
        return 0
    except OSError as error:  # a name that no file can have, a disk that takes no more output
        print(f"error: {_plain(str(error.filename or 'the output')[:80])} cannot be used: {error.strerror}.", file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = Parser(prog="python -m fluxgym", description="Train FLUX.1 LoRAs, and see what became of every run.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    listing = _command(commands, "sessions", _sessions, "list every training, newest first")
    listing.add_argument("--json", action="store_true", help="print a JSON list")
    starting = _command(commands, "start", _start, "start a training; prints its folder")
    starting.add_argument("--state", required=True, type=Path, metavar="FILE", help="a JSON file with ui_state.json's keys")
    starting.add_argument("--images", required=True, type=Path, metavar="DIR", help="the folder of images and .txt captions")
    starting.add_argument("--wait", action="store_true", help="stay until it has ended, with a progress bar")
    starting.add_argument("--gpus", metavar="0,1", help="the GPUs to use")
    starting.add_argument("--if-exists", choices=("resume", "new", "replace"), help="what to do when a run has this name already")
    stopping = _command(commands, "stop", _stop, "stop a training after it has saved its state")
    stopping.add_argument("name", metavar="NAME", help="the run's folder, or its LoRA's name")
    stopping.add_argument("--now", action="store_true", help="end it at once, without saving")
    resuming = _command(commands, "resume", _resume, "let a training go on from its newest complete checkpoint")
    resuming.add_argument("name", metavar="NAME", help="the run's folder, or its LoRA's name")
    resuming.add_argument("--from", dest="from_checkpoint", metavar="CHECKPOINT", help="go on from this one")
    resuming.add_argument("--epochs", type=int, metavar="N", help="train to N epochs in all")
    resuming.add_argument("--wait", action="store_true", help="stay until it has ended, with a progress bar")
    _command(commands, "demo", _demo, "train on the example photos with the pocket model")
    library_commands.add_commands(partial(_command, commands))
    return parser


def _command(commands: "argparse._SubParsersAction[Parser]", name: str, run: object, about: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", allow_abbrev=False)
    add_folders(parser)
    parser.set_defaults(run=run)
    return parser


def _sessions(args: argparse.Namespace, settings: Settings) -> int:
    sessions = list_sessions(settings.outputs)
    if args.json:
        print(json.dumps([session.to_json() for session in sessions], indent=2, ensure_ascii=False))
    elif not sessions:
        print("No active training sessions found")
    else:
        print("\n\n---\n\n".join(_as_text(session) for session in sessions))
    return 0


def _as_text(session: Session) -> str:
    """Return a session as the guide shows it."""
    lines = [f"{SYMBOLS[session.status]} {_plain(session.lora_name)} - {session.status.capitalize()}"]
    lines.append(f"   - Started: {_moment(session.started)}")
    if session.max_train_epochs is not None:
        lines.append(f"   - Epochs: {session.max_train_epochs}")
    if session.status is not Status.UNREADABLE:
        lines.append(f"   - Checkpointing: {'✅' if session.checkpointing else '❌'}")
        lines.append(f"   - Monitoring: {'✅' if session.monitoring else '❌'}")
    if session.progress:
        lines.append(f"   - Progress: {progress_words(session)}")
    if session.reason:
        lines.append(f"   - {_plain(session.reason)}")
    return "\n".join(lines)


def _moment(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # a file's time may lie beyond the calendar
        return "unknown"


def _plain(text: str) -> str:
    """Keep a name from steering the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _start(args: argparse.Namespace, settings: Settings) -> int:
    request = StartRequest(state=read_state_file(args.state), images=image_folder(args.images), if_exists=args.if_exists, gpus=args.gpus)
    try:
        run = start(request, settings)
    except NameTaken as error:
        raise NameTaken(f"{error} Say so with --if-exists resume, new or replace.") from None
    print(run.folder, flush=True)
    return _wait(run) if args.wait else 0


def _wait(run: RunPaths) -> int:
    end = watch(run)
    print(f"{SYMBOLS[end.status]} {run.slug} - {end.status.capitalize()}" + (f": {end.reason}" if end.reason else ""))
    return 0 if end.status is Status.COMPLETED else 1


def _stop(args: argparse.Namespace, settings: Settings) -> int:
    run = find_run(args.name, settings.outputs)
    stop(run, now=args.now)
    end = wait_until_ended(run)
    print(f"{SYMBOLS[end.status]} {run.slug} - {end.status.capitalize()}" + (f": {end.reason}" if end.reason else ""))
    return 0


def _resume(args: argparse.Namespace, settings: Settings) -> int:
    run = find_run(args.name, settings.outputs)
    offer = None if args.from_checkpoint or args.epochs else resume_preview(run)
    resume(run, settings=settings, from_checkpoint=args.from_checkpoint, epochs=args.epochs)
    if offer is not None:
        print(f"It goes on {offer.sentence()}.", file=sys.stderr)
    print(run.folder, flush=True)
    return _wait(run) if args.wait else 0


def _demo(args: argparse.Namespace, settings: Settings) -> int:
    began = time.monotonic()
    run = demo.start_demo(settings)
    end = watch(run)
    if end.status is not Status.COMPLETED:
        print(f"error: the demo ended as {end.status}: {end.reason} Its log: {run.training_log}", file=sys.stderr)
        return 1
    print(f"The LoRA:            {run.lora}")
    print(f"Before and after:    {demo.compose(run)}")
    print(f"All of it took {time.monotonic() - began:.0f} s. See it in the page: make run")
    return 0
