"""Commands on one run: sessions, start, stop, resume, demo, queue, preflight. Each calls the same function as the page."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path

from fluxgym.app_settings import Settings
from fluxgym.cli.terminal import detail_lines, image_folder, print_lines, print_way_back, printable, read_state_file
from fluxgym.cli.watch import progress_words, watch
from fluxgym.contract.codes import LIVE, Status
from fluxgym.contract.wording import counted
from fluxgym.dataset.flat_folder import flat_folder, repeats_message, with_settings_of
from fluxgym.engines.base import LOST_POSITION
from fluxgym.engines.registry import engine_for
from fluxgym.errors import NamesCode, NameTaken, NeedsConsent, SessionError, SettingsError, TakesOver
from fluxgym.planning.plan import TrainingPlan, plan
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state_or_empty
from fluxgym.runs.status import SYMBOLS, SessionStatus
from fluxgym.sessions import demo
from fluxgym.sessions.control import cancel_waiting, stop, wait_until_ended
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import Session, find_run, list_sessions
from fluxgym.sessions.origin import origin_of
from fluxgym.sessions.past_speed import PastSpeeds, device_kind
from fluxgym.sessions.removed_runs import list_removed
from fluxgym.sessions.resume import needs_check, resume, resumed_message
from fluxgym.sessions.run_dates import date_of
from fluxgym.sessions.start import IfExists, start_plan
from fluxgym.sessions.status_display import STATUS_WORDS, is_stopping, status_symbol, status_word
from fluxgym.sessions.waiting import restart_waiting

Add = Callable[..., argparse.ArgumentParser]
CONSENTS = {"code": NamesCode.__name__, "take-over": TakesOver.__name__}  # word of --agree -> error
MARKS = {"ok": "✅", "warning": "⚠️", "error": "❌"}


def add_commands(add: Add) -> None:
    """Add the commands to the parser; `add` takes a name, a function and a help sentence, and returns the command's parser."""
    listing = add("sessions", _sessions, "list every training, newest first")
    listing.add_argument("--json", action="store_true", help="print a JSON list")
    _add_start(add)
    _add_stop_and_resume(add)
    add("demo", _demo, "train on the example photos with the pocket model")
    queue = add("queue", _queue, "list the waiting runs, move one or cancel one")
    queue.add_argument(
        "action", nargs="?", choices=("move", "cancel"), help="what to do with a waiting run; without it, the queue is listed"
    )
    queue.add_argument("name", nargs="?", metavar="NAME", help="the waiting run's folder, or its LoRA's name")
    queue.add_argument("--to", type=int, default=1, metavar="N", help="the position to move to; 1 is next")
    checking = add("preflight", _preflight, "check what Start would do, without starting")
    _add_inputs(checking)


def _add_start(add: Add) -> None:
    starting = add("start", _start, "start a training; prints its folder")
    _add_inputs(starting)
    starting.add_argument("--wait", action="store_true", help="wait until it has ended, with a progress bar")
    starting.add_argument("--gpus", metavar="0,1", help="the GPUs that this run reserves; a training uses the first of them")
    starting.add_argument(
        "--if-exists",
        choices=[choice.value for choice in IfExists],
        help="what to do when a run has this name already; a replaced one is kept in the archive",
    )


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", required=True, type=Path, metavar="FILE", help="a JSON file with ui_state.json's keys")
    parser.add_argument(
        "--images",
        required=True,
        type=Path,
        metavar="DIR",
        help="the folder of images and .txt captions, or one that holds kohya's folders such as 10_mycat",
    )


def _add_stop_and_resume(add: Add) -> None:
    stopping = add("stop", _stop, "stop a training after it has saved its state")
    stopping.add_argument("name", metavar="NAME", help="the run's folder, or its LoRA's name")
    stopping.add_argument("--now", action="store_true", help="end it at once, without saving")
    resuming = add("resume", _resume, "resume a training from its newest complete checkpoint")
    resuming.add_argument("name", metavar="NAME", help="the run's folder, or its LoRA's name")
    resuming.add_argument("--from", dest="from_checkpoint", metavar="CHECKPOINT", help="resume from this checkpoint")
    resuming.add_argument("--epochs", type=int, metavar="N", help="train to N epochs in all")
    resuming.add_argument(
        "--agree", action="append", default=[], choices=list(CONSENTS), help="what you agree to if it asks; it says which"
    )
    resuming.add_argument("--wait", action="store_true", help="wait until it has ended, with a progress bar")


def _sessions(args: argparse.Namespace, settings: Settings) -> int:
    sessions = list_sessions(settings.outputs)
    if args.json:
        print(json.dumps([session.to_json() for session in sessions], indent=2, ensure_ascii=False))
    elif not sessions:
        print("No active training sessions found")
    else:
        texts = [_as_text(session) for session in sessions]
        print("\n\n---\n\n".join(text for _, text in sorted(texts, key=lambda found: -found[0])))
    return 0


