"""The trainer finds fluxgym.contract from any working directory, never hides a package of its own, and is refused without it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAINER = ROOT / "sd-scripts"


def run(*argv, cwd, **env):
    """Run a Python command without PYTHONPATH, as a user does from a shell."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | env
    return subprocess.run(
        [sys.executable, *map(str, argv)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("name", ["flux_train_network.py", "networks/resize_lora.py", "library/cli/flag_docs.py"])
def test_trainer_command_from_another_folder_finds_contract(name, tmp_path):
    done = run(TRAINER / name, *([] if "flag_docs" in name else ["--help"]), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_trainer_under_accelerate_launch_finds_contract(tmp_path):
    done = run("-m", "accelerate.commands.launch", "--cpu", TRAINER / "flux_train_network.py", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--pretrained_model_name_or_path" in done.stdout


def test_trainer_without_contract_is_refused_with_one_message(tmp_path):
    shutil.copytree(TRAINER, tmp_path / "copy" / "sd-scripts")
    done = run(tmp_path / "copy" / "sd-scripts" / "flux_train_network.py", "--help", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: the trainer needs the folder fluxgym/contract in {tmp_path / 'copy'}; run it from a complete FluxGym checkout.\n"
    )


def test_repository_root_is_last_in_search_path(tmp_path):
    code = "import sys, library; print(sys.path[-1]); import fluxgym.contract.safetensors, networks.low_rank"
    done = run("-c", code, cwd=tmp_path, PYTHONPATH=str(TRAINER))
    assert done.stdout.strip() == str(ROOT), done.stderr


def test_kohya_checkout_does_not_see_our_library(tmp_path):
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "__init__.py").touch()
    (tmp_path / "train.py").write_text("import library, sys; print(library.__file__, [path for path in sys.path if 'sd-scripts' in path])")
    done = run(tmp_path / "train.py", cwd=ROOT)
    assert done.stdout.strip() == f"{tmp_path / 'library' / '__init__.py'} []", done.stderr
