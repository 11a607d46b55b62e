"""The header of a file of weights is read without PyTorch, and errors of the file are one message."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from library.errors import TrainerError
from library.weights.header import read_weight_header

SD_SCRIPTS = Path(__file__).parents[4] / "sd-scripts"


def test_header_of_complete_file_is_read(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(save({"x": torch.zeros(2, 3)}))
    assert read_weight_header(tmp_path / "w.safetensors", "--network_weights").tensors["x"].shape == (2, 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is missing; check the path"),
        (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
        (b"", "is damaged: it is cut short"),
        (save({"x": torch.zeros(100)})[:-8], "is damaged: it is cut short and has"),
    ],
)
def test_invalid_content_is_reported(content, words, tmp_path):
    if content is not None:
        (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(TrainerError, match=rf"^--network_weights \S+w\.safetensors {words}") as caught:
        read_weight_header(tmp_path / "w.safetensors", "--network_weights")
    assert caught.value.reason_code == "bad_model"


@pytest.mark.parametrize(("make", "what"), [(os.mkfifo, "a named pipe"), (os.mkdir, "a folder")])
def test_path_that_is_not_file_is_refused_without_waiting_for_it(make, what, tmp_path):
    make(tmp_path / "w.safetensors")
    with pytest.raises(TrainerError, match=rf"^the VAE \S+w\.safetensors cannot be read: it is {what}\.$") as caught:
        read_weight_header(tmp_path / "w.safetensors", "the VAE")
    assert caught.value.reason_code == "bad_model"


def test_pytorch_is_not_imported():
    code = "import sys, library.weights.header; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=SD_SCRIPTS, capture_output=True, text=True, check=True).stdout == "False\n"