def _as_text(session: Session) -> tuple[float, str]:
    """Return a session's date, and its description in the user guide's format, with the page's words for status and date."""
    run = RunPaths(Path(session.folder))
    snapshot = RunSnapshot(run, read_state_or_empty(run))
    origin, stopping = origin_of(run, snapshot.state), is_stopping(run, session.status)
    began = date_of(snapshot, session.status, origin, session.started)
    symbol, word = status_symbol(session.status, is_stopping=stopping), status_word(session.status, origin, is_stopping=stopping)
    lines = [f"{symbol} {printable(session.name)} - {word}", f"   - {began.word}: {_local_time(began.at)}"]
    if session.slug != session.name:
        lines.append(f"   - Folder: {printable(session.slug)}")
    if session.max_train_epochs is not None:
        lines.append(f"   - Epochs: {session.max_train_epochs}")
    if session.status is not Status.UNREADABLE:
        lines.append(f"   - Checkpointing: {'✅' if session.checkpointing else '❌'}")
        lines.append(f"   - Monitoring: {'✅' if session.monitoring else '❌'}")
    if session.progress:
        lines.append(f"   - Progress: {progress_words(session)}")
    if session.reason:
        lines.append(f"   - {printable(session.reason)}")
    return began.at, "\n".join(lines)


def _local_time(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # a file's time may be beyond the calendar
        return "unknown"


def _start(args: argparse.Namespace, settings: Settings) -> int:
    if_exists = IfExists(args.if_exists) if args.if_exists else None
    try:
        with _planned(args, settings) as planned:
            run = start_plan(planned, settings, if_exists=if_exists, gpus=args.gpus)
    except NameTaken as error:
        raise NameTaken(f"{error} Choose with --if-exists resume, new or replace.") from None
    print(run.folder, flush=True)
    if if_exists is IfExists.REPLACE:
        replaced = (removed.id for removed in list_removed(OutputsPaths(settings.outputs)) if removed.slug == run.slug)
        print_way_back(list(islice(replaced, 1)))
    return _wait(run) if args.wait else 0


@contextmanager
def _planned(args: argparse.Namespace, settings: Settings) -> Iterator[TrainingPlan]:
    """Yield the plan for the settings and images that a command names, and print the settings that kohya's folder names give."""
    state = read_state_file(args.state)
    with flat_folder(image_folder(args.images)) as images:
        planned = plan(with_settings_of(images.kohya, state), images.path, settings)
        for sentence in filter(None, (repeats_message(images.kohya, planned.config.num_repeats), *images.notes)):
            print(printable(sentence), file=sys.stderr)
        yield planned


def _wait(run: RunPaths) -> int:
    end = watch(run)
    _print_end(run, end)
    return 0 if end.status is Status.COMPLETED else 1


def _stop(args: argparse.Namespace, settings: Settings) -> int:
    run = find_run(args.name, settings.outputs)
    try:
        stop(run, now=args.now)
    except SessionError as error:
        raise SessionError(f"{error}{_others_message(args.name, run, settings.outputs)}") from None
    end = wait_until_ended(run)
    _print_end(run, end)
    return 0


def _others_message(name: str, run: RunPaths, outputs: Path) -> str:
    """Return which other runs that are live have the LoRA name `name`, "" if none."""
    same_name = [session for session in list_sessions(outputs) if session.lora_name == name and session.slug != run.slug]
    live = [session.slug for session in same_name if session.status in LIVE]
    return f" Running or waiting under the same LoRA name: {', '.join(live)}." if live else ""


def _print_end(run: RunPaths, end: SessionStatus) -> None:
    print(f"{SYMBOLS[end.status]} {run.slug} - {STATUS_WORDS[end.status]}" + (f": {end.reason}" if end.reason else ""))


def _resume(args: argparse.Namespace, settings: Settings) -> int:
    run = find_run(args.name, settings.outputs)
    is_check = args.epochs is None and needs_check(RunSnapshot.read(run))
    agreed = [CONSENTS[word] for word in args.agree]
    try:
        resume(run, settings=settings, from_checkpoint=args.from_checkpoint, epochs=args.epochs, agreed=agreed)
    except NeedsConsent as error:
        word = next(word for word, code in CONSENTS.items() if code == type(error).__name__)
        raise NeedsConsent(f"{error} To do it, add --agree {word}.") from None
    sentence = "Its training is finished; its result is being checked." if is_check else resumed_message(run)
    if sentence:
        print(printable(sentence), file=sys.stderr)
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


def _queue(args: argparse.Namespace, settings: Settings) -> int:
    queue = engine_for(OutputsPaths(settings.outputs)).queue
    if args.action and not args.name:
        raise SettingsError(f"Name the run: queue {args.action} NAME.")
    if args.action:
        restart_waiting(settings)
        run = find_run(args.name, settings.outputs)
        if args.action == "move":
            queue.move(run, args.to)
        else:
            cancel_waiting(run)
            wait_until_ended(run)
            print(f"Canceled {run.slug}.")
    reasons, positions = queue.reasons(), enumerate(queue.slugs(), 1)
    lines = [f"{position}. {slug}: {reasons[slug]}" for position, slug in positions if slug in reasons]
    lines += [f"-  {slug}: {LOST_POSITION}" for slug in queue.without_position()]
    return print_lines(*lines, if_empty="No run is waiting.")


def _preflight(args: argparse.Namespace, settings: Settings) -> int:
    with _planned(args, settings) as planned:
        return _print_checks(planned, settings)


def _print_checks(planned: TrainingPlan, settings: Settings) -> int:
    for problem in planned.problems:
        print(f"{MARKS[problem.level]} {problem.message}", *detail_lines(problem.details), sep="\n")
    if planned.steps is not None:
        outputs = OutputsPaths(settings.outputs)
        estimate = PastSpeeds(outputs, SessionIndex(settings.outputs)).estimate(planned, device_kind(engine_for(outputs)))
        print_lines(", ".join(filter(None, (counted(planned.steps, "step"), estimate.time))), *filter(None, (estimate.note,)))
    return 0 if planned.can_start else 2
