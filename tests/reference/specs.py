"""One sample of every registered class, so that contracts cover what is added later without a list to keep."""

import dataclasses
import inspect
import typing

import assay
import assay.core.registry as registry
from assay.data import Dataset
from assay.errors import DataError, SpecError

SMALL = {
    "MapAttack": "MapAttack(eps=0.3, norm='l2', steps=4, judge_every=2, samples=4)",
    "BlackBoxMapAttack": "BlackBoxMapAttack(eps=0.3, norm='l2', steps=4, pairs=1)",
    "NoiseMapAttack": "NoiseMapAttack(eps=0.3, norm='l2', draws=2)",
    "AttackedSimilarity": "AttackedSimilarity(attack=MapAttack(eps=0.2, norm='l2', steps=2, restarts=1, samples=2), distance=Cosine(), "
    "otherwise=BlackBoxMapAttack(eps=0.2, norm='l2', steps=3))",
    "KernelShap": "KernelShap(samples=30, segments=Grid(rows=3, columns=3))",
    "LearnedMask": "LearnedMask(rounds=2, stop=Epochs(3), lr=0.1, lambda_data=30.0, sparsity=Falling())",
    "ExpectedGradients": "ExpectedGradients(baselines=Constant(value=0.1), samples=4)",
    "Rise": "Rise(samples=20, cells=3)",
    "ShapleySampling": "ShapleySampling(permutations=3, segments=Grid(rows=3, columns=3))",
    "VarGrad": "VarGrad(samples=4)",
    "Lime": "Lime(samples=20, segments=Grid(rows=3, columns=3))",
    "Occlusion": "Occlusion(segments=Grid(rows=3, columns=3))",
    "Refined": "Refined(explainer=GradientXInput(), radius=2, of='signed')",
    "SmoothGrad": "SmoothGrad(sigma=0.1, samples=5)",
    "Smoothed": "Smoothed(explainer=IntegratedGradients(steps=2), kernel=Uniform(radius=0.1), samples=3)",
    "Sparsified": "Sparsified(explainer=Gradient(), fraction=0.2)",
    "IntegratedGradients": "IntegratedGradients(steps=4)",
    "Deletion": "Deletion(steps=5)",
    "Insertion": "Insertion(steps=5)",
    "Infidelity": "Infidelity(samples=8)",
    "LocalLinearError": "LocalLinearError(radius=0.3, samples=8)",
    "LocalLipschitz": "LocalLipschitz(draws=3)",
    "MarginalContribution": "MarginalContribution(groups=9)",
    "Road": "Road(fractions=(0.2, 0.6))",
    "MaxSensitivity": "MaxSensitivity(samples=3)",
}
"""Cheaper parameters where the defaults make many passes."""


def own(base):
    """Registered classes of the package itself, sorted by name; what tests register is left out."""
    return [cls for cls in assay.registered(base).values() if cls.__module__.startswith("assay.")]


def sample(cls):
    """An object of `cls` with defaults, and the simplest value for what has none."""
    given = {}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            given[field.name] = simplest(hints[field.name])
    return cls(**given)


def simplest(hint):
    choices = [option for option in typing.get_args(hint) if option is not type(None)]
    if typing.get_origin(hint) is typing.Literal:
        return choices[0]
    if typing.get_origin(hint) is tuple:
        return tuple(simplest(option) for option in choices if option is not Ellipsis)
    if choices:
        return simplest(choices[0])
    if hint in (int, float):
        return hint(1)
    if hint is str:
        return "text"
    if hint is bool:
        return True
    ready = [cls for cls in own(hint) if not inspect.isabstract(cls)]
    return sample(min(ready, key=lambda cls: len(dataclasses.fields(cls))))


def sampled():
    """Classes that need no files to be made; data sets that do are tested with files of their own."""
    ready = []
    for cls in own(object):
        try:
            sample(cls)
        except (DataError, SpecError):
            assert issubclass(cls, Dataset)
            continue
        ready.append(cls)
    return ready


def cheap(cls):
    """An object of `cls` that takes few passes."""
    spec = SMALL.get(cls.__name__)
    return registry.build(spec) if spec else sample(cls)
