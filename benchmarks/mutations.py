"""What `mutate.py` breaks, one thing at a time: folder of the package, text, text in its place, and the tests that guard it."""

# ruff: noqa: E501

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """One way to break the code; its old text occurs once in one file of the folder."""

    name: str
    folder: str
    old: str
    new: str
    tests: str


def _of(folder: str, *rows: tuple[str, str, str, str]) -> list[Mutation]:
    return [Mutation(name, folder, old, new, tests) for name, old, new, tests in rows]


CORE = _of(
    "core",
    ("normal noise too narrow", ".log_().mul_(-2.0).sqrt_()", ".log_().mul_(-1.8).sqrt_()", "test_noise.py"),
    ("one seed stream for all purposes", "& _MASK) ^ zlib.crc32(stream.encode()))", "& _MASK))", "test_noise.py"),
    (
        "every sample has the same noise",
        "mix(mix(index.to(torch.int64)) + sample.to(torch.int64))",
        "mix(mix(index.to(torch.int64)))",
        "test_noise.py",
    ),
    (
        "noise of an image depends on its place",
        "_runs(seed, stream, index, sample, half)",
        "_runs(seed, stream, index - index[0], sample, half)",
        "test_noise.py",
    ),
    ("laplace noise too narrow", "torch.log1p(-2.0 * centred.abs())", "torch.log1p(-1.9 * centred.abs())", "test_noise.py"),
    ("no smaller chunk after memory ran out", "if size == 1 or not out_of_memory(error):", "if True:", "test_chunk.py"),
    (
        "chunks not evened out",
        "return math.ceil(total / math.ceil(total / limit)) if total else 1",
        "return min(limit, total) if total else 1",
        "test_chunk.py",
    ),
    ("ranks off by a half", "(first + last).to(values.dtype) / 2", "(first + last + 1).to(values.dtype) / 2", "test_order.py"),
    ("ties share the wrong places", "share = ((count - above.sum(1, keepdim=True))", "share = ((count - 1 - above.sum(1, keepdim=True))", "test_order.py"),
    (
        "one pixel more is deleted",
        "first: Tensor = places < cut[each, None]",
        "first: Tensor = places <= cut[each, None]",
        "test_perturbation.py",
    ),
    ("two empty maps have cosine 0", "torch.where(empty, 1.0,", "torch.where(empty, 0.0,", "test_order.py test_distances.py"),
    ("processes skip the first piece of work", "work[self.rank :: self.world]", "work[self.rank + 1 :: self.world]", "test_ranks.py"),
    (
        "parameters of any type",
        "        _check_types(self)\n        if own_check",
        "        if own_check",
        "test_spec_contract.py test_registry.py",
    ),
    ("pixels to 1.001 taken for images", "_ROUNDING = 1e-5", "_ROUNDING = 1.1e-3", "test_inputs.py"),
    ("the class after the last is a class", "(ids < 0) | (ids >= classes)", "(ids < 0) | (ids > classes)", "test_inputs.py"),
    ("pixels that are NaN taken for images", "if not (bool(low.isfinite()) and bool(high.isfinite())):", "if False:", "test_inputs.py"),
    (
        "fsync left out of several files",
        "                file.flush()\n                os.fsync(file.fileno())\n        for path",
        "                file.flush()\n        for path",
        "test_whole_files.py",
    ),
    ("fsync left out of one file", "        sync(draft)\n        draft.replace(path)", "        draft.replace(path)", "test_whole_files.py"),
    ("folders of new names not synced", "    for folder in folders:\n        sync(folder)", "    del folders", "test_whole_files.py"),
    (
        "control characters reach the terminal",
        "one if one.isprintable() else one",
        "one if one.isprintable() or True else one",
        "test_whole_files.py",
    ),
    (
        "somebody's file taken for a draft",
        r'_DRAFT = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.part(\.\w+)?")',
        r'_DRAFT = re.compile(r"\..+\.part(\.\w+)?")',
        "test_whole_files.py",
    ),
)

