import importlib.util

import pytest
import torch

from assay import Classifier, Deletion, GradCAM, Gradient, IntegratedGradients, KernelShap, MaskIoU, Quickshift
from assay.bench import speed
from assay.bench.bench_markdown import bench_markdown, peer_columns
from assay.bench.checks import Check
from assay.bench.peers import PeerInput, peers
from assay.cli import main


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(speed, "_CHUNKS", (4,))
    monkeypatch.setattr(speed, "_SHARE", 4)
    monkeypatch.setattr(speed, "settled", lambda *_: "bfloat16")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 64, 3)).eval()


def given(net, x, chunks=None):
    targets = net(x).argmax(1).detach()
    return PeerInput(net, x, targets, Quickshift().labels(x), torch.rand_like(x), "0", "float32", chunks)


@pytest.fixture
def found(tiny, images):
    explainers, measures = (Gradient(), KernelShap(samples=20), GradCAM(layer="0")), (Deletion(steps=4), MaskIoU())
    return speed.time_all("tiny", tiny, images(2, 3, 16), explainers, measures, repeats=2)


@pytest.mark.filterwarnings("ignore")  # What peers warn of is theirs.
def test_every_explainer_and_measure_is_timed_in_both_precisions_with_its_passes(found):
    rows = {(row.name, row.precision): row for row in found.rows}
    names = ("Gradient", "KernelShap", "GradCAM", "Deletion", "MaskIoU")
    assert set(rows) == {(name, p) for name in names for p in ("float32", "bfloat16")}
    gradient, deletion = rows["Gradient", "float32"], rows["Deletion", "float32"]
    assert (gradient.forward, gradient.backward) == (2, 2)
    # A share of the pixels that ends among equal ones, as gradients of a ReLU network have, is run at both ends of their group.
    assert 2 * 3 + 2 + 1 <= deletion.forward <= 2 * 2 * 3 + 2 + 1
    assert deletion.backward == 0
    assert rows["MaskIoU", "float32"].to_limit is None
    for row in found.rows:
        for ratio in (row.to_limit, *(gain.faster for gain in row.gains)):
            assert ratio is None or all(one.low <= one.median <= one.high for one in ratio)
    if importlib.util.find_spec("captum"):
        ran = [(gain.library, gain.settings, gain.precision) for gain in gradient.gains]
        assert ran == [("Captum", "default", "float32"), ("Captum", "best", "float32"), ("Captum", "best", "bfloat16")]


@pytest.mark.filterwarnings("ignore")
def test_where_bfloat16_would_be_emulated_nothing_is_timed_in_it_and_the_bench_says_so(tiny, images, monkeypatch):
    monkeypatch.setattr(speed, "settled", lambda *_: "float32")
    found = speed.time_all("tiny", tiny, images(2, 3, 16), (Gradient(),), (), repeats=1)
    assert {row.precision for row in found.rows} == {"float32"}
    assert {gain.precision for row in found.rows for gain in row.gains} <= {"float32"}
    assert "emulates" in found.left_out["bfloat16"]


@pytest.mark.filterwarnings("ignore")
def test_the_page_has_each_row_and_the_geometric_mean_of_the_gains(found):
    text = bench_markdown(
        [found], [Check("flat", 1.0, 1.1, False, "")], "assay bench", dict.fromkeys(("cores", "processor", "threads", "memory"), "2")
    )
    for row in found.rows:
        assert f"| `{row.name}` | {row.precision} |" in text
    for heading, (settings, precision) in peer_columns(found).items():
        values = [
            gain.faster.cpu.median
            for row in found.rows
            for gain in row.gains
            if (row.precision, gain.settings, gain.precision) == ("float32", settings, precision)
        ]
        mean = torch.tensor(values).log().mean().exp()
        assert f"Ours in float32 against the {heading}: {mean:.2f} times as fast in geometric mean, at least {min(values):.2f}" in text
    assert "| flat | 1 | at most 1.1 | yes |" in text


@pytest.mark.filterwarnings("ignore")
def test_the_peers_explain_the_plain_network_and_leave_it_as_it_was(tiny, images):
    pytest.importorskip("captum")
    x = images(2, 3, 16)
    for name, ours in (("Gradient", Gradient()), ("IntegratedGradients", IntegratedGradients(rule="gauss_legendre", complete=False))):
        maps = ours(Classifier(tiny), x)
        for chunks in (None, (4, 4)):
            (theirs,) = (one.run() for one in peers(given(tiny, x, chunks))[name])
            torch.testing.assert_close(maps, theirs.float(), rtol=1e-4, atol=1e-5)
    assert all(parameter.grad is None for parameter in tiny.parameters())


@pytest.mark.filterwarnings("ignore")
def test_a_peer_that_cannot_is_left_out_by_name_with_what_it_raised(tiny, images, monkeypatch):
    def broken():
        raise RuntimeError("no such kernel\nsecond line")

    monkeypatch.setattr(speed, "peers", lambda _: {"Gradient": [speed.Peer("Other", "best", "bfloat16", broken)]})
    found = speed.time_all("tiny", tiny, images(2, 3, 16), (Gradient(),), (), repeats=1)
    assert set(found.left_out.values()) == {"RuntimeError: no such kernel"}
    assert set(found.left_out) == {"Other's Gradient in bfloat16, best settings"}
    assert not found.rows[0].gains


def test_a_timing_of_bare_passes_is_not_counted(tiny, images):
    model = Classifier(tiny)
    speed.best_chunks(model, images(2, 3, 16))
    assert (model.passes.forward, model.passes.backward) == (0, 0)


@pytest.mark.parametrize(("value", "bound", "at_least", "met"), [(0.9, 0.8, True, True), (0.7, 0.8, True, False), (0.7, 0.8, False, True)])
def test_a_check_is_met_on_its_side_of_the_bound(value, bound, at_least, met):
    assert Check("x", value, bound, at_least, "").met is met


def test_an_unknown_name_is_refused_with_the_nearest(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["assay", "bench", "--only", "Gradint"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "did you mean Gradient?" in capsys.readouterr().err


def test_an_unknown_network_is_refused_with_those_there_are(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["assay", "bench", "--network", "resnet19"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "did you mean resnet18?" in capsys.readouterr().err


@pytest.mark.parametrize("name", speed.NETWORKS)
def test_every_network_of_the_bench_takes_its_images(name):
    side, make = speed.NETWORKS[name]
    assert Classifier(make(0)).logits(torch.rand(1, 3, side, side)).isfinite().all()
