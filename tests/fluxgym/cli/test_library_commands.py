"""The terminal commands for history, templates, transfer and cleanup: each does its work, and each user error is reported with one error message."""

import io
import json
import os
import stat
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from fluxgym.cli.main import main
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.history import save_version
from tests.support.photos import write_cats
from tests.support.runs import make_run


@pytest.fixture(name="outputs")
def fixture_outputs(tmp_path):
    run = make_run(tmp_path / "outputs", "my-cat", lora_name="My Cat", status="completed", max_train_epochs=4, timestamp=5.0)
    write_cats(run.dataset, count=2, size=64)
    run.lora.write_bytes(b"model")
    return OutputsPaths(tmp_path / "outputs")


@pytest.fixture(name="cli")
def fixture_cli(outputs, capsys):
    def call(*words):
        code = main([*words, "--outputs", str(outputs.root)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return call


class Terminal(io.StringIO):
    """A standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(name="typing")
def fixture_typing(monkeypatch):
    """Return a context in which a user types one text at each question; it yields the questions."""

    @contextmanager
    def typing(text):
        questions = []
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", Terminal())
            patched.setattr("builtins.input", lambda question: questions.append(question) or text)
            yield questions

    return typing


def test_duplicate_forget_and_delete_print_results(cli, outputs, monkeypatch):
    code, out, _ = cli("duplicate", "My Cat", "Other Cat")
    assert (code, out.splitlines()) == (0, [str(outputs.run("other-cat").folder), 'lora_name: "My Cat" → "Other Cat"'])
    assert cli("forget", "my-cat")[0] == 0
    assert outputs.run("my-cat").lora.exists()
    monkeypatch.setattr(sys, "stdin", open("/dev/null"))  # noqa: SIM115
    code, _, err = cli("delete", "other-cat")
    assert (code, "Add --yes" in err, outputs.run("other-cat").folder.exists()) == (2, True, True)
    assert cli("delete", "other-cat", "--yes")[0] == 0
    assert not outputs.run("other-cat").folder.exists()
    assert cli("delete", "my-cat", "--yes")[0] == 0  # forgotten above
    assert not outputs.run("my-cat").folder.exists()


def test_removed_runs_are_listed_with_restore_command(cli, outputs):
    assert cli("archive")[:2] == (0, "No run was forgotten or replaced.\n")
    for words in (("forget", "my-cat"), ("sweep", "--older-than", "0", "--yes")):
        code, _, err = cli(*words)
        assert (code, err) == (0, "To put it back: python -m fluxgym archive restore my-cat\n")
        assert cli("archive")[1].startswith("my-cat: My Cat, forgotten 20")
        assert cli("archive", "restore", "my-cat")[:2] == (0, f"{outputs.run('my-cat').folder}\n")
        assert outputs.run("my-cat").ui_state.exists()


def test_missing_history_is_reported(cli):
    code, out, _ = cli("history", "my-cat")
    assert (code, out) == (0, "my-cat has no earlier settings. Each resume, restore and replacement keeps some.\n")


def test_history_is_listed_and_version_restored(cli, outputs):
    run = outputs.run("my-cat")
    save_version(run)
    assert "is completed" in cli("history", "my-cat", "--restore", "id-my-cat-1")[2]
    update_state(run, {"max_train_epochs": 8, "status": "stopped"})
    code, out, _ = cli("history", "my-cat")
    assert (code, "id-my-cat-1" in out, "max_train_epochs: 4 → 8" in out) == (0, True, True)
    assert cli("history", "my-cat", "--diff", "id-my-cat-1", "now")[:2] == (0, "max_train_epochs: 4 → 8\n")
    assert cli("history", "my-cat", "--diff", "id-my-cat-1", "id-my-cat-1")[:2] == (0, "Nothing differs.\n")
    assert cli("history", "my-cat", "--restore", "id-my-cat-1")[:2] == (0, "max_train_epochs: 8 → 4\n")
    assert read_state(run)["max_train_epochs"] == 4


def test_history_shows_reason_for_each_version(cli, outputs):
    run = outputs.run("my-cat")
    for epochs in (8, 16):
        save_version(run)
        update_state(run, {"max_train_epochs": epochs})
    _, out, _ = cli("history", "my-cat")
    assert [line.strip() for line in out.splitlines() if "→" in line] == ["max_train_epochs: 8 → 16", "max_train_epochs: 4 → 8"]


def test_templates_are_saved_listed_and_deleted(cli):
    assert cli("template", "list")[1] == "There are no templates yet.\n"
    assert cli("template", "save", "faces", "my-cat")[0] == 0
    assert cli("template", "list")[1] == "faces\n"
    state = json.loads(cli("template", "apply", "faces", "dog")[1])
    assert (state["lora_name"], state["max_train_epochs"]) == ("dog", 4)
    assert cli("template", "delete", "faces", "--yes")[0] == 0
    assert cli("template", "list")[1] == "There are no templates yet.\n"


def epochs_of_template(cli):
    return json.loads(cli("template", "apply", "faces", "x")[1])["max_train_epochs"]


def test_template_is_lost_only_if_user_agrees(cli, outputs, typing):
    cli("template", "save", "faces", "my-cat")
    make_run(outputs.root, "dog", max_train_epochs=9)
    for words in (["save", "faces", "dog"], ["delete", "faces"]):
        code, _, err = cli("template", *words)
        assert (code, "settings" in err, "Add --yes to do it" in err) == (2, True, True)
        with typing("no") as questions:
            assert cli("template", *words)[0] == 1
        assert "Type yes to" in questions[0]
    assert epochs_of_template(cli) == 4
    with typing("yes"):
        assert cli("template", "save", "faces", "dog")[0] == 0
    assert epochs_of_template(cli) == 9
    assert cli("template", "save", "faces", "my-cat", "--yes")[0] == 0
    assert epochs_of_template(cli) == 4


def test_sweep_and_backup_print_results(cli, outputs, tmp_path):
    assert cli("backup", str(tmp_path / "x.tar.gz"))[0] == 0
    assert cli("sweep", "--older-than", "30d", "--yes")[1] == "my-cat\n"
    assert not outputs.run("my-cat").ui_state.exists()
    assert cli("sweep", "--older-than", "30d", "--yes")[1] == "No ended run is older than 30 days.\n"


def test_sweep_asks_with_number_of_runs(cli, outputs, typing):
    for name in ("a", "b", "c", "d"):
        make_run(outputs.root, name, timestamp=1000.0)
    code, out, err = cli("sweep", "--older-than", "30d")
    assert (code, out) == (2, "")
    assert "5 ended runs leave the list: " in err
    assert "and 2 more. All files stay. Add --yes" in err
    with typing("n") as questions:
        assert cli("sweep", "--older-than", "30d")[:2] == (1, "Nothing was forgotten.\n")
    assert "5 ended runs leave the list" in questions[0]
    assert outputs.run("a").ui_state.exists()
    with typing("yes"):
        assert cli("sweep", "--older-than", "30d")[0] == 0
    assert not outputs.run("a").ui_state.exists()


def test_exported_run_is_imported(cli, tmp_path):
    assert cli("export", "my-cat", str(tmp_path / "x.json"))[0] == 0
    assert cli("export", "--all", str(tmp_path / "x.zip"), "--with-pictures", "--with-lora")[0] == 0
    assert cli("import", str(tmp_path / "x.zip"))[1].strip().endswith("my-cat-2")
    assert cli("import", str(tmp_path / "x.json"))[1].strip().endswith("my-cat-3")


def test_damaged_state_is_reported_and_skipped(cli, outputs, tmp_path):
    make_run(outputs.root, "dog").ui_state.write_text("{")
    code, _, err = cli("export", "--all", str(tmp_path / "x.zip"))
    assert (code, err.startswith("left out: dog: "), err.count("\n")) == (0, True, 1)
    assert cli("import", str(tmp_path / "x.zip"))[0] == 0


def test_names_with_control_characters_are_escaped(cli, outputs, tmp_path):
    run = make_run(outputs.root, "red", advanced={"\x1b[31m": "\x9b"})
    save_version(run)
    update_state(run, {"advanced": {}})
    (outputs.templates / "x.json").parent.mkdir(parents=True)
    (outputs.templates / "x.json").write_text(json.dumps({"name": "\x1b[31m", "settings": {}}))
    for words in (["history", "red"], ["history", "red", "--diff", "id-red-1", "now"], ["template", "list"]):
        code, out, _ = cli(*words)
        assert (code, all(char.isprintable() for char in out.replace("\n", ""))) == (0, True)
    (tmp_path / "x.json").write_text(json.dumps({"lora_name": "x", "\x1b[31m token": "\n"}))
    code, _, err = cli("import", str(tmp_path / "x.json"))
    assert (code, err.rstrip("\n").isprintable()) == (2, True)


def test_queue_and_preflight_print_results(cli, tmp_path):
    assert cli("queue")[:2] == (0, "No run is waiting.\n")
    (tmp_path / "s.json").write_text('{"lora_name": "x", "base_model": "flux-dev"}')
    code, out, _ = cli("preflight", "--state", str(tmp_path / "s.json"), "--images", str(tmp_path), "--models", str(tmp_path))
    assert (code, "❌" in out) == (2, True)


def test_missing_model_files_are_printed_as_list(cli, tmp_path):
    (tmp_path / "s.json").write_text('{"lora_name": "x", "base_model": "flux-dev"}')
    inputs = ("--state", str(tmp_path / "s.json"), "--images", str(tmp_path), "--models", str(tmp_path))
    entry = "   - The VAE (ae): vae/ae.sft, 335 MB, from cocktailpeanut/xulf-dev. https://huggingface.co/cocktailpeanut/xulf-dev\n"
    _, out, _ = cli("preflight", *inputs)
    code, _, err = cli("start", *inputs)
    assert (out.count(entry), err.count(entry), code) == (1, 1, 2)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["duplicate", "my-cat", "my cat"], "my-cat already"),
        (["duplicate", "missing", "x"], "missing"),
        (["delete", "missing"], "missing"),
        (["delete", "../outputs", "--yes"], "no run called"),
        (["delete", ".", "--yes"], "no run called"),
        (["forget", "missing"], "missing"),
        (["history", "my-cat", "--restore", "x"], "no earlier state"),
        (["history", "my-cat", "--diff", "x", "now"], "no earlier state"),
        (["template", "save", "x"], "template save TEMPLATE RUN"),
        (["template", "delete", "x"], "no template"),
        (["sweep", "--older-than", "soon"], "soon"),
        (["export", "my-cat", "x.tar"], ".zip"),
        (["export", "my-cat", "/nowhere/x.zip"], "/nowhere"),
        (["import", "/nowhere/x.zip"], "/nowhere"),
        (["adopt", "/nowhere"], "/nowhere"),
        (["queue", "move"], "queue move NAME"),
        (["archive", "restore"], "archive restore ID"),
        (["archive", "restore", "x"], "no removed run"),
        (["queue", "move", "my-cat"], "does not wait"),
        (["queue", "cancel", "my-cat"], "does not wait"),
        (["backup", "/nowhere/x.tar.gz"], "/nowhere"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_user_error_prints_one_error_message(words, named, cli):
    code, _, err = cli(*words)
    assert (code, err.startswith("error: "), named in err, err.count("\n")) == (2, True, True, 1)


@pytest.mark.parametrize(
    "words",
    [("backup", "/"), ("backup", ""), ("backup", "/dev/null"), ("backup", "a" * 300), ("adopt", "a" * 300), ("import", "a" * 300),
     ("preflight", "--state", "a" * 300, "--images", "."), ("preflight", "--state", "x.json", "--images", "a" * 300),
     ("queue", "move", "my-cat", "--to", "9" * 30)],
)  # fmt: skip
def test_invalid_name_prints_one_error_message(words, cli):
    code, _, err = cli(*words)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_time_beyond_calendar_is_shown_as_unknown(outputs, capsys, monkeypatch):
    make_run(outputs.root, "old", timestamp=5.0)
    monkeypatch.setattr("fluxgym.sessions.listing.timestamp_of", lambda state: 1e14)  # not every file system can hold such a time
    assert main(["sessions", "--outputs", str(outputs.root)]) == 0
    assert "Started: unknown" in capsys.readouterr().out


@pytest.mark.parametrize(("make", "what"), [(os.mkfifo, "it is a named pipe"), (os.mkdir, "it is a folder")])
def test_commands_tell_what_state_is_that_is_not_file(make, what, cli, outputs):
    run = make_run(outputs.root, "cat", status="stopped")
    run.ui_state.unlink()
    make(run.ui_state)
    for command in (("history", "cat"), ("forget", "cat"), ("resume", "cat"), ("backup", str(outputs.root / "b.tar.gz"))):
        code, _, err = cli(*command)
        assert (code != 0, what in err) == (True, True), (command, err)
    assert stat.S_IFMT(run.ui_state.lstat().st_mode) != stat.S_IFREG
    assert not run.forgotten.exists()
    assert "cat" in cli("sessions")[1]
    assert cli("delete", "cat", "--yes")[0] == 0
    assert not run.folder.exists()
