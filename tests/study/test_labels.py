import pytest

from assay.study.labels import match


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


@pytest.mark.parametrize("names", [(), ("a",), ("0",)])
def test_labels_beyond_the_names_have_no_class(names):
    assert match(names, ("0",)).id_of(1) is None
