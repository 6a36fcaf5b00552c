"""The attack that options ask for, part by part or as a whole."""

from __future__ import annotations

from assay.attack.ball import Norm
from assay.attack.base import Attack
from assay.attack.goals import Goal
from assay.attack.map_attack import MapAttack
from assay.errors import SpecError

__all__ = ["RADII", "STEPS", "asked_attack"]

RADII = {"linf": 8 / 255, "l2": 0.5}
STEPS = 50


def asked_attack(
    attack: Attack | None, eps: float | None = None, norm: Norm | None = None, steps: int | None = None, goal: Goal | None = None
) -> Attack:
    """An attack given as a whole, or `MapAttack` of its parts; a part that is None is the usual one.

    Raises:
        SpecError: Parts are given beside a whole attack, which would be without effect, or the norm has no usual radius.
    """
    parts = {"eps": eps, "norm": norm, "steps": steps, "goal": goal}
    given = [f"--{name}" for name, value in parts.items() if value is not None]
    if attack is not None:
        if given:
            raise SpecError(f"--attack brings its own {', '.join(one[2:] for one in given)}; leave {', '.join(given)} out")
        return attack
    if steps is not None and steps < 1:
        raise SpecError(f"--steps must be at least 1, not {steps}")
    radius = eps if eps is not None else RADII.get(norm or "linf")
    if radius is None:
        raise SpecError(f"--norm {norm} has no usual radius; give --eps")
    made = MapAttack(radius, norm or "linf", STEPS if steps is None else steps)
    return made if goal is None else MapAttack(made.eps, made.norm, made.steps, goal)
