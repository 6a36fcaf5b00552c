import sys
import types

import numpy as np
import pytest
import torch

import assay
from reference.specs import SMALL


@pytest.fixture(scope="module")
def found(model):
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return assay.audit(model, images, explainers=["Gradient", SMALL["Lime"]], measures=[SMALL["Deletion"], SMALL["Insertion"]])


def test_the_figure_draws_every_mean_and_the_random_maps(found):
    figure = found.plot()
    assert len(figure.axes) == 2
    for axes, measure in zip(figure.axes, found.summary["measure"].unique(maintain_order=True), strict=True):
        rows = found.summary.filter(found.summary["measure"] == measure)
        drawn = [line.get_xdata() for line in axes.get_lines()]
        assert axes.get_title(loc="left").startswith(measure)
        assert all(any(len(x) == 1 and x[0] == mean for x in drawn) for mean in rows["mean"])
        assert any(list(x) == [rows["floor"][0]] * 2 for x in drawn)


def test_the_notebook_gets_the_verdict_the_answers_and_the_figure(found):
    text = found._repr_html_()
    assert all(one in text for one in ("<table>", "data:image/png;base64", "this model"))
    assert found.verdict[-1].split("'")[0] in text
    assert "<script" not in text


def test_the_line_names_what_is_trusted(found):
    assert repr(found) == f"Audit(4 images, 2 explainers, 2 measures; trusted: {', '.join(found.trusted) or 'none'})"


def test_tables_are_pandas_frames_with_the_same_values(found):
    frame = pytest.importorskip("pandas") and found.to_pandas("scores")
    assert list(frame.columns) == found.scores.columns
    assert np.array_equal(frame["value"].to_numpy(), found.scores["value"].to_numpy())
    assert len(found.to_pandas("answers")) == found.answers.height


def test_a_table_that_is_not_there_is_named(found):
    with pytest.raises(assay.AssayError, match=r"no table 'score'.*scores"):
        found.to_pandas("score")


def test_scores_by_image_and_explainer_go_to_xarray(found, monkeypatch):
    fake = types.ModuleType("xarray")
    fake.Dataset = lambda variables, coords: types.SimpleNamespace(variables=variables, coords=coords)
    monkeypatch.setitem(sys.modules, "xarray", fake)
    told = found.to_xarray()
    assert told.coords["explainer"] == found.scores["explainer"].unique(maintain_order=True).to_list()
    dims, values, _ = told.variables[found.summary["measure"][0]]
    assert dims == ("image", "explainer")
    rows = found.scores.filter(found.scores["measure"] == found.summary["measure"][0])
    for row in rows.iter_rows(named=True):
        assert values[told.coords["image"].index(row["image"]), told.coords["explainer"].index(row["explainer"])] == row["value"]


@pytest.mark.parametrize(("library", "method"), [("pandas", "to_pandas"), ("xarray", "to_xarray")])
def test_a_missing_library_is_one_clear_error(found, monkeypatch, library, method):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(assay.AssayError, match=f"{library} is not installed"):
        getattr(found, method)()
