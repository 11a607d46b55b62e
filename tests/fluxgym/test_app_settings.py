"""Flags and environment of the app, flags first."""

from pathlib import Path

import pytest

from fluxgym.app_settings import PROJECT, Settings
from fluxgym.errors import SettingsError


def test_defaults_are_folders_beside_app_py():
    settings = Settings.from_args([], {})
    assert (settings.host, settings.port, settings.token, settings.is_loopback) == ("127.0.0.1", 7860, None, True)
    assert (settings.outputs, settings.sd_scripts) == (PROJECT / "outputs", PROJECT / "sd-scripts")


def test_flags_override_environment(tmp_path):
    environ = {"FLUXGYM_PORT": "1", "FLUXGYM_TOKEN": "t", "FLUXGYM_ALLOWED_HOSTS": "A.example, b.example", "FLUXGYM_SD_SCRIPTS": "/kohya"}
    settings = Settings.from_args(["--port", "2", "--outputs", str(tmp_path)], environ)
    assert (settings.port, settings.token, settings.allowed_hosts) == (2, "t", ("a.example", "b.example"))
    assert (settings.outputs, settings.sd_scripts) == (tmp_path, Path("/kohya"))
    assert "t'" not in repr(settings)


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pod.example", False)]
)
def test_loopback_addresses_are_recognized(host, loopback):
    assert Settings(host=host).is_loopback is loopback


def test_token_is_stripped_of_white_space():
    assert Settings.from_args([], {"FLUXGYM_TOKEN": " sesame\n"}).token == "sesame"
    assert Settings.from_args([], {"FLUXGYM_TOKEN": " \n"}).token is None


def test_invalid_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    for text in (str(tmp_path / "file"), "a" * 300, "a\0b"):
        with pytest.raises(SettingsError, match="folder"):
            Settings.from_args(["--outputs", text], {})


@pytest.mark.parametrize("argv", [["--port", "²"], ["--port", "many"], ["--port", "70000"], ["--prt", "1"], ["--port"]])
def test_invalid_flags_are_reported(argv):
    with pytest.raises(SettingsError, match=r"port|prt"):
        Settings.from_args(argv, {})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("8044/", "/8044"), ("8044", "/8044"), ("/8044/", "/8044"), ("//8044//", "/8044"), (" /gym ", "/gym"), ("/", ""), ("", ""),
        ("user/me%40x.example/proxy/7860/", "/user/me%40x.example/proxy/7860"), ("/a/b", "/a/b"),
    ],
)  # fmt: skip
def test_root_path_is_normalized(given, expected):
    assert Settings.from_args(["--root-path", given], {}).root_path == expected
    assert Settings.from_args([], {"FLUXGYM_ROOT_PATH": given}).root_path == expected


@pytest.mark.parametrize(
    "given",
    ["https://pod.example/gym", "/a//b", "/a b", "/a?b", "/a#b", '/"><script>', "/ü", "/../a", "/a/%2e%2e/b", "/a%", "/a\\b", "/a\nb"],
)
def test_root_path_that_is_not_path_is_refused_with_example(given):
    with pytest.raises(SettingsError, match=r"--root-path .*/gym"):
        Settings.from_args(["--root-path", given], {})


@pytest.mark.parametrize(
    ("given", "url", "root_path", "hosts"),
    [
        ("https://Pod.example/", "https://pod.example", "", ("pod.example",)),
        ("https://pod.example:8443/gym/", "https://pod.example:8443/gym", "/gym", ("pod.example",)),
        ("http://192.0.2.1:80", "http://192.0.2.1:80", "", ("192.0.2.1",)),
        ("http://[2001:db8::1]/", "http://[2001:db8::1]", "", ("2001:db8::1",)),
        ("http://localhost:9000/", "http://localhost:9000", "", ()),
        ("https://bücher.example/", "https://xn--bcher-kva.example", "", ("xn--bcher-kva.example",)),
    ],
)
def test_public_url_gives_allowed_host_and_root_path(given, url, root_path, hosts):
    settings = Settings.from_args(["--public-url", given], {})
    assert (settings.public_url, settings.root_path, settings.allowed_hosts) == (url, root_path, hosts)
    assert Settings.from_args(["--allow-host", "a.example"], {"FLUXGYM_PUBLIC_URL": given}).allowed_hosts == ("a.example", *hosts)


@pytest.mark.parametrize(
    "given", ["pod.example", "ftp://pod.example", "https://", "https://*.pod.example", "https://a:b@pod.example", "https://pod.example:x", "http://[", "https://p/?x"]
)  # fmt: skip
def test_public_url_that_is_not_address_is_refused_with_example(given):
    with pytest.raises(SettingsError, match=r"--public-url .*https://pod.example/gym"):
        Settings.from_args(["--public-url", given], {})


def test_root_path_must_be_path_of_public_url():
    assert Settings.from_args(["--public-url", "https://pod.example/gym", "--root-path", "gym/"], {}).root_path == "/gym"
    for url in ("https://pod.example/other", "https://pod.example"):
        with pytest.raises(SettingsError, match="leave --root-path out"):
            Settings.from_args(["--public-url", url, "--root-path", "/gym"], {})


@pytest.mark.parametrize(
    ("given", "expected"),
    [("Pod.Example.", "pod.example"), ("https://pod.example/x", "pod.example"), ("pod.example:443", "pod.example"), ("*.pod.example", "*.pod.example")],
)  # fmt: skip
def test_allowed_host_is_taken_from_what_users_enter(given, expected):
    assert Settings.from_args(["--allow-host", given], {}).allowed_hosts == (expected,)


@pytest.mark.parametrize("given", ["*", "*.", "a b", "pod.example.*", "http://", "/b?", "http://["])
def test_allowed_host_that_is_not_name_is_refused(given):
    with pytest.raises(SettingsError, match="--allow-host must be"):
        Settings.from_args(["--allow-host", given], {})
