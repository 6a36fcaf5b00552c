import math

import numpy as np
import polars as pl
import pytest

from assay.study.audit.answers import answer
from assay.study.audit.nulls import ANOTHER, ELSEWHERE, FLIPPED, LAST, OWN, RANDOM, TRUTH
from assay.study.audit.questions.held import QUESTIONS, Rated

CONTROLS = ("Edges", "ColourContrast", "Centre")
DELETION = Rated("Deletion", False, "faithfulness", False)
INSERTION = Rated("Insertion", True, "faithfulness", False)
IOU = Rated("MaskIoU", True, "localisation", True)
NULLS = (ELSEWHERE, FLIPPED, ANOTHER, RANDOM, LAST)
ITEMS = [
    *[("A", kind) for kind in (OWN, *NULLS)],
    *[(f"control {one}", kind) for one in CONTROLS for kind in (OWN, ELSEWHERE)],
    *[("positive control", kind) for kind in (OWN, ELSEWHERE, FLIPPED)],
]
PLACE = {item: at for at, item in enumerate(ITEMS)}


def judged(explainers, images=64, measures=(INSERTION,), dead=(), blind=(), controls=None, noise=0.1, truth=False, smallest=0.2, **more):
    """Answers from scores around means: of each explainer's own map, and of its nulls (0 unless given by kind).

    `texture` is what each control scores wherever it is put, `faint` the positive control's mean by a measure, `lost` the kinds of it that
    score as well by a measure.
    """
    generator, items, columns = np.random.default_rng(more.get("seed", 0)), [], []
    texture, faint = more.get("texture", 0.0), more.get("faint", {})

    def add(name, kind, means):
        items.append((name, kind))
        columns.append(np.stack([mean + noise * generator.normal(size=images) for mean in means], 1))

    for name, (own, nulls) in explainers.items():
        add(name, OWN, [own] * len(measures))
        for kind in NULLS:
            add(name, kind, [nulls.get(kind, math.nan if kind == LAST else 0.0)] * len(measures))
    for name in CONTROLS:
        for kind in (OWN, ELSEWHERE):
            add(f"control {name}", kind, [(controls or {}).get(name, 0.2) if kind == OWN else texture] * len(measures))
    for kind in (OWN, ELSEWHERE, FLIPPED, ANOTHER, RANDOM):
        strong = [0.0 if one.name in dead else faint.get(one.name, 1.0) for one in measures]
        weak = [
            1.0 if (kind == FLIPPED and one.name in blind) or kind in more.get("lost", {}).get(one.name, ()) else 0.0 for one in measures
        ]
        add("positive control", kind, strong if kind == OWN else weak)
    if truth:
        for kind in (OWN, ELSEWHERE, ANOTHER):
            add(TRUTH, kind, [1.0 if kind == OWN else 0.0] * len(measures))
    values = np.stack(columns, 1)
    values *= np.array([1.0 if one.higher_is_better else -1.0 for one in measures])
    return answer(
        values, items, measures, dict.fromkeys(explainers, True) | {name: False for name in explainers if name in CONTROLS}, smallest
    )


def holds(found, name, measure="Insertion"):
    rows = found.table.filter((found.table["explainer"] == name) & (found.table["measure"] == measure))
    return rows["holds"].to_list()


@pytest.mark.parametrize("measure", [INSERTION, DELETION], ids=["higher is better", "lower is better"])
def test_a_map_that_beats_its_nulls_and_the_controls_is_trusted_and_recommended(measure):
    found = judged({"A": (1.0, {})}, measures=(measure,))
    assert (found.trusted, found.recommended, found.silent) == (("A",), "A", ())
    assert holds(found, "A", measure.name) == [True] * 4
    assert (found.table["difference"] > 0.7).all()
    assert (found.table["low"] > 0).all()
    assert found.standing["A", measure.name] == pytest.approx(1, abs=0.05)
    stand = found.stands["A", measure.name]
    assert stand.mean == found.standing["A", measure.name]
    assert stand.low <= 1 <= stand.high


