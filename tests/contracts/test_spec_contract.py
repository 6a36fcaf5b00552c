import dataclasses

import pytest

import assay
from assay.core.registry import short
from assay.errors import SpecError
from assay.models.targets import Target
from reference.specs import own, sample, sampled

EVERY = pytest.mark.parametrize("cls", sampled(), ids=lambda cls: cls.__name__)


@EVERY
def test_its_repr_is_a_spec_of_it(cls):
    obj = sample(cls)
    assert assay.build(repr(obj)) == obj
    assert assay.build(short(obj)) == obj
    assert repr(assay.build(repr(obj))) == repr(obj)
    assert hash(assay.build(repr(obj))) == hash(obj)


@EVERY
def test_an_unknown_parameter_is_refused_by_name(cls):
    with pytest.raises(SpecError, match=f"{cls.__name__} has no parameter wrong_name"):
        assay.build(f"{cls.__name__}(wrong_name=1)")


@EVERY
def test_a_parameter_of_another_type_is_refused_by_name(cls):
    obj = sample(cls)
    for field in dataclasses.fields(cls):
        if field.init:
            with pytest.raises(SpecError, match=f"{cls.__name__}: {field.name}"):
                dataclasses.replace(obj, **{field.name: {"a": "set"}})


@EVERY
def test_a_count_that_would_never_end_is_refused_by_name(cls):
    obj = sample(cls)
    for field in dataclasses.fields(cls):
        is_count = field.name != "seed" and not isinstance(obj, Target)  # the fields of a target are class ids
        if field.init and is_count and field.type in ("int", "int | None"):
            with pytest.raises(SpecError, match=f"{cls.__name__}: {field.name}|{field.name} must be"):
                dataclasses.replace(obj, **{field.name: 10**12})


@EVERY
def test_it_is_frozen_and_says_what_it_is_for(cls):
    obj = sample(cls)
    for field in dataclasses.fields(cls):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(obj, field.name, 1)
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}(")


def test_a_name_with_a_letter_wrong_is_answered_with_the_right_one():
    for cls in own(assay.Explainer) + own(assay.Measure):
        wrong = cls.__name__[:-2] + "x" + cls.__name__[-1]
        with pytest.raises(SpecError, match=f"unknown name {wrong}; did you mean {cls.__name__}"):
            assay.build(wrong)
