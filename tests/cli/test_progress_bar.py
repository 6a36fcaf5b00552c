import io

import pytest
from rich.console import Console

from assay.cli import progress_bar


@pytest.fixture
def screen(monkeypatch):
    """What the bar writes to, and a clock that the test moves."""
    text, clock = io.StringIO(), [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: clock[0])

    def console(terminal):
        made = Console(file=text, force_terminal=terminal, width=200, get_time=lambda: clock[0])
        monkeypatch.setattr(progress_bar, "Console", lambda stderr: made)  # noqa: ARG005
        return text, clock

    return console


def test_a_log_file_gets_a_line_now_and_then_with_rate_and_time_left(screen):
    text, clock = screen(False)
    with progress_bar.bar() as report:
        for done, now in ((0, 0), (10, 10), (40, 40), (50, 50), (100, 100), (100, 101)):
            clock[0] = float(now)
            report("audit", done, 100)
    assert text.getvalue().splitlines() == ["audit: 40 of 100, 40 s (1/s), about 60 s left", "audit: 100 of 100, 100 s (1/s)"]


def test_a_terminal_shows_the_rate(screen):
    text, clock = screen(True)
    with progress_bar.bar() as report:
        for done in range(0, 101, 10):
            clock[0] = float(done)
            report("audit", done, 100)
    assert "100/100" in text.getvalue()
    assert "1/s" in text.getvalue()
