import json

AUDIT = ("audit", "--images", "pictures", "--explainer", "Gradient", "--measure", "Deletion(steps=3)")


def test_two_runs_are_put_side_by_side_with_a_report(place, run):
    for out, model in (("one", "python:mynets:good"), ("two", "python:mynets:ready")):
        assert run(*AUDIT, "--model", model, "--out", out).code == 0
    found = run("compare", "one", "two", "--out", "both.html")
    assert found.code == 0, found.err
    assert "report: both.html" in found.out
    assert all(one in found.out for one in ('model: "python:mynets:good" in the first', '"python:mynets:ready" in the second'))
    assert "over random" in (place / "both.html").read_text()


def test_two_models_are_put_side_by_side_on_images(place, run):
    words = ("--images", "pictures", "--explainer", "Gradient", "--measure", "Deletion(steps=3)", "--json")
    told = json.loads(run("compare", "python:mynets:good", "python:mynets:ready", *words).out)
    assert [len(one["rows"]) for one in told["tables"]] == [1, 1]
    assert told["tables"][1]["rows"][0]["images"] == "3"


def test_mistakes_are_one_line(place, run):
    assert "python:mynets:good is no run's folder" in run("compare", "python:mynets:good", "two").err
    assert "--count is for models" in run("compare", "one", "two", "--count", 3).err
    assert run(*AUDIT, "--model", "python:mynets:good", "--out", "one").code == 0
    assert run("explain", "--model", "python:mynets:good", "--images", "pictures", "--explainer", "Gradient", "--out", "maps").code == 0
    found = run("compare", "one", "maps")
    assert (found.code, len(found.lines)) == (2, 1)
    assert "a run of assay explain" in found.err
