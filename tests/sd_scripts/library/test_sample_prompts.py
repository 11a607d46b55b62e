"""Prompts of sample images: kohya's lines and tables, and errors that name file and line."""

import pytest

from library.errors import TrainerError
from library.sample_prompts import SamplePrompt, parse_line, read_prompts


def test_line_with_every_flag_is_parsed():
    prompt = parse_line("a cat -- on a mat --w 700 --h 96 --d 7 --s 12 --g 1.5 --l 2.0 --n blurry, dark")
    assert prompt == SamplePrompt(
        prompt="a cat -- on a mat",
        width=688,
        height=96,
        seed=7,
        sample_steps=12,
        guidance_scale=1.5,
        scale=2.0,
        negative_prompt="blurry, dark",
    )


def test_defaults_match_kohya():
    prompt = parse_line("a cat")
    assert (prompt.width, prompt.height, prompt.sample_steps, prompt.guidance_scale, prompt.scale) == (512, 512, 20, 3.5, 1.0)


@pytest.mark.parametrize(("line", "named"), [("a cat --w wide", "--w wide"), ("a cat --q 1", "--q"), ("a cat --s 0", "--s 0")])
def test_invalid_flags_are_refused_with_its_name(line, named):
    with pytest.raises(TrainerError, match=named):
        parse_line(line)


def test_prompt_files_of_each_format_are_read(tmp_path):
    (tmp_path / "p.txt").write_text("# a comment\n\na cat --d 1\na dog\n")
    assert [p.prompt for p in read_prompts(str(tmp_path / "p.txt"))] == ["a cat", "a dog"]
    (tmp_path / "p.toml").write_text('[prompt]\nwidth = 128\n[[prompt.subset]]\nprompt = "a cat"\n[[prompt.subset]]\nprompt = "a dog"\n')
    assert [(p.prompt, p.width) for p in read_prompts(str(tmp_path / "p.toml"))] == [("a cat", 128), ("a dog", 128)]
    (tmp_path / "p.json").write_text('[{"prompt": "a cat", "seed": 3}]')
    assert read_prompts(str(tmp_path / "p.json"))[0].seed == 3
    (tmp_path / "bad.json").write_text('[{"prompt": "a cat", "color": 3}]')
    with pytest.raises(TrainerError, match=r"bad\.json"):
        read_prompts(str(tmp_path / "bad.json"))
    with pytest.raises(TrainerError, match="missing"):
        read_prompts(str(tmp_path / "none.txt"))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", '[{"prompt": "x", "sample_steps": "2"}]', "prompt 1: sample_steps must be a number from 1 to 1000, whole"),
        ("a.json", '[{"prompt": "x"}, {"prompt": 5}]', "prompt 2: prompt must be a text"),
        ("a.json", '[{"prompt": "x", "sample_steps": 0}]', "sample_steps"),
        ("a.json", '[{"prompt": "x", "width": 64.5}]', "width"),
        ("a.json", '[{"prompt": "x", "seed": -1}]', "seed"),
        ("a.json", '[{"prompt": "x", "scale": true}]', "scale"),
        ("a.json", '[{"prompt": "x", "steps": 3}]', "steps is not known"),
        ("a.json", '{"prompt": "x"}', "a list of tables"),
        ("a.json", "5", "a list of tables"),
        ("a.json", "[5]", "prompt 1 must be a table"),
        ("a.toml", "[prompt]\nsubset = 3", "a list of tables"),
        ("a.toml", '[[prompt]]\nprompt = "x"\nwidth = "wide"', "width"),
        ("a.toml", "prompt = [", "cannot be read"),
    ],
)
def test_prompt_tables_are_validated_like_lines(name, text, words, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(TrainerError, match=words):
        read_prompts(str(tmp_path / name))


def test_folder_is_not_prompt_file_and_sampler_is_ignored(tmp_path):
    with pytest.raises(TrainerError, match="directory"):
        read_prompts(str(tmp_path))
    assert parse_line("a cat --ss euler --s 3").sample_steps == 3


@pytest.mark.parametrize("prompt", ["chinese painting", "a cat, sitting on a chair, " * 30, "a.b/c"])
def test_prompt_in_place_of_file_is_recognized(prompt):
    with pytest.raises(TrainerError, match=r"takes the name of a \.txt file with one prompt per line"):
        read_prompts(prompt)


def test_missing_file_is_reported():
    with pytest.raises(TrainerError, match=r"no/such\.txt is missing"):
        read_prompts("no/such.txt")


@pytest.mark.parametrize(
    ("name", "text"),
    [("p.txt", "a cat --w 64\n"), ("p.toml", '[prompt]\nprompt = "a cat"\nwidth = 64\n'), ("p.json", '[{"prompt": "a cat", "width": 64}]')],
)
def test_byte_order_mark_is_ignored(name, text, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    (prompt,) = read_prompts(str(tmp_path / name))
    assert (prompt.prompt, prompt.width) == ("a cat", 64)
