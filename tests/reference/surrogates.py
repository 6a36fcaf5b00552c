"""LIME and KernelSHAP one coalition at a time, and exact Shapley values by enumeration, in double precision."""

import itertools
import math

import numpy as np
import torch
from sklearn.linear_model import Ridge


def perturbed(image, labels, filled, members):
    """The image with absent superpixels replaced; `members` is one bool per superpixel."""
    stays = torch.tensor(members)[labels]
    return torch.where(stays, image, filled)


def outputs(net, image, labels, filled, coalitions, target):
    with torch.no_grad():
        return [float(net(perturbed(image, labels, filled, members)[None])[0, target]) for members in coalitions]


def lime(image, labels, filled, coalitions, values, alpha, width):
    """Ridge coefficients by scikit-learn, the weights of the paper's exponential kernel over cosine distances."""
    weights = []
    for members in coalitions:
        x, z = image.double().flatten(), perturbed(image, labels, filled, members).double().flatten()
        cosine = float(x @ z) / max(float(x.norm() * z.norm()), 1e-8)
        weights.append(math.exp(-((1 - cosine) ** 2) / (2 * width**2)))
    fit = Ridge(alpha=alpha, solver="cholesky").fit(np.array(coalitions, dtype=float), np.array(values), sample_weight=np.array(weights))
    return fit.coef_


def constrained_least_squares(coalitions, values, weights, empty, full):
    """Weighted least squares whose coefficients sum to `full - empty`, by the bordered normal equations."""
    x, w = np.array(coalitions, dtype=float), np.array(weights)
    y = np.array(values) - empty
    n = x.shape[1]
    bordered = np.block([[x.T @ (w[:, None] * x), np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    return np.linalg.solve(bordered, np.append(x.T @ (w * y), full - empty))[:n]


def exact_shapley(value, players):
    """Shapley values of `value(set)` by the definition: the mean marginal over all coalitions, sizes weighing alike."""
    phi = np.zeros(players)
    known = {}
    for size in range(players + 1):
        for chosen in itertools.combinations(range(players), size):
            known[chosen] = value(chosen)
    for player in range(players):
        rest = [other for other in range(players) if other != player]
        for size in range(players):
            share = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
            for chosen in itertools.combinations(rest, size):
                phi[player] += share * (known[tuple(sorted((*chosen, player)))] - known[chosen])
    return phi