@pytest.mark.parametrize(("kind", "question"), [(ELSEWHERE, 0), (FLIPPED, 0), (ANOTHER, 1), (RANDOM, 2)])
def test_a_map_that_one_null_equals_fails_that_question_alone(kind, question):
    found = judged({"A": (1.0, {kind: 1.0})}, images=500)
    assert found.trusted == ()
    assert holds(found, "A") == [at != question for at in range(4)]
    assert found.status("A", QUESTIONS[question]) == "fails"
    few = judged({"A": (1.0, {kind: 1.0})})
    assert holds(few, "A") == [None if at == question else True for at in range(4)]
    assert (few.status("A", QUESTIONS[question]), few.trusted) == ("undecided", ())
    (row,) = few.table.filter(few.table["status"] == "undecided").iter_rows(named=True)
    assert (row["question"], row["needed"]) == (QUESTIONS[question], few.needed["A"])
    assert row["needed"] > 64


def test_a_map_that_a_control_equals_says_no_more_than_the_image():
    found = judged({"A": (1.0, {})}, controls={"Edges": 1.0}, images=500)
    assert holds(found, "A") == [True, True, True, False]
    assert found.trusted == ()
    assert judged({"A": (1.0, {})}, controls={"Edges": 1.0}).status("A", QUESTIONS[-1]) == "undecided"


def test_controls_are_never_trusted():
    assert judged({"Edges": (1.0, {})}).trusted == ()


def test_no_difference_at_all_fails_whatever_the_number_of_images():
    values = np.random.default_rng(0).normal(size=(3, len(ITEMS), 1))
    values[:, PLACE["positive control", OWN]] = 5 + values[:, PLACE["positive control", ELSEWHERE]]
    values[:, PLACE["A", RANDOM]] = values[:, PLACE["A", OWN]]
    values[:, PLACE["A", LAST]] = math.nan
    found = answer(np.repeat(values, 8, 0), ITEMS, (INSERTION,), {"A": True})
    assert holds(found, "A")[2] is False


def test_a_map_that_a_random_last_layer_does_not_change_is_not_of_this_model_however_it_beats_random_weights():
    found = judged({"A": (1.0, {LAST: 1.0})})
    assert holds(found, "A") == [True, True, False, True]
    rows = found.table.filter(found.table["question"] == "this model")
    assert rows["difference"].to_list() == [0.0]
    assert found.trusted == ()


def test_a_control_of_finer_texture_is_held_against_by_what_its_place_adds():
    fine = {"Edges": 1.5}
    assert judged({"A": (1.0, {})}, controls=fine).status("A", QUESTIONS[3]) == "fails"
    assert judged({"A": (1.0, {})}, controls=fine, texture=1.0).trusted == ("A",)


def test_a_measure_too_weak_for_these_images_is_named_and_does_not_fail_every_map():
    measures = (INSERTION, DELETION)
    weak = {"A": (1.0, {}), "B": (1.0, {RANDOM: 1.0})}
    found = judged(weak, images=32, measures=measures, faint={"Deletion": 0.065})
    assert (found.alive, found.faint, found.silent) == (("Insertion",), ("Deletion",), ())
    assert found.trusted == ("A",)
    only = judged(weak, images=32, measures=(DELETION,), faint={"Deletion": 0.065})
    assert (only.alive, only.faint, only.trusted) == ((), ("Deletion",), ())
    assert {only.status("A", one) for one in QUESTIONS} == {"undecided"}
    assert judged({"A": (1.0, {})}, images=600, measures=(DELETION,), faint={"Deletion": 0.065}).alive == ("Deletion",)


@pytest.mark.parametrize(("kind", "question"), [(ANOTHER, 1), (RANDOM, 2)])
def test_a_measure_by_which_the_control_itself_fails_a_question_is_not_asked_it(kind, question):
    measures, lost = (INSERTION, DELETION), {"Deletion": (kind,)}
    found = judged({"A": (1.0, {})}, measures=measures, lost=lost)
    assert found.alive == ("Insertion", "Deletion")
    assert found.weak[QUESTIONS[question]] == ("Deletion",)
    assert [found.asked_of(one) for one in QUESTIONS] == [("Insertion",) if at == question else found.alive for at in range(4)]
    assert holds(found, "A", "Deletion") == [None if at == question else True for at in range(4)]
    assert found.trusted == ("A",)
    assert judged({"A": (1.0, {kind: 1.0})}, measures=measures, lost=lost).status("A", QUESTIONS[question]) == "fails"


