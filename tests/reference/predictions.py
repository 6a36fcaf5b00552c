"""Slow twins of attacks on the prediction, one image at a time, written from the papers' algorithms; noise is the attacks' own."""

import math

import torch

from assay.attack.ball import ball
from assay.core import noise


def margin(logits, label):
    """The lead of the best other class, of one image's logits (K,)."""
    return max(value for k, value in enumerate(logits) if k != label) - logits[label]


def dlr(logits, label):
    """Difference of logits ratio (Croce, Hein 2020, equation 6)."""
    ordered = sorted(logits, key=lambda value: float(value.detach()), reverse=True)
    return margin(logits, label) / (ordered[0] - ordered[2])


def apgd(net, image, label, eps, norm, steps, seed=0, index=0, loss=margin, rho=0.75, alpha=0.75):
    """Algorithm 1 of Croce, Hein 2020, without stopping early: the pixels of the largest loss, that loss, and the step sizes used."""
    area = ball(norm, eps)

    def project(x):
        return image + area.project((x - image)[None], image[None])[0]

    def f(x):
        return float(loss(net(x[None])[0].detach(), label))

    def slope(x):
        x = x.clone().requires_grad_()
        return torch.autograd.grad(loss(net(x[None])[0], label), x)[0]

    def direction(g):
        return g.sign() if norm == "linf" else g / g.norm()

    p, w = [0.0, 0.22], [0]
    while p[-1] <= 1:
        w.append(math.ceil(p[-1] * steps - 1e-9))
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))

    drawn = noise.normal(seed, "APGD", torch.tensor([index]), torch.tensor([0]), tuple(image.shape))
    x = [image + area.start(image[None], drawn)[0]]
    eta = {0: 2 * eps}
    x.append(project(x[0] + eta[0] * direction(slope(x[0]))))
    values = [f(x[0]), f(x[1])]
    f_max, x_max = max(zip(values, x, strict=True), key=lambda pair: pair[0])
    rose = [values[1] > values[0]]
    f_max_at, eta_now = {0: values[0]}, 2 * eps
    for k in range(1, steps):
        eta[k] = eta_now
        z = project(x[k] + eta_now * direction(slope(x[k])))
        x.append(project(x[k] + alpha * (z - x[k]) + (1 - alpha) * (x[k] - x[k - 1])))
        value = f(x[k + 1])
        rose.append(value > f(x[k]))
        if value > f_max:
            f_max, x_max = value, x[k + 1]
        if k in w:
            j = w.index(k)
            f_max_at[k] = f_max
            first = sum(rose[w[j - 1] : w[j]]) < rho * (w[j] - w[j - 1])
            second = eta[w[j - 1]] == eta[w[j]] and f_max_at[w[j - 1]] == f_max_at[w[j]]
            if first or second:
                eta_now, x[k + 1] = eta_now / 2, x_max
    return x_max, f_max, eta


def square_linf(net, image, label, eps, queries, share, seed=0, index=0):
    """Algorithms 1 and 2 of Andriushchenko et al. 2020: the pixels of the largest margin, and that margin."""
    channels, height, width = image.shape

    def signs(stream, number, shape):
        drawn = noise.uniform(seed, stream, torch.tensor([index]), torch.tensor([number]), shape)[0]
        return torch.where(drawn < 0.5, -1.0, 1.0)

    best = (image + eps * signs("Square start", 0, (channels, 1, width))).clamp(0, 1)
    value = float(margin(net(best[None])[0].detach(), label))
    for query in range(queries):
        place = query / queries * 10000
        part = share
        for halved in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
            part = part / 2 if int(place) > halved else part
        side = max(1, min(height, width, round(math.sqrt(part * height * width))))
        r, s = noise.uniform(seed, "Square", torch.tensor([index]), torch.tensor([query]), (2,))[0]
        top, left = int(r * (height - side + 1)), int(s * (width - side + 1))
        tried = best.clone()
        tried[:, top : top + side, left : left + side] += 2 * eps * signs("Square colours", query, (channels, 1, 1))
        tried = torch.minimum(torch.maximum(tried, image - eps), image + eps).clamp(0, 1)
        now = float(margin(net(tried[None])[0].detach(), label))
        if now > value:
            best, value = tried, now
    return best, value


def square_l2(net, image, label, eps, queries, share, seed=0, index=0):
    """Algorithms 1 and 3 of Andriushchenko et al. 2020: the pixels of the largest margin, and that margin."""
    channels, height, width = image.shape

    def drawn(stream, number, shape):
        return noise.uniform(seed, stream, torch.tensor([index]), torch.tensor([number]), shape)[0]

    def bump(side, turn):
        whole = torch.zeros(side, side)
        for first, last, sign in ((0, side // 2, 1.0), (side // 2, side, -1.0)):
            tall, wide = last - first, side
            hill = torch.zeros(tall, wide)
            middle, centre = tall // 2, wide // 2
            for k in range(max(middle, centre) + 1):
                for i in range(tall):
                    for j in range(wide):
                        if abs(i - middle) <= k and abs(j - centre) <= k:
                            hill[i, j] += 1 / (k + 1) ** 2
            whole[first:last] = sign * hill / hill.norm()
        whole = whole / whole.norm()
        return whole if turn else whole.T

    def longer(delta):
        return (image + delta / delta.norm() * eps).clamp(0, 1)

    side = max(2, min(height, width) // 5)
    down, across = height // side, width // side
    top, left = (height - down * side) // 2, (width - across * side) // 2
    coins = drawn("Square start", 0, (channels + 1, down, across))
    delta = torch.zeros_like(image)
    for row in range(down):
        for column in range(across):
            for channel in range(channels):
                sign = -1.0 if coins[channel, row, column] < 0.5 else 1.0
                rows = slice(top + row * side, top + (row + 1) * side)
                columns = slice(left + column * side, left + (column + 1) * side)
                delta[channel, rows, columns] = sign * bump(side, coins[-1, row, column] >= 0.5)
    best = longer(delta)
    value = float(margin(net(best[None])[0].detach(), label))
    for query in range(queries):
        part = share
        for halved in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
            part = part / 2 if int(query / queries * 10000) > halved else part
        side = max(3, round(math.sqrt(part * height * width)))
        side = side + 1 if side % 2 == 0 else side
        least = min(height, width)
        side = min(side, least if least % 2 else least - 1)
        windows = []
        for stream in ("Square", "Square second"):
            r, s = drawn(stream, query, (2,))
            first, second = int(r * (height - side + 1)), int(s * (width - side + 1))
            windows.append((slice(first, first + side), slice(second, second + side)))
        delta = best - image
        unused = max(eps**2 - float(delta.square().sum()), 0.0)
        coins = drawn("Square colours", query, (channels + 1, 1, 1)).flatten()
        made = delta.clone()
        for channel in range(channels):
            mask = torch.zeros(height, width, dtype=torch.bool)
            for window in windows:
                mask[window] = True
            room = math.sqrt(float(delta[channel][mask].square().sum()) + unused / channels)
            old = delta[channel][windows[0]]
            sign = -1.0 if coins[channel] < 0.5 else 1.0
            fresh = sign * bump(side, coins[-1] >= 0.5) + (old / old.norm() if old.norm() > 0 else old)
            made[channel][windows[1]] = 0.0
            made[channel][windows[0]] = fresh / fresh.norm() * room
        tried = longer(made)
        now = float(margin(net(tried[None])[0].detach(), label))
        if now > value:
            best, value = tried, now
    return best, value
