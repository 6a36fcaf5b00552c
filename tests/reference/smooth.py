"""SmoothGrad as its formula reads: one noisy copy after the other."""

import torch

from assay.core import noise


def smoothgrad(net, images, targets, sigma, samples, seed, antithetic):
    maps = torch.zeros_like(images)
    for image in range(len(images)):
        for sample in range(samples):
            number, sign = (sample // 2, 1 - 2 * (sample % 2)) if antithetic else (sample, 1)
            drawn = noise.normal(seed, "Smoothed", torch.tensor([image]), torch.tensor([number]), tuple(images.shape[1:]))
            noisy = (images[image : image + 1] + sign * sigma * drawn).requires_grad_()
            score = net(noisy)[0, targets[image]]
            maps[image] += torch.autograd.grad(score, noisy)[0][0] / samples
    return maps
