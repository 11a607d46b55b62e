"""The terminal commands for runs: the same status as on the page, and one sentence for a mistake, never a traceback."""

import json
import shutil
import subprocess
import sys

import pytest

from fluxgym.cli.main import main
from fluxgym.cli.terminal import read_state_file
from fluxgym.engines.device_queue import Queue
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.sessions.control import wait_until_ended
from tests.support.photos import write_cats
from tests.support.runs import make_run, wait_for
from tests.support.small_world import small_world, state


@pytest.fixture(name="run_cli")
def fixture_run_cli(tmp_path, capsys):
    world = small_world(tmp_path)
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


def test_start_wait_sessions(run_cli):
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


def test_queue_skips_a_ticket_whose_run_cannot_be_read(run_cli):
    outputs = OutputsPaths(run_cli.outputs)
    for name in ("gone", "cat"):
        run = make_run(outputs.root, name, status="queued", reason="Waiting for the CPU; it is next.")
        Queue(outputs).join(run, f"id-{name}", ["cpu"])
    shutil.rmtree(outputs.run("gone").folder)
    assert run_cli("queue") == (0, "2. cat: Waiting for the CPU; it is next.\n", "")


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


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["stop", "missing"], "missing"),
        (["resume", "../../x"], "../../x"),
        (["resume", "cat"], "no complete checkpoint"),
        (["start", "--state", "nowhere.json", "--images", "x"], "nowhere.json"),
        (["start"], "--state"),
        (["start", "--bogus"], "required"),
    ],
)
def test_a_mistake_is_one_sentence(words, named, run_cli):
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


def test_a_failed_training_fails_the_command(run_cli):
    (run_cli.folder / "sd-scripts" / "flux_train_network.py").write_text("raise SystemExit(3)")
    code, out, _ = run_cli("start", *write_state(run_cli.folder), "--wait")
    assert code == 1
    assert "❌ my-cat - Failed: The trainer failed with exit code 3" in out


def test_names_do_not_steer_the_terminal(run_cli):
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


def test_a_state_file_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "s.json").write_text('{"lora_name": "é"}', encoding="utf-8-sig")
    assert read_state_file(tmp_path / "s.json") == {"lora_name": "é"}
