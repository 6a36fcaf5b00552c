"""One network of docs/models.md under test, against a twin that Assay never sees."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable
from typing import Any

import torch
from model_rows import Row
from torch import Tensor, nn
from torch.nn.functional import interpolate

import assay
from assay.explain.features.cam import layer_for

__all__ = ["Trial", "WrongError"]

COUNT = 3


class WrongError(Exception):
    """A check that did not come out; its text is the cell's reason."""


def lively(net: Any, seed: int = 0) -> Any:
    """The network with numbers in place of weights and statistics that begin as constants, which hide mistakes."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules() if isinstance(net, nn.Module) else ():
            if isinstance(module, nn.modules.lazy.LazyModuleMixin) and module.has_uninitialized_params():
                continue
            for name, one in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                if not one.is_floating_point() or one.numel() < 2 or not bool((one == one.flatten()[0]).all()):
                    continue
                if isinstance(module, nn.modules.batchnorm._BatchNorm) and name == "running_var":
                    one.mul_(0.5 + torch.rand(one.shape, generator=draws))
                elif abs(float(one.flatten()[0])) < 0.1:
                    one.add_(0.2 * torch.randn(one.shape, generator=draws))
                else:
                    one.mul_(1 + 0.2 * torch.randn(one.shape, generator=draws))
    return net


def made(row: Row, size: tuple[int, int]) -> Any:
    """The row's network; the same at every call."""
    torch.manual_seed(0)
    net = lively(row.make(size))
    if not isinstance(net, nn.Module) or isinstance(net, torch.jit.ScriptModule):
        return net
    net.eval()
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None]
    if norms and row.group != "Written in unusual ways":  # Statistics of noise, without which deep networks' outputs have no bounds.
        kept = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
            norm.train()
        with torch.no_grad():
            net(torch.rand(4, 3, *size))
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
    return net.eval()


def plain(row: Row, net: Any) -> Callable[[Tensor], Tensor]:
    """The network's own logits, by PyTorch alone."""
    run = row.function(net) if row.function else net

    def logits(x: Tensor) -> Tensor:
        out = run(x)
        out = torch.as_tensor(out).float() if not hasattr(out, "logits") and not isinstance(out, Tensor) else out
        return getattr(out, "logits", out)  # type: ignore[no-any-return]

    return logits


def fitting(row: Row) -> tuple[int, int]:
    """The first of the row's sizes that the network takes."""
    for size in row.sizes:
        try:
            with torch.no_grad():
                plain(row, made(row, size))(torch.rand(1, 3, *size))
        except Exception as error:
            last = error
        else:
            return size
    if len(row.sizes) == 1:  # Networks that refuse to run are rows too.
        return row.sizes[0]
    raise last


