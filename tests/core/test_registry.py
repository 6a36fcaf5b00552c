import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import assay
from assay.core.registry import short
from assay.errors import SpecError

positive = st.floats(1e-9, 1e9, allow_nan=False)
counts = st.integers(1, 10**6)
kernels = st.builds(assay.Gaussian, positive) | st.builds(assay.Uniform, positive)
backgrounds = st.builds(assay.Constant, st.floats(0, 1)) | st.builds(assay.Blur, positive) | st.just(assay.MeanColour())
segments = (
    st.builds(assay.Grid, counts, counts)
    | st.builds(assay.Quickshift, positive, positive, st.floats(0, 1))
    | st.builds(assay.Slic, st.integers(2, 500), positive)
)
leaves = (
    st.builds(assay.Gradient)
    | st.builds(assay.SmoothGrad, sigma=positive, samples=counts | st.none(), antithetic=st.booleans())
    | st.builds(assay.IntegratedGradients, steps=counts, baseline=backgrounds, rule=st.sampled_from(["midpoint", "trapezoid"]))
    | st.builds(assay.KernelShap, samples=st.integers(4, 999), segments=segments, background=backgrounds)
    | st.builds(assay.Lime, samples=st.integers(2, 999), segments=segments, alpha=positive)
)
explainers = st.recursive(leaves, lambda inner: st.builds(assay.Smoothed, inner, kernels, counts | st.none()), max_leaves=4)
measures = st.builds(assay.Infidelity, kernels, counts, st.booleans(), st.booleans()) | st.builds(assay.Deletion, counts, backgrounds)


@given(explainers | measures | segments | kernels)
def test_a_repr_builds_an_equal_object(obj):
    assert assay.build(repr(obj)) == obj
    assert hash(assay.build(repr(obj))) == hash(obj)


@given(explainers | measures)
def test_the_short_spec_builds_an_equal_object(obj):
    assert assay.build(short(obj)) == obj


@given(st.text(max_size=40))
def test_any_text_gives_an_object_or_a_spec_error(text):
    try:
        built = assay.build(text)
    except SpecError:
        return
    assert type(built).__name__ in assay.registered(object)


@given(st.text("()[]{}=,.'\"+-*/<>:0123456789aeGradientSmoth _\n", max_size=40))
def test_any_arguments_give_an_object_or_a_spec_error(text):
    try:
        assay.build(f"SmoothGrad({text})")
    except SpecError:
        return


@given(st.integers(-1000, 1000), st.integers(1, 1000), st.integers(0, 1000))
def test_arithmetic_is_pythons(a, b, c):
    assert assay.build(f"Gaussian(({a} * {a} + {c}) / {b})").sigma == (a * a + c) / b


def test_a_radius_may_be_written_as_a_fraction():
    assert assay.build("Uniform(radius=8/255)") == assay.Uniform(8 / 255)


def test_dividing_by_zero_is_a_spec_error():
    with pytest.raises(SpecError, match="divides by zero"):
        assay.build("Uniform(1/0)")


