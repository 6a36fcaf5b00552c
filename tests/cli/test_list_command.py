"""`assay list` tells of every registered thing what it needs, takes, where it is from and what to beware of."""

import pytest

import assay
from reference.specs import own


@pytest.mark.parametrize(("kind", "base"), [("explainers", assay.Explainer), ("measures", assay.Measure), ("attacks", assay.Attack)])
def test_everything_is_listed_with_its_facts(kind, base, run):
    found = run("list", kind)
    assert found.code == 0, found.err
    for cls in own(base):
        block = found.out[found.out.index(f"\n{cls.__name__}" if not found.out.startswith(cls.__name__) else cls.__name__) :]
        for fact in (cls.pitfalls, cls.reference):
            assert fact
            assert fact in block
        assert "    passes   " in block
        needs = cls.needs if isinstance(getattr(cls, "needs", None), frozenset) else ()
        assert all(need in block.split("pitfalls")[0] for need in needs)


def test_costs_are_those_of_the_defaults(run):
    listed = run("list", "explainers").out
    assert "SmoothGrad(sigma=0.03, samples=None, antithetic=True)\n    needs    gradient\n    passes   30 forward, 30 backward" in listed
    assert "Rise(" in listed
    assert "passes   1000 forward" in listed
    assert "captum:Occlusion" in listed


def test_data_sets_are_listed_and_other_words_are_refused(run):
    assert "hard-digits" in run("list", "data").out
    refused = run("list", "models")
    assert refused.code == 2
    assert "explainers" in refused.err


def test_ones_own_are_listed_after_an_import(run, tmp_path):
    (tmp_path / "listed_own.py").write_text(
        "from typing import ClassVar\nfrom assay import Gradient, Explainer, register\n\n@register\nclass ListedOwn(Explainer):\n"
        "    category: ClassVar[str] = 'gradient'\n    reference: ClassVar[str] = 'our paper'\n    takes: ClassVar[str] = 'few'\n"
        "    def attribute(self, model, images, targets, index, seed):\n        return images\n"
    )
    found = run("list", "explainers", "--import", tmp_path / "listed_own.py")
    assert "ListedOwn" in found.out
    assert "our paper" in found.out
