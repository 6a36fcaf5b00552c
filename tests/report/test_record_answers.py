"""Run records as trees."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from assay.report.record_answers import CHECKLIST, answers, compact, node

STEADY = settings(deadline=None, derandomize=True)


def expand(text: str) -> list[int]:
    out = []
    for part in filter(None, text.split(", ")):
        first, _, last = part.partition("–")
        out += range(int(first), int(last or first) + 1)
    return out


@STEADY
@given(st.lists(st.integers(0, 30)))
def test_compact_numbers_lose_nothing(numbers):
    assert expand(compact(numbers)) == numbers


def test_runs_are_joined():
    assert compact([0, 1, 2, 3, 7, 9, 10]) == "0–3, 7, 9, 10"


def test_seven_questions_come_first_and_in_order():
    shown = answers({"extra": 1, "code": {"version": "1"}, "algorithm": "SmoothGrad"})
    assert [answer.heading for answer in shown] == [heading for heading, _ in CHECKLIST.values()] + ["extra"]
    assert shown[0].body.text == "SmoothGrad"
    assert shown[1].body.kind == "pairs"


def test_unanswered_questions_are_shown_as_such():
    assert all(answer.body is None for answer in answers({}))


def test_nested_values_keep_their_structure():
    tree = node({"a": [1, 2, 3], "b": [{"c": None}, True], "d": {}, "e": [0.5, 2]})
    kinds = {key: child.kind for key, child in tree.pairs}
    assert kinds == {"a": "text", "b": "items", "d": "empty", "e": "text"}
    texts = {key: child.text for key, child in tree.pairs}
    assert (texts["a"], texts["e"]) == ("1–3", "0.5, 2")
    (first, second) = dict(tree.pairs)["b"].items
    assert dict(first.pairs)["c"].text == "none"
    assert second.text == "yes"


def test_long_texts_are_folded():
    assert node("x" * 401).kind == "long"
    assert node("x" * 400).kind == "text"
