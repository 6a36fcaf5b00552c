"""Robust accuracy of checkpoints by the worst of several attacks, written into their cards.

`python benchmarks/robust.py --attack "AttackEnsemble(eps=0.5, norm='l2')" CHECKPOINT...` measures what `assay train` does at its
end, for networks that were trained before, as the card's `worst`; nothing else of a card changes.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from assay.attack.predictions.prediction import PredictionAttack
from assay.core.registry import build
from assay.data import load
from assay.models.sources import checkpoint
from assay.models.sources.model_card import to_json
from assay.models.training.training import Trained
from assay.study.train import ATTACKED_IMAGES, measured_robustness


def main() -> None:
    """Measure every checkpoint, and write its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--attack", default="AttackEnsemble(eps=0.5, norm='l2')")
    parser.add_argument("--attacked", type=int, default=ATTACKED_IMAGES)
    args = parser.parse_args()
    attack, test_set = build(args.attack, PredictionAttack), load(args.data, "test")
    for name in args.checkpoints:
        net, card = checkpoint.read_checkpoint(name)
        found = measured_robustness(Trained(net, card), test_set, attack, args.attacked, card.seed)
        checkpoint.card_path(name).write_text(to_json(replace(card, worst=found)))
        print(f"{name}: {found.accuracy}, {found.blind} without a gradient", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