STATS = _of(
    "stats",
    ("intervals one-sided", "stats.t.isf(share / 2,", "stats.t.isf(share,", "test_intervals.py"),
    ("skewness left out of intervals", "found: Floats = self.skew * (1", "found: Floats = 0 * self.skew * (1", "test_intervals.py"),
    ("a few values are a certainty", "np.maximum(p, 0.5**self.count)", "p", "test_intervals.py"),
    ("standard deviation by n", "np.sqrt(squares / (count - 1))", "np.sqrt(squares / count)", "test_intervals.py"),
    ("no correction for the number of tests", "values[order] * np.arange(len(order), 0, -1)", "values[order] * 1", "test_tests.py"),
    (
        "corrected p-values not in order",
        "np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1))",
        "values[order] * np.arange(len(order), 0, -1)",
        "test_tests.py",
    ),
    ("worse columns counted as not worse", "table[:, [top]] - table[:, others]", "table[:, others] - table[:, [top]]", "test_tests.py"),
    ("images needed grow with the effect's root", "effect * math.sqrt(images)", "effect * images", "test_tests.py"),
    ("shares by Clopper and Pearson", 'proportion_ci(1 - level, "wilson")', 'proportion_ci(1 - level, "exact")', "test_intervals.py"),
    ("trend tested on one side", "max(page, 2 * float(stats.t.sf(", "max(page, float(stats.t.sf(", "test_trends.py"),
    ("images that move together count as many", "max(between, _together(known))", "between", "test_trends.py"),
)

EXPLAIN = _of(
    "explain",
    (
        "uniform noise in half the range",
        "mul_(2 * self.radius).sub_(self.radius)",
        "mul_(self.radius).sub_(self.radius / 2)",
        "test_kernels.py",
    ),
    ("the spread of uniform noise", "return self.radius / 3**0.5", "return self.radius / 2", "test_kernels.py"),
    ("antithetic noise twice the same", "sign = (1 - 2 * (sample % 2))", "sign = (1 - 0 * (sample % 2))", "test_smooth.py"),
    (
        "path points at the steps' ends",
        "tuple((np.arange(steps) + 0.5) / steps)",
        "tuple((np.arange(steps) + 1.0) / steps)",
        "test_path.py",
    ),
    ("the path's correction has the wrong sign", "maps += (slopes.mul_(way)", "maps -= (slopes.mul_(way)", "test_path.py"),
    ("trapezoid with whole ends", "weights[[0, -1]] /= 2", "weights[[0, -1]] /= 1", "test_path.py"),
    ("the path's map not times the way", "maps = plain.mul_(way)", "maps = plain", "test_path.py"),
    (
        "GradCAM without its ReLU",
        "gradients.mean((2, 3)), features).clamp_min(0.0)[:, None]",
        "gradients.mean((2, 3)), features)[:, None]",
        "test_cam.py",
    ),
    ("GradCAM weighs by sums", "gradients.mean((2, 3)), features)", "gradients.sum((2, 3)), features)", "test_cam.py"),
    (
        "gradient times input without the input",
        "attribute(model, images, targets, index, seed).mul_(images)",
        "attribute(model, images, targets, index, seed)",
        "test_gradient.py",
    ),
    (
        "the mean over copies by one copy less",
        "        assert sums is not None\n        return sums / count",
        "        assert sums is not None\n        return sums / max(1, count - 1)",
        "test_smooth.py",
    ),
    ("samples not by the paper's rule", "round(10 * sigma / 0.01)", "round(5 * sigma / 0.01)", "test_smooth.py"),
    (
        "top pixels by sign",
        "attribute(model, images, targets, index, seed).abs().sum(1, keepdim=True)",
        "attribute(model, images, targets, index, seed).sum(1, keepdim=True)",
        "test_votes_certificate.py",
    ),
    (
        "occlusion with the wrong sign",
        "full[rows] - scores(model, targets, rows, images.shape[1:], make, output)",
        "scores(model, targets, rows, images.shape[1:], make, output) - full[rows]",
        "test_occlusion.py",
    ),
    ("LIME's kernel too narrow", "/ (2 * self.kernel_width**2)", "/ self.kernel_width**2", "test_lime.py"),
    (
        "equal coalitions lose their weight",
        "scatter_add_(1, leader, coalitions.weights.gather(1, order))",
        "scatter_(1, leader, coalitions.weights.gather(1, order))",
        "test_coalitions.py",
    ),
    (
        "superpixels stay too seldom",
        "(widest,)).view(len(index), samples, widest) < 0.5",
        "(widest,)).view(len(index), samples, widest) < 0.4",
        "test_coalitions.py test_lime.py",
    ),
    (
        "a coalition paired with itself",
        "torch.stack([drawn, ~drawn], 2)",
        "torch.stack([drawn, drawn], 2)",
        "test_coalitions.py test_kernel_shap.py",
    ),
    ("KernelSHAP beyond its passes", "passes - 2, self.sampling", "passes, self.sampling", "test_kernel_shap.py"),
)

