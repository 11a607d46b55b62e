"""The commands of the user's guide, run in a shell over real runs. tests/guide_proofs.md lists every statement and its tests."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from fluxgym.contract.codes import Status
from fluxgym.errors import ConfigError
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import read_record
from fluxgym.sessions.control import request_stop, wait_until_ended
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import last_session
from fluxgym.sessions.resume import resume
from fluxgym.sessions.start import StartRequest, start
from tests.support.guide_installation import EPOCH_STEPS, ROOT, guide_installation, kill, requires_programs
from tests.support.runs import make_run, state_of, wait_for

NETWORK = ("urllib.request", "http", "requests", "httpx", "aiohttp", "websockets", "huggingface_hub", "smtplib", "ftplib", "asyncio", "ssl")
GUIDES_KEYS = [
    "lora_name", "concept_sentence", "base_model", "vram", "num_repeats", "max_train_epochs", "sample_prompts", "sample_every_n_steps",
    "resolution", "enable_checkpointing", "resume_from_checkpoint", "enable_monitoring", "seed", "workers", "learning_rate",
    "save_every_n_epochs", "guidance_scale", "timestep_sampling", "network_dim", "timestamp", "status",
]  # fmt: skip
OUR_KEYS = {"schema_version", "run_id", "reason", "reason_code", "exit_code", "completed_at", "host", "parent", "advanced"}
STATE = " outputs/my-lora/ui_state.json"
SECRETS = {name: f"canary-{name}-5f1c" for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "FLUXGYM_TOKEN")}

LOAD = """
import json

# Load state
with open('outputs/my-lora/ui_state.json') as f:
    state = json.load(f)

print(f"LoRA: {state['lora_name']}")
print(f"Epochs: {state['max_train_epochs']}")
print(f"Started: {state['timestamp']}")
"""
MODIFY = """
# Modify state (careful!)
state['max_train_epochs'] = 20
with open('outputs/my-lora/ui_state.json', 'w') as f:
    json.dump(state, f, indent=2)
