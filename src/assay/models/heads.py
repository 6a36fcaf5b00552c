"""Heads: what a network's outputs mean, and so what its prediction is, when it stays, and what its probability is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.core.precision import Precision
from assay.core.registry import nearest
from assay.errors import ModelError, SpecError

__all__ = ["HEADS", "PROBABILITIES", "Head", "HeadName", "Output", "check_choices", "matrix", "of_class"]

HeadName = Literal["softmax", "sigmoid", "binary", "scalar"]
Output = Literal["logit", "probability", "log_probability"]


class Head(ABC):
    """How outputs (n, K), or (n, K, ...) at several positions, are read; a class's id is its place on axis 1."""

    name: ClassVar[HeadName]
    decides: ClassVar[bool] = True
    """Whether there is a class, or a finding, that a changed image can keep or lose."""
    sided: ClassVar[bool] = False
    """Whether an image may have several classes, so that each is there or not, and labels may be multi-hot (N, K)."""

    def take(self, outputs: Tensor, network: str) -> Tensor:
        """What the network returned, of n images and checked to be that, in the shape that the head reads.

        Raises:
            ModelError: It is nothing of the kind; the message names `network`.
        """
        if outputs.ndim < 2:
            raise ModelError(
                f"{network} returns one number per image, where head={self.name!r} needs one for each class: give Classifier(net, "
                "head='binary') if it is the logit of two classes, head='scalar' if it is a value"
            )
        return outputs

    @abstractmethod
    def transform(self, outputs: Tensor, output: Output) -> Tensor:
        """Every class's logit, probability or log probability, in the shape of `outputs`."""

    def scores(self, outputs: Tensor, output: Output) -> Tensor:
        """What is explained of each class by itself, in the shape of `outputs`: `transform`, unless that is the same for every image."""
        return self.transform(outputs, output)

    def average(self, outputs: Tensor, output: Output) -> Tensor:
        """The mean over axis 0 of outputs (S, n, ...), or of their probabilities unless logits are asked for, given as logits (n, ...)."""
        return outputs.mean(0) if output == "logit" else self._mean_probability(outputs)

    def _mean_probability(self, outputs: Tensor) -> Tensor:
        logs = self.transform(outputs.flatten(0, 1), "log_probability").view_as(outputs)
        return logs.logsumexp(0) - math.log(len(outputs))

    def choose(self, outputs: Tensor) -> Tensor:
        """Predicted classes (n,): the most probable ones.

        Raises:
            ModelError: The outputs have several positions, and so no one class.
        """
        return matrix(outputs).argmax(1)

    def predict(self, outputs: Tensor) -> Tensor:
        """What a user is told: class ids (n,)."""
        return self.choose(outputs)

    def stake(self, clean: Tensor, ids: Tensor) -> Tensor:
        """The classes (n,) that must stay where `ids` (n,) are explained."""
        return ids

    @abstractmethod
    def agrees(self, outputs: Tensor, ids: Tensor, clean: Tensor) -> Tensor:
        """Whether (n,) the outputs (n, K) of changed images still say `ids` (n,); `clean` (n, K) is what they were before."""

    @abstractmethod
    def lead(self, outputs: Tensor, ids: Tensor, clean: Tensor) -> Tensor:
        """By how much (n,), in logits, `agrees` holds; negative where it does not."""

    def spread(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """How far (n,) the outputs (n, K) that decide are apart, 1 where not at all: what leads and losses are measured by.

        Multiplied outputs have the same leads and losses in these units.

        Args:
            outputs: (n, K).
            labels: (n,) or multi-hot (n, K): what is explained or right.
        """
        return _positive(outputs.std(1, correction=0))

    @abstractmethod
    def right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Whether (n,) outputs (n, K) agree with labels (n,), or multi-hot (n, K) where the head has several findings."""

    @abstractmethod
    def findings(self, outputs: Tensor) -> Tensor:
        """What the outputs say, in the form of labels: class ids (n,), or truths (n, K) where the head has several findings."""

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor, kind: str) -> Tensor:
        """What an attack on the prediction climbs (n,): the "cross_entropy", or the "margin" by which `right` is lost."""


class Softmax(Head):
    """K classes of which each image has one."""

    name: ClassVar[HeadName] = "softmax"

    def take(self, outputs: Tensor, network: str) -> Tensor:
        """See `Head.take`."""
        outputs = super().take(outputs, network)
        if outputs.shape[1] < 2:
            raise ModelError(
                f"{network} returns shape {tuple(outputs.shape)} where logits (n, K), K >= 2, are needed; take them out with "
                "Classifier(net, select=...), or give Classifier(net, head='binary') if it is the logit of two classes, 'sigmoid' if of "
                "one finding, 'scalar' if it is a value"
            )
        return outputs

    def transform(self, outputs: Tensor, output: Output) -> Tensor:
        """See `Head.transform`."""
        if output == "log_probability":
            return outputs.log_softmax(1)
        return outputs.softmax(1) if output == "probability" else outputs

    def stake(self, clean: Tensor, ids: Tensor) -> Tensor:
        """The predicted classes, whichever are explained."""
        return self.choose(clean)

    def agrees(self, outputs: Tensor, ids: Tensor, clean: Tensor) -> Tensor:
        """The class is the predicted one."""
        return self.choose(outputs) == ids

    def lead(self, outputs: Tensor, ids: Tensor, clean: Tensor) -> Tensor:
        """Before the best other class."""
        return of_class(outputs, ids) - outputs.scatter(1, ids[:, None], -torch.inf).amax(1)

    def right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """See `Head.right`."""
        return self.choose(outputs) == labels

    def findings(self, outputs: Tensor) -> Tensor:
        """See `Head.findings`."""
        return self.choose(outputs)

    def loss(self, outputs: Tensor, labels: Tensor, kind: str) -> Tensor:
        """See `Head.loss`."""
        if kind == "cross_entropy":
            return F.cross_entropy(outputs, labels, reduction="none")
        return -self.lead(outputs, labels, outputs)


class Probabilities(Softmax):
    """K classes, of which the outputs are the probabilities already."""

    def transform(self, outputs: Tensor, output: Output) -> Tensor:
        """See `Head.transform`; what counts as logits are the outputs, as they are."""
        return outputs.clamp_min(torch.finfo(outputs.dtype).tiny).log() if output == "log_probability" else outputs

    def average(self, outputs: Tensor, output: Output) -> Tensor:
        """See `Head.average`."""
        return outputs.mean(0)


class Binary(Softmax):
    """One logit z per image: two classes with logits (0, z), the probability of class 1 being sigmoid(z)."""

    name = "binary"

    def take(self, outputs: Tensor, network: str) -> Tensor:
        """See `Head.take`."""
        one = outputs[:, None] if outputs.ndim == 1 else outputs
        if one.shape[1] != 1:
            raise ModelError(
                f"{network} returns {tuple(outputs.shape)}, but head='binary' is for one logit per image; give head='softmax' for classes "
                "that exclude each other, 'sigmoid' for findings that do not"
            )
        return torch.cat([torch.zeros_like(one), one], 1)

    def scores(self, outputs: Tensor, output: Output) -> Tensor:
        """See `Head.scores`; instead of logits the log-odds (-z, z), since the logit of class 0 is 0 whatever the image."""
        return outputs - outputs.flip(1) if output == "logit" else super().scores(outputs, output)


class Sigmoid(Head):
    """K findings, each with a sigmoid of its own; one is there where its logit is above 0."""

    name = "sigmoid"
    sided = True

    def take(self, outputs: Tensor, network: str) -> Tensor:
        """See `Head.take`; one logit per image is one finding."""
        return super().take(outputs[:, None] if outputs.ndim == 1 else outputs, network)

    def transform(self, outputs: Tensor, output: Output) -> Tensor:
        """See `Head.transform`."""
        if output == "log_probability":
            return F.logsigmoid(outputs)
        return outputs.sigmoid() if output == "probability" else outputs

    def _mean_probability(self, outputs: Tensor) -> Tensor:
        return super()._mean_probability(outputs) - super()._mean_probability(-outputs)

    def agrees(self, outputs: Tensor, ids: Tensor, clean: Tensor) -> Tensor:
        """The finding is on the side of its threshold where it was; the others do not matter."""
        return (of_class(outputs, ids) > 0) == (of_class(clean, ids) > 0)

    def lead(self, outputs: Tensor, ids: Tensor, clean: Tensor) -> Tensor:
        """Away from the threshold, on the side where it was."""
        return torch.where(of_class(clean, ids) > 0, 1.0, -1.0) * of_class(outputs, ids)

    def spread(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """How far from its threshold the finding is; of multi-hot labels the root mean square of all."""
        if labels.ndim == 1:
            return _positive(of_class(outputs, labels).abs())
        return _positive(outputs.square().mean(1).sqrt())

    def right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The labelled finding is there, or all findings are as the multi-hot labels say."""
        if labels.ndim == 1:
            return of_class(outputs, labels) > 0
        return (self.findings(outputs) == (labels > 0)).all(1)

    def findings(self, outputs: Tensor) -> Tensor:
        """See `Head.findings`."""
        return matrix(outputs) > 0

    def loss(self, outputs: Tensor, labels: Tensor, kind: str) -> Tensor:
        """See `Head.loss`; of multi-hot labels the losses of all findings, or the worst margin."""
        side = 2.0 * (labels > 0).float() - 1 if labels.ndim > 1 else torch.ones_like(outputs[:, :1])
        own = side * (outputs if labels.ndim > 1 else of_class(outputs, labels)[:, None])
        return F.softplus(-own).sum(1) if kind == "cross_entropy" else -own.amin(1)


class Scalar(Head):
    """Values, as of a regression: what is explained is the value itself, and there is no class."""

    name = "scalar"
    decides = False

    def take(self, outputs: Tensor, network: str) -> Tensor:
        """See `Head.take`; one value per image is output 0."""
        return super().take(outputs[:, None] if outputs.ndim == 1 else outputs, network)

    def transform(self, outputs: Tensor, output: Output) -> Tensor:
        """The values, whatever is asked."""
        return outputs

    def choose(self, outputs: Tensor) -> Tensor:
        """Output 0, where there is no other.

        Raises:
            ModelError: There are several values, of which one must be named.
        """
        if math.prod(outputs.shape[1:]) != 1:
            raise ModelError(
                f"the model gives {math.prod(outputs.shape[1:])} values per image: say which one is explained, such as targets=0, or give "
                "targets= a callable from outputs to (N,)"
            )
        return torch.zeros(len(outputs), dtype=torch.int64, device=outputs.device)

    def predict(self, outputs: Tensor) -> Tensor:
        """The values: (n,), or (n, K) of several."""
        return outputs[:, 0] if outputs.shape[1:] == (1,) else outputs

    def agrees(self, outputs: Tensor, ids: Tensor, clean: Tensor) -> Tensor:
        """Always: a value has no side."""
        return torch.ones(len(outputs), dtype=torch.bool, device=outputs.device)

    def lead(self, outputs: Tensor, ids: Tensor, clean: Tensor) -> Tensor:
        """Infinite: there is nothing to lose."""
        return torch.full((len(outputs),), math.inf, device=outputs.device)

    def right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """See `findings`."""
        return self.findings(outputs)

    def findings(self, outputs: Tensor) -> Tensor:
        """See `Head.findings`.

        Raises:
            ModelError: Always; a value is not right or wrong.
        """
        raise ModelError("head='scalar' gives values, of which none is right or wrong: accuracy, agreement and PGD are for classes")

    def loss(self, outputs: Tensor, labels: Tensor, kind: str) -> Tensor:
        """See `findings`."""
        return self.findings(outputs)


HEADS: dict[str, Head] = {one.name: one for one in (Softmax(), Sigmoid(), Binary(), Scalar())}
"""Heads by name."""
PROBABILITIES = Probabilities()
"""What stands for "softmax" where the outputs are probabilities."""


def check_choices(precision: str, output: str, head: str | None, chunk: int | None, memory: int | None) -> None:
    """Raise SpecError unless a Classifier can compute and explain so."""
    choices = (
        ("precision", precision, get_args(Precision)),
        ("output", output, get_args(Output)),
        ("head", head or "softmax", tuple(HEADS)),
    )
    if precision == "auto":
        raise SpecError(
            "precision 'auto' is for the commands explain, audit, attack and frontier, which find it out on their images; "
            "give a Classifier 'float32' or 'bfloat16'"
        )
    for name, value, known in choices:
        if value not in known:
            raise SpecError(f"{name} must be one of {', '.join(known)}, not {value!r}{nearest(value, known)}")
    for name, number in (("chunk", chunk), ("memory", memory)):
        if number is not None and number < 1:
            raise SpecError(f"{name} must be at least 1, not {number}")
    if head == "scalar" and output != "logit":
        raise SpecError(
            f"head='scalar' gives values, which are explained themselves, not their {output.replace('_', ' ')}; leave output out"
        )


def matrix(outputs: Tensor) -> Tensor:
    """`outputs` if they are (n, K).

    Raises:
        ModelError: They have several positions.
    """
    if outputs.ndim != 2:
        raise ModelError(
            f"the model gives {tuple(outputs.shape[1:])} per image, which is no one class: say what is explained, such as "
            "targets=assay.Mean(mask, k) for class k in a region or a callable from outputs to (N,), or take logits (N, K) out with "
            "Classifier(net, select=...)"
        )
    return outputs


def _positive(values: Tensor) -> Tensor:
    return values.masked_fill(values == 0, 1.0)


def of_class(outputs: Tensor, ids: Tensor) -> Tensor:
    """The entries (n,) of outputs (n, K) for class ids (n,)."""
    return matrix(outputs).gather(1, ids[:, None])[:, 0]
