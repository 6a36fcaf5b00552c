import io
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import zarr

from assay.cli.tasks import options
from assay.data import HardDigits, read
from assay.data.source import Selection
from assay.errors import DataError


@pytest.mark.parametrize("indices", [range(10), [0, 3, 4, 8, 9], np.array([1, 2, 7])])
def test_blocks_cover_all_positions_evenly_and_are_read_in_order(indices):
    chosen = Selection(HardDigits(size=32, count=10), indices)
    blocks = chosen.blocks(4)
    assert [at for block in blocks for at in block] == list(range(len(indices)))
    assert max(map(len, blocks)) <= 4
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1 + len(blocks) // 2
    found = list(chosen.read(blocks))
    assert [batch.index.tolist() for batch in found] == [[int(indices[at]) for at in block] for block in blocks]


def test_any_positions_can_be_read():
    chosen = Selection(HardDigits(size=32, count=10), [2, 5, 7, 8])
    (batch,) = chosen.read([[3, 0]])
    assert torch.equal(batch.images, read(chosen.dataset, [8, 2]).images)


def test_counted_images_are_chosen_by_the_seed_in_ascending_order():
    first, again, other = (options.selection(HardDigits(size=32), "hard-digits", 20, seed).indices for seed in (0, 0, 1))
    assert first == again == sorted(set(first))
    assert first != other


@pytest.fixture
def packed(place):
    """The images of `classes` as tar shards in the folder `shards`, one of them damaged."""
    (place / "shards").mkdir()
    for number, path in enumerate(sorted((place / "classes").rglob("*.png"))):
        with tarfile.open(place / "shards" / f"part-{number}.tar", "w") as archive:
            for name, data in (
                (f"{number}.png", path.read_bytes() if number != 1 else b"cut"),
                (f"{number}.cls", path.parent.name.encode()),
            ):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return place / "shards"


def test_shards_are_explained_alike_with_and_without_worker_processes(packed, run):
    maps = []
    for workers in (0, 1):
        out = Path(f"out{workers}")
        arguments = ("--explainer", "Gradient", "--maps", "zarr", "--no-overlays", "--block", 1, "--workers", workers, "--out", out)
        found = run("explain", "--model", "python:mynets:good", "--images", "shards", *arguments)
        assert found.code == 0, found.err
        assert "left out: shards/part-1.tar/1.png: it is no image of a known kind" in found.out
        rows = pl.read_csv(out / "predictions.csv")
        assert rows["name"].to_list() == ["part-0.tar/0.png", "part-2.tar/2.png"]
        assert rows["label"].to_list() == ["cat", "dog"]
        maps.append(zarr.open_group(str(out / "maps.zarr"), mode="r")["Gradient"][:])
    assert np.array_equal(*maps, equal_nan=True)


def test_a_split_of_what_has_none_is_refused(packed):
    with pytest.raises(DataError, match="--split test is for named data sets, but shards is taken whole"):
        options.PictureOptions(split="test").dataset("shards")
