import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data import Corrupt, CorruptFileError, HardDigits, ImageFolder, batches, choose, read, stack
from assay.errors import DataError


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 400), data=st.data(), seed=st.integers(0, 2**64))
def test_choose_gives_distinct_items_and_fewer_begin_more(length, data, seed):
    dataset = HardDigits(count=length)
    count = data.draw(st.integers(1, length))
    chosen = choose(dataset, count, seed)
    assert len(set(chosen)) == count
    assert all(0 <= index < length for index in chosen)
    assert choose(dataset, length, seed)[:count] == chosen


def test_choose_follows_its_seed_alone():
    dataset = HardDigits()
    state = torch.get_rng_state()
    assert choose(dataset, 50, seed=1) == choose(dataset, 50, seed=1) != choose(dataset, 50, seed=2)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("count", [0, -1, 2001])
def test_choose_refuses_counts_that_cannot_be(count):
    with pytest.raises(DataError, match="ask for 1 to 2000"):
        choose(HardDigits(), count, 0)


def test_batches_walk_all_items_in_order():
    dataset = HardDigits(size=32, count=10)
    parts = list(batches(dataset, 4))
    assert [len(part) for part in parts] == [4, 4, 2]
    assert torch.equal(torch.cat([part.images for part in parts]), read(dataset, range(10)).images)
    assert torch.cat([part.index for part in parts]).tolist() == list(range(10))


def test_batches_take_any_indices_and_refuse_an_empty_size():
    dataset = HardDigits(size=32, count=10)
    parts = list(batches(dataset, 2, iter([7, 1, 1])))
    assert [part.index.tolist() for part in parts] == [[7, 1], [1]]
    with pytest.raises(DataError, match="at least 1 image"):
        batches(dataset, 0)


def test_read_refuses_items_that_do_not_exist():
    with pytest.raises(DataError, match="items 0 to 9, not 10"):
        read(HardDigits(count=10), [3, 10])


def test_stack_gives_the_bytes_of_all_images_and_reports_progress():
    dataset = HardDigits(size=32, count=600)
    calls = []
    images, labels = stack(dataset, lambda *call: calls.append(call))
    batch = read(dataset, range(600))
    assert images.dtype == torch.uint8
    assert torch.equal(images.to(torch.float32) / 255, batch.images)
    assert torch.equal(labels, batch.labels)
    assert calls == [("reading hard-digits test", done, 600) for done in (128, 256, 384, 512, 600)]


def test_a_dataset_can_be_iterated():
    assert [item.index for item in HardDigits(size=32, count=3)] == [0, 1, 2]


@pytest.fixture
def damaged(classes_folder):
    """The first file is empty, one of the others is cut, one is a text."""
    (classes_folder / "cat" / "a.png").write_bytes(b"")
    whole = (classes_folder / "dog" / "d.PNG").read_bytes()
    (classes_folder / "dog" / "d.PNG").write_bytes(whole[: len(whole) // 2])
    (classes_folder / "dog" / "e.jpg").write_text("this is no JPEG")
    return ImageFolder(str(classes_folder))


def test_read_lists_every_corrupt_file_by_name(damaged):
    batch = read(damaged, range(5))
    assert batch.names == ("cat/b.JPG", "dog/c.jpeg")
    assert batch.index.tolist() == [1, 2]
    assert batch.labels.tolist() == [0, 1]
    assert [type(error) for error in batch.errors] == [Corrupt] * 3
    assert [error.name.rsplit("/", 1)[1] for error in batch.errors] == ["a.png", "d.PNG", "e.jpg"]
    assert batch.errors[0].message == "the file is empty"
    assert "truncated" in batch.errors[1].message
    assert batch.errors[2].message == "it is no image of a known kind"


def test_one_item_of_a_corrupt_file_raises_with_its_name(damaged):
    with pytest.raises(CorruptFileError, match=r"e\.jpg.*it is no image"):
        damaged[4]


def test_stack_counts_all_corrupt_files_and_names_the_first(damaged):
    with pytest.raises(DataError, match=r"3 of 5 images .* the first is .*a\.png \(the file is empty\)"):
        stack(damaged)


def test_a_batch_of_corrupt_files_alone_is_empty_and_lists_them(damaged):
    batch = read(damaged, [0, 4])
    assert len(batch) == 0
    assert batch.images.shape[0] == 0
    assert len(batch.errors) == 2


def test_a_file_that_vanishes_is_a_corrupt_file(classes_folder):
    dataset = ImageFolder(str(classes_folder))
    assert len(dataset) == 5
    (classes_folder / "cat" / "a.png").unlink()
    assert [error.message for error in read(dataset, range(5)).errors] == ["No such file or directory"]


def test_stack_refuses_images_without_labels(classes_folder):
    with pytest.raises(DataError, match="has no labels"):
        stack(ImageFolder(str(classes_folder / "cat")))
