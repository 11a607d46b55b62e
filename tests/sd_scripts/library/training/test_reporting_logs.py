"""Log lines are written where the flags direct them."""

import logging

import pytest

from library.errors import warn
from library.training.reporting import set_up_logging
from tests.support.trainer_config import trainer_config


@pytest.fixture(autouse=True)
def fixture_restore():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.getLogger("flux_train_network").handlers.clear()


def set_up(*argv):
    set_up_logging(trainer_config(*argv).log)
    logging.getLogger("library").info("at work")
    logging.getLogger("library").debug("in detail")


def test_log_goes_to_stderr_or_stdout(capsys):
    set_up()
    assert capsys.readouterr() == ("", "INFO at work\n")
    set_up("--console_log_simple", "--console_log_level", "DEBUG")
    assert capsys.readouterr() == ("at work\nin detail\n", "")


def test_log_file_is_appended_on_resume(tmp_path):
    path = tmp_path / "logs" / "run.log"
    set_up("--console_log_file", str(path))
    set_up("--console_log_file", str(path), "--console_log_level", "WARNING")
    set_up("--console_log_file", str(path))
    assert path.read_text() == "INFO at work\n" * 2
    warn("something is odd")
    assert path.read_text().endswith("WARNING something is odd\n")