def test_a_question_that_no_measure_is_strong_enough_for_is_undecided():
    found = judged({"A": (1.0, {})}, lost={"Insertion": (RANDOM,)})
    assert (found.status("A", "this model"), found.trusted) == ("undecided", ())
    assert found.needed["A"] is None


def test_a_question_is_not_left_to_measures_that_are_blind_to_signs():
    found = judged({"A": (1.0, {})}, measures=(INSERTION, DELETION), blind=("Deletion",), lost={"Insertion": (RANDOM,)})
    assert found.blind == ("Deletion",)
    assert (found.asked_of("this model"), found.status("A", "this model"), found.trusted) == ((), "undecided", ())


@pytest.mark.parametrize("shift", [0.0, 0.01])
def test_a_difference_too_small_to_count_takes_as_many_images_as_it_takes_to_say_so(shift):
    found = judged({"A": (1.0, {ANOTHER: 1 - shift})}, images=40)
    assert (found.status("A", "this image"), found.trusted) == ("undecided", ())
    many = found.needed["A"]
    assert 40 < many < 5000
    again = [judged({"A": (1.0, {ANOTHER: 1 - shift})}, images=3 * many, seed=seed) for seed in range(5)]
    assert sum(one.status("A", "this image") == "fails" for one in again) >= 4


def test_a_difference_that_just_counts_is_hardly_ever_said_to_fail():
    """At the smallest effect itself, by any of three explainers, two nulls and three questions."""
    wrong = 0
    just = 1 - 0.2 * 0.1 * 2**0.5  # Differences of two scores of spread 0.1.
    for seed in range(60):
        nulls = {name: (1.0, dict.fromkeys((FLIPPED, ANOTHER, RANDOM), just)) for name in "ABC"}
        found = judged(nulls, images=48, seed=seed)
        wrong += any(one is False for name in "ABC" for one in holds(found, name))
    assert wrong <= 60 * 0.15 + 3 * (60 * 0.15 * 0.85) ** 0.5  # Three questions, each corrected by itself.


def test_the_interval_says_what_the_status_says():
    kinds = (ELSEWHERE, ANOTHER, RANDOM)
    ways = {f"{kind} {shift}": (1.0, {kind: 1 + shift}) for kind in kinds for shift in (-0.1, -0.02, 0.0, 0.05)}
    rows = judged(ways, images=120).table.filter(pl.col("question") != QUESTIONS[-1])
    counts = 0.2 * rows["difference"] / rows["effect"]
    status = rows["status"].to_list()
    assert {*status} == {"passes", "fails", "undecided"}
    for one, low, high, least in zip(status, rows["low"], rows["high"], counts, strict=True):
        assert (low > 0) == (one == "passes") or one == "undecided"
        assert (high < least) == (one == "fails") or abs(high - least) < 0.005