"""


@pytest.fixture(name="world")
def fixture_world(tmp_path):
    with guide_installation(tmp_path) as world:
        yield world


# -- How It Works ------------------------------------------------------------------------------------------------------------------


@requires_programs("jq")
def test_start_saves_state_file_that_jq_reads(world):
    run = world.begin(held=True, max_train_epochs=16)
    kept = json.loads(world.sh("cat outputs/my-lora/ui_state.json | jq ."))
    assert list(kept)[: len(GUIDES_KEYS)] == GUIDES_KEYS
    assert set(kept) - set(GUIDES_KEYS) <= OUR_KEYS
    assert (kept["lora_name"], kept["max_train_epochs"], kept["status"]) == ("my-lora", 16, "running")
    kinds = world.sh("jq -r '[.num_repeats, .enable_checkpointing, .enable_monitoring, .timestamp, .vram] | map(type) | @csv'" + STATE)
    assert kinds.strip() == '"number","boolean","boolean","number","string"'
    assert world.sh("stat -c %a" + STATE).strip() == "644"
    world.release(run)
    assert world.sh("jq -r .status" + STATE).strip() == "completed"


def test_state_file_stays_below_one_kilobyte(world):
    run = world.begin(held=True, sample_prompts="sks cat on a sofa", sample_every_n_steps=100, concept_sentence="catsy style")
    sizes = [run.ui_state.stat().st_size]
    request_stop(run)
    wait_until_ended(run)
    sizes.append(run.ui_state.stat().st_size)
    assert state_of(run)["reason"]
    (world.folder / "held" / "my-lora").unlink()
    wait_until_ended(resume(run, settings=world.settings))
    assert max(*sizes, run.ui_state.stat().st_size) < 1024


def test_terminal_list_equals_banner(world):
    run = world.begin("my-cat-lora", held=True, max_train_epochs=16)
    make_run(world.outputs, "old-style-lora", status="stopped", max_train_epochs=12, timestamp=1.0, enable_checkpointing=True)
    started = world.sh("date -d @$(jq .started_at outputs/my-cat-lora/.run/process.json) '+%Y-%m-%d %H:%M:%S'").strip()
    first, second = world.cli("sessions").split("\n\n---\n\n")
    assert first.startswith(
        f"🟢 my-cat-lora - Running\n   - Started: {started}\n   - Epochs: 16\n   - Checkpointing: ✅\n   - Monitoring: ✅\n"
    )
    assert second.startswith("🔵 old-style-lora - Stopped\n")
    assert second.endswith("   - Epochs: 12\n   - Checkpointing: ✅\n   - Monitoring: ❌\n")
    world.release(run)


def test_sessions_of_three_days_are_listed_newest_first(world):
    for name in ("cat-lora", "dog-lora", "style-lora"):
        world.begin(name, concept_sentence=name)
    rows = world.rows()
    assert [(row.lora_name, row.status) for row in rows.values()] == [
        (name, Status.COMPLETED) for name in ("style-lora", "dog-lora", "cat-lora")
    ]
    for name in rows:
        assert state_of(OutputsPaths(world.outputs).run(name))["concept_sentence"] == name


def test_monitoring_is_shown_only_while_its_process_is_alive(world):
    run = world.begin(held=True)
    assert world.rows()["my-lora"].monitoring
    os.kill(read_record(run).supervisor.pid, signal.SIGKILL)
    wait_for(lambda: not world.rows()["my-lora"].monitoring)
    assert world.rows()["my-lora"].status is Status.RUNNING
    assert run.monitor_pid.exists()
    assert "trainer started" in run.monitor_log.read_text()
    kill(run)
    unwatched = world.begin("unwatched", held=True, enable_monitoring=False)
    assert (world.rows()["unwatched"].status, world.rows()["unwatched"].monitoring) == (Status.RUNNING, False)
    assert not unwatched.monitor_pid.exists()


# -- Manual State Management -------------------------------------------------------------------------------------------------------


def test_find_lists_exactly_state_files(world):
    for name in ("cat", "dog"):
        world.begin(name)
    world.begin("dog", if_exists="new")
    printed = world.sh('find outputs -name "ui_state.json" -exec echo {} \\; -exec cat {} \\;')
    for slug in ("cat", "dog", "dog-2"):
        assert f"outputs/{slug}/ui_state.json\n{(world.outputs / slug / 'ui_state.json').read_text()}" in printed
    assert int(world.sh('find outputs -name "ui_state.json" | wc -l')) == len(world.rows()) == 3


def test_resumed_run_is_counted_once(world):
    run = world.begin(held=True)
    request_stop(run)
    wait_until_ended(run)
    (world.folder / "held" / "my-lora").unlink()
    wait_until_ended(resume(run, settings=world.settings))
    assert list(run.history.iterdir())
    assert int(world.sh('find outputs -name "ui_state.json" | wc -l')) == 1


@requires_programs("tar")
def test_states_are_backed_up_and_restored(world):
    for name in ("cat", "dog"):
        world.begin(name)
    before = world.rows()
    states = {name: (world.outputs / name / "ui_state.json").read_bytes() for name in before}
    world.sh("tar -czf fluxgym-states-backup.tar.gz outputs/*/ui_state.json")
    (world.outputs / "cat" / "ui_state.json").unlink()
    (world.outputs / "dog" / "ui_state.json").write_text("{half")
    world.sh("tar -xzf fluxgym-states-backup.tar.gz")
    assert {name: (world.outputs / name / "ui_state.json").read_bytes() for name in before} == states
    assert world.rows() == before


@requires_programs("tar")
def test_restored_state_with_status_running_does_not_show_run_as_running(world):
    run = world.begin(held=True)
    world.sh("tar -czf fluxgym-states-backup.tar.gz outputs/*/ui_state.json")
    world.release(run)
    world.sh("tar -xzf fluxgym-states-backup.tar.gz")
    assert state_of(run)["status"] == "running"
    assert world.rows()["my-lora"].status is Status.COMPLETED


@requires_programs("tar")
def test_restored_state_without_its_folder_is_listed(world):
    run = world.begin()
    world.sh("tar -czf fluxgym-states-backup.tar.gz outputs/*/ui_state.json; rm -r outputs/my-lora; tar -xzf fluxgym-states-backup.tar.gz")
    assert world.rows()["my-lora"].status is Status.COMPLETED
    assert last_session(OutputsPaths(world.outputs), SessionIndex(world.outputs)).slug == run.slug


def test_one_state_is_backed_up_before_its_outputs_are_deleted(world):
    world.begin("my-important-lora")
    world.sh("mkdir -p ~/backups && cp outputs/my-important-lora/ui_state.json ~/backups/ && rm -r outputs/my-important-lora")
    kept = json.loads((Path.home() / "backups" / "ui_state.json").read_text())
    assert kept["concept_sentence"] == "sks cat"
    again = start(StartRequest(state=kept, images=world.images), world.settings)  # its settings begin another training
    world.started.append(again)
    assert wait_until_ended(again).status is Status.COMPLETED


def test_states_older_than_thirty_days_are_removed(world):
    for name in ("old", "new"):
        world.begin(name)
    world.sh("touch -d '31 days ago' outputs/old/ui_state.json")
    world.sh('find outputs -name "ui_state.json" -mtime +30 -delete')
    assert list(world.rows()) == ["new"]
    assert (world.outputs / "old" / "old.safetensors").is_file()


# -- Integration with Other Features -----------------------------------------------------------------------------------------------


def test_killed_pod_is_reported_and_resume_continues_from_checkpoint(world):
    run = world.begin(held=True, max_train_epochs=16)
    request_stop(run)
    wait_until_ended(run)
    resume(run, settings=world.settings)
    wait_for(lambda: state_of(run)["status"] == "running")
    kill(run)  # the pod goes; a checkpoint of step 5 lies there
    shown = world.cli("sessions")
    assert shown.startswith("🔵 my-lora - Stopped\n   - Started: 20")
    assert "   - Epochs: 16\n   - Checkpointing: ✅\n   - Monitoring: ❌\n" in shown
    assert "ended without an error message" in shown
    (world.folder / "held" / "my-lora").unlink()
    assert "✅ my-lora - Completed" in world.cli("resume", "my-lora", "--wait")
    assert read_exit(run).last_step == 16 * EPOCH_STEPS


# -- Advanced: Programmatic Access -------------------------------------------------------------------------------------------------


def test_python_example_changes_epochs_that_resume_trains(world):
    run = world.begin(held=True, max_train_epochs=16)
    request_stop(run)
    wait_until_ended(run)
    before = state_of(run)
    assert world.python(LOAD + MODIFY) == f"LoRA: my-lora\nEpochs: 16\nStarted: {before['timestamp']}\n"
    assert state_of(run) == before | {"max_train_epochs": 20}
    assert world.rows()["my-lora"].max_train_epochs == 20
    (world.folder / "held" / "my-lora").unlink()
    wait_until_ended(resume(run, settings=world.settings))
    assert world.rows()["my-lora"].status is Status.COMPLETED
    assert read_exit(run).last_step == 20 * EPOCH_STEPS
    assert state_of(run)["max_train_epochs"] == 20


def test_python_example_leaves_live_training_unchanged(world):
    run = world.begin(held=True)
    held_back = world.python(LOAD + "import sys; print(json.dumps(state))").splitlines()[-1]
    world.release(run)
    run.ui_state.write_text(held_back)  # written back over the end that came meanwhile
    assert world.rows()["my-lora"].status is Status.COMPLETED


@requires_programs("jq")
def test_bash_examples_print_what_guide_shows(world):
    world.begin("short", max_train_epochs=12)
    world.begin("long", max_train_epochs=13)
    assert world.sh("jq -r '.lora_name' outputs/*/ui_state.json").split() == ["long", "short"]
    found = world.sh(
        """find outputs -name "ui_state.json" -exec sh -c \\
  'if [ $(jq ".max_train_epochs" "$1") -gt 12 ]; then echo "$1"; fi' _ {} \\;"""
    )
    assert found == "outputs/long/ui_state.json\n"
    assert int(world.sh('find outputs -name "ui_state.json" | wc -l')) == 2


# -- Security Considerations -------------------------------------------------------------------------------------------------------


def test_run_files_contain_no_secret_of_environment(world, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    run = world.begin(sample_prompts="a cat")
    assert world.rows()["my-lora"].status is Status.COMPLETED
    for path in world.outputs.rglob("*"):
        if path.is_file():
            assert not [name for name, value in SECRETS.items() if value.encode() in path.read_bytes()], path
    assert (run.folder / ".run" / "launch.json").is_file()  # hidden files were looked at too


@pytest.mark.parametrize("package", ["runs", "sessions", "supervisor"])
def test_state_code_imports_no_network_module(package):
    sources = [path.read_text() for path in (ROOT / "fluxgym" / package).glob("*.py")]
    assert len(sources) > 5
    found = re.findall(rf"^\s*(?:import|from) ({'|'.join(NETWORK)})\b", "\n".join(sources), re.MULTILINE)
    assert not found


@pytest.mark.parametrize("flag", ["huggingface_token", "wandb_api_key"])
def test_secret_among_settings_is_refused(flag, world):
    with pytest.raises(ConfigError, match=flag):
        world.begin(advanced={flag: "canary"})
    assert "canary" not in "".join(path.read_text(errors="replace") for path in world.outputs.rglob("*") if path.is_file())


def test_state_file_contains_no_image_weight_or_log(world):
    run = world.begin()
    kept = state_of(run)
    assert set(kept) <= {*GUIDES_KEYS, *OUR_KEYS}
    assert max(len(str(value)) for value in kept.values()) < 200
    assert str(world.folder) not in run.ui_state.read_text()  # not even where they lie


# -- Examples ----------------------------------------------------------------------------------------------------------------------


def test_example_2_state_of_three_keys_is_session(world):
    states = {
        "cat": {"lora_name": "fluffy-cats", "max_train_epochs": 16, "timestamp": 1706140800.0},
        "dog": {"lora_name": "puppy-style", "max_train_epochs": 12, "timestamp": 1706227200.0},
    }
    for folder, three_keys in states.items():
        (world.outputs / folder).mkdir()
        (world.outputs / folder / "ui_state.json").write_text(json.dumps(three_keys, indent=2))
    assert [(row.lora_name, row.slug, row.status) for row in world.rows().values()] == [
        ("puppy-style", "dog", Status.STOPPED), ("fluffy-cats", "cat", Status.STOPPED),
    ]  # fmt: skip
    shown = world.cli("sessions")
    assert shown.index("🔵 puppy-style - Stopped") < shown.index("🔵 fluffy-cats - Stopped")
    assert json.loads((world.outputs / "cat" / "ui_state.json").read_text()) == states["cat"]  # looking changed nothing
