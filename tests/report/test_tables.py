import math

import polars as pl
import pytest

from assay.report.export import Table, cell_texts, headings, latex, markdown, table_files, wide


@pytest.fixture
def long():
    """Two maps by two measures; one of the four was not measured."""
    rows = [
        ("Gradient", "IoU", 0.25, 0.2, 0.3),
        ("Gradient", "kept, %", 0.5, 0.4, 0.6),
        ("SmoothGrad(sigma=0.1)", "IoU", 0.35, 0.3, 0.4),
    ]
    return pl.DataFrame(rows, schema=["map", "measure", "mean", "low", "high"], orient="row")


@pytest.fixture
def table(long):
    return Table("overlap", "Maps & truth.", "With 95 % intervals.", wide(long, ["map"], "measure"), frozenset({"kept, %"}))


def test_a_wide_table_has_the_long_one_s_numbers(long):
    frame = wide(long, ["map"], "measure")
    assert frame.columns == ["map", "IoU", "IoU low", "IoU high", "kept, %", "kept, % low", "kept, % high"]
    for name, measure, mean, low, high in long.iter_rows():
        line = frame.row(by_predicate=pl.col("map") == name, named=True)
        assert (line[measure], line[f"{measure} low"], line[f"{measure} high"]) == (mean, low, high)
    assert frame.row(1, named=True)["kept, %"] is None


def test_intervals_stand_beside_their_values_and_shares_are_per_cent(table):
    assert headings(table) == ["map", "IoU", "kept, %"]
    assert cell_texts(table) == [
        ["Gradient", "0.250 (0.200 to 0.300)", "50.0 (40.0 to 60.0)"],
        ["SmoothGrad(sigma=0.1)", "0.350 (0.300 to 0.400)", "–"],
    ]


def test_the_csv_file_holds_every_digit(table):
    exact = table.frame.with_columns(pl.lit(1 / 3).alias("IoU"))
    files = table_files(Table("exact", "", "", exact))
    assert pl.read_csv(files["exact.csv"]).equals(exact)
    assert set(files) == {"exact.csv", "exact.md", "exact.tex"}


def test_markdown_is_a_table_of_the_same_cells(table):
    lines = markdown(table).splitlines()
    assert lines[0] == "**Maps & truth.** With 95 % intervals."
    body = [[text.strip() for text in line.strip("|").split(" | ")] for line in lines[2:]]
    assert body[0] == headings(table)
    assert body[1] == ["---", "---:", "---:"]
    assert body[2:] == cell_texts(table)


def test_markdown_survives_a_bar_in_a_name():
    text = markdown(Table("x", "T.", "", pl.DataFrame({"a|b": ["c|d"]})))
    assert r"| a\|b |" in text
    assert r"| c\|d |" in text


def test_latex_escapes_what_means_something_to_it(table):
    text = latex(Table("x", "A_b & 5 %", "", pl.DataFrame({"name": ["a_b {c} #1 $2 ~^\\"], "low": [-0.5]})))
    assert r"\caption{A\_b \& 5 \%}" in text
    assert r"a\_b \{c\} \#1 \$2 \textasciitilde{}\textasciicircum{}\textbackslash{} & $-$0.500 \\" in text
    assert r"\begin{tabular}{lr}" in text
    assert latex(table).count(r"\\") == 3


@pytest.mark.parametrize(
    ("value", "shown"), [(0.12345, "0.123"), (-2.0, "−2.000"), (123.456, "123.5"), (math.nan, "–"), (None, "–"), (math.inf, "–")]
)
def test_numbers_that_say_nothing_are_dashes(value, shown):
    assert cell_texts(Table("x", "", "", pl.DataFrame({"value": [value]}, schema={"value": pl.Float64}))) == [[shown]]


def test_counts_texts_and_truth_values_are_as_they_are():
    frame = pl.DataFrame({"round": [3], "taken": [True], "name": ["a"], "none": [""]})
    assert cell_texts(Table("x", "", "", frame)) == [["3", "yes", "a", "–"]]
