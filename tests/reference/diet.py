"""Distractor Erasure Tuning written from the description of the authors' script: every pass in full, one batch after another."""

import torch
from torch import nn


def near(losses, low, high):
    """Whether the last loss is within these ratios of that two epochs before; two epochs before the first it is infinite."""
    return len(losses) > 2 and low * losses[-3] <= losses[-1] <= high * losses[-3]


def enlarged(masks, like):
    return nn.Upsample(size=like.shape[2:], mode="bilinear", align_corners=False)(masks)


def parts(net, wanted, images, masks, behind):
    """|f_b(x) - f_v(x)|, |f_v(x) - f_v(x_s)| of probabilities, and the size of the enlarged mask; sums over the batch."""
    large = enlarged(masks, images)
    says, left = net(images).softmax(1), net(large * images + (1 - large) * behind).softmax(1)
    norm = torch.linalg.vector_norm
    return norm(wanted - says, 1), norm(says - left, 1), norm(large, 1) / images[0, 0].numel()


class Script:
    """The state of the authors' script: one mask for each image, the model f_v, their optimisers.

    Attributes:
        masks: (N, 1, rows, columns).
        net: f_v, changed in place.
    """

    def __init__(self, net, wanted, images, grid, mask_lr, model_lr, batch_size):
        self.net, self.wanted, self.images, self.batch_size = net, wanted, images, batch_size
        self.masks = torch.ones(len(images), 1, *grid, requires_grad=True)
        self.by_mask = torch.optim.SGD([self.masks], lr=mask_lr)
        self.by_model = torch.optim.Adam(net.parameters(), lr=model_lr)

    def mask_epoch(self, weight, behind, order, first=1.0):
        """One epoch of the masks; the mean loss per image. `first` is 0 where the distance from f_b plays no part."""
        self.net.eval()
        total = 0.0
        for chosen in order.split(self.batch_size):
            to_base, to_simple, size = parts(self.net, self.wanted[chosen], self.images[chosen], self.masks[chosen], behind[chosen])
            loss = (weight * size + first * to_base + to_simple) / len(chosen)
            self.by_mask.zero_grad()
            loss.backward()
            self.by_mask.step()
            with torch.no_grad():
                self.masks.copy_(self.masks.clamp(0, 1))
            total += loss.item() * len(chosen)
        return total / len(self.images)

    def round_masks(self, k, rounds):
        with torch.no_grad():
            self.masks.copy_(torch.round(self.masks + 0.4 - 0.4 * k / rounds))

    def model_epoch(self, behind, order):
        """One epoch of the model, in train mode."""
        self.net.train()
        total = 0.0
        for chosen in order.split(self.batch_size):
            masks = self.masks[chosen].detach()
            to_base, to_simple, _ = parts(self.net, self.wanted[chosen], self.images[chosen], masks, behind[chosen])
            loss = (to_base + to_simple) / len(chosen)
            self.by_model.zero_grad()
            loss.backward()
            self.by_model.step()
            total += loss.item() * len(chosen)
        self.net.eval()
        return total / len(self.images)


def masks_over(losses):
    """Whether a phase of masks is over after epochs with these losses."""
    return near(losses, 0.995, 1.005)


def model_over(losses):
    return losses[-1] < 0.025 or near(losses, 0.97, 1.005)


def new_masks_over(losses):
    return near(losses, 0.998, 1.002)
