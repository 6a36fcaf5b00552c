"""Maps of hidden layers as their formulae read: one image, one layer, one channel at a time."""

import torch
from torch import nn
from torch.nn.functional import interpolate


def grad_cam(net, layer, image, target):
    """Equations 1 and 2 of Selvaraju et al., then bilinear upsampling."""
    kept = []
    handle = dict(net.named_modules())[layer].register_forward_hook(lambda *given: kept.append(given[-1]))
    logits = net(image[None])
    handle.remove()
    slopes = torch.autograd.grad(logits[0, target], kept[-1])[0][0]
    features = kept[-1][0].detach()
    total = torch.zeros(features.shape[1:])
    for channel in range(len(features)):
        total += slopes[channel].mean() * features[channel]
    return upsampled(total.relu(), image)


def full_grad(net, image, target, scaling, simple):
    """The sum over the input and all layers with a bias, as the authors' code has it; for networks of convolution, batch norm, linear."""
    layers, outputs = [], []

    def keep(module, given, output):
        layers.append(module)
        outputs.append(output.clone())
        return outputs[-1].clone()

    handles = [module.register_forward_hook(keep) for module in net.modules() if shift(module) is not None]
    pixels = image[None].clone().requires_grad_()
    score = net(pixels)[0, target]
    for handle in handles:
        handle.remove()
    slope, *slopes = torch.autograd.grad(score, [pixels, *outputs])
    total, explained = aggregated(slope[0] * image, image, scaling), float((slope[0] * image).double().sum())
    for module, found in zip(layers, slopes, strict=True):
        bias = shift(module).view(-1, *[1] * (found.ndim - 2))
        explained += float((found[0] * bias).double().sum())
        if found.ndim == 4:
            total = total + aggregated(found[0] if simple else found[0] * bias, image, scaling)
    return total, float(score.detach()) - explained


def shift(module):
    """What a module adds to each channel, or None."""
    if isinstance(module, nn.BatchNorm2d):
        return (module.bias - module.running_mean * module.weight / (module.running_var + module.eps).sqrt()).detach()
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        return module.bias.detach()
    return None


def aggregated(values, image, scaling):
    sizes = values.abs()
    total = torch.zeros(image.shape[1:])
    for channel in sizes:
        low, high = (sizes.min(), sizes.max()) if scaling == "layer" else (channel.min(), channel.max())
        total += upsampled((channel - low) / (high - low), image) if high > low else 0.0
    return total


def upsampled(grid, image):
    return interpolate(grid[None, None], image.shape[1:], mode="bilinear", align_corners=False)[0, 0]
