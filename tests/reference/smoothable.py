"""Class probabilities whose Gaussian-smoothed gradient is known exactly; class 0 has them, class 1 the rest."""

import math

import torch
from torch import nn


class Analytic(nn.Module):
    """Logits whose softmax is (f, 1 - f) for a function f of the flattened pixels."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def logs(self, x):
        f = self.value(x)
        return f.log(), (1 - f).log()

    def forward(self, x):
        return torch.stack(self.logs(x.flatten(1).double()), 1).float()


class Probit(Analytic):
    """f = Phi((w.x + b) / s), smoothed Phi((w.x + b) / sqrt(s^2 + sigma^2 |w|^2)): a half space when s is small."""

    def __init__(self, weight, bias=0.0, spread=1.0):
        super().__init__(weight)
        self.bias, self.spread = bias, spread

    def logs(self, x):
        t = (x @ self.weight + self.bias) / self.spread
        return torch.special.log_ndtr(t), torch.special.log_ndtr(-t)

    def smoothed_gradient(self, x, sigma):
        wide = math.sqrt(self.spread**2 + sigma**2 * float(self.weight @ self.weight))
        t = (x @ self.weight + self.bias) / wide
        return (torch.exp(-(t**2) / 2) / math.sqrt(2 * math.pi) / wide)[:, None] * self.weight


class Sine(Analytic):
    """f = (1 + 0.98 sin(w.x)) / 2, whose sine is damped by exp(-sigma^2 |w|^2 / 2)."""

    def value(self, x):
        return 0.5 + 0.49 * (x @ self.weight).sin()

    def smoothed_gradient(self, x, sigma):
        factor = 0.49 * math.exp(-(sigma**2) * float(self.weight @ self.weight) / 2)
        return (factor * (x @ self.weight).cos())[:, None] * self.weight


class Bump(Analytic):
    """f = exp(-|x - 1/2|^2 / (2 s^2)) in d pixels, smoothed a wider and lower bump: its gradient turns with the place."""

    def __init__(self, spread):
        super().__init__(None)
        self.spread = spread

    def value(self, x):
        return (-((x - 0.5) ** 2).sum(1) / (2 * self.spread**2)).exp().clamp(max=1 - 1e-7)

    def smoothed_gradient(self, x, sigma):
        wide = self.spread**2 + sigma**2
        scale = (self.spread**2 / wide) ** (x.shape[1] / 2)
        away = x - 0.5
        return -(scale * (-(away**2).sum(1) / (2 * wide)).exp() / wide)[:, None] * away
