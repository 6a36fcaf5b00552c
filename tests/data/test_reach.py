"""Names on the Hugging Face hub where no hub answers: one line at once, rather than half a minute of attempts."""

import logging

import pytest

import assay
from assay.data.files.reach import hub_answers, hub_has
from assay.errors import DataError, WeightsError

hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


@pytest.fixture
def silent_hub(monkeypatch):
    """A hub at a port of this machine where nothing listens; what its library logs."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    kept, logger = Kept(), logging.getLogger("huggingface_hub")
    logger.addHandler(kept)
    yield kept
    logger.removeHandler(kept)


def tried_again(log):
    return [one for one in log.messages if "Retrying" in one]


def test_a_hub_where_nothing_listens_does_not_answer(silent_hub):
    assert not hub_answers()


def test_a_file_in_the_cache_needs_no_hub(silent_hub, monkeypatch, tmp_path):
    (tmp_path / "b").touch()
    found = {"b": str(tmp_path / "b")}
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda _name, file, **_which: found.get(file))
    assert hub_has("org/name", "a", "b")
    assert not hub_has("org/name", "a")


@pytest.mark.parametrize("spec", ["timm:resnet18", "timm:hf-hub:nobody/nothing-of-the-kind"])
def test_published_weights_are_refused_without_further_attempts(silent_hub, spec):
    with pytest.raises(WeightsError, match=r"does not answer.*--weights FILE"):
        assay.model(spec, pretrained=True)
    assert not tried_again(silent_hub)


def test_a_network_of_transformers_is_refused_without_further_attempts(silent_hub):
    pytest.importorskip("transformers")
    with pytest.raises(WeightsError, match="no image classifier nobody/nothing-of-the-kind"):
        assay.model("hf:nobody/nothing-of-the-kind")
    assert not tried_again(silent_hub)


def test_a_data_set_is_refused_without_further_attempts(silent_hub):
    pytest.importorskip("datasets")
    with pytest.raises(DataError, match=r"does not answer.*save_to_disk"):
        assay.data.load("hf:nobody/nothing-of-the-kind@test")
    assert not tried_again(silent_hub)
