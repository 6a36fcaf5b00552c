"""Distractor Erasure Tuning written straight from the paper's Algorithm 1: every pass in full, one image's formula after another."""

import copy

import torch
from torch import nn


def distance(one, other):
    """Sum of absolute differences, of each its excess over 1e-5."""
    return ((one - other).abs() - 1e-5).clamp(min=0).sum()


def tuned(black_box, net, images, rounds, grid, mask_lr, model_lr, batch_size, epochs, background, order):
    """(net, one loss per epoch, soft masks per round) of SGD on masks and Adam on the model, rounded between rounds.

    `background(clock)` gives the (N, C, H, W) backgrounds of an epoch, `order(clock)` the order of its model steps; each phase has
    `epochs` epochs. Norms are over class probabilities; |m|_1 is the sum, since masks are never
    negative; the batch's loss is the mean over its images.
    """
    verified = copy.deepcopy(net).eval()
    enlarge = nn.Upsample(size=images.shape[2:], mode="bilinear", align_corners=False)
    masks = torch.ones(len(images), 1, *grid, requires_grad=True)
    by_mask = torch.optim.SGD([masks], lr=mask_lr)
    by_model = torch.optim.Adam(verified.parameters(), lr=model_lr)
    rows, soft, clock = [], [], 0

    def gaps(chosen, mask, behind):
        x = images[chosen]
        simplified = mask * x + (1 - mask) * behind[chosen]
        says, on_simplified = verified(x).softmax(1), verified(simplified).softmax(1)
        wanted = black_box(x).softmax(1).detach()
        return distance(wanted, says), distance(says, on_simplified)

    for k in range(rounds):
        weight = 1 - 0.9 * k / rounds
        for _ in range(epochs):
            behind, total = background(clock), 0.0
            for start in range(0, len(images), batch_size):
                chosen = torch.arange(start, min(start + batch_size, len(images)))
                large = enlarge(masks[chosen])
                first, second = gaps(chosen, large, behind)
                loss = weight * large.sum() / images[0, 0].numel() + first + second
                by_mask.zero_grad()
                (loss / batch_size).backward()
                by_mask.step()
                total += loss.item()
            with torch.no_grad():
                masks.clamp_(0, 1)
            rows.append(total / len(images))
            clock += 1
        soft.append(masks.detach().clone())
        rounded = torch.round(masks.detach() + 0.4 - 0.4 * k / rounds).clamp(0, 1)
        for _ in range(epochs):
            behind, total = background(clock), 0.0
            for chosen in order(clock).split(batch_size):
                first, second = gaps(chosen, enlarge(rounded[chosen]), behind)
                by_model.zero_grad()
                ((first + second) / len(chosen)).backward()
                by_model.step()
                total += (first + second).item()
            rows.append(total / len(images))
            clock += 1
        with torch.no_grad():
            masks.copy_(rounded)
    return verified, rows, soft
