"""Flags and environment of the app, flags first."""

from pathlib import Path

import pytest

from fluxgym.app_settings import PROJECT, Settings
from fluxgym.errors import SettingsError


def test_defaults_are_the_folders_beside_app_py():
    settings = Settings.from_args([], {})
    assert (settings.host, settings.port, settings.token, settings.is_loopback) == ("127.0.0.1", 7860, None, True)
    assert (settings.outputs, settings.sd_scripts) == (PROJECT / "outputs", PROJECT / "sd-scripts")


def test_flags_win_over_the_environment(tmp_path):
    environ = {"FLUXGYM_PORT": "1", "FLUXGYM_TOKEN": "t", "FLUXGYM_ALLOWED_HOSTS": "A.example, b.example", "FLUXGYM_SD_SCRIPTS": "/kohya"}
    settings = Settings.from_args(["--port", "2", "--outputs", str(tmp_path)], environ)
    assert (settings.port, settings.token, settings.allowed_hosts) == (2, "t", ("a.example", "b.example"))
    assert (settings.outputs, settings.sd_scripts) == (tmp_path, Path("/kohya"))
    assert "t'" not in repr(settings)


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pod.example", False)]
)
def test_loopback(host, loopback):
    assert Settings(host=host).is_loopback is loopback


def test_a_token_is_taken_without_the_space_around_it():
    assert Settings.from_args([], {"FLUXGYM_TOKEN": " sesame\n"}).token == "sesame"
    assert Settings.from_args([], {"FLUXGYM_TOKEN": " \n"}).token is None


def test_a_folder_that_cannot_be_one_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for text in (str(tmp_path / "file"), "a" * 300, "a\0b"):
        with pytest.raises(SettingsError, match="folder"):
            Settings.from_args(["--outputs", text], {})


@pytest.mark.parametrize("argv", [["--port", "²"], ["--port", "many"], ["--port", "70000"], ["--prt", "1"], ["--port"]])
def test_odd_flags_are_named(argv):
    with pytest.raises(SettingsError, match=r"port|prt"):
        Settings.from_args(argv, {})


@pytest.mark.parametrize(
    ("text", "path"),
    [("8044/", "/8044"), ("/fluxgym/", "/fluxgym"), ("/a/b", "/a/b"), ("", ""), ("/", ""), (" proxy/7860 ", "/proxy/7860")],
)
def test_a_root_path_gets_its_slash(text, path):
    assert Settings.from_args(["--root-path", text], {}).root_path == path


@pytest.mark.parametrize("text", ["https://x.example/a", "a b", "/a/../b", "/a?b"])
def test_an_invalid_root_path_is_refused(text):
    with pytest.raises(SettingsError, match="--root-path must be the path"):
        Settings.from_args(["--root-path", text], {})
