"""Commands on the library of runs: duplicate, forget, archive, delete, history, template, sweep, backup, export, import, adopt."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from fluxgym.app_settings import Settings
from fluxgym.cli.terminal import image_folder, is_confirmed, print_lines, print_way_back, printable
from fluxgym.contract.wording import counted, listed
from fluxgym.dataset.recode import captions_to_utf8
from fluxgym.errors import ReplacesTemplate, SettingsError
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import State, read_state
from fluxgym.sessions import adopt, create, history, removed_runs, templates, transfer
from fluxgym.sessions.backup import backup
from fluxgym.sessions.delete import delete
from fluxgym.sessions.folder_contents import contents
from fluxgym.sessions.forget import forget, sweep, sweepable
from fluxgym.sessions.listing import find_run

Add = Callable[..., argparse.ArgumentParser]


def add_commands(add: Add) -> None:
    """Add the commands to the parser; `add` takes a name, a function and a help sentence, and returns the command's parser."""
    copying = add("duplicate", _duplicate, "copy a run's settings, images and captions to a new name")
    _add_name(copying)
    copying.add_argument("new_name", metavar="NEW", help="the copy's LoRA name")
    _add_name(add("forget", _forget, "take a run off the list; its files stay, and `archive restore` puts it back"))
    archive = add("archive", _archive, "list the runs that were forgotten or replaced, or put some back")
    archive.add_argument("action", nargs="?", choices=("restore",), help="put runs back; without it, they are listed")
    archive.add_argument("ids", nargs="*", metavar="ID", help="what the list shows before the colon")
    deleting = add("delete", _delete, "remove a run with all its files")
    _add_name(deleting)
    deleting.add_argument("--yes", action="store_true", help="do not ask")
    _add_history(add)
    _add_templates(add)
    sweeping = add("sweep", _sweep, "forget old runs that have ended; their models stay")
    sweeping.add_argument("--older-than", required=True, metavar="30d", help="days since the start, such as 30d")
    sweeping.add_argument("--yes", action="store_true", help="do not ask")
    backing_up = add("backup", _backup, "write all states into an archive")
    backing_up.add_argument("file", type=Path, metavar="FILE.tar.gz", help="the archive to write; an existing one is replaced")
    _add_transfer(add)
    converting = add("captions", _captions, "convert captions that are not UTF-8, such as those of old Windows editors")
    converting.add_argument("folder", type=Path, metavar="FOLDER", help="the folder of images and captions")
    converting.add_argument("--from", dest="encoding", required=True, metavar="ENCODING", help="what they are in, such as cp1252")
    adopting = add("adopt", _adopt, "import the trainings of another FluxGym's folder")
    adopting.add_argument("folder", type=Path, metavar="FOLDER", help="the folder that contains its outputs/ and datasets/")


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the run's folder, or its LoRA's name")


def _add_history(add: Add) -> None:
    parser = add("history", _history, "list a run's earlier settings, compare or restore them")
    _add_name(parser)
    parser.add_argument("--restore", metavar="ID", help="restore these settings; the current ones are kept first")
    parser.add_argument("--diff", nargs=2, metavar=("A", "B"), help="the differences between two versions; “now” is the current one")


def _add_templates(add: Add) -> None:
    parser = add("template", _template, "save settings under a name, and start others from them")
    parser.add_argument("action", choices=("save", "list", "apply", "delete"), help="what to do; apply prints the settings as JSON")
    parser.add_argument("template", nargs="?", metavar="TEMPLATE", help="the template's name")
    parser.add_argument("name", nargs="?", metavar="NAME", help="save: the run whose settings to save; apply: the new LoRA's name")
    parser.add_argument("--yes", action="store_true", help="save and delete: do not ask before a template is lost")


def _add_transfer(add: Add) -> None:
    exporting = add("export", _export, "write a run's state to FILE.json, or runs into FILE.zip")
    exporting.add_argument("name", metavar="NAME", help="a run, or --all", nargs="?")
    exporting.add_argument("file", type=Path, metavar="FILE", help="the file to write, ending in .json or .zip")
    exporting.add_argument("--all", action="store_true", help="every run")
    exporting.add_argument("--with-images", "--with-pictures", action="store_true", help="the images and captions too")
    exporting.add_argument("--with-lora", action="store_true", help="the trained model too")
    importing = add("import", _import, "create runs from an exported file")
    importing.add_argument("file", type=Path, metavar="FILE", help="a .json or .zip that export has written")


def _duplicate(args: argparse.Namespace, settings: Settings) -> int:
    run = find_run(args.name, settings.outputs)
    copy = create.duplicate(run, args.new_name)
    return print_lines(str(copy.folder), *history.diff(read_state(run), read_state(copy)))


def _forget(args: argparse.Namespace, settings: Settings) -> int:
    run = find_run(args.name, settings.outputs)
    forget(run)
    print(f"{run.slug} is off the list; its files stay in {run.folder}.")
    print_way_back([run.slug])
    return 0


def _archive(args: argparse.Namespace, settings: Settings) -> int:
    outputs = OutputsPaths(settings.outputs)
    if args.action is None:
        return print_lines(*(run.message() for run in removed_runs.list_removed(outputs)), if_empty="No run was forgotten or replaced.")
    if not args.ids:
        raise SettingsError("Name the runs: archive restore ID; `archive` lists them.")
    return _print_folders([removed_runs.put_back(outputs, removed_id) for removed_id in args.ids])


