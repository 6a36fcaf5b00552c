"""What a reader does with a page, in headless Chromium: sorting, filtering, sliding, enlarging, by mouse and by keyboard."""

import re
from importlib.resources import files

import pytest
import torch

from assay.report import write
from reference.chromium import FOUND, Chromium

browsed = pytest.mark.skipif(FOUND is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def browser():
    found = Chromium()
    yield found
    found.close()


@pytest.fixture
def opened(browser, page_of, summary, gallery, change, tmp_path):
    """The browser with a page of four images: a wrong one, two right ones, one without a label."""
    noise = torch.Generator().manual_seed(0)
    four = change(
        gallery,
        images=torch.rand(4, 3, 8, 8, generator=noise),
        names=("one.png", "two.png", "three.png", "four.png"),
        labels=("cat", "cat", "dog", ""),
        predictions=("dog", "cat", "dog", "cat"),
        probabilities=(0.9, 0.6, 0.8, 0.7),
        maps={"Gradient": torch.randn(4, 1, 8, 8, generator=noise)},
        truth=None,
        distractor=None,
        scores={"Gradient": {"Insertion": (0.4, 0.1, 0.3, 0.2)}},
        why=("wrong prediction", "typical", "typical", "typical"),
    )
    browser.open(f"file://{write(page_of(summary, four), tmp_path / 'report.html')}")
    return browser


NAMES = "[...document.querySelectorAll('.case:not([hidden])')].map(one => one.dataset.name.split('.')[0])"
SET = "((control, value) => {{ control.value = value; control.dispatchEvent(new Event('input', {{bubbles: true}})); }})({}, {!r})"


@browsed
def test_images_are_sorted_and_filtered_without_a_server(opened):
    show, order = "document.querySelectorAll('.tools select')[0]", "document.querySelectorAll('.tools select')[1]"
    assert opened.run(NAMES) == ["one", "two", "three", "four"]
    opened.run(SET.format(order, "+Gradient, Insertion"))
    assert opened.run(NAMES) == ["two", "four", "three", "one"]
    opened.run(SET.format(order, "surest"))
    assert opened.run(NAMES) == ["one", "three", "four", "two"]
    opened.run(SET.format(show, "wrong"))
    assert opened.run(NAMES) == ["one"]
    assert opened.run("document.querySelector('.tools output').textContent") == "1 of 4"
    opened.run(SET.format(show, ""))
    opened.run(SET.format("document.querySelector('.tools input[type=search]')", "THREE"))
    assert opened.run(NAMES) == ["three"]
    assert opened.errors == []


@browsed
def test_the_slider_lays_the_image_under_its_maps(opened):
    opened.run(SET.format("document.querySelector('.tools input[type=range]')", "100"))
    frame = "document.querySelector('.tile .frame')"
    assert opened.run(f"{frame}.style.backgroundImage.startsWith('url(\"data:image/png')")
    assert float(opened.run(f"{frame}.querySelector('img').style.opacity")) < 0.5
    assert opened.errors == []


@browsed
def test_a_map_is_enlarged_by_the_keyboard_and_put_away_again(opened):
    opened.run("document.querySelector('.tile .frame').focus()")
    opened.press("Enter")
    assert opened.run("document.querySelector('dialog').open")
    assert opened.run("document.querySelector('dialog p').textContent") == "map of Gradient for one.png"
    assert opened.run("document.activeElement.textContent") == "close"
    opened.press("Escape")
    opened.wait("!document.querySelector('dialog').open")
    assert opened.errors == []


@browsed
def test_without_the_script_every_image_and_score_is_there(opened):
    opened.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        opened.open(opened.run("location.href"))
        text = opened.run("document.body.innerText")
        assert opened.run("document.querySelectorAll('.case').length") == 4
        assert all(name in text for name in ("one.png", "two.png", "three.png", "four.png"))
        assert not opened.run("document.querySelector('.tools')")
    finally:
        opened.call("Emulation.setScriptExecutionDisabled", value=False)


@browsed
def test_a_wide_table_says_that_there_is_more_beside_and_a_narrow_one_does_not(opened):
    said = "getComputedStyle(document.querySelector('#scores .scroll'), '::after').fontSize"
    assert opened.run(said) == "0px"
    opened.open(opened.run("location.href"), 320)
    opened.wait(f"parseFloat({said}) > 10")  # The animation that shows it begins with the first frame.


@browsed
def test_a_page_of_a_thousand_images_loads_sorts_and_filters(opened, page_of, summary, gallery, change, tmp_path):
    many = 1000
    noise = torch.Generator().manual_seed(0)
    large = change(
        gallery,
        images=torch.rand(many, 3, 16, 16, generator=noise),
        names=tuple(f"{at}.png" for at in range(many)),
        labels=("a",) * many,
        predictions=("a",) * (many - 1) + ("b",),
        probabilities=(0.5,) * many,
        maps={"Gradient": torch.randn(many, 1, 16, 16, generator=noise)},
        truth=None,
        distractor=None,
        scores={"Gradient": {"Insertion": tuple(float(at) for at in range(many))}},
    )
    path = write(page_of(summary, large), tmp_path / "large.html")
    assert path.stat().st_size < 12_000_000
    opened.open(f"file://{path}")
    opened.run(SET.format("document.querySelectorAll('.tools select')[1]", "-Gradient, Insertion"))
    assert opened.run(NAMES)[:3] == ["999", "998", "997"]
    opened.run(SET.format("document.querySelectorAll('.tools select')[0]", "wrong"))
    assert opened.run(NAMES) == ["999"]
    opened.run(SET.format("document.querySelectorAll('.tools select')[0]", ""))
    opened.run("document.querySelector('.further').focus()")
    opened.press("Enter")
    assert opened.run(f"{NAMES}.length") == 200
    assert opened.run(NAMES)[100] == opened.run("document.activeElement.closest('.case').dataset.name.split('.')[0]") == "899"
    assert opened.run("document.querySelector('.further').textContent") == "show 100 more"
    assert opened.errors == []


@browsed
def test_without_the_script_a_long_gallery_is_there_whole(opened, page_of, summary, gallery, change, tmp_path):
    many = 130
    noise = torch.Generator().manual_seed(0)
    told = {"names": tuple(f"{at}.png" for at in range(many)), "labels": ("a",) * many, "predictions": ("a",) * many}
    told |= {"probabilities": (0.5,) * many, "truth": None, "distractor": None, "scores": {}, "why": ()}
    pictures = {"images": torch.rand(many, 3, 8, 8, generator=noise), "maps": {"Gradient": torch.randn(many, 1, 8, 8, generator=noise)}}
    path = write(page_of(summary, change(gallery, **told, **pictures)), tmp_path / "long.html")
    opened.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        opened.open(f"file://{path}")
        assert opened.run("document.querySelectorAll('.case').length") == many
        opened.run("document.querySelector('.more').open = true")
        assert "129.png" in opened.run("document.body.innerText")
    finally:
        opened.call("Emulation.setScriptExecutionDisabled", value=False)


def schemes():
    """The colours of the light and of the dark scheme, by name."""
    css = files("assay.report").joinpath("template", "page.css").read_text("utf-8")
    light, dark = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]]
    return {"light": light, "dark": dark}


def luminance(colour):
    """Relative luminance by WCAG 2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_colour_is_readable_on_every_ground_that_it_stands_on(scheme):
    colours = schemes()[scheme]
    pairs = [(ink, ground) for ink in ("ink", "soft", "link", "good", "caution", "bad", "note") for ground in ("ground", "panel")]
    pairs += [(tone, f"{tone}-wash") for tone in ("good", "caution", "bad", "note")]
    pairs += [("ink", f"{tone}-wash") for tone in ("good", "caution", "bad", "note")]
    for ink, ground in pairs:
        one, other = sorted((luminance(colours[ink]), luminance(colours[ground])))
        assert (other + 0.05) / (one + 0.05) >= 4.5, (ink, ground)
