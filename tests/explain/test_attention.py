"""Attention that is followed through a transformer, against twins written from the papers on the network's own attention."""

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn.functional import interpolate
from torchvision.models import VisionTransformer as TorchvisionVit
from transformers import ViTConfig, ViTForImageClassification

import assay
from assay.errors import ModelError
from reference.guards import snapshot
from reference.nets import plain, seeded

TARGETS = torch.tensor([1, 0, 2])


@pytest.fixture(scope="module")
def batch():
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def vit(fused=True, **more):
    """A small transformer whose attention is far from even."""

    def make():
        settings = {"img_size": 16, "patch_size": 4, "embed_dim": 12, "depth": 3, "num_heads": 2, "num_classes": 3}
        net = VisionTransformer(**settings | more)
        for block in net.blocks:
            block.attn.fused_attn = fused
            block.attn.qkv.weight.data.mul_(30)
        return net.eval()

    return seeded(make)


def attended(net, image, target):
    """Attention (h, T, T) of each layer of a timm network that writes it out, and the logit's gradient at it."""
    kept = []

    def keep(module, given):
        given[0].retain_grad()
        kept.append(given[0])

    handles = [block.attn.attn_drop.register_forward_pre_hook(keep) for block in net.blocks]
    net(image[None].clone().requires_grad_())[0, target].backward()
    for handle in handles:
        handle.remove()
    return [one[0].detach() for one in kept], [one.grad[0] for one in kept]


def rollout(attention):
    """Abnar and Zuidema, section 3: the product of the layers' (mean attention + identity) / 2."""
    whole = torch.eye(attention[0].shape[-1])
    for layer in attention:
        whole = (layer.mean(0) + torch.eye(len(whole))) / 2 @ whole
    return whole


def relevance(attention, slopes):
    """Chefer, Gur, Wolf, equations 5 and 6, less the identity that they start from."""
    whole = torch.eye(attention[0].shape[-1])
    for layer, slope in zip(attention, slopes, strict=True):
        whole = whole + (layer * slope).clamp(min=0).mean(0) @ whole
    return whole - torch.eye(len(whole))


def over_image(row):
    return interpolate(row.view(1, 1, 4, 4), (16, 16), mode="bilinear", align_corners=False)[0]


READ_OUT = {
    "class token": ({}, lambda whole: whole[0, 1:]),
    "average of the patches": ({"class_token": False, "global_pool": "avg"}, lambda whole: whole.mean(0)),
    "register tokens": ({"reg_tokens": 4}, lambda whole: whole[0, 5:]),
}


@pytest.mark.parametrize("kind", READ_OUT)
@pytest.mark.parametrize("fused", [True, False], ids=["torch's attention", "written out"])
def test_maps_are_their_slow_twins(kind, fused, batch):
    more, row = READ_OUT[kind]
    model = assay.Classifier(vit(fused, **more))
    rolled, relevant = (explainer(model, batch, TARGETS) for explainer in (assay.AttentionRollout(), assay.AttentionRelevance()))
    slow = vit(False, **more)
    for place, (image, target) in enumerate(zip(batch, TARGETS.tolist(), strict=True)):
        attention, slopes = attended(slow, image, target)
        torch.testing.assert_close(rolled[place], over_image(row(rollout(attention))), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(relevant[place], over_image(row(relevance(attention, slopes))), rtol=1e-4, atol=1e-6)
        assert rolled[place].std() > 1e-4
        assert relevant[place].std() > 1e-5


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_a_network_of_transformers_gives_what_its_own_attentions_give(kind, batch):
    settings = ViTConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=16, patch_size=4, num_labels=3,
        initializer_range=0.8,
    )  # fmt: skip
    settings._attn_implementation = kind
    net = seeded(lambda: ViTForImageClassification(settings).eval())
    found = assay.AttentionRollout()(assay.Classifier(net), batch, TARGETS)
    settings._attn_implementation = "eager"  # Which alone tells its attentions.
    eager = seeded(lambda: ViTForImageClassification(settings).eval())
    with torch.no_grad():
        told = eager(batch, output_attentions=True).attentions
    for place in range(3):
        torch.testing.assert_close(found[place], over_image(rollout([one[place] for one in told])[0, 1:]), rtol=1e-4, atol=1e-6)


def test_torchvisions_transformer_is_read(batch):
    net = seeded(lambda: TorchvisionVit(16, 4, 2, 2, 12, 24, num_classes=3).eval())
    with pytest.raises(ModelError, match="do not depend on its last attention"):  # Its head starts at zero.
        assay.AttentionRelevance()(assay.Classifier(net), batch, TARGETS)
    nn.init.normal_(net.heads[-1].weight, generator=torch.Generator().manual_seed(0))
    for explainer in (assay.AttentionRollout(), assay.AttentionRelevance()):
        maps = explainer(assay.Classifier(net), batch, TARGETS)
        assert maps.shape == (3, 1, 16, 16)
        assert maps.min() >= 0
        assert maps.std() > 0


def test_a_patch_that_alone_decides_the_class_alone_is_relevant(batch):
    """Every patch's value is nothing but the bright one's, so that nothing flows from the others."""
    image = torch.zeros(1, 3, 16, 16)
    image[:, :, 4:8, 8:12] = 1.0
    net = vit(pos_embed="none", class_token=False, global_pool="avg")
    with torch.no_grad():
        net.patch_embed.proj.bias.zero_()
        for block in net.blocks:
            block.norm1 = block.norm2 = nn.Identity()
            for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
                layer.bias.zero_()
    maps = assay.AttentionRelevance()(assay.Classifier(net), image)[0, 0]
    assert divmod(int(maps.argmax()), 16) in {(row, column) for row in (5, 6) for column in (9, 10)}
    assert maps[12:, :4].abs().max() < 0.05 * maps.max()


def test_rollout_asks_for_no_class_and_relevance_does(batch):
    model = assay.Classifier(vit())
    one, other = TARGETS, TARGETS.flip(0)
    assert torch.equal(assay.AttentionRollout()(model, batch, one), assay.AttentionRollout()(model, batch, other))
    assert not torch.allclose(assay.AttentionRelevance()(model, batch, one), assay.AttentionRelevance()(model, batch, other))


def test_the_model_is_left_as_it_was(batch):
    model = assay.Classifier(vit())
    model.predict(batch)
    before, fused = snapshot(model.module), torch.backends.cuda.flash_sdp_enabled()
    assay.AttentionRelevance()(model, batch, TARGETS)
    assert snapshot(model.module) == before
    assert torch.backends.cuda.flash_sdp_enabled() == fused


@pytest.mark.parametrize("explainer", [assay.AttentionRollout(), assay.AttentionRelevance()], ids=repr)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: plain(size=16), "Sequential has no attention, where"),
        (
            lambda: SwinTransformer(16, 2, 3, 3, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4).eval(),
            r"SwinTransformer has an attention of shape .* not one of all tokens to all; explain it by Gradient",
        ),
    ],
    ids=["convolutions", "windows"],
)
def test_what_has_no_attention_over_the_image_is_refused_by_name(explainer, make, message, batch):
    with pytest.raises(ModelError, match=message):
        explainer(assay.Classifier(seeded(make)), batch, TARGETS)


def test_scores_alone_are_not_enough(batch):
    with pytest.raises(ModelError, match="AttentionRollout needs gradients or layers"):
        assay.AttentionRollout()(assay.Classifier(lambda images: images.mean((2, 3))), batch)