def _delete(args: argparse.Namespace, settings: Settings) -> int:
    run = OutputsPaths(settings.outputs).run(args.name)
    if not run.private.is_dir():  # a forgotten run can still be deleted
        run = find_run(args.name, settings.outputs)
    what = contents(run).message()
    if not is_confirmed(f"{run.slug} holds {what}.", yes=args.yes, answer=run.slug, question="Type its name to delete it"):
        print("Nothing was deleted.")
        return 1
    delete(run)
    print(f"Deleted {run.slug}: {what}.")
    return 0


def _history(args: argparse.Namespace, settings: Settings) -> int:
    run = find_run(args.name, settings.outputs)
    if args.restore:
        return print_lines(*history.restore(run, args.restore), if_empty="Nothing differs.")
    if args.diff:
        return print_lines(*history.diff(*(_version(run, version_id) for version_id in args.diff)), if_empty="Nothing differs.")
    current, versions = read_state(run), history.versions(run)
    if not versions:
        return print_lines(f"{run.slug} has no earlier settings. Each resume, restore and replacement keeps some.")
    for version, after in zip(versions, history.later_states(versions, current), strict=True):
        print_lines(f"{version.id}  kept {datetime.fromtimestamp(version.kept_at):%Y-%m-%d %H:%M:%S}")
        print_lines(*(f"   {line}" for line in history.diff(version.state, after)))
    return 0


def _version(run: RunPaths, version_id: str) -> State:
    return read_state(run) if version_id == "now" else history.find_version(run, version_id).state


def _template(args: argparse.Namespace, settings: Settings) -> int:
    outputs = OutputsPaths(settings.outputs)
    if args.action == "list":
        return print_lines(*(template.name for template in templates.list_templates(outputs)), if_empty="There are no templates yet.")
    if not args.template or (args.action in ("save", "apply") and not args.name):
        raise SettingsError({"save": "Use: template save TEMPLATE RUN.", "apply": "Use: template apply TEMPLATE NEW-NAME."}.get(
            args.action, "Use: template delete TEMPLATE."))  # fmt: skip
    if args.action == "save":
        return _save_template(outputs, args, read_state(find_run(args.name, settings.outputs)))
    if args.action == "delete":
        return _delete_template(outputs, args)
    print(json.dumps(templates.apply(outputs, args.template, {"lora_name": args.name}), indent=2, ensure_ascii=False))
    return 0


def _save_template(outputs: OutputsPaths, args: argparse.Namespace, state: State) -> int:
    try:
        saved = templates.save(outputs, args.template, state)
    except ReplacesTemplate as error:
        if not is_confirmed(str(error), yes=args.yes, answer="yes", question="Type yes to replace it"):
            print("Nothing was replaced.")
            return 1
        saved = templates.save(outputs, args.template, state, agreed=[ReplacesTemplate.__name__])
    print(f"Saved as the template {saved.name}.")
    return 0


def _delete_template(outputs: OutputsPaths, args: argparse.Namespace) -> int:
    name = templates.find_template(outputs, args.template).name
    if not is_confirmed(f"The settings of the template {name} are lost.", yes=args.yes, answer="yes", question="Type yes to delete it"):
        print("Nothing was deleted.")
        return 1
    templates.delete(outputs, args.template)
    return 0


def _sweep(args: argparse.Namespace, settings: Settings) -> int:
    match = re.fullmatch(r"(\d{1,5})d?", args.older_than)
    if match is None:
        raise SettingsError(f"--older-than takes days, such as 30d, not “{args.older_than[:40]}”.")
    days = float(match[1])
    old = [session.slug for session in sweepable(settings.outputs, days)]
    if not old:
        return print_lines(f"No ended run is older than {match[1]} days.")
    what = f"{counted(len(old), 'ended run', 'leaves', 'leave')} the list: {listed(old)}. All files stay."
    if not is_confirmed(what, yes=args.yes, answer="yes", question="Type yes to forget them"):
        print("Nothing was forgotten.")
        return 1
    swept = sweep(settings.outputs, days)
    print_lines(*swept)
    print_way_back(swept)
    return 0


def _backup(args: argparse.Namespace, settings: Settings) -> int:
    print(f"{backup(settings.outputs, args.file)} states are in {args.file}.")
    return 0


def _export(args: argparse.Namespace, settings: Settings) -> int:
    if not args.all and not args.name:
        raise SettingsError("Name the run and then the file to write, or use --all: export NAME FILE.zip.")
    runs = list(OutputsPaths(settings.outputs).runs()) if args.all else [find_run(args.name, settings.outputs)]
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


def _captions(args: argparse.Namespace, settings: Settings) -> int:
    converted = captions_to_utf8(image_folder(args.folder), args.encoding)
    if converted.kept_in is not None:
        print(printable(f"The earlier files are in {converted.kept_in}."), file=sys.stderr)
    return print_lines(*(f"{name}: {text[:80]}" for name, text in converted.texts.items()), if_empty="All captions are UTF-8 already.")


def _print_folders(runs: list[RunPaths]) -> int:
    print("\n".join(str(run.folder) for run in runs))
    return 0
