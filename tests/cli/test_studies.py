import dataclasses
import inspect
import re
import warnings
from importlib import import_module
from pathlib import Path

import pytest

import assay
from assay.cli.studies import STUDIES, TASKS
from assay.cli.tasks.images import Task

SOURCE = Path(assay.__file__).parent
KINDS = {name: getattr(import_module(module), kind) for name, (module, kind) in STUDIES.items()}
MODEL = ("--model", "python:mynets:good", "--images", "pictures", "--explainer", "Gradient")
WHOLE = ("--attack", "MapAttack(eps=0.01, steps=2)")


@pytest.mark.parametrize("name", KINDS)
def test_the_options_of_a_command_are_the_fields_of_its_study_and_the_shared_ones(run, name):
    told = run(name, "--help").out
    wanted = {
        "import" if field.name == "imports" else field.name.replace("_", "-")
        for kind in (KINDS[name], TASKS.get(name, Task))
        for field in dataclasses.fields(kind)
    }
    found = set(re.findall(r"^\W*\*?\s*--([a-z][a-z-]*)", told, re.MULTILINE)) - {"help"}
    assert found == wanted


@pytest.mark.parametrize("kind", KINDS.values())
def test_every_field_of_a_study_has_its_help_in_the_docstring(kind):
    section = inspect.getdoc(kind).partition("Attributes:\n")[2]
    assert re.findall(r"^    (\w+): ", section, re.MULTILINE) == [field.name for field in dataclasses.fields(kind)]


def test_images_are_read_for_a_study_in_one_place_only():
    places = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if re.search(r"source\.read\(|Held\([^()]*\)\.read\(", path.read_text())
    }
    assert places == {"study/asked.py"}


@pytest.mark.parametrize("option", [("--eps", "0.5"), ("--norm", "l2"), ("--steps", "3"), ("--goal", "MoveCentre")])
def test_an_option_that_a_whole_attack_makes_void_is_an_error(run, place, option):
    found = run("attack", *MODEL, *WHOLE, *option, "--out", "out")
    assert (found.code, len(found.lines)) == (2, 1)
    assert f"leave {option[0]} out" in found.err
    assert not (place / "out").exists()


VOID = [
    (("audit", *MODEL, "--preset", "paper"), "--preset paper brings its own explainers"),
    (("frontier", *MODEL, "--attack", "none", "--steps", "3"), "leave --steps"),
    (("frontier", *MODEL, *WHOLE, "--norm", "l2"), "leave --norm out"),
    (("frontier", *MODEL, "--sigma", "0.1", "--kernel", "Uniform(0.1)"), "give sigmas or kernels, not both"),
    (("train", "--data", "HardDigits(size=32, count=20)", "--attacked", "3"), "nothing attacks them; give --robust-accuracy"),
    (("tune", *MODEL[:4], "--method", "DiET()", "--preset", "paper"), "--preset paper brings its own settings"),
]


@pytest.mark.parametrize(("words", "message"), VOID, ids=lambda one: one[0] if isinstance(one, tuple) else "")
def test_an_option_that_another_makes_void_is_an_error(run, place, words, message):
    found = run(*words, "--out", "out.safetensors" if words[0] == "train" else "out")
    assert found.code == 2
    assert message in found.lines[-1]
    assert not list(place.glob("out*"))


@pytest.mark.parametrize("name", KINDS)
def test_no_option_is_written_by_hand_that_a_field_of_the_study_states(name):
    shared = {field.name for field in dataclasses.fields(TASKS.get(name, Task))}
    assert shared & {field.name for field in dataclasses.fields(KINDS[name])} == set()


def test_a_run_is_resumed_from_the_options_that_were_given(run, place):
    given = ("--eps", "0.02", "--steps", "2", "--goal", "MoveCentre", "--compare", "Cosine", "--gallery", "1")
    assert run("attack", *MODEL, *given, "--out", "out").code == 0
    before = (place / "out" / "attacks.parquet").read_bytes()
    (place / "out" / "attacks.parquet").unlink()
    assert run("run", "resume", "out", "--trust").code == 0
    assert (place / "out" / "attacks.parquet").read_bytes() == before


def test_the_help_of_the_program_names_every_study_without_importing_any(run):
    told = run("--help").out
    assert all(name in told for name in STUDIES)


@pytest.mark.usefixtures("place", "recwarn")
def test_a_warning_of_assays_own_is_one_note_without_the_code_that_gave_it(run):
    warnings.simplefilter("always")
    few = ("--explainer", "KernelShap(samples=8, segments=Grid(rows=4, columns=4))")
    found = run("explain", "--model", "python:mynets:good", "--images", "pictures", *few, "--out", "out")
    assert found.code == 0
    assert next(line for line in found.lines if "superpixels" in line).startswith("note: KernelShap: 8 passes")
    assert not any("surrogate.py" in line for line in found.lines)
