"""The terminal commands for runs: the same status as on the page, and one error message for a user error, never a traceback."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fluxgym import app_settings
from fluxgym.cli.main import build_parser, main
from fluxgym.cli.terminal import read_state_file
from fluxgym.engines.base import LOST_POSITION
from fluxgym.engines.devices import acquire_devices
from fluxgym.engines.dispatcher_process import DISPATCHER_ENDED, DispatcherProcess
from fluxgym.engines.tickets import Tickets
from fluxgym.errors import SettingsError
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, write_launch_spec
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import identify
from fluxgym.sessions.control import wait_until_ended
from tests.support.photos import write_cats
from tests.support.runs import dead_process, make_run, record_processes, wait_for, write_checkpoint
from tests.support.small_installation import small_installation, state


@pytest.fixture(name="run_cli")
def fixture_run_cli(tmp_path, capsys):
    world = small_installation(tmp_path)
    write_cats(tmp_path / "images")
    folders = ["--outputs", str(world.outputs), "--models", str(world.models), "--sd-scripts", str(world.sd_scripts)]

    def run(*words):
        code = main([words[0], *folders, *words[1:]])
        out = capsys.readouterr()
        return code, out.out, out.err

    run.outputs, run.folder = world.outputs, tmp_path
    return run


def write_state(folder, **changes):
    (folder / "state.json").write_text(json.dumps(state(**changes)))
    return ["--state", str(folder / "state.json"), "--images", str(folder / "images")]


def test_start_with_wait_lists_completed_session(run_cli):
    assert run_cli("sessions") == (0, "No active training sessions found\n", "")
    code, out, _ = run_cli("start", *write_state(run_cli.folder), "--wait")
    assert code == 0
    assert out.splitlines()[0] == str(run_cli.outputs / "my-cat")
    assert "✅ my-cat - Completed" in out
    _, listed, _ = run_cli("sessions")
    assert listed.startswith("✅ My Cat - Completed\n   - Started: 20")
    assert "   - Epochs: 1\n   - Checkpointing: ✅\n   - Monitoring: ❌" in listed
    rows = json.loads(run_cli("sessions", "--json")[1])
    assert list(rows[0])[:12] == [
        "slug", "lora_name", "status", "reason_code", "reason", "started", "max_train_epochs", "checkpointing", "monitoring", "progress", "folder",
        "run_id",
    ]  # fmt: skip


def test_queue_prints_current_wait_reason_instead_of_stored_one(run_cli):
    outputs = OutputsPaths(run_cli.outputs)
    me = identify(os.getpid(), "id-cat")
    for name in ("gone", "cat", "dog"):
        run = make_run(outputs.root, name, status="queued", reason="Waiting for the CPU; “an old run” is ahead of it.")
        write_launch_spec(run, LaunchSpec(run_id=f"id-{name}", attempt=1, trainer_dir="/", devices=DeviceRequest(kind="cpu")))
        record_processes(run, f"id-{name}", 1, me if name != "dog" else dead_process("id-dog"), None)
        Tickets(outputs).join(run, f"id-{name}", ["cpu"])
    shutil.rmtree(outputs.run("gone").folder)
    code, out, err = run_cli("queue")
    assert (code, err) == (0, "")
    assert out == f"2. cat: Waiting for the CPU; it is next.\n3. dog: {DISPATCHER_ENDED}\n"
    assert DispatcherProcess(outputs).problem() == DISPATCHER_ENDED  # a list starts nothing


def test_queue_lists_runs_without_position(run_cli):
    outputs = OutputsPaths(run_cli.outputs)
    for name in ("ant", "bee"):
        run = make_run(outputs.root, name, status="queued")
        argv = ("python", f"--output_dir={run.folder}")
        write_launch_spec(run, LaunchSpec(run_id=f"id-{name}", attempt=1, trainer_dir="/", argv=argv, devices=DeviceRequest(kind="cpu")))
        record_processes(run, f"id-{name}", 1, dead_process(f"id-{name}"), None)
    assert run_cli("queue") == (0, f"-  ant: {LOST_POSITION}\n-  bee: {LOST_POSITION}\n", "")


def test_queue_change_starts_dispatcher(run_cli):
    outputs = OutputsPaths(run_cli.outputs)
    lease = acquire_devices(DeviceRequest(kind="cpu"), outputs.root / "other")
    for name in ("cat", "dog"):
        run = make_run(outputs.root, name, status="queued")
        write_launch_spec(run, LaunchSpec(run_id=f"id-{name}", attempt=1, trainer_dir="/", devices=DeviceRequest(kind="cpu")))
        Tickets(outputs).join(run, f"id-{name}", ["cpu"])
    out = run_cli("queue", "move", "cat", "--to", "2")[1]
    waiting = "Waiting for the CPU, which “other” uses; "
    assert out == f"1. dog: {waiting}it is next.\n2. cat: {waiting}“dog” is ahead of it.\n"
    assert run_cli("queue", "cancel", "dog")[1] == f"Canceled dog.\n1. cat: {waiting}it is next.\n"
    assert run_cli("queue", "cancel", "cat")[1] == "Canceled cat.\nNo run is waiting.\n"
    lease.release()


def test_row_labels_its_date_and_uses_texts_of_page(run_cli):
    outputs = run_cli.outputs
    make_run(outputs, "copy", status="stopped", parent={"slug": "cat"})
    make_run(outputs, "import", status="stopped", parent={"slug": "cat", "imported_at": 1e9})
    make_run(outputs, "undated", status="completed", timestamp=None)
    make_run(outputs, "adopted", status="completed", adopted_at=1e9)
    make_run(outputs, "torn").ui_state.write_text("{")
    make_run(outputs, "running", status="running", timestamp=1e9)
    stopping = RunPaths(outputs / "running")
    me = identify(os.getpid(), "id-running")
    record_processes(stopping, "id-running", 1, me, me)
    stopping.training_pid.write_text(str(os.getpid()))
    stopping.stop.write_text("{}")
    rows = run_cli("sessions")[1].split("\n\n---\n\n")
    shown = {
        row.split(" - ")[0].split(" ")[1]: (row.splitlines()[0].split(" - ")[1], row.splitlines()[1].split(":")[0].strip(" -"))
        for row in rows
    }
    assert shown == {
        "copy": ("Not started", "Copied"), "import": ("Imported", "Imported"), "undated": ("Completed", "Changed"),
        "adopted": ("Completed", "Adopted"), "torn": ("Cannot be read", "Changed"), "running": ("Stopping", "Started"),
    }  # fmt: skip


def test_kohya_folders_are_checked_and_started_with_their_repeats_and_class(run_cli):
    write_cats(run_cli.folder / "kohya" / "4_tabby cat", caption="tabby cat")
    (run_cli.folder / "kohya" / "4_tabby cat" / "cat 3.txt").unlink()
    words = write_state(run_cli.folder)
    settings = json.loads((run_cli.folder / "state.json").read_text())
    (run_cli.folder / "state.json").write_text(
        json.dumps({name: settings[name] for name in settings if name not in ("num_repeats", "concept_sentence")})
    )
    words[-1] = str(run_cli.folder / "kohya")
    sentence = "The images are in kohya's folder 4_tabby cat, so “Repeat trains per image” is 4.\n"
    code, out, err = run_cli("preflight", *words)
    assert (code, err, "16 steps" in out, "4 images" in out) == (0, sentence, True, True)
    code, out, err = run_cli("start", *words)
    assert (code, err) == (0, sentence)
    run = RunPaths(Path(out.strip()))
    wait_until_ended(run)
    kept = json.loads(run.ui_state.read_text())
    assert (kept["num_repeats"], kept["concept_sentence"]) == (4, "tabby cat")
    assert (run.dataset / "cat 3.txt").read_text() == ""  # so that class_tokens is trained
    assert 'class_tokens = "tabby cat"' in run.dataset_toml.read_text()
    assert len(list(run.dataset.glob("*.png"))) == 4


def test_stop_and_resume_by_either_name(run_cli):
    (run_cli.outputs).mkdir()
    script = run_cli.folder / "sd-scripts" / "flux_train_network.py"
    script.write_text(
        script.read_text().replace("    step += 1\n", "    step += 1\n    if step == 3 and not args.resume: time.sleep(60)\n")
    )
    _, out, _ = run_cli("start", *write_state(run_cli.folder))
    run = RunPaths(run_cli.outputs / "my-cat")
    assert out.strip() == str(run.folder)
    wait_for(lambda: run.progress.exists() and run.progress.read_text().count("\n") == 2)
    code, out, _ = run_cli("stop", "My Cat")
    assert (code, out.split(":")[0]) == (0, "🔵 my-cat - Stopped")
    code, _, err = run_cli("stop", "my-cat")
    assert code == 2
    assert "not running" in err
    code, out, _ = run_cli("resume", "my-cat", "--wait")
    assert code == 0
    assert "✅" in out
    wait_until_ended(run)


def test_resume_names_checkpoint_that_it_uses_and_damaged_one(run_cli, monkeypatch):
    run_cli("start", *write_state(run_cli.folder), "--wait")
    run = RunPaths(run_cli.outputs / "my-cat")
    write_checkpoint(run, "my-cat-000001-state", 4)
    newest = write_checkpoint(run, "my-cat-step00000006-state", 6)
    (newest / "model.safetensors").write_bytes(b"WEIGHTS")
    os.utime(newest / "manifest.json", (time.time() + 5,) * 2)
    monkeypatch.setenv("TEST_STEPS", "16")
    code, _, err = run_cli("resume", "my-cat", "--epochs", "2", "--wait")
    assert code == 0
    assert (
        "It resumes from my-cat-000001-state: after epoch 1, at step 4 of 16. Newer ones are damaged and are not used: my-cat-step00000006-state."
        in err
    )


def test_resume_asks_before_it_runs_code_that_was_not_started_here(run_cli, monkeypatch):
    module = {"advanced": {"reg_data_dir": "", "train_batch_size": 1, "enable_bucket": False, "optimizer_type": "evil.Adam"}}
    run_cli("start", *write_state(run_cli.folder, **module), "--wait")
    run = RunPaths(run_cli.outputs / "my-cat")
    write_checkpoint(run, "my-cat-000001-state", 4)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(run_cli.folder / "another"))
    monkeypatch.setenv("TEST_STEPS", "16")
    code, _, err = run_cli("resume", "my-cat", "--epochs", "2")
    assert code == 2
    assert "runs the Python module “evil” (optimizer_type)" in err
    assert "add --agree code" in err
    assert run_cli("resume", "my-cat", "--epochs", "2", "--agree", "code", "--wait")[0] == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["stop", "missing"], "missing"),
        (["resume", "../../x"], "../../x"),
        (["resume", "cat"], "no complete checkpoint"),
        (["start", "--state", "nowhere.json", "--images", "x"], "nowhere.json"),
        (["start"], "--state"),
        (["start", "--bogus"], "--state, --images is missing. python -m fluxgym start --help"),
    ],
)
def test_user_error_prints_one_error_message(words, named, run_cli):
    make_run(run_cli.outputs, status="stopped")
    code, out, err = run_cli(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert named in err


def test_two_runs_of_one_name_are_distinguished(run_cli):
    for slug in ("a", "b"):
        make_run(run_cli.outputs, slug, lora_name="Twin")
    code, _, err = run_cli("stop", "Twin")
    assert code == 2
    assert "a, b" in err


def test_second_run_of_name_is_listed_by_its_folder_and_named_by_stop(run_cli):
    make_run(run_cli.outputs, "term-cat", status="completed")
    make_run(run_cli.outputs, "term-cat-2", lora_name="term-cat", status="starting")
    _, out, _ = run_cli("sessions")
    assert "term-cat-2 - " in out
    assert out.count("term-cat - ") == 1
    code, _, err = run_cli("stop", "term-cat")
    assert (code, err.count("\n")) == (2, 1)
    assert "Running or waiting under the same LoRA name: term-cat-2." in err


def test_failed_training_fails_command(run_cli):
    (run_cli.folder / "sd-scripts" / "flux_train_network.py").write_text("raise SystemExit(3)")
    code, out, _ = run_cli("start", *write_state(run_cli.folder), "--wait")
    assert code == 1
    assert "❌ my-cat - Failed: The trainer failed with exit code 3" in out


def test_names_with_control_characters_are_escaped(run_cli):
    make_run(run_cli.outputs, lora_name="\x1b[31mred")
    assert "\x1b" not in run_cli("sessions")[1]


def test_every_command_has_help_and_is_light():
    code = "import sys, fluxgym.cli; print([m for m in ('torch', 'numpy', 'PIL', 'gradio', 'yaml.cyaml') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() in (
        "[]",
        "['yaml.cyaml']",
    )
    for command in ("sessions", "start", "stop", "resume", "demo"):
        done = subprocess.run([sys.executable, "-m", "fluxgym", command, "--help"], capture_output=True, text=True, check=True)
        assert "usage: python -m fluxgym" in done.stdout


def test_state_file_with_byte_order_mark_is_read(tmp_path):
    (tmp_path / "s.json").write_text('{"lora_name": "é"}', encoding="utf-8-sig")
    assert read_state_file(tmp_path / "s.json") == {"lora_name": "é"}


def parsers(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from parsers(sub)


@pytest.mark.parametrize("parser", [build_parser(), app_settings.build_parser()], ids=["commands", "app"])
def test_every_argument_has_help_and_variables_are_listed(parser):
    without = [
        f"{one.prog}: {action.metavar or action.dest}"
        for one in parsers(parser)
        for action in one._actions
        if not action.help and not isinstance(action, argparse._SubParsersAction)
    ]
    assert without == []
    sources = "".join(path.read_text() for path in (Path("fluxgym/app_settings.py"), Path("fluxgym/runs/locks.py")))
    read = {f"FLUXGYM_{name}" for name in re.findall(r'given\("(\w+)"', sources.upper().replace("GIVEN", "given"))}
    read |= set(re.findall(r'environ\.get\("(\w+)"', sources))
    common = {"FLUXGYM_OUTPUTS", "FLUXGYM_MODELS", "FLUXGYM_SD_SCRIPTS", "FLUXGYM_LOCKS"}
    assert common < read
    wanted = read if parser.prog == "app.py" else common
    assert {name for name in wanted if name not in parser.format_help()} == set()


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (os.mkfifo, "it is a named pipe"),
        (lambda path: path.write_text('{"seed": ' + "9" * 5000 + "}"), "holds a number that is too long"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "is not text"),
    ],
)
def test_unreadable_state_file_prints_one_error_message(write, sentence, tmp_path):
    write(tmp_path / "state.json")
    with pytest.raises(SettingsError, match=sentence):
        read_state_file(tmp_path / "state.json")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_state_file_may_be_utf8_or_utf16(encoding, tmp_path):
    (tmp_path / "state.json").write_bytes('{"lora_name": "ü"}'.encode(encoding))
    assert read_state_file(tmp_path / "state.json") == {"lora_name": "ü"}
