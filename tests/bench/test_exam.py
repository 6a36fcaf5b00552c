"""The verdict's exam: its maps are what their names say, and its counting is right."""

import itertools

import numpy as np
import pytest
import torch

import assay
from assay.bench.document import put
from assay.bench.exam.candidates import CELLS, Call, blind, flawed, foreign, worth
from assay.bench.exam.exam import COUNTS, EVERY_SUBSET, EXAM_MEASURES, SUBSETS, ExamLine, SeatScores, judge, lines, sweep
from assay.bench.exam.exam_markdown import EXAM_MARKS, every_subset, exam_markdown
from assay.bench.exam.pairs import PAIRS
from assay.bench.exam.small_networks import Cells, Colours, Linear, cell_values, coloured, exact_pixel_values, textures
from assay.errors import DataError
from assay.explain.superpixels.segments import Grid
from assay.explain.superpixels.surrogate import KernelShap
from assay.stats.intervals import share
from assay.study.audit.answers import answer
from assay.study.audit.nulls import CONTROL_NAMES, KINDS, LAST, OWN, POSITIVE_NAME, TRUTH
from assay.study.audit.questions.held import Rated


def asked(net, batch, count=3):
    model, images = assay.Classifier(net), batch.images[:count]
    return Call(model, images, model.predict(images), batch.index[:count], 0)


def test_closed_form_values_of_cells_are_those_of_all_coalitions():
    one = asked(Cells(), textures(2, 0), 1)
    exact = one.of(KernelShap(samples=2**16, segments=Grid(rows=4, columns=4)))
    torch.testing.assert_close(cell_values().make(one), exact, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("net", "batch"), [(Linear(), textures(8, 0)), (Colours(), coloured(8, 5, 0))], ids=["pixels", "colours"])
def test_closed_form_values_of_pixels_add_up_to_the_score_against_black(net, batch):
    one = asked(net, batch)
    total = one.score(one.images) - one.score(0 * one.images)
    torch.testing.assert_close(exact_pixel_values().make(one).sum((1, 2, 3)), total, atol=1e-3, rtol=1e-4)


def test_networks_tell_the_pictures_apart():
    batch = coloured(64, 5, 0)
    assert torch.equal(assay.Classifier(Colours()).predict(batch.images), batch.labels)
    for net in (Linear(), Cells()):
        assert len(assay.Classifier(net).predict(textures(64, 0).images).unique()) == 5


def test_a_square_of_colour_is_no_plainer_to_see_than_the_grey_ones_beside_it():
    batch = coloured(64, 5, 0)
    contrast = assay.ColourContrast()(assay.Classifier(Colours()), batch.images)
    top = contrast.flatten(1).argmax(1)
    found = batch.truth.flatten(1)[torch.arange(64), top]
    assert found.float().mean() < 0.75
    assert batch.truth.flatten(1).sum(1).unique().tolist() == [64]


