"""The JSON of the form's answers, one event of each kind after the other, as it was recorded in form_answers.json, without messages.

python -m tests.fluxgym.ui.test_form_events_answers > tests/fluxgym/ui/form_answers.json
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args
from unittest.mock import patch

from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.drafts import Draft, open_draft
from fluxgym.ui.api.answers import FormKind
from tests.support.drafts import new_draft_id
from tests.support.form_page import FormPage
from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.small_installation import small_installation, stop_and_wait

RECORDED = Path(__file__).with_name("form_answers.json")
TEXTS = ("text", "command", "toml", "time_note", "message", "errors", "notes", "sentence", "replace_help", "address", "explain")
TRAINABLE = {"lora_name": "cat", "num_repeats": "2", "max_train_epochs": "1", "train_batch_size": "1", "reg_data_dir": ""}


def answers_of_each_kind(folder: Path) -> list[dict[str, Any]]:
    """Return the answers to events of every kind, accepted and refused."""
    settings = small_installation(folder)
    draft = open_draft(settings.outputs, new_draft_id())
    page = FormPage(settings, draft)
    with patch.dict(os.environ, {"CUDA_VISIBLE_DEVICES": ""}):
        answers = [*_answers_about_fields(page, draft), *_answers_about_runs(page, draft)]
        stop_and_wait(OutputsPaths(settings.outputs).run("cat"))
    return [_without_sentences(answer) for answer in answers]


def _without_sentences(value: Any, is_text: bool = False) -> Any:
    """Return a part of an answer with "…" for what other tests hold: sentences, the command and dataset.toml."""
    if isinstance(value, dict):
        return {name: _without_sentences(part, is_text or name in TEXTS) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_sentences(part, is_text) for part in value]
    return "…" if is_text and isinstance(value, str) and value else value


def _answers_about_fields(page: FormPage, draft: Draft) -> list[dict[str, Any]]:
    unsent = {"values": {"lora_name": "unsent", "seed": 3}, "source": "", "model": "flux-dev"}
    return [
        page.open(),
        page.typed(lora_name="dog", num_repeats="3,5", other_flags="nosuch = 1"),
        page.typed(num_repeats="2", other_flags="", network_dim="7"),
        page.send("images", name="example-cat", trigger="sks cat", folders=["12_tabby cat"]),
        page.send("check"),
        page.typed(base_model="flux-dev"),
        page.send("model", model="pocket"),
        page.send("reset", names=["network_dim", "nosuch"]),
        page.send("put_back", values={"network_dim": "7", "seed": 3}),
        page.send("save_template", name="mine"),
        page.send("save_template", name="mine"),
        page.send("apply_template", name="mine"),
        page.send("apply_template", name="nosuch"),
        page.open(),
        page.open(unsent=json.dumps(unsent)),
    ]


def _answers_about_runs(page: FormPage, draft: Draft) -> list[dict[str, Any]]:
    outputs = draft.folder.parents[2]
    make_run(outputs, "old", timestamp=1, status="stopped", seed=[1], max_train_epochs=7)
    answers = [page.send("open", slug="old"), page.send("open", slug="gone", replace=True), page.send("open", slug="old", replace=True)]
    answers += [page.send("fresh"), page.open(viewed="old"), page.send("fresh"), page.send("start")]
    write_cats(draft.images.path, count=4)
    answers += [page.typed(**TRAINABLE | {"lora_name": "old", "base_model": "pocket"}), page.send("start")]
    return [*answers, page.typed(**TRAINABLE), page.send("start")]


def test_answers_to_each_kind_of_event_are_as_recorded(tmp_path):
    answers = answers_of_each_kind(tmp_path)
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    for answer, expected in zip(answers, recorded, strict=True):
        assert answer == expected
    assert {answer["kind"] for answer in answers} == {kind for kind in get_args(FormKind) if kind}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        json.dump(answers_of_each_kind(Path(temporary)), sys.stdout, indent=1, ensure_ascii=False)
        sys.stdout.write("\n")