class Trial:
    """One network under test, with a twin that Assay never sees."""

    def __init__(self, row: Row) -> None:
        self.row, self.size = row, fitting(row)
        self.net, self.twin = made(row, self.size), made(row, self.size)
        self.images = torch.rand(COUNT, 3, *self.size, generator=torch.Generator().manual_seed(1))
        self.before = snapshot(self.net)
        self.model = assay.Classifier(self.net, **row.options)
        self.target = row.target() if row.target else None
        self.ids: Tensor | None = None
        self.layer = ""

    def value(self, logits: Tensor) -> Tensor:
        """What is explained, by hand."""
        if self.row.value:
            return self.row.value(logits)
        ids = self.targets
        return logits.gather(1, ids[:, None])[:, 0] if len(ids) == len(logits) else logits[:, int(ids[0])]

    @property
    def targets(self) -> Any:
        """Predicted classes, by hand."""
        if self.ids is None:
            self.ids = self.ranked(1)
        return self.ids

    def ranked(self, rank: int) -> Tensor:
        """The classes of this rank, by hand."""
        with torch.no_grad():
            logits = plain(self.row, self.twin)(self.images.clone()).flatten(1)
        return logits.topk(min(rank, logits.shape[1]), 1).indices[:, -1]

    @property
    def given(self) -> Any:
        """The same for Assay."""
        return self.target if self.target is not None else self.targets

    def logits(self) -> str:
        """The network's function is what is explained."""
        near(self.model.logits(self.images), self.outputs(self.images), 1e-4 + self.unsettled(self.outputs), "logits")
        return "yes"

    def gradient(self) -> str:
        """Gradient is autograd's."""
        found = assay.Gradient()(self.model, self.images, self.given)
        expected = self.autograd(self.images)
        if not bool(expected.any()):
            raise WrongError("autograd's gradient is 0 everywhere, and so is Gradient's" if not bool(found.any()) else "autograd's is 0")
        near(found, expected, 2e-3 + self.unsettled(self.autograd), "maps")
        return "yes"

    def unsettled(self, made: Callable[[Tensor], Tensor]) -> float:
        """How far PyTorch's own results move, as a share of their spread, when pixels change by a millionth, as rounding does."""
        draws, known = torch.Generator().manual_seed(2), made(self.images.clone())
        near = [made(self.images * (1 + 1e-6 * torch.randn(self.images.shape, generator=draws))) for _ in range(8)]
        return max(float((one - known).abs().max() / (known.max() - known.min()).clamp_min(1e-30)) for one in near)

    def autograd(self, images: Tensor) -> Tensor:
        """Autograd's maps."""
        pixels = images.clone().requires_grad_()
        found: Tensor = torch.autograd.grad(self.value(plain(self.row, self.twin)(pixels * 1)).sum(), pixels)[0]
        return found

    def outputs(self, images: Tensor) -> Tensor:
        """The network's own logits."""
        with torch.no_grad():
            return plain(self.row, self.twin)(images.clone())

    def gradcam(self) -> str:
        """GradCAM is pytorch-grad-cam's at the layer that was taken, or its formula's where that cannot."""
        explainer = assay.GradCAM()
        self.layer = layer_for(self.model, self.images.shape[1:])
        small, expected = self.by_hand()
        for rank in range(2, 6):  # Of a class that the features speak against the map is 0 everywhere.
            if self.target is None and not bool(expected.any()):
                self.ids = self.ranked(rank)
                small, expected = self.by_hand()
        found = explainer(self.model, self.images, self.given)
        if min(small.shape[2:]) < 1 or small[0, 0].numel() < 2:
            raise WrongError(f"the layer has {small.shape[2]} x {small.shape[3]} places")
        if not bool(expected.any()):
            raise WrongError("the map is 0 everywhere")
        near(found, expected, 2e-3 + self.unsettled(lambda images: self.by_hand(images)[1]), "maps")
        try:
            peers = self.peers()
        except Exception as error:
            return f"by hand: pytorch-grad-cam says {type(error).__name__}"
        span = (expected.amax((1, 2, 3)) - expected.amin((1, 2, 3))).clamp_min(1e-12).view(-1, 1, 1, 1)
        scaled = (expected - expected.amin((1, 2, 3), keepdim=True)) / span
        return "yes" if float((scaled - peers).abs().max()) < 5e-3 else "by hand: pytorch-grad-cam takes another run of the layer"

    def by_hand(self, images: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The formula's maps, small and large; which axis is which is told by their lengths, without Assay."""
        seen: list[Tensor] = []

        def keep(_module: nn.Module, _given: Any, out: Any) -> Any:
            seen.append(first(out))
            # What works in place on it later works on a copy.
            return out.clone() if isinstance(out, Tensor) else None

        net = opened(self.twin)
        handle = dict(net.named_modules())[self.layer].register_forward_hook(keep)
        try:
            pixels = (self.images if images is None else images).clone().requires_grad_()
            out = self.value(plain(self.row, net)(pixels * 1))
            slopes = torch.autograd.grad(out.sum(), seen[-1])[0]
        finally:
            handle.remove()
        features, slopes = self.grid(seen[-1].detach().float()), self.grid(slopes.float())
        small = (slopes.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu()
        return small, interpolate(small, self.size, mode="bilinear", align_corners=False)

    def grid(self, output: Tensor) -> Tensor:
        """A layer's output as (n, C, h, w): channels are the unequal or longest side, class tokens stand first, patches are square."""
        if output.ndim == 4:
            one, two, three = output.shape[1:]
            square = {two == three: "first", one == two: "last"}  # Of square images, the equal sides are places.
            where = square[True] if len(square) == 2 else "first" if one > three else "last"
            return output if where == "first" else output.permute(0, 3, 1, 2)
        count = output.shape[1]
        found = next(((extra, grid) for extra in range(8) if (grid := patch_grid(count - extra, self.size))), None)
        if found is None:
            raise WrongError(f"{count} tokens are no grid of square patches")
        extra, grid = found
        return output[:, extra:].transpose(1, 2).unflatten(2, grid)

    def peers(self) -> Tensor:
        """pytorch-grad-cam's maps, each scaled to [0, 1]."""
        from pytorch_grad_cam import GradCAM

        row, trial = self.row, self

        class Logits(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = opened(trial.twin)

            def forward(self, x: Tensor) -> Tensor:
                return plain(row, self.net)(x)

        numbers = iter(range(COUNT))
        wanted = [lambda logits, at=at: self.value_of(logits, at) for at in numbers]
        found = None
        layers = [dict(opened(self.twin).named_modules())[self.layer]]
        with GradCAM(Logits(), layers, reshape_transform=lambda out: self.grid(first(out))) as cam:
            found = torch.from_numpy(cam(self.images.clone(), wanted))[:, None]
        if found is None:  # It prints an IndexError, and goes on.
            raise IndexError
        return found

    def value_of(self, logits: Tensor, at: int) -> Tensor:
        """What is explained of one image."""
        return self.row.value(logits[None])[0] if self.row.value else logits[int(self.targets[at])]

    def batch(self) -> str:
        """An image alone, and beside others, is the same."""
        together = self.model.logits(self.images)
        near(torch.cat([self.model.logits(one[None]) for one in self.images]), together, 1e-4 + self.unsettled(self.outputs), "logits")
        with contextlib.suppress(assay.AssayError):  # Where there is no gradient, that column says so.
            maps, alone = assay.Gradient()(self.model, self.images, self.given), []
            for at, one in enumerate(self.images):
                alone.append(assay.Gradient()(self.model, one[None], self.given[at : at + 1] if self.target is None else self.target))
            near(torch.cat(alone), maps, 2e-3 + self.unsettled(self.autograd), "maps")
        return "yes"

    def attack(self) -> str:
        """An attack climbs, and takes more of a map than noise of its size."""
        some = self.images[:2]
        given = self.given[:2] if self.target is None else self.target
        shared: dict[str, Any] = {"tolerance": 1.0, "keep_class": False} if self.model.head == "scalar" else {}
        found = assay.MapAttack(steps=8, judge_every=4, restarts=1, **shared)(self.model, assay.Gradient(), some, given)
        noise = assay.NoiseMapAttack(**shared)(self.model, assay.Gradient(), some, given)
        if not bool(found.climbed.all()):
            raise WrongError("no gradient to climb, which is told")
        if not float(found.distance.mean()) > float(noise.distance.mean()):  # Few steps were too few.
            found = assay.MapAttack(**shared)(self.model, assay.Gradient(), some, given)
        if not float(found.distance.mean()) > float(noise.distance.mean()):
            raise WrongError(f"takes {found.distance.mean():.2f} of the top pixels, noise {noise.distance.mean():.2f}")
        return "yes"

    def untouched(self) -> str:
        """The network that was handed in is as it was."""
        after = snapshot(self.net)
        changed = [what for what in {**self.before, **after} if self.before.get(what) != after.get(what)]
        if changed:
            raise WrongError(f"changed: {', '.join(changed[:3])}")
        return "yes"


def opened(net: Any) -> Any:
    """The network within torch.compile or DataParallel, whose layers can be looked at."""
    inner = getattr(net, "_orig_mod", getattr(net, "module", net))
    if hasattr(vars(inner).get("forward"), "_torchdynamo_orig_callable"):
        del inner.forward
    return inner


def first(out: Any) -> Tensor:
    """A layer's output, or the first tensor of several."""
    if isinstance(out, Tensor):
        return out
    parts = out.values() if hasattr(out, "values") else out
    return next(one for one in parts if isinstance(one, Tensor))


def patch_grid(count: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of so many square patches that cover the image, the last of a side perhaps in part."""
    grids = {(math.ceil(size[0] / side), math.ceil(size[1] / side)) for side in range(1, max(size) + 1)}
    return next((grid for grid in sorted(grids) if grid[0] * grid[1] == count), None)


def near(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Raise WrongError where they differ by more than a share of the expected values' spread."""
    if found.shape != expected.shape:
        raise WrongError(f"{what} have shape {tuple(found.shape)}, not {tuple(expected.shape)}")
    apart = float((found - expected).abs().max() / (expected.max() - expected.min()).clamp_min(1e-30))
    if not apart <= tolerance:
        raise WrongError(f"{what} differ by {apart:.1g} of their spread")


def hash_of(values: Tensor) -> str:
    """A hash of a tensor's numbers."""
    plain = torch.view_as_real(values) if values.is_complex() else values
    return hashlib.sha256(plain.contiguous().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()


def snapshot(net: Any) -> dict[str, Any]:
    """All of a network that its owner could see change."""
    if not isinstance(net, nn.Module):
        return {"it": id(net)}
    seen: dict[str, Any] = {}
    for name, module in net.named_modules():
        hooks = [[*one] for key, one in sorted(vars(module).items()) if key.endswith("_hooks")]
        seen[f"module {name}"] = (id(module), module.training, hooks, sorted(vars(module)))
    for name, one in net.state_dict(keep_vars=True).items():
        if isinstance(one, Tensor) and not nn.parameter.is_lazy(one):
            values = one.detach().dequantize() if one.is_quantized else one.detach()
            seen[f"tensor {name}"] = (one.requires_grad, one.grad is None, one.dtype, hash_of(values))
    return seen
