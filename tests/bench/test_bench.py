import importlib.util

import pytest
import torch

from assay import Classifier, Deletion, Gradient, KernelShap, MaskIoU, Quickshift
from assay.bench import peers
from assay.bench import speed as study
from assay.bench.checks import Check
from assay.cli import main


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(study, "CHUNKS", (4,))
    monkeypatch.setattr(study, "_SHARE", 4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 64, 3)).eval()


@pytest.mark.filterwarnings("ignore")  # What peers warn of is theirs.
def test_every_explainer_and_measure_is_timed_in_both_precisions_with_its_passes(tiny, images):
    found = study.time_all(tiny, images(2, 3, 16), (Gradient(), KernelShap(samples=20)), (Deletion(steps=4), MaskIoU()), repeats=2)
    rows = {(row.name, row.precision): row for row in found.rows}
    assert set(rows) == {(name, p) for name in ("Gradient", "KernelShap", "Deletion", "MaskIoU") for p in ("float32", "bfloat16")}
    gradient, deletion = rows["Gradient", "float32"], rows["Deletion", "float32"]
    assert (gradient.forward, gradient.backward) == (2, 2)
    # A share of the pixels that ends among equal ones, as gradients of a ReLU network have, is run at both ends of their group.
    assert 2 * 3 + 2 + 1 <= deletion.forward <= 2 * 2 * 3 + 2 + 1
    assert deletion.backward == 0
    assert rows["MaskIoU", "float32"].to_limit is None
    assert all(row.to_limit.low <= row.to_limit.median <= row.to_limit.high for row in found.rows if row.to_limit)
    assert gradient.peer == ("Captum" if importlib.util.find_spec("captum") else None)


@pytest.mark.filterwarnings("ignore")
def test_the_peers_explain_the_plain_network_and_leave_it_as_it_was(tiny, images):

    x = images(2, 3, 16)
    targets = tiny(x).argmax(1).detach()
    ours = Gradient()(Classifier(tiny), x, targets)
    theirs = peers.captum(tiny, x, targets, Quickshift().labels(x))["Gradient"]()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert all(parameter.grad is None for parameter in tiny.parameters())


def test_a_timing_of_bare_passes_is_not_counted(tiny, images):
    model = Classifier(tiny)
    study.best_chunks(model, images(2, 3, 16))
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