ATTACK = _of(
    "attack",
    (
        "the Linf ball a little too large",
        "delta.clamp(-self.eps, self.eps)",
        "delta.clamp(-1.02 * self.eps, 1.02 * self.eps)",
        "test_ball.py",
    ),
    ("the L2 ball a little too large", "left = self.eps**2 - most", "left = (1.02 * self.eps) ** 2 - most", "test_ball.py"),
    (
        "the L1 ball a little too large",
        "less = torch.where(total > self.eps, less * (self.eps / total",
        "less = torch.where(total > 0, 1.02 * less * (self.eps / total",
        "test_ball.py",
    ),
    (
        "attacked pixels above 1",
        "torch.maximum(delta, -images), 1 - images)",
        "torch.maximum(delta, -images), 1.001 - images)",
        "test_ball.py",
    ),
    ("the ball's border far too soft", "tolerance: float = 1e-6", "tolerance: float = 1e-2", "test_ball.py"),
    (
        "steepest L2 steps as long as the gradient",
        "return (flat / norm.clamp_min(_tiny(flat))).view_as(gradient)",
        "return flat.view_as(gradient)",
        "test_ball.py",
    ),
    (
        "starts near the middle of the ball",
        "level ** (1 / _count(noise)) / norm.clamp_min(_tiny(noise))\n        return _in_range(noise",
        "level / norm.clamp_min(_tiny(noise))\n        return _in_range(noise",
        "test_ball.py",
    ),
    (
        "stuck pixels take part of the step",
        "optimiser.change(ball, gradient.masked_fill_(stuck, 0.0), memory",
        "optimiser.change(ball, gradient, memory",
        "test_optimiser.py",
    ),
    (
        "memory of images that stopped",
        "memory = {name: kept[going] for name, kept in memory.items()}",
        "memory = {name: kept[: len(rows)] for name, kept in memory.items()}",
        "test_optimiser.py",
    ),
    ("images that lose their class are kept", "            better &= kept\n", "            pass\n", "test_map_attack.py"),
    (
        "the last image is taken for the best",
        "better = sound & (value > self.value[rows])",
        "better = sound & (value > 0)",
        "test_judge.py test_map_attack.py",
    ),
    (
        "judged outside the ball",
        "moved = (clean + scene.ball.project(pixels - clean, clean)).clamp(0.0, 1.0)",
        "moved = pixels.clamp(0.0, 1.0)",
        "test_judge.py test_map_attack.py",
    ),
    (
        "the defence of the class attacks it, in the start",
        "self.goal.climb(self.maps[rows], seen.maps) - weight * self.lost(",
        "self.goal.climb(self.maps[rows], seen.maps) + weight * self.lost(",
        "test_judge.py",
    ),
    (
        "the defence of the class attacks it, in forms",
        "total = total - step.hold(logits, rows).sum()",
        "total = total + step.hold(logits, rows).sum()",
        "test_judge.py",
    ),
    (
        "the defence of the class attacks it, beside forms",
        "found = found - loss_gradient(",
        "found = found + loss_gradient(",
        "test_judge.py",
    ),
    (
        "a lead counts although it is safe",
        "clean.ids, clean.outputs) / self.spread[rows]).clamp_min(0.0)",
        "clean.ids, clean.outputs) / self.spread[rows]).abs()",
        "test_judge.py",
    ),
    (
        "a tolerance that is not looked at",
        "return same & ((now.probability(clean.ids) - clean.probability(clean.ids)).abs() <= self.tolerance)",
        "return same",
        "test_map_attack.py",
    ),
    (
        "momentum backwards",
        'gradient + self.momentum * memory["direction"]',
        'gradient - self.momentum * memory["direction"]',
        "test_optimiser.py",
    ),
    ("steps that grow", "return (1.0 + math.cos(math.pi * done)) / 2", "return (1.0 - math.cos(math.pi * done)) / 2", "test_optimiser.py"),
    ("Adam by the variance", "mean / square.sqrt().clamp_min(", "mean / square.clamp_min(", "test_optimiser.py"),
    (
        "top pixels held in either map",
        "1 - torch.minimum(one, other).sum(1) / one.sum(1)",
        "1 - torch.maximum(one, other).sum(1) / one.sum(1)",
        "test_distances.py",
    ),
    ("SSIM's constants", "small, large = 0.01**2, 0.03**2", "small, large = 0.01**2, 0.04**2", "test_distances.py"),
    (
        "rank correlation with values",
        "mean_ranks(_pixels(clean, self.signed)), mean_ranks(_pixels(moved, self.signed)))",
        "mean_ranks(_pixels(clean, self.signed)), _pixels(moved, self.signed))",
        "test_distances.py",
    ),
    ("a centre of mass on the diagonal", "torch.stack([rows, columns], 1)", "torch.stack([rows, rows], 1)", "test_distances.py"),
    ("a map to reach is fled", "return before - after", "return after - before", "test_map_attack.py"),
    ("a cross-entropy that vanishes", "return others.logsumexp(1) - own", "return logits.logsumexp(1) - own", "test_pgd.py"),
    ("the margin the wrong way round", "lead = others.amax(1) - own", "lead = own - others.amax(1)", "test_pgd.py"),
    (
        "adversarial training goes down",
        "delta + length * area.steepest(gradient)",
        "delta - length * area.steepest(gradient)",
        "test_pgd_training.py",
    ),
    (
        "differences of one sign",
        "(worth(pixels + probe, rows) - worth(pixels - probe, rows))",
        "(worth(pixels + probe, rows) + worth(pixels - probe, rows))",
        "test_black_box_attack.py",
    ),
    ("squares that do not help are kept", "better = worth > best[rows]", "better = worth < best[rows]", "test_black_box_attack.py"),
    (
        "a softplus of another sharpness",
        "soft: Tensor = F.softplus(x, self.beta)",
        "soft: Tensor = F.softplus(x, 2 * self.beta)",
        "test_softplus.py",
    ),
    ("passes of attacks not counted", "soft.passes.backward += len(pixels)", "pass", "test_map_attack.py test_forms.py"),
)

