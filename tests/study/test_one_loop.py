from dataclasses import dataclass
from typing import ClassVar

import polars as pl
import pytest

from assay.errors import DataError, EmptyBatchError, NotFiniteError
from assay.study.study import Asked, Kept, Report, Study, run
from reference.sources import Broken, batch


@dataclass(frozen=True)
class Brightness(Study):
    """The mean of every image.

    Attributes:
        factor: By which it is multiplied.
    """

    factor: float = 1.0

    command: ClassVar[str] = "brightness"

    def check(self, asked):
        pass

    def block(self, asked, block, tell):
        tell(len(block.batch) // 2)
        values = block.case.images.mean((1, 2, 3)).mul(self.factor).tolist()
        return Kept({"means": pl.DataFrame({"image": block.case.index.tolist(), "value": values})})

    def conclude(self, asked, done):
        table = done.table("means")
        return Report(lambda: table, {"means.csv": "means", "status.csv": "status"}, {"count.txt": lambda: b"%d" % len(table)})

    def record(self, asked):
        return {"setup": {"seed": asked.seed}}


def test_in_memory_in_a_folder_and_block_by_block_a_study_finds_the_same(model, images, tmp_path):
    asked = Asked(model, Broken(batch(images(5)), {2: "no image"}))
    whole = run(Brightness(), asked)
    assert not whole.over
    assert whole.found()["image"].to_list() == [0, 1, 3, 4]
    for block in (1, 2, 64):
        kept = run(Brightness(), asked, tmp_path / str(block), block=block)
        assert kept.found().equals(whole.found())
        assert not kept.over
        assert (tmp_path / str(block) / "count.txt").read_bytes() == b"4"
        assert pl.read_csv(tmp_path / str(block) / "status.csv")["status"].to_list()[2] == "cannot be read: no image"


def test_a_finished_study_says_so_and_makes_no_pass(model, images, tmp_path):
    asked = Asked(model, Broken(batch(images(3))))
    run(Brightness(), asked, tmp_path)
    before = model.passes.forward
    again = run(Brightness(), asked, tmp_path)
    assert again.over
    assert len(again.found()) == 3
    assert model.passes.forward == before


def test_a_study_with_other_settings_is_refused(model, images, tmp_path):
    asked = Asked(model, Broken(batch(images(3))))
    run(Brightness(), asked, tmp_path)
    with pytest.raises(DataError, match=r"factor is 2\.0, there 1\.0"):
        run(Brightness(2.0), asked, tmp_path)


def test_nothing_to_read_and_nothing_finite_are_told_apart(model, fragile, images):
    with pytest.raises(EmptyBatchError, match="no image could be read: image 0: gone"):
        run(Brightness(), Asked(model, Broken(batch(images(1)), {0: "gone"})))
    lost = images(2)
    lost[:, 0, 0, 0] = 1.0
    with pytest.raises(NotFiniteError, match="NaN or infinity for every image"):
        run(Brightness(), Asked(fragile, Broken(batch(lost))))


def test_progress_counts_images_to_the_end(model, images):
    told = []
    run(Brightness(), Asked(model, Broken(batch(images(5)))), block=2, progress=lambda *one: told.append(one))
    assert [stage for stage, _, _ in told] == ["brightness"] * len(told)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1][1:] == (5, 5)
