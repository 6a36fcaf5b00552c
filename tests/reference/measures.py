"""The measures as their formulae read: one image, one perturbation, one pixel at a time."""

import itertools

import torch

from assay.core import noise


def probability(net, image, target):
    with torch.no_grad():
        return float(net(image[None]).softmax(1)[0, target])


def score(net, image, target):
    with torch.no_grad():
        return float(net(image[None])[0, target].double())


def order_of(one, order):
    """Pixels (row, column), the most important first; equal ones in reading order."""
    value = (one.abs() if order == "magnitude" else one).sum(0)
    places = [(row, column) for row in range(value.shape[0]) for column in range(value.shape[1])]
    return sorted(places, key=lambda place: -float(value[place]))


def curve_area(net, start, end, one, target, steps, order):
    """Area by the trapezoid rule while pixels turn from `start` to `end` in equal shares."""
    pixels = order_of(one, order)
    found = []
    for step in range(steps + 1):
        image, cut = start.clone(), round(step * len(pixels) / steps)
        for row, column in pixels[:cut]:
            image[:, row, column] = end[:, row, column]
        found.append((cut / len(pixels), probability(net, image, target)))
    return sum((b - a) * (low + high) / 2 for (a, low), (b, high) in itertools.pairwise(found))


def moving_area(net, start, end, one, target, steps):
    """Area by the trapezoid rule over parts that are halved where the curve moves most, a quarter of them at a time."""
    pixels = order_of(one, "signed")
    count = len(pixels)

    def height(cut):
        image = start.clone()
        for row, column in pixels[:cut]:
            image[:, row, column] = end[:, row, column]
        return probability(net, image, target)

    first = min(8, -(-steps // 2))
    known = {round(step * count / first): height(round(step * count / first)) for step in range(first + 1)}
    while len(known) - 1 < steps:
        parts = list(itertools.pairwise(sorted(known)))
        total = sum((known[a] - known[b]) ** 2 for a, b in parts)
        doubt = {(a, b): (b - a) ** 2 * ((known[a] - known[b]) ** 2 + (b - a) / count * total) for a, b in parts}
        for a, b in sorted(parts, key=lambda part: -doubt[part])[: min(max(2, len(parts) // 4), steps - len(parts))]:
            known[(a + b) // 2] = height((a + b) // 2)
    return sum((b - a) / count * (known[a] + known[b]) / 2 for a, b in itertools.pairwise(sorted(known)))


def drawn(kind, seed, stream, image, sample, shape):
    return getattr(noise, kind)(seed, stream, torch.tensor([image]), torch.tensor([sample]), tuple(shape))[0]


def infidelity(net, image, one, target, changes, scaled, relative):
    """`mean (I . map - (f(x) - f(x - I)))^2`."""
    guess = torch.tensor([float((change.double() * one.double()).sum()) for change in changes])
    truth = torch.tensor([score(net, image, target) - score(net, image - change, target) for change in changes])
    return finish(guess, truth, scaled, relative)


def local_linear_error(net, image, one, target, changes, scaled, relative):
    """`mean (f(x + u) - f(x) - map . u)^2`."""
    guess = torch.tensor([float((change.double() * one.double()).sum()) for change in changes])
    truth = torch.tensor([score(net, image + change, target) - score(net, image, target) for change in changes])
    return finish(guess, truth, scaled, relative)


def finish(guess, truth, scaled, relative):
    factor = float((guess * truth).sum() / (guess * guess).sum()) if scaled else 1.0
    error = float(((factor * guess - truth) ** 2).mean())
    return error / float((truth**2).mean()) if relative else error


def mask_iou(one, mask, order):
    size = int(mask.sum())
    top = set(order_of(one, order)[:size])
    true = {(row, column) for row in range(mask.shape[0]) for column in range(mask.shape[1]) if mask[row, column]}
    return len(top & true) / len(top | true)


def keep_top(net, image, fill, one, target, fraction, order):
    """1 if the class is seen when the top pixels are copied into the background, else 0."""
    pixels = order_of(one, order)
    kept = fill.clone()
    for row, column in pixels[: max(1, round(fraction * len(pixels)))]:
        kept[:, row, column] = image[:, row, column]
    with torch.no_grad():
        return float(net(kept[None]).argmax(1)[0] == target)


def mass_share(one, mask, mass):
    inside = total = 0.0
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            values = [float(value) for value in one[:, row, column]]
            pixel = sum(map(abs, values)) if mass == "magnitude" else max(0.0, sum(values))
            total += pixel
            inside += pixel * bool(mask[row, column])
    return inside / total
