import math
import shlex
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.run import get_args_parser

from assay.errors import DataError
from assay.run.settings_file import command_line, differences, plain, read_settings, settings_text

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
LEAVES = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS
TABLES = st.dictionaries(TEXTS, LEAVES | st.lists(LEAVES, max_size=3), max_size=3)
SETTINGS = st.dictionaries(TEXTS, LEAVES | TABLES | st.dictionaries(TEXTS, TABLES, max_size=2), max_size=3)


@settings(max_examples=60)
@given(SETTINGS)
def test_settings_come_back_from_their_text(kept):
    assert tomllib.loads(settings_text(kept)) == kept
    assert differences(kept, kept) == []


@settings(max_examples=60)
@given(SETTINGS.filter(bool), st.data())
def test_a_settings_file_that_was_cut_off_is_noticed_also_where_it_is_toml_still(tmp_path_factory, kept, data):
    text = settings_text(kept).encode()
    path = tmp_path_factory.mktemp("cut") / "run.toml"
    path.write_bytes(text)
    assert read_settings(path) == kept
    head = text.index(b"\n", text.index(b"SHA-256")) + 1
    path.write_bytes(text[: data.draw(st.integers(head, len(text) - 1))])
    with pytest.raises(DataError, match=r"run\.toml is damaged"):
        read_settings(path)


def test_a_settings_file_without_a_hash_is_read_as_it_is(tmp_path):
    (tmp_path / "run.toml").write_text("a = 1\n")
    assert read_settings(tmp_path / "run.toml") == {"a": 1}


def test_none_is_left_out_and_paths_and_tuples_become_plain():
    assert plain({"a": None, "b": Path("x/y"), "c": (1, (2.5,)), "d": {"e": None, "f": Path("z")}}) == {
        "b": "x/y",
        "c": [1, [2.5]],
        "d": {"f": "z"},
    }


def test_every_difference_is_named_with_both_values():
    old = {"a": 1, "b": {"c": "x", "d": [1]}, "gone": True, "same": math.nan}
    new = {"a": 2, "b": {"c": "y", "d": [1]}, "new": 0.5, "same": math.nan}
    assert differences(old, new) == [
        ("a", "1", "2"),
        ("b.c", '"x"', '"y"'),
        ("gone", "true", "not set"),
        ("new", "not set", "0.5"),
    ]


def test_truth_is_no_number_and_long_values_are_cut():
    assert differences({"a": 1}, {"a": True}) == [("a", "1", "true")]
    assert all(len(text) < 100 for one in differences({"a": "x" * 999}, {"a": "y" * 999}) for text in one)


MEASURES = ["Deletion(steps=20)", "Insertion(steps=20)", "Infidelity(samples=100)", "MaxSensitivity(radius=0.02)"]
LONG = "Smoothed(explainer=Gradient(), kernel=Gaussian(sigma={}), samples=30, antithetic=True, aggregate='mean')"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (MEASURES, [*MEASURES, "MaskIoU()"], ("nothing besides 4 in both", '"MaskIoU()" besides 4 in both')),
        (
            MEASURES,
            ["Deletion(steps=4)", *MEASURES[1:]],
            ('"Deletion(steps=20)" besides 3 in both', '"Deletion(steps=4)" besides 3 in both'),
        ),
        (MEASURES[:1], ["Insertion()"], ('["Deletion(steps=20)"]', '["Insertion()"]')),
        (
            LONG.format(0.01),
            LONG.format(0.03),
            ("... l=Gaussian(sigma=0.01), samples=30, antit ...", "... l=Gaussian(sigma=0.03), samples=30, antit ..."),
        ),
    ],
)
def test_of_long_values_what_differs_is_told(old, new, told):
    assert differences({"a": old}, {"a": new}) == [("a", *told)]


@given(st.lists(st.text("ab", max_size=90), max_size=6), st.lists(st.text("ab", max_size=90), max_size=6))
def test_values_that_differ_are_told_in_different_words(old, new):
    for _, one, other in differences({"a": old}, {"a": new}):
        assert one != other or min(len(one), len(other)) > 60


def test_what_no_settings_file_can_hold_is_refused():
    with pytest.raises(TypeError, match="not TOML serializable"):
        settings_text({"a": object()})


def test_a_command_of_two_processes_is_understood_by_torchruns_own_parser():
    line = command_line("train", {"start": "a.safetensors", "seed": 0}, processes=2)
    asked = get_args_parser().parse_args(shlex.split(line)[1:])
    assert (asked.nproc_per_node, asked.module, asked.training_script) == ("2", True, "assay")
    assert asked.training_script_args == ["train", "--start", "a.safetensors", "--seed", "0"]
