import pytest

from assay.errors import DataError
from assay.models.labels import match


def test_labels_without_names_are_the_models_numbers():
    found = match((), ("cat", "dog"))
    assert [found.name_of(label) for label in (0, 1, None, 5)] == ["cat", "dog", "", ""]


def test_classes_are_matched_by_name_whatever_their_order():
    found = match(("dog", "zebra"), ("cat", "dog"))
    assert (found.id_of(0), found.id_of(1)) == (1, None)
    assert found.name_of(0) == "dog"
    assert found.accuracy({(0, 1): 3, (0, 0): 3, (1, 0): 7}) == (0.5, 6)


def test_as_many_classes_without_common_names_are_matched_by_number():
    found = match(("cat", "dog"), ("0", "1"))
    assert found.names == ("cat", "dog")
    assert found.accuracy({(0, 0): 1, (1, 0): 1}) == (0.5, 2)


def test_classes_that_cannot_be_matched_are_not_guessed():
    found = match(("cat", "dog"), ("0", "1", "2"))
    assert [found.name_of(label) for label in (0, 1)] == ["", ""]
    assert found.accuracy({(0, 0): 1, (1, 1): 1}) == (0.0, 0)


@pytest.mark.parametrize(
    ("data", "model", "doubt"),
    [
        (("cat", "dog"), ("dog", "cat"), ""),
        (("cat", "dog"), ("0", "1"), ""),
        (("0", "1"), ("0", "1", "2"), ""),
        (("cat", "emu"), ("cat", "dog"), "the model has no class emu (it has cat, dog)"),
        (("1", "2", "3", "4", "5"), ("0", "1", "2"), "the model has no class 1, 2, 3, 4, 5 (it has 0, 1, 2)"),
        (("cat", "dog"), ("0", "1", "2"), "the model has no class cat, dog"),
        (("gato", "perro"), ("cat", "dog"), "taken in turn: gato for cat, perro for dog"),
    ],
)
def test_what_nobody_promises_is_told(data, model, doubt):
    found = match(data, model).doubt
    assert doubt in found
    assert bool(found) == bool(doubt)


@pytest.mark.parametrize("names", [(), ("a",), ("0",)])
def test_labels_beyond_the_names_have_no_class(names):
    assert match(names, ("0",)).id_of(1) is None


def names(*values):
    return tuple(map(str, values))


@pytest.mark.parametrize("folders", [names(1, 2, 3, 4, 5), names(2, 4, 6, 8, 9), ("01", "02", "03", "04", "10"), names(3, 4, 5, 6, 7)])
def test_folders_named_with_numbers_that_are_not_the_models_are_its_classes_in_their_order(folders):
    found = match(folders, names(*range(5)))
    assert [found.id_of(label) for label in range(5)] == [0, 1, 2, 3, 4]
    assert found.accuracy({(label, label): 3 for label in range(5)}) == (1.0, 15)


@pytest.mark.parametrize("folders", [names(0, 1, 2), names(*range(5)), ("00", "01", "02")])
def test_folders_named_with_the_models_numbers_are_those(folders):
    found = match(folders, names(*range(5)))
    assert [found.id_of(label) for label in range(len(folders))] == list(range(len(folders)))


@pytest.mark.parametrize(
    "folders",
    [
        tuple(sorted(names(*range(12)))),  # 0, 1, 10, 11, 2: torchvision's class 2 is the folder 10.
        tuple(sorted(names(*range(1, 13)))),
        names(1, 2, 3),  # Of a model with 12 classes: its classes 1 to 3, or its first three?
        names(3, 7, 11),
    ],
)
def test_numbers_that_can_be_understood_in_two_ways_are_refused(folders):
    with pytest.raises(DataError, match="name the model's classes"):
        match(folders, names(*range(12)))


def test_names_of_the_model_settle_what_numbers_mean():
    folders, grades = names(1, 10, 2), names(1, 2, 10)
    assert [match(folders, grades).id_of(label) for label in range(3)] == [0, 2, 1]


def test_numbers_beyond_the_model_are_not_guessed():
    assert match(names(1, 2, 30), names(*range(12))).accuracy({(0, 0): 1}) == (0.0, 0)
    with pytest.raises(DataError, match="are the same number"):
        match(("1", "01"), names(0, 1))