@pytest.mark.parametrize(
    "spec",
    [
        "Uniform(" + "9" * 400 + ")",
        "Uniform(" + "9" * 400 + "/3)",
        "Uniform(" + "9" * 5000 + ")",
        "Uniform(" + "-" * 20000 + "1)",
        "Uniform(" + "-" * 600 + "1)",
        "Smoothed(" * 2000 + "Gradient" + ")" * 2000,
        "Uniform(1\0)",
        "Uniform(1e999)",
    ],
    ids=[
        "huge whole number",
        "huge quotient",
        "more digits than Python reads",
        "deep minus",
        "less deep minus",
        "deep nesting",
        "null byte",
        "overflow",
    ],
)
def test_monstrous_specs_are_spec_errors(spec):
    with pytest.raises(SpecError):
        assay.build(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "__import__('os').mkdir('made')",
        "SmoothGrad(sigma=__import__('os').mkdir('made'))",
        "SmoothGrad(sigma=[x for x in (1,)])",
        "SmoothGrad(sigma=(lambda: 1)())",
        "SmoothGrad(sigma=2 ** 8)",
        "SmoothGrad(sigma=f'{1}')",
        "SmoothGrad(**{'sigma': 1})",
        "SmoothGrad(*(1,))",
        "SmoothGrad.__class__",
        "SmoothGrad(sigma=1) or Gradient()",
        "SmoothGrad(sigma=1 if True else 2)",
        "(SmoothGrad := Gradient)",
        "exit()",
        "3",
        "",
    ],
)
def test_specs_are_read_and_never_run(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError):
        assay.build(spec)
    assert os.listdir(tmp_path) == []  # noqa: PTH208


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("SmothGrad", "unknown name SmothGrad; did you mean SmoothGrad?"),
        ("gradient()", "did you mean Gradient?"),
        ("SmoothGrad(sigm=0.1)", "SmoothGrad has no parameter sigm; did you mean sigma?"),
        ("Gradient(sigma=0.1)", "Gradient has no parameter sigma"),
        ("KernelShap(segments=Gird(3, 3))", "unknown name Gird; did you mean Grid?"),
        ("SmoothGrad(sigma='much')", "SmoothGrad: sigma must be a number, not 'much'"),
        ("SmoothGrad(samples=2.5)", "samples must be a whole number or None, not 2.5"),
        ("SmoothGrad(samples=True)", "samples must be a whole number or None, not True"),
        ("SmoothGrad(sigma=-0.1)", "sigma must be at least 0, not -0.1"),
        ("SmoothGrad(sigma=inf)", "sigma must be at least 0, not inf"),
        ("SmoothGrad(samples=0)", "samples must be at least 1, not 0"),
        ("Smoothed()", "Smoothed needs explainer"),
        ("Smoothed(Grid())", "explainer must be an Explainer"),
        ("SmoothGrad(0.1, sigma=0.2)", "given sigma twice"),
        ("SmoothGrad(1, 2, True, 4)", "takes at most 3 parameters"),
        ("IntegratedGradients(rule='simpson')", "rule must be one of 'gauss_legendre', 'midpoint', 'trapezoid', not 'simpson'"),
        ("Deletion(order='absolute')", "order must be one of 'signed', 'magnitude'"),
        ("Constant(1.5)", "value must be a pixel in \\[0, 1\\]"),
    ],
)
def test_a_wrong_spec_names_the_culprit(spec, message):
    with pytest.raises(SpecError, match=message.replace("?", "\\?").replace("(s", "\\(s")):
        assay.build(spec)


def test_objects_of_another_kind_are_refused():
    with pytest.raises(SpecError, match=r"is not an Explainer; choose one of .*Gradient"):
        assay.build("Deletion()", assay.Explainer)


@pytest.mark.parametrize("scalar", [np.float64(0.25), np.float32(0.25)])
def test_numbers_of_numpy_become_pythons(scalar):
    kernel = assay.Gaussian(scalar)
    assert repr(kernel) == "Gaussian(sigma=0.25)"
    assert assay.build(repr(kernel)) == kernel == assay.Gaussian(0.25)


def test_whole_numbers_of_numpy_become_pythons():
    assert repr(assay.Grid(np.int64(3), 4)) == "Grid(rows=3, columns=4)"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
def test_numbers_that_are_no_size_are_refused_at_construction(value):
    with pytest.raises(SpecError, match="Gaussian: sigma"):
        assay.Gaussian(value)


def test_objects_are_frozen():
    with pytest.raises(AttributeError):
        assay.Gaussian(0.1).sigma = 0.2


def test_lists_become_tuples_also_where_they_are_nested():
    @assay.register
    class _Points:
        places: tuple[tuple[float, float], ...]

    try:
        assert _Points([[1, 2.5], [3, 4]]).places == ((1, 2.5), (3, 4))
        assert assay.build("_Points([[1, 2.5]])") == _Points(((1, 2.5),))
        with pytest.raises(SpecError, match="places must be"):
            _Points([[1, 2, 3]])
    finally:
        from assay.core import registry

        del registry._REGISTRY["_Points"]
