"""The last state of work that goes step by step."""

from __future__ import annotations

from dataclasses import dataclass, field

from assay.models.training.fitting import State
from assay.run.folder import Run

__all__ = ["Checkpoints"]

_COUNT = "checkpoint"


@dataclass
class Checkpoints:
    """Keeps the state after a step in place of the one before, in a run folder.

    Attributes:
        run: The run.
        name: Of the state.
        own: Whether each process has a state of its own. Two are then kept in turn, so that there is always one that all processes
            have, and all must call `last` and `keep`. Otherwise one process does.
    """

    run: Run
    name: str
    own: bool = False
    _count: int = field(default=0, init=False)

    def last(self) -> State | None:
        """What was kept last, by all processes where each has its own; None where nothing was."""
        if not self.own:
            return self.run.load_state(self.name)
        found = (self.run.load_state(self._slot(turn)) for turn in (0, 1))
        kept = {state[1][_COUNT]: state for state in found if state is not None}
        common = set.intersection(*(set(counts) for counts in self.run.ranks.gather(list(kept))))
        self._count = max(common, default=0)
        return kept[self._count] if common else None

    def keep(self, state: State) -> None:
        """Keep a state."""
        tensors, values = state
        if not self.own:
            self.run.save_state(self.name, tensors, values)
            return
        self._count += 1
        self.run.save_state(self._slot(self._count - 1), tensors, {**values, _COUNT: self._count})

    def _slot(self, turn: int) -> str:
        return f"{self.name}-{self.run.ranks.rank}-{turn % 2}"
