import json

from assay.bench.doctor import self_test


def test_the_doctor_tells_versions_machine_and_data_and_that_all_is_well(run, monkeypatch):
    monkeypatch.delenv("ASSAY_DATA", raising=False)
    found = run("doctor", "--json")
    assert found.code == 0, found.err
    told = json.loads(found.out)
    tables = {one["title"]: {row.get("what", row.get("test")): row for row in one["rows"]} for one in told["tables"]}
    assert tables["Versions"]["torch"]["found"]
    assert tables["Data"]["ASSAY_DATA"]["found"] == "not set"
    assert tables["Data"]["cifar10"]["found"].startswith("not found")
    assert {row["outcome"] for row in tables["Self-test"].values()} == {"passed"}


def test_an_installation_that_answers_wrongly_is_told_and_ends_with_1(run, monkeypatch):
    from assay.explain.gradient import Gradient

    monkeypatch.setattr(Gradient, "attribute", lambda *given: given[2] * given[4].view(-1, 1, 1, 1))
    found = run("doctor")
    assert found.code == 1
    assert found.out.startswith("This installation gives wrong answers:")
    failed = [one.name for one in self_test() if not one.passed]
    assert failed
    assert all(name in found.out for name in failed)


def test_without_tests_nothing_is_claimed(run):
    assert run("doctor", "--no-test", "-q").out.strip() == "Nothing was tested."