MEASURE = _of(
    "measure",
    (
        "ends of the curve exchanged",
        "else (filled, images, (other, clean))",
        "else (filled, images, (clean, other))",
        "test_perturbation.py",
    ),
    (
        "the curve's mean in place of its area",
        "return torch.trapezoid(self.heights, self.shares)",
        "return self.heights.mean(-1)",
        "test_perturbation.py",
    ),
    ("infidelity adds its changes", '"Infidelity", -1.0, mirrored', '"Infidelity", 1.0, mirrored', "test_linearity.py"),
    (
        "the best scale is half of it",
        "torch.where(g > 0, both / positive(g), 0.0)",
        "torch.where(g > 0, 0.5 * both / positive(g), 0.0)",
        "test_linearity.py",
    ),
    (
        "an error relative to the map",
        "return error / c if relative else error",
        "return error / g if relative else error",
        "test_linearity.py",
    ),
    (
        "imputed from corners as from sides",
        "out=across).add_(line[1:-1], alpha=2)",
        "out=across).add_(line[1:-1])",
        "test_road.py",
    ),
    (
        "several largest pixels all count",
        "hits = (top * near[:, None]).sum(2) / top.sum(2)",
        "hits = (top * near[:, None]).sum(2)",
        "test_localisation.py",
    ),
    (
        "negative mass counts as positive",
        'pixel_values(maps, "signed").clamp_min(0)',
        'pixel_values(maps, "signed").abs()',
        "test_localisation.py",
    ),
    (
        "the lowest pixels are kept",
        "torch.where(inside(each).view(-1, 1, *images.shape[2:]), images[rows[each]], filled[rows[each]])",
        "torch.where(inside(each).view(-1, 1, *images.shape[2:]), filled[rows[each]], images[rows[each]])",
        "test_keep.py",
    ),
    (
        "what the mask keeps is erased",
        "torch.lerp(filled.to(images), images[rows], masks[rows])",
        "torch.lerp(images[rows], filled.to(images), masks[rows])",
        "test_erasure.py",
    ),
    ("contributions not per unit of pixel", "(lost / values)", "(lost * values)", "test_contribution.py"),
    ("black groups take part", "own = own & (values != 0)", "own = own | (values != 0)", "test_contribution.py"),
    (
        "single deletion by values",
        "_correlation(each, lost, own, ranked=True)",
        "_correlation(each, lost, own, ranked=False)",
        "test_contribution.py",
    ),
    (
        "robust where there was no gradient",
        "return left.masked_fill(found.moved & ~found.climbed, torch.nan)",
        "return left",
        "test_attacked.py",
    ),
    ("maps of one value have a score", "torch.where(low < high, 0.0, torch.nan)", "torch.where(low < high, 0.0, 0.0)", "test_ties.py"),
    ("the gap to noise the wrong way round", "return self.noise - self.attacked", "return self.attacked - self.noise", "test_attacked.py"),
    (
        "order by sign where magnitude was asked",
        'maps.abs() if order == "magnitude" else maps',
        "maps",
        "test_localisation.py test_perturbation.py",
    ),
)

