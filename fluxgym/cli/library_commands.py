"""The command line's second half: what is kept of runs. duplicate, forget, delete, history, template, sweep, backup, export, import, adopt, queue.

Every action is fluxgym.sessions' own; this module owns the words on the terminal.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from fluxgym.app_settings import Settings
from fluxgym.engines.registry import engine_for
from fluxgym.errors import SettingsError
from fluxgym.planning.checks import check
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import State, read_state
from fluxgym.sessions import adopt, cleanup, create, history, templates, transfer
from fluxgym.sessions.control import cancel_waiting, wait_until_ended
from fluxgym.sessions.listing import find_run

Add = Callable[..., argparse.ArgumentParser]
MARKS = {"ok": "✅", "warning": "⚠️", "error": "❌"}


def add_commands(add: Add) -> None:
    """Add the commands to the parser; `add` makes one of a name, a function and a sentence."""
    copying = add("duplicate", _duplicate, "copy a run's settings, images and captions to a new name")
    copying.add_argument("name", metavar="NAME")
    copying.add_argument("new_name", metavar="NEW")
    add("forget", _forget, "take a run off the list; its trained model stays").add_argument("name", metavar="NAME")
    deleting = add("delete", _delete, "remove a run with all its files")
    deleting.add_argument("name", metavar="NAME")
    deleting.add_argument("--yes", action="store_true", help="do not ask")
    _add_history(add)
    _add_templates(add)
    sweeping = add("sweep", _sweep, "forget ended runs that are old; their models stay")
    sweeping.add_argument("--older-than", required=True, metavar="30d", help="days since the start, such as 30d")
    add("backup", _backup, "write all states into an archive").add_argument("file", type=Path, metavar="FILE.tar.gz")
    _add_exchange(add)
    add("adopt", _adopt, "take in the trainings of another FluxGym's folder").add_argument("folder", type=Path, metavar="FOLDER")
    queue = add("queue", _queue, "list the waiting runs, move one or let one go")
    queue.add_argument("action", nargs="?", choices=("move", "cancel"))
    queue.add_argument("name", nargs="?", metavar="NAME")
    queue.add_argument("--to", type=int, default=1, metavar="N", help="the place to move to; 1 is next")
    checking = add("preflight", _preflight, "check what Start would do, without starting")
    checking.add_argument("--state", required=True, type=Path, metavar="FILE")
    checking.add_argument("--images", required=True, type=Path, metavar="DIR")


def _add_history(add: Add) -> None:
    parser = add("history", _history, "list a run's earlier settings, compare or restore them")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--restore", metavar="ID", help="bring these settings back; the present ones are kept first")
    parser.add_argument("--diff", nargs=2, metavar=("A", "B"), help="what differs from one version to another; “now” is the present one")


def _add_templates(add: Add) -> None:
    parser = add("template", _template, "keep settings under a name, and begin others with them")
    parser.add_argument("action", choices=("save", "list", "apply", "delete"))
    parser.add_argument("template", nargs="?", metavar="TEMPLATE")
    parser.add_argument("name", nargs="?", metavar="NAME", help="save: the run whose settings to keep; apply: the new LoRA's name")


def _add_exchange(add: Add) -> None:
    exporting = add("export", _export, "write a run's state to FILE.json, or runs into FILE.zip")
    exporting.add_argument("name", metavar="NAME", help="a run, or --all", nargs="?")
    exporting.add_argument("file", type=Path, metavar="FILE")
    exporting.add_argument("--all", action="store_true", help="every run")
    exporting.add_argument("--with-images", "--with-pictures", action="store_true", help="the images and captions too")
    exporting.add_argument("--with-lora", action="store_true", help="the trained model too")
    add("import", _import, "make runs of an exported file").add_argument("file", type=Path, metavar="FILE")


def _duplicate(args: argparse.Namespace, settings: Settings) -> int:
    run = find_run(args.name, settings.outputs)
    copy = create.duplicate(run, args.new_name)
    return _say(str(copy.folder), *history.diff(read_state(run), read_state(copy)))


def _forget(args: argparse.Namespace, settings: Settings) -> int:
    run = find_run(args.name, settings.outputs)
    cleanup.forget(run)
    print(f"{run.slug} is off the list; its files stay in {run.folder}.")
    return 0


def _delete(args: argparse.Namespace, settings: Settings) -> int:
    run = OutputsPaths(settings.outputs).run(args.name)
    if not run.private.is_dir():  # a forgotten run can still be deleted
        run = find_run(args.name, settings.outputs)
    what = cleanup.contents(run).sentence()
    if not args.yes:
        if not sys.stdin.isatty():
            raise SettingsError(f"{run.slug} holds {what}; add --yes to delete it.")
        if not _is_confirmed(f"{run.slug} holds {what}. Type its name to delete it: ", run.slug):
            print("Nothing was deleted.")
            return 1
    cleanup.delete(run)
    print(f"Deleted {run.slug}: {what}.")
    return 0


def _is_confirmed(question: str, answer: str) -> bool:
    try:
        return input(question).strip() == answer
    except (EOFError, KeyboardInterrupt):
        print()
        return False


def _history(args: argparse.Namespace, settings: Settings) -> int:
    run = find_run(args.name, settings.outputs)
    if args.restore:
        return _say(*history.restore(run, args.restore), otherwise="Nothing differs.")
    if args.diff:
        return _say(*history.diff(*(_version(run, version_id) for version_id in args.diff)), otherwise="Nothing differs.")
    present = read_state(run)
    for version in history.versions(run):
        _say(f"{version.id}  kept {datetime.fromtimestamp(version.kept_at):%Y-%m-%d %H:%M:%S}")
        _say(*(f"   {line}" for line in history.diff(version.state, present)))
    return 0


def _version(run: RunPaths, version_id: str) -> State:
    return read_state(run) if version_id == "now" else history.find_version(run, version_id).state


def _say(*lines: str, otherwise: str = "") -> int:
    """Print lines, and keep names in them from steering the terminal."""
    for line in lines or ((otherwise,) if otherwise else ()):
        print("".join(char if char.isprintable() else "?" for char in line))
    return 0


def _template(args: argparse.Namespace, settings: Settings) -> int:
    outputs = OutputsPaths(settings.outputs)
    if args.action == "list":
        return _say(*(template.name for template in templates.list_templates(outputs)), otherwise="There are no templates yet.")
    if not args.template or (args.action in ("save", "apply") and not args.name):
        raise SettingsError({"save": "Say: template save TEMPLATE RUN.", "apply": "Say: template apply TEMPLATE NEW-NAME."}.get(
            args.action, "Say: template delete TEMPLATE."))  # fmt: skip
    if args.action == "save":
        templates.save(outputs, args.template, read_state(find_run(args.name, settings.outputs)))
    elif args.action == "delete":
        templates.delete(outputs, args.template)
    else:
        print(json.dumps(templates.apply(outputs, args.template, {"lora_name": args.name}), indent=2, ensure_ascii=False))
    return 0


def _sweep(args: argparse.Namespace, settings: Settings) -> int:
    found = re.fullmatch(r"(\d{1,5})d?", args.older_than)
    if found is None:
        raise SettingsError(f"--older-than takes days, such as 30d, not “{args.older_than[:40]}”.")
    swept = cleanup.sweep(settings.outputs, float(found[1]))
    print("\n".join(swept) or f"No ended run is older than {found[1]} days.")
    return 0


def _backup(args: argparse.Namespace, settings: Settings) -> int:
    print(f"{cleanup.backup(settings.outputs, args.file)} states are in {args.file}.")
    return 0


def _export(args: argparse.Namespace, settings: Settings) -> int:
    runs = list(OutputsPaths(settings.outputs).runs()) if args.all else [find_run(args.name or "", settings.outputs)]
    if args.file.suffix == ".json" and len(runs) == 1:
        transfer.export_state(runs[0], args.file)
    elif args.file.suffix == ".zip":
        for sentence in transfer.export_archive(runs, args.file, transfer.Export(images=args.with_images, lora=args.with_lora)):
            print(f"left out: {sentence}", file=sys.stderr)
    else:
        raise SettingsError(f"{args.file.name} must end in .zip, or in .json for the state of one run.")
    print(args.file)
    return 0


def _import(args: argparse.Namespace, settings: Settings) -> int:
    return _print_folders(transfer.import_file(args.file, OutputsPaths(settings.outputs)))


def _adopt(args: argparse.Namespace, settings: Settings) -> int:
    return _print_folders(adopt.adopt(args.folder, OutputsPaths(settings.outputs)))


def _print_folders(runs: list[RunPaths]) -> int:
    print("\n".join(str(run.folder) for run in runs))
    return 0


def _queue(args: argparse.Namespace, settings: Settings) -> int:
    engine = engine_for(OutputsPaths(settings.outputs))
    if args.action and not args.name:
        raise SettingsError(f"Say which run: queue {args.action} NAME.")
    if args.action:
        run = find_run(args.name, settings.outputs)
        if args.action == "move":
            engine.move(run, args.to)
        else:
            cancel_waiting(run)
            wait_until_ended(run)
            print(f"Cancelled {run.slug}.")
    lines = [f"{position}. {slug}: {_reason(settings, slug)}" for position, slug in enumerate(engine.capacity().waiting, 1)]
    return _say(*lines, otherwise="Nothing waits.")


def _reason(settings: Settings, slug: str) -> str:
    return str(read_state(OutputsPaths(settings.outputs).run(slug)).get("reason", "it begins"))


def _preflight(args: argparse.Namespace, settings: Settings) -> int:
    result = check(read_state_file(args.state), image_folder(args.images), settings.models, settings.outputs)
    for line in result.lines:
        print(f"{MARKS[line.level]} {line.text}")
    if result.steps is not None:
        print(f"{result.steps} steps")
    return 0 if result.can_start else 2


def read_state_file(path: Path) -> dict[str, object]:
    """Return the settings of a JSON file; raises SettingsError for one that holds none."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(state, dict):
        raise SettingsError(f"{path} must hold a JSON object with ui_state.json's keys.")
    return state


def image_folder(path: Path) -> Path:
    """Return a folder's full path; raises SettingsError when it is not there."""
    if not path.is_dir():
        raise SettingsError(f"The folder of images {path} does not exist.")
    return path.resolve()
