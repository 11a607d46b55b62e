"""Names of kohya's folders: repeats and class tokens, only where all names are clear."""

import pytest

from fluxgym.contract.kohya_folders import clear_folders, common_class, common_repeats, kohya_folder


def test_name_gives_repeats_and_class_tokens():
    found = kohya_folder("010_sks cat_2")
    assert (found.num_repeats, found.class_tokens) == (10, "sks cat_2")
    assert [kohya_folder(name) for name in ("cat", "10cat", "-3_cat", "x_10_cat", "")] == [None] * 5


@pytest.mark.parametrize("names", [["10_cat", "cat"], ["10_cat", ""], ["0_cat"], ["10_"], ["2024_holiday"], ["10_cat", "1999_cat"], []])
def test_folders_are_ambiguous_if_one_of_them_is(names):
    assert clear_folders(names) == ()


def test_common_settings_are_those_equal_in_all_folders():
    same, different = clear_folders(["10_dog", "10_cat"]), clear_folders(["10_cat", "20_cat"])
    assert [each.name for each in same] == ["10_cat", "10_dog"]
    assert (common_repeats(same), common_class(same)) == (10, "")
    assert (common_repeats(different), common_class(different)) == (None, "cat")
    assert (common_repeats(()), common_class(())) == (None, "")
