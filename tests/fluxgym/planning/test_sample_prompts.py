"""Sample prompts: values with other kohya defaults are written explicitly."""

import pytest

from fluxgym.config.settings import TrainConfig
from fluxgym.planning.sample_prompts import check_sample_prompts, sample_prompts
from fluxgym.planning.start_checks import Findings, report_sample_prompts


def test_sample_prompts_get_size_and_seed():

    config = TrainConfig(lora_name="x", concept_sentence="sks cat", sample_prompts="a --w 96 --d 7\n# no\n\nb", resolution=64, seed=3)
    lines = sample_prompts(config).splitlines()
    assert lines[0] == "a --w 96 --d 7 --h 64"
    assert lines[-1] == "b --w 64 --h 64 --d 3"
    assert sample_prompts(TrainConfig(lora_name="x", concept_sentence="sks cat")) == "sks cat --w 512 --h 512 --d 42\n"


def test_prompt_that_trainer_refuses_is_reported_by_its_number():
    assert list(check_sample_prompts("a cat --w 64\n# --zz\n\na cat --w 9999\na dog --g 3,5")) == [
        "Sample prompt 2: --w 9999 must be between 1 and 8192.",
        "Sample prompt 3: --g 3,5 is not a number; use a point: 3.5.",
    ]


@pytest.mark.parametrize(
    ("changes", "field", "label"),
    [
        ({"concept_sentence": "--zz cat"}, "concept_sentence", "Trigger word/sentence"), ({"lora_name": "--zz"}, "lora_name", "LoRA name"),
    ],
)  # fmt: skip
def test_text_that_was_not_typed_as_prompt_is_named_by_its_field(changes, field, label):
    findings = Findings()
    report_sample_prompts(TrainConfig(**({"lora_name": "x", "sample_every_n_steps": 5} | changes)), findings)
    ((found, message),) = [(problem.field, problem.message) for problem in findings.problems]
    assert found == field
    assert message.startswith(f"{label} is the sample prompt and cannot be used as one: --zz is not supported in sample prompts; known: ")