def test_spoilt_maps_are_spoilt_as_they_say():
    one = asked(Linear(), textures(8, 0), 4)
    sound, maps = one.of(CELLS), {each.short_name: each.make(one) for each in flawed(CELLS, "occlusion")}
    assert torch.equal(maps["minus occlusion"], -sound)
    assert torch.equal(maps["shuffled occlusion"].flatten(1).sort().values, sound.flatten(1).sort().values)
    spectra = [torch.fft.rfft2(each).abs() for each in (maps["texture of occlusion"], sound)]
    torch.testing.assert_close(*spectra, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(maps["occlusion of another image"], sound.roll(1, 0))
    assert torch.equal(maps["mean occlusion of all images"][0], maps["mean occlusion of all images"][3])
    least = assay.Occlusion(segments=Grid(4, 4))(one.model, one.images, one.model.logits(one.images).argmin(1))
    torch.testing.assert_close(maps["occlusion of the least likely class"], least)


def test_blind_and_foreign_maps_do_not_change_with_the_model_but_for_noise_drawn_by_it():
    one, other = (asked(Linear(seed=seed), textures(8, 0), 4) for seed in (0, 1))
    other = Call(other.model, one.images, one.targets, one.index, 0)
    every = [*blind(), foreign(CELLS, "occlusion", one.model, "another")]
    changed = [each.short_name for each in every if not torch.equal(each.make(one), each.make(other))]
    assert changed == ["noise drawn by the model's output"]
    assert not any(each.right for each in every)


def test_known_evidence_is_worth_what_its_erasure_costs():
    batch = coloured(4, 5, 0)
    one = asked(Colours(), batch, 4)
    found = worth(batch.truth, batch.index).make(one)
    assert ((found != 0) == batch.truth).all()
    assert (found.sum((1, 2, 3)) > 0).all()


def made(names, trusted, images=64):
    """Scores by one measure in which `trusted` pass everything, and the others nothing."""
    generator, items, columns = np.random.default_rng(0), [], []
    for name in [*names, CONTROL_NAMES[0], POSITIVE_NAME]:
        for kind in ("own", "elsewhere", "signs flipped", "another image's", "random weights", "random last layer"):
            items.append((name, kind))
            up = kind == "own" and (name in trusted or name == POSITIVE_NAME)
            # A random last layer changes all of these maps.
            columns.append(float(up) + 0.1 * generator.normal(size=images) + (np.nan if kind == "random last layer" else 0.0))
    rated = Rated("Insertion", True, "faithfulness", False)
    return SeatScores("pair", 0, np.stack(columns, 1)[:, :, None], tuple(items), (rated,), names, dict.fromkeys(COUNTS, True))


def test_what_is_trusted_is_counted_by_kind_and_halves_share_no_case():
    names = {f"right {n}": True for n in range(4)} | {f"wrong {n}": False for n in range(16)}
    cases = judge([made(names, {"right 0", "right 1", "right 2", "wrong 3"})])
    own = [one for one in cases if one.subset == "Insertion" and one.images == 64]
    assert sorted(one.candidate for one in own) == sorted(names)
    assert {one.candidate for one in own if one.trusted} == {"right 0", "right 1", "right 2", "wrong 3"}
    halves = [{one.candidate for one in own if one.set_aside is half} for half in (False, True)]
    assert not halves[0] & halves[1]
    assert [sum(names[name] for name in half) for half in halves] == [2, 2]
    (line,) = [one for one in lines(cases) if one.subset == "Insertion" and one.images == 64]
    assert (line.wrong, line.wrong_of, line.right, line.right_of) == (share(1, 16), 16, share(3, 4), 4)


def drawn(seed, truth=True):
    """A seat of candidates of all strengths by all measures, so that every rule decides some of the verdicts."""
    generator, columns, items = np.random.default_rng(seed), [], []
    measures = [one for one in EXAM_MEASURES if truth or "truth" not in one.needs]
    strong = generator.uniform(0.5, 2.5, len(measures))
    names = [f"candidate {at}" for at in range(9)]
    for name in [*names, *CONTROL_NAMES, POSITIVE_NAME, *([TRUTH] if truth else [])]:
        good = 1.0 if name in (POSITIVE_NAME, TRUTH) else 0.1 if name in CONTROL_NAMES else generator.uniform(0.5, 3)
        for kind in KINDS:
            items.append((name, kind))
            own = good * strong if kind == OWN else generator.choice([0.0, good], p=[0.98, 0.02]) * strong
            columns.append(own + generator.normal(size=(64, len(measures))) + (np.nan if kind == LAST else 0))
    values = np.stack(columns, 1) * [1 if one.higher_is_better else -1 for one in measures]
    rated = tuple(Rated(type(one).__name__, one.higher_is_better, one.category, "truth" in one.needs) for one in measures)
    return SeatScores(
        "pair", seed, values, tuple(items), rated, {name: at < 5 for at, name in enumerate(names)}, dict.fromkeys(COUNTS, True)
    )


def panels(seat):
    """Candidates that are audited together, each half's own."""
    found = {}
    for case in judge([seat]):
        found.setdefault(case.set_aside, {})[case.candidate] = True
    return list(found.values())


def test_every_set_of_measures_is_judged_as_an_audit_by_it_is():
    seats = [drawn(0), drawn(1, truth=False)]
    found = {(one.subset, one.images): one for one in sweep(seats)}
    chosen = [EVERY_SUBSET[at] for at in np.random.default_rng(1).choice(len(EVERY_SUBSET), 6, replace=False)]
    own, some = [panels(one) for one in seats], 0
    for names in [*chosen, ("Deletion",), ("Deletion", "SingleDeletion")]:
        for images in COUNTS:
            counts = {False: [0, 0], True: [0, 0]}
            for one, halves in zip(seats, own, strict=True):
                columns = [at for at, rated in enumerate(one.measures) if rated.name in names]
                for panel in halves if len(columns) == len(names) else ():
                    told = answer(one.values[:images, :, columns], one.items, [one.measures[at] for at in columns], panel)
                    for name in panel:
                        counts[one.right[name]][0] += name in told.trusted
                        counts[one.right[name]][1] += 1
            line = found[", ".join(names), images]
            assert (line.wrong, line.wrong_of) == (share(*counts[False]), counts[False][1])
            assert (line.right, line.right_of) == (share(*counts[True]), counts[True][1])
            some += counts[False][0] + counts[True][0]
    assert some > 5


def test_sets_with_known_truth_are_judged_where_it_is_known_and_halves_add_up():
    seats = [drawn(0, truth=False), drawn(1)]
    found = {one.subset: one for one in sweep(seats) if one.images == 64}
    assert len(found) == len(EVERY_SUBSET) == 2**9 - 1
    assert found["Deletion"].wrong_of == 8
    assert found["Deletion, MaskIoU"].wrong_of == 4
    parts = [{one.subset: one for one in sweep(seats, aside=half) if one.images == 64} for half in (False, True)]
    assert sum(part["Deletion"].right_of for part in parts) == found["Deletion"].right_of == 10


def test_the_worst_set_and_those_beyond_the_goal_are_told():
    def line(subset, wrong, of=100, images=64):
        return ExamLine(subset, tuple(subset.split(", ")), images, share(wrong, of), of, share(3, 4), 4)

    swept = [line("Deletion", 0), line("Insertion", 3), line("Deletion, Insertion", 1), line("MaskIoU", 0, 40), line("PointingGame", 0, 40)]
    _, rows = every_subset(swept)
    assert rows == [
        ("of faithfulness alone", "64", "3", "100", "3.0% (at most 8.5%)", "Insertion", "2", "0 (80%)"),
        ("with known truth", "64", "2", "40", "0.0% (at most 8.8%)", "each", "2", "0 (80%)"),
    ]
    text = exam_markdown(judge([drawn(0)]), swept, "all cases, seed 0", {})
    assert "2 sets, images counted apart, cannot reach the bound" in text


def test_nothing_is_trusted_of_an_unsound_model(tmp_path):
    found = made({"right": True}, {"right"})
    kept = SeatScores("pair", 1, found.values, found.items, found.measures, found.right, {32: False, 64: True})
    kept.save(tmp_path / "kept.npz")
    again = SeatScores.load(tmp_path / "kept.npz")
    assert (again.items, again.measures, again.sound) == (kept.items, kept.measures, kept.sound)
    trusted = {one.images: one.trusted for one in judge([again]) if one.subset == "Insertion"}
    assert trusted == {32: False, 64: True}


def test_the_exam_has_cases_enough():
    assert len(PAIRS) >= 6
    assert "README (Deletion, MaskIoU)" in SUBSETS
    assert all(a.name != b.name for a, b in itertools.combinations(PAIRS, 2))
    seat = PAIRS[0].make(0, 0)
    names = [one.short_name for one in seat.candidates]
    assert len(names) == len(set(names))


def test_a_page_gets_the_figures_between_its_marks_again_and_again(tmp_path):
    names = {f"right {n}": True for n in range(4)} | {f"wrong {n}": False for n in range(16)}
    seats, page = [made(names, {"right 0", "right 1", "right 2", "wrong 3"})], tmp_path / "page.md"
    cases, swept = judge(seats), sweep(seats)
    page.write_text(f"before\n{EXAM_MARKS[0]}\nold\n{EXAM_MARKS[1]}\nafter\n")
    for _ in range(2):
        put(page, exam_markdown(cases, swept, "all cases, seed 0", {"other": "no data"}), EXAM_MARKS)
    text = page.read_text()
    assert text.startswith(f"before\n{EXAM_MARKS[0]}")
    assert text.endswith(f"{EXAM_MARKS[1]}\nafter\n")
    assert "old" not in text
    assert "1 pair, 16 never to be trusted, 4 to be trusted" in text
    assert "| Insertion | 64 | 6.2% (at most 28.3%) | 16 | 75% (30% to 95%) | 4 |" in text
    assert "| of faithfulness alone | 64 | 1 | 16 | 6.2% (at most 28.3%) | Insertion | 1 | 0 (80%) |" in text
    assert "Wrongly trusted: wrong 3 on pair, 64 images, by Insertion." in text
    assert "Left out: other (no data)." in text


def test_a_page_without_a_place_is_refused(tmp_path):
    page = tmp_path / "page.md"
    for text in (None, "nothing"):
        if text is not None:
            page.write_text(text)
        with pytest.raises(DataError, match="page"):
            put(page, "figures", EXAM_MARKS)
