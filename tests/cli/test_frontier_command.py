import polars as pl
import pytest

MODEL = ("--model", "python:mynets:good", "--images", "pictures")
STEPS = ("--steps", "2")
QUICK = ("--samples", "2", "--draws", "2", "--measure", "Deletion(steps=3)", "--measure", "LocalLinearError(samples=4)")
TWO = ("--explainer", "Gradient", "--explainer", "RandomMap")


def test_a_run_folder_holds_tables_figure_and_report_and_the_verdict_is_told(place, run):
    found = run("frontier", *MODEL, *TWO, *QUICK, *STEPS, "--sigma", 0, "--sigma", 0.1, "--sigma", 0.3, "--block", 2, "--out", "out")
    assert found.code == 0, found.err
    for text in ("Gradient: means; against width 0", "attacked similarity ↑", "Gradient by Deletion", "RandomMap by LocalLinearError"):
        assert text in found.out
    table = pl.read_parquet("out/frontier.parquet")
    assert len(table) == 3 * 2 * 3 * 7
    assert not table.select("image", "explainer", "width", "quantity").is_duplicated().any()
    assert len(pl.read_csv("out/summary.csv")) == 2 * 3 * 7
    assert pl.read_csv("out/trends.csv")["explainer"].unique(maintain_order=True).to_list() == ["Gradient", "RandomMap"]
    assert pl.read_csv("out/status.csv")["status"].to_list() == ["ok"] * 3
    assert (place / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")
    page = (place / "out" / "report.html").read_text()
    for text in (
        "What does the robustness of these explanations cost?",
        "Gradient by Deletion",
        "The knee is the width",
        "Gaussian(sigma=0.3)",
    ):
        assert text in page.replace("<wbr>", "")
    assert run("run", "verify", "out").code == 0


def test_a_finished_run_has_nothing_left_to_do_and_resumes_to_the_same(place, run):
    command = (
        "frontier",
        *MODEL,
        "--explainer",
        "Gradient",
        *QUICK,
        *STEPS,
        "--kernel",
        "Uniform(radius=0.2)",
        "--attacked",
        2,
        "--out",
        "out",
    )
    assert run(*command).code == 0
    before = (place / "out" / "frontier.parquet").read_bytes()
    again = run(*command)
    assert again.code == 0
    assert "nothing was left to do" in again.out
    assert run("run", "resume", "out", "--trust").code == 0
    assert (place / "out" / "frontier.parquet").read_bytes() == before


def test_blocks_change_nothing(place, run):
    for block, out in ((1, "one"), (64, "all")):
        assert run("frontier", *MODEL, *TWO[:2], *QUICK, "--sigma", 0.1, "--attack", "none", "--block", block, "--out", out).code == 0
    one, other = (pl.read_parquet(f"{out}/frontier.parquet") for out in ("one", "all"))
    assert one.drop("value").equals(other.drop("value"))
    assert (one["value"] - other["value"]).abs().max() < 1e-5
    assert "attacked similarity" not in set(one["quantity"])
    compared = run("run", "compare", "one", "all")
    assert compared.code == 0
    assert "Gradient, kernel Gaussian(sigma=0.1)" in compared.out
    assert "LocalLinearError" in compared.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--explainer", "Gradiant"), "did you mean Gradient"),
        (("--explainer", "Gradient", "--sigma", "0"), "at least one of them above 0"),
        (("--explainer", "Gradient", "--sigma", "0.1", "--kernel", "Uniform(radius=0.1)"), "not both"),
        (("--explainer", "Gradient", "--norm", "l1"), "give --eps"),
        (("--explainer", "Gradient", "--measure", "MaxSensitivity"), "no measure of faithfulness"),
        (("--explainer", "Gradient", "--compare", "L2"), "no similarity"),
        (("--explainer", "Gradient", "--attack", "Gradient"), "is not an Attack"),
        (("--explainer", "Gradient", "--attack", "MapAttack(eps=0.1)", "--eps", "0.2"), "brings its own eps; leave --eps out"),
        (("--explainer", "Gradient", "--attack", "MapAttack(eps=0.1)", "--norm", "l2"), "leave --norm out"),
        (("--explainer", "Gradient", "--attack", "none", "--steps", "5"), "leave --steps and --otherwise out"),
        (("--explainer", "Gradient", "--explainer", "Gradient()"), "given twice"),
    ],
)
def test_a_mistake_ends_with_one_line_before_any_work(place, run, options, message):
    found = run("frontier", *MODEL, *options, "--out", "out")
    assert found.code == 2
    assert len(found.lines) == 1
    assert message in found.err
    assert not (place / "out").exists()
