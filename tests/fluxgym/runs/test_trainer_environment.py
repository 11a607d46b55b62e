"""What a launch spec carries of an environment, and what a supervisor of another run gets of it."""

from fluxgym.runs.trainer_environment import CARRIED, SECRETS, WANDB_KEY, carried, without_other_runs


def test_no_secret_and_nothing_that_names_code_is_carried():
    assert carried(dict.fromkeys((*CARRIED, *SECRETS, "LD_PRELOAD", "PYTHONPATH", "PATH"), "x")) == dict.fromkeys(CARRIED, "x")
    assert carried({}) == {}


def test_another_run_gets_neither_what_is_carried_nor_secrets_but_for_wandbs_key():
    environment = dict.fromkeys((*CARRIED, *SECRETS, "PATH"), "x")
    assert without_other_runs(environment) == {WANDB_KEY: "x", "PATH": "x"}