BOUNDS = _of(
    "bounds",
    (
        "half of ln(1/alpha)",
        "budget = math.log(1 / alpha)",
        "budget = 0.5 * math.log(1 / alpha)",
        "test_second_opinion.py test_concentration.py",
    ),
    (
        "all of alpha for each bound",
        "smoothing.kernel.spread, (1 - confidence) / 4",
        "smoothing.kernel.spread, 1 - confidence",
        "test_second_opinion.py test_gradient_certificate.py",
    ),
    (
        "a quarter also of independent copies",
        "share = 0.25 if smoothing.antithetic else 0.5",
        "share = 0.25",
        "test_second_opinion.py test_gradient_certificate.py",
    ),
    (
        "the seen map bounded without its move",
        "seen=_angle(moved + error, size)",
        "seen=_angle(0 * moved + error, size)",
        "test_second_opinion.py test_votes_certificate.py",
    ),
    (
        "antithetic copies count as independent",
        "count = values.shape[1] // 2 if smoothing.antithetic else values.shape[1]",
        "count = values.shape[1]",
        "test_second_opinion.py test_gradient_certificate.py",
    ),
    (
        "antithetic votes count as independent",
        "sigma, copies = smoothing.kernel.spread, 2 if smoothing.antithetic else 1",
        "sigma, copies = smoothing.kernel.spread, 1",
        "test_second_opinion.py test_votes_certificate.py",
    ),
    (
        "overlap at 1.5 eps over sigma",
        "gaps > 2 * eps[..., None] / sigma",
        "gaps > 1.5 * eps[..., None] / sigma",
        "test_second_opinion.py test_votes_certificate.py",
    ),
    (
        "pixels certified without the shift",
        "level = torch.special.ndtr(eps / sigma)",
        "level = torch.special.ndtr(0.9 * eps / sigma)",
        "test_second_opinion.py",
    ),
    (
        "in and out of the top swapped",
        "pixels=(inside_top - outside_top)",
        "pixels=(outside_top - inside_top)",
        "test_second_opinion.py test_votes_certificate.py",
    ),
    (
        "the union bound over one side",
        "each = alpha / (2 * pixels)",
        "each = alpha / pixels",
        "test_second_opinion.py test_votes_certificate.py",
    ),
    (
        "the curvature a twentieth too small",
        "CURVATURE = 2 * math.exp(-0.5)",
        "CURVATURE = 1.9 * math.exp(-0.5)",
        "test_curvature.py test_second_opinion.py",
    ),
    (
        "drift by the lower sum",
        "reach(low, high, eps * step / _STEPS, sigma)",
        "reach(low, high, eps * (step - 1) / _STEPS, sigma)",
        "test_curvature.py test_second_opinion.py",
    ),
    (
        "a gambler who needs less",
        "sum(1) > math.log(1 / alpha)\n        low, high = torch.where(rich",
        "sum(1) > 0.9 * math.log(1 / alpha)\n        low, high = torch.where(rich",
        "test_second_opinion.py test_concentration.py",
    ),
    (
        "Stein's weight too large",
        "_TILT = math.sqrt(2 / math.pi)",
        "_TILT = 1.05 * math.sqrt(2 / math.pi)",
        "test_second_opinion.py test_gradient_certificate.py",
    ),
    (
        "p bounded on the wrong side",
        "torch.special.ndtri(low) - distance / sigma)",
        "torch.special.ndtri(low) - 0.9 * distance / sigma)",
        "test_second_opinion.py",
    ),
)

