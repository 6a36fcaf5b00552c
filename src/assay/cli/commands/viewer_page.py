"""The page of `assay view`: a Gradio app on 127.0.0.1 that sends nothing away, keeps nothing, and reads no other file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from assay.cli.commands.viewer import Look, Viewer
from assay.core.display import needed_library
from assay.errors import AssayError
from assay.report.figures.picture import data_uri
from assay.report.render import environment

__all__ = ["serving", "viewer_page"]

_LARGEST = "10mb"
_OURS = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False"}
"""Gradio tells its makers of every start, and keeps all that was shown in the browser, unless it is told not to."""


def viewer_page(viewer: Viewer) -> Any:
    """The viewer as a Gradio app, without analytics and without anything loaded from elsewhere.

    Raises:
        AssayError: Gradio is not installed.
    """
    gradio = _gradio()
    with gradio.Blocks(title="Assay", analytics_enabled=False) as blocks:
        gradio.Markdown(f"# Assay: {viewer.model.name}")
        with gradio.Row():
            with gradio.Column(scale=1):
                pick = gradio.Dropdown(viewer.names, value=viewer.names[0], label="Image")
                drop = gradio.Image(type="pil", label="or drop one", sources=["upload"], height=160, buttons=["fullscreen"])
                spec = gradio.Dropdown(
                    list(viewer.specs), value=viewer.specs[0], label="Explainer, with its parameters: type any", allow_custom_value=True
                )
                sigma = gradio.Slider(0, 0.5, value=0, step=0.01, label="Smoothing (sigma)")
                explain, attack = gradio.Button("Explain", variant="primary"), gradio.Button("Attack")
                mask, stop = gradio.Button("DiET's mask"), gradio.Button("Stop", variant="stop")
            with gradio.Column(scale=2):
                told, shown = gradio.Markdown(container=True), gradio.HTML()

        bar = gradio.Progress()

        def answered(method: str) -> Any:
            def answer(name: str, dropped: Any, spec: str, sigma: float, progress: Any = bar) -> Iterator[tuple[str, str]]:
                title = "the dropped picture" if dropped is not None else str(name)
                try:
                    # Between two steps the work can be stopped.
                    for found in getattr(viewer, method)(viewer.chosen(name, dropped), spec, sigma):
                        progress(found.done, desc=found.doing)
                        yield _told(found), _shown(found, title)
                except AssayError as error:
                    raise gradio.Error(str(error)) from error

            return answer

        inputs, outputs = [pick, drop, spec, sigma], [told, shown]
        # One thing at a time; of what is asked in the meantime, the last.
        once = {"concurrency_id": "work", "concurrency_limit": 1, "trigger_mode": "always_last", "show_progress_on": shown}
        picked = pick.input(lambda: None, None, drop)  # Else the dropped picture would go before the picked one.
        begins = {
            "look": (explain.click, sigma.release, spec.input, picked.then, drop.upload, drop.clear, blocks.load),
            "attack": (attack.click,),
            "mask": (mask.click,),
        }
        events = [begin(answered(method), inputs, outputs, **once) for method, each in begins.items() for begin in each]
        stop.click(lambda: "Stopped.", None, told, cancels=events)
    return blocks


def _told(look: Look) -> str:
    words = "".join(f"\\{one}" if one in "\\`*_{}[]()<>#+-.!|~$" else one for one in look.told)
    return f"{words}: {look.doing} …" if look.doing else f"{words}."


def _shown(look: Look, title: str) -> str:
    pictures = [(caption, data_uri(picture), f"{caption}.png") for caption, picture in look.pictures.items()]
    return environment().get_template("look.html.j2").render(look=look, pictures=pictures, title=title)


@contextmanager
def serving(viewer: Viewer, port: int | None = None) -> Iterator[tuple[Any, str]]:
    """The viewer on 127.0.0.1 behind a random password; at the end what was dropped is removed.

    Args:
        viewer: What to show.
        port: A free one when None.

    Yields:
        The app, and the password of the user "assay".
    """
    with TemporaryDirectory(prefix="assay-view-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        gradio, token, blocks = _gradio(), secrets.token_urlsafe(16), viewer_page(viewer)
        theme = gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # Fonts by name are loaded from elsewhere.
        blocks.launch(
            server_name="127.0.0.1",
            server_port=port,
            auth=("assay", token),
            auth_message="The user is assay; the password is shown where the viewer was started.",
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            max_file_size=_LARGEST,
            theme=theme,
            footer_links=[],
        )
        try:
            yield blocks, token
        finally:
            blocks.close(verbose=False)


def _gradio() -> Any:
    os.environ.update(_OURS)
    try:
        return needed_library("gradio")
    except AssayError as error:
        raise AssayError(f'assay view needs Gradio: pip install "assay[view]" ({error.__cause__})') from error