def test_explainers_are_trusted_together_at_the_level():
    """Each fails another question; with the tests held one by one at the level, far more than 5 % of such audits would trust one."""
    wrong = 0
    for seed in range(150):
        nulls = {name: (1.0, {kind: 1.0}) for name, kind in zip("ABCD", (ELSEWHERE, ANOTHER, RANDOM, FLIPPED), strict=True)}
        wrong += bool(judged(nulls, images=24, seed=seed, smallest=0.0).trusted)
    assert wrong <= 150 * 0.05 + 3 * (150 * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize(("noise", "faint"), [(0.6, ()), (0.65, ("Insertion",))])
def test_too_few_images_are_undecided_and_it_is_said_how_many_would_do(noise, faint):
    found = judged({"A": (1.0, {})}, images=10, noise=noise, seed=2)
    assert found.faint == faint
    assert found.trusted == ()
    assert None in holds(found, "A")
    assert False not in holds(found, "A")
    assert 10 < found.needed["A"] < 100
    assert judged({"A": (1.0, {})}, images=found.needed["A"], noise=noise, seed=2).trusted == ("A",)


def test_four_images_can_show_nothing():
    found = judged({"A": (9.0, {})}, images=4)
    assert found.trusted == ()
    assert found.silent == ()
    assert holds(found, "A") == [None] * 4


def test_a_measure_that_cannot_tell_the_control_is_silent_and_counts_for_nothing():
    found = judged({"A": (1.0, {RANDOM: 1.0})}, measures=(INSERTION, DELETION), dead=("Insertion", "Deletion"), seed=1)
    assert found.silent == ("Insertion", "Deletion")
    assert found.trusted == ()
    assert found.table["holds"].is_null().all()
    one = judged({"A": (1.0, {})}, images=64, measures=(DELETION, INSERTION), dead=("Deletion",), seed=1)
    assert (one.silent, one.trusted) == (("Deletion",), ("A",))


def test_known_evidence_makes_a_measure_alive_too():
    found = judged({"A": (1.0, {})}, measures=(INSERTION, IOU), dead=("Insertion", "MaskIoU"), truth=True)
    assert found.silent == ()


def test_measures_that_do_not_see_signs_are_not_enough():
    found = judged({"A": (1.0, {FLIPPED: 1.0})}, blind=("Insertion",))
    assert found.blind == ("Insertion",)
    assert holds(found, "A") == [True] * 4
    assert found.trusted == ()
    assert judged({"A": (1.0, {})}, measures=(IOU,), truth=True).trusted == ()


def test_a_difference_below_the_smallest_effect_does_not_count():
    assert judged({"A": (1.0, {ANOTHER: 0.97})}, images=600, smallest=0.0).trusted == ("A",)
    found = judged({"A": (1.0, {ANOTHER: 0.97})}, images=600, smallest=0.5)
    assert holds(found, "A")[1] is False


def test_what_could_not_be_scored_stays_open():
    found = judged({"A": (1.0, {RANDOM: math.nan})})
    assert holds(found, "A") == [True, True, None, True]
    assert found.status("A", "this model") == "open"
    assert found.trusted == ()


def test_p_values_are_corrected_for_all_tests_by_live_measures():
    one, many = judged({"A": (0.35, {})}, noise=0.3), judged({name: (0.35, {}) for name in "ABCDEFGH"}, noise=0.3)
    first = [found.table.filter(found.table["explainer"] == "A")["p"].max() for found in (one, many)]
    assert (one.tests, many.tests) == (1, 8)
    assert first[1] >= first[0]


def test_controls_and_maps_without_any_difference_do_not_make_the_correction_harder():
    assert judged({"A": (1.0, {}), "Edges": (0.2, {}), "Centre": (0.2, {})}).tests == 1


def test_the_best_by_a_measure_are_those_not_shown_to_be_worse():
    assert judged({"A": (1.0, {}), "B": (1.0, {}), "C": (0.5, {})}).best["Insertion"] == ("A", "B")


def test_images_on_which_all_maps_score_the_same_are_counted():
    values = np.random.default_rng(0).random((10, len(ITEMS), 1))
    values[:4] = 1.0
    assert answer(values, ITEMS, (DELETION,), {"A": True}).saturated == {"Deletion": 4}


def test_noise_is_trusted_by_chance_in_no_case_of_many():
    for seed in range(40):
        generator = np.random.default_rng(seed)
        values = generator.lognormal(size=(24, len(ITEMS), 1))
        values[:, PLACE["positive control", OWN]] += 9
        values[:, PLACE["A", LAST]] = math.nan
        assert answer(values, ITEMS, (INSERTION,), {"A": True}).trusted == ()


def test_nothing_that_was_scored_gives_empty_answers():
    found = answer(np.empty((0, 0, 0)), [], (), {"A": True})
    assert (found.table.height, found.trusted, found.recommended) == (0, (), None)