TUNE = _of(
    "tune",
    (
        "the model meets masks without edges",
        "drawn_masks(self.learned.masks, self.images, True) if self.plan.edges",
        "drawn_masks(self.learned.masks, self.images, False) if self.plan.edges",
        "test_edges.py",
    ),
    ("masks of new images without edges", "return drawn_masks(total, images, self.edges)", "return drawn_masks(total, images, False)", "test_edges.py"),
    (
        "masks averaged over the wrong rounds",
        "0 if self.average else chosen : chosen + 1]",
        "0 if self.average else chosen :]",
        "test_diet.py::test_the_masks_are_the_mean_of_the_rounds_up_to_the_chosen_one",
    ),
    (
        "sparsity falls by another line",
        "self.start * (1 - self.fall * number / rounds)",
        "self.start * (1 - self.fall * number / max(1, rounds - 1))",
        "test_schedules.py",
    ),
    ("the lift grows", "self.lift * (1 - number / rounds)", "self.lift * number / rounds", "test_schedules.py"),
    (
        "convergence against the epoch before",
        "len(losses) > 2 and self.low * losses[-3] <= last <= self.high * losses[-3]",
        "len(losses) > 2 and self.low * losses[-2] <= last <= self.high * losses[-2]",
        "test_schedules.py",
    ),
    (
        "masks the wrong way round",
        "torch.lerp(backgrounds, images, enlarge_masks(",
        "torch.lerp(images, backgrounds, enlarge_masks(",
        "test_masks.py test_diet.py",
    ),
    ("rounding noise has a slope", "(apart - tolerance).clamp(min=0) if tolerance else apart", "apart", "test_simplify.py"),
    ("masks above 1", "masks.clamp_(0, 1)", "masks.clamp_(0, 2)", "test_masks.py test_diet.py"),
    (
        "the optimiser does not forget",
        "        for moment in self.moments:\n            moment.zero_()",
        "        pass",
        "test_masks.py test_diet.py",
    ),
    ("Adam's bias not taken out", "moment / (1 - beta**learned.steps)", "moment / (1 - beta)", "test_masks.py test_diet.py"),
    (
        "masks pushed to be large",
        "loss = weight * size + rule.lambda_data * distance",
        "loss = rule.lambda_data * distance - weight * size",
        "test_masks.py test_diet.py",
    ),
    (
        "the losses' weights exchanged",
        "rule.lambda_model * model_gap + rule.lambda_data * data_gap",
        "rule.lambda_data * model_gap + rule.lambda_model * data_gap",
        "test_diet.py",
    ),
    (
        "masks learned with the other loss's weight",
        "masks=MaskRule(self.mask_lr, self.mask_optimiser, self.lambda_data,",
        "masks=MaskRule(self.mask_lr, self.mask_optimiser, self.lambda_model,",
        "test_diet.py",
    ),
    ("batch statistics while tuning", "pair.train(rule.train_mode)", "pair.train(True)", "test_diet.py"),
    (
        "backgrounds that are too even",
        "return (mean + std * drawn).clamp_(0, 1).expand_as(images)",
        "return (mean + 0.5 * std * drawn).clamp_(0, 1).expand_as(images)",
        "test_drawn_backgrounds.py",
    ),
    (
        "an image behind itself",
        "(index + 1 + (share * (many - 1)).long()) % many",
        "(index + (share * many).long()) % many",
        "test_drawn_backgrounds.py",
    ),
    (
        "masks start half open",
        "masks = torch.ones(count, 1, *grid, device=device)",
        "masks = torch.full((count, 1, *grid), 0.5, device=device)",
        "test_masks.py test_diet.py",
    ),
)

