import pytest
import torch

from assay.core.ranks import Ranks, join
from assay.errors import DataError, SpecError


def test_one_process_does_everything_itself(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with join() as ranks:
        assert ranks == Ranks()
        assert ranks.first
        assert ranks.share([1, 2, 3]) == [1, 2, 3]
        assert ranks.told("x") == "x"
        assert ranks.gather(7) == [7]
        ranks.wait()


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shares_are_even_and_cover_everything_once(world):
    shares = [Ranks(rank, world).share(range(10)) for rank in range(world)]
    assert sorted(one for share in shares for one in share) == list(range(10))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_mistake_of_the_only_process_is_its_own():
    with pytest.raises(DataError, match="mine"), Ranks().together():
        raise DataError("mine")


class Heard(Ranks):
    """A process among two, the other of which met `told`."""

    told_by_other = None

    def gather(self, value):
        return [value, self.told_by_other] if self.first else [self.told_by_other, value]


def test_what_is_done_once_is_done_by_the_first_and_known_to_all():
    said, done = [], []

    class Two(Ranks):
        """A process among two, the first of which comes first."""

        def gather(self, value):
            if self.first:
                said.append(value)
                return [value, None]
            return [said.pop(0), value]

    def work():
        done.append("worked")
        return "hash"

    assert [Two(rank, 2).once(work) for rank in (0, 1)] == ["hash", "hash"]
    assert done == ["worked"]


def test_a_mistake_of_one_process_is_told_by_the_first_and_ends_the_others_silently():
    first, second = Heard(0, 2), Heard(1, 2)
    object.__setattr__(first, "told_by_other", DataError("theirs"))
    object.__setattr__(second, "told_by_other", DataError("theirs"))
    with pytest.raises(DataError, match="theirs"), first.together():
        pass
    with pytest.raises(SystemExit) as ended, second.together():
        pass
    assert ended.value.code == 2


def test_a_broken_connection_ends_a_process_silently(monkeypatch):
    def broken(*_):
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr("torch.distributed.all_gather_object", broken)
    with pytest.raises(SystemExit) as ended:
        Ranks(1, 2).wait()
    assert ended.value.code == 1


def test_a_world_of_one_needs_no_connection(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with join() as ranks:
        assert ranks == Ranks()
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("environment", "message"),
    [({"RANK": "x", "WORLD_SIZE": "2"}, "must be numbers"), ({"RANK": "0", "WORLD_SIZE": "2"}, "start the processes by torchrun")],
)
def test_half_an_environment_is_one_clear_error(monkeypatch, environment, message):
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SpecError, match=message), join("cpu"):
        pass