MODELS = _of(
    "models",
    ("backward passes not counted", "self.passes.backward += images * self.each", "pass", "test_passes.py"),
    (
        "forward passes counted once a chunk",
        "self.passes.forward += len(pixels)",
        "self.passes.forward += 1",
        "test_classifier.py test_passes.py",
    ),
    ("norms folded that others read", "                self.spoiled.add(conv)", "                pass", "test_proof.py test_prepare.py"),
    (
        "findings agree only where they are there",
        "(of_class(outputs, ids) > 0) == (of_class(clean, ids) > 0)",
        "(of_class(outputs, ids) > 0) & (of_class(clean, ids) > 0)",
        "test_heads.py",
    ),
    ("one logit as class 0", "torch.cat([torch.zeros_like(one), one], 1)", "torch.cat([one, torch.zeros_like(one)], 1)", "test_heads.py"),
    (
        "the lead before itself",
        "of_class(outputs, ids) - outputs.scatter(1, ids[:, None], -torch.inf).amax(1)",
        "of_class(outputs, ids) - outputs.amax(1)",
        "test_heads.py test_map_attack.py test_pgd.py",
    ),
    ("NaN in sums is lost", "(mixing @ flat).masked_fill(lost[:, None], torch.nan)", "mixing @ flat", "test_passes.py"),
    ("one image's NaN in its neighbours", "flat = flat.masked_fill(bad[:, None], 0.0)", "pass", "test_passes.py"),
    (
        "the contrast the wrong way round",
        "return scores[:, self.a] - scores[:, self.b]",
        "return scores[:, self.b] - scores[:, self.a]",
        "test_targets.py",
    ),
    (
        "a normalisation with the wrong sign",
        "return (-centre / spread).to(device)",
        "return (centre / spread).to(device)",
        "test_classifier.py",
    ),
    ("the caller's hooks stay on the copy", "                del hooks[key]\n", "                pass\n", "test_copies.py"),
    (
        "every epoch draws the same",
        "torch.full_like(self.index, self.epoch)",
        "torch.zeros_like(self.index)",
        "test_training.py test_fitting.py test_pgd_training.py",
    ),
    ("Muon without momentum", "parameter.grad.lerp(kept, momentum)", "parameter.grad.lerp(kept, 0.0)", "test_muon.py"),
    ("Muon's steps too long", "length = 0.2 * max(change.shape) ** 0.5", "length = 0.4 * max(change.shape) ** 0.5", "test_muon.py"),
    (
        "multi-hot labels by any finding",
        "return (self.findings(outputs) == (labels > 0)).all(1)",
        "return (self.findings(outputs) == (labels > 0)).any(1)",
        "test_heads.py",
    ),
    ("inputs may be worked on in place", "copy=x is pixels)", "copy=False)", "test_classifier.py test_explainer_contract.py"),
)

DATA = _of(
    "data",
    (
        "16-bit grey by 256",
        'top = 65535.0 if opened.format == "PNG"',
        'top = 65280.0 if opened.format == "PNG"',
        "test_decode.py",
    ),
    ("pictures not turned as EXIF says", "ImageOps.exif_transpose(opened, in_place=True)", "pass", "test_decode.py"),
    (
        "transparent over black",
        'Image.new("RGBA", picture.size, (255, 255, 255, 255))',
        'Image.new("RGBA", picture.size, (0, 0, 0, 255))',
        "test_decode.py",
    ),
    ("several pages read as the first", "if pages > 1:", "if pages > 99:", "test_decode.py"),
    ("a crop beside the centre", "round((have - want) / 2)", "round((have - want) / 3)", "test_decode.py test_dicom.py test_preparation.py"),
    ("values outside the window not clipped", "(high - low)).clip(0, 1).astype", "(high - low)).astype", "test_decode.py test_dicom.py test_preparation.py"),
    ("grey by equal weights", "_GREY = (0.299, 0.587, 0.114)", "_GREY = (0.333, 0.333, 0.334)", "test_decode.py test_dicom.py test_preparation.py"),
    (
        "classes not in the alphabet's order",
        "classes = sorted(values)",
        "classes = sorted(values, reverse=True)",
        "test_tar_shards.py test_parquet.py",
    ),
    ("shards not read for their hash", "own.update(part)", "pass", "test_tar_shards.py"),
    (
        "the reading left out of the data's hash",
        '("" if self.reading == AS_IT_IS else f" {self.reading!r}")',
        '""',
        "test_image_folder.py",
    ),
    (
        "pickled arrays are loaded",
        "np.load(BytesIO(data), allow_pickle=False)",
        "np.load(BytesIO(data), allow_pickle=True)",
        "test_decode.py",
    ),
    ("packed images lose precision", "        if not torch.equal(_pixels(row), image):\n            return images", "", "test_reader.py"),
    (
        "rows of the next file",
        'np.searchsorted(starts, index, side="right")',
        'np.searchsorted(starts, index, side="left")',
        "test_parquet.py",
    ),
)

RUN = _of(
    "",
    (
        "a line of the log before it is on the disk",
        "        file.flush()\n        os.fsync(file.fileno())\n    if new:",
        "        file.flush()\n    if new:",
        "test_run_log.py",
    ),
    ("half a line stays in the log", "file.truncate(whole)", "pass", "test_run.py"),
    (
        "results do not say which files they are",
        "files = {name: sha256(self.folder / name) for name in results}",
        "files = {}",
        "test_run.py test_run_status.py",
    ),
    ("other settings go on", "    if changed:\n        told", "    if False:\n        told", "test_run.py"),
    ("another version goes on", 'if kept.get("assay") != document["assay"]:', "if False:", "test_run.py"),
    (
        "results before all blocks are there",
        "    if missing:\n            raise RuntimeError",
        "    if False:\n            raise RuntimeError",
        "test_run.py",
    ),
    (
        "verify does not read the files",
        'return "" if sha256(folder / name) == expected else',
        'return "" if True else',
        "test_run_status.py",
    ),
    (
        "code from a run folder is imported",
        "    if code is not None:\n        raise DataError",
        "    if False:\n        raise DataError",
        "test_run_commands.py",
    ),
    ("another user's folder goes on", "path.stat().st_uid != os.getuid()", "False", "test_run_commands.py::test_another_users_folder_is_not_gone_on_with"),
    (
        "names that lead out of the folder",
        "return not Path(name).is_absolute() and (home / name).resolve().is_relative_to(home)",
        "return True",
        "test_strangers.py::test_lines_of_a_log_that_lead_out_of_the_folder_count_for_nothing",
    ),
    ("doubled rows pass", "if own.is_duplicated().any():", "if False:", "test_run_status.py"),
    ("a failed start leaves its files", "        (folder / name).unlink(missing_ok=True)\n        within", "        within", "test_run.py"),
    ("another image of the same class", "others = targets[:, None] != targets", "others = targets[:, None] == targets", "test_nulls.py"),
    ("a map elsewhere is where it was", "torch.full_like(index, copy), (2,)) / 2 + 0.25", "torch.full_like(index, copy), (2,)) * 0", "test_nulls.py"),
    ("maps kept as NaN after a start", "array[rows.start : rows.stop] = values", "pass", "test_run.py test_explain.py"),
)

MUTATIONS = (*CORE, *STATS, *EXPLAIN, *ATTACK, *MEASURE, *BOUNDS, *TUNE, *MODELS, *DATA, *RUN)
