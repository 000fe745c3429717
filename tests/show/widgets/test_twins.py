"""Static twins: what a figure shows and says, and notebooks without widgets that nobody can show any more."""

from __future__ import annotations

import nbformat
import pytest
from listenings import NOISE, RATE, SPAN, picture
from pictures import assert_good

from steer_utils.show.widgets import twins
from steer_utils.show.widgets.listening import PLAIN, SHIFT, STEERED, Listening
from steer_utils.sound.spans import Interval

TWINS = {
    "all": picture(),
    "no truth": picture(truth=None),
    "nothing located": picture(located=None),
    "sound only": Listening(NOISE, RATE, SPAN, title="x", events=(("bell", Interval(1.2, 1.9)),)),
    "given window": Listening(NOISE, RATE, SPAN, located=Interval(0, 1)),
}


@pytest.mark.parametrize("name", TWINS)
def test_twins_can_be_read(name: str) -> None:
    assert_good(lambda: twins.twin(TWINS[name]), more_than=6)


def test_the_twin_draws_the_default_read_out_of_every_curve() -> None:
    figure = twins.twin(picture())
    lines = [max(ax.lines, key=lambda line: len(line.get_xdata())) for ax in figure.axes[1:]]
    for line, label in zip(lines, (PLAIN, STEERED, SHIFT), strict=True):
        assert line.get_ydata() == pytest.approx(50 * picture().curve(label), rel=1e-5, abs=1e-6)


def test_twins_are_said_in_words() -> None:
    said = twins.alt_text_twin(picture())
    assert "0.40-1.00 s" in said and "0.50-1.10 s" in said and "overlap 83 %" in said and STEERED in said
    assert "nothing located" in twins.alt_text_twin(TWINS["nothing located"])
    assert "steering (ours)" not in twins.alt_text_twin(TWINS["no truth"])


def test_publishing_puts_picture_and_words_into_the_output(displayed: list[tuple[dict, dict | None]]) -> None:
    twins.publish(twins.twin(picture()), "In <words>.", "A <b>caption</b>.")
    (data, metadata), (words, _) = displayed
    assert data["image/png"].startswith("iVBOR") and metadata == {"image/png": {"alt": f"{twins.TWIN}In <words>."}}
    assert words["text/plain"] == f"{twins.TWIN}A <b>caption</b>."
    assert "A &lt;b&gt;caption&lt;/b&gt;." in words["text/html"] and "<b>" not in words["text/html"]  # text, not markup


def test_executed_notebooks_lose_their_widgets_and_nothing_else() -> None:
    v4 = nbformat.v4
    widget = {twins.WIDGET: {"model_id": "a"}, "text/plain": "ListeningPlayer(...)"}
    picture_too = {**widget, "image/png": "iVBOR"}
    cell = v4.new_code_cell(
        "player",
        outputs=[
            v4.new_output("display_data", {"image/png": "iVBOR", "text/plain": "Static twin."}),
            v4.new_output("display_data", dict(widget)),
            v4.new_output("execute_result", picture_too, metadata={twins.WIDGET: {}, "image/png": {"alt": "x"}}),
            v4.new_output("stream", text="printed"),
            v4.new_output("error", ename="E", evalue="e", traceback=[]),
            v4.new_output("execute_result", {"text/plain": "3"}),
        ],
    )
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("text"), cell], metadata={"widgets": {"state": {}}, "a": 1})
    twins.static_outputs(notebook)
    kinds = [each.output_type for each in cell.outputs]
    assert kinds == ["display_data", "execute_result", "stream", "error", "execute_result"]
    assert set(cell.outputs[1].data) == {"image/png", "text/plain"} and cell.outputs[1].metadata == {
        "image/png": {"alt": "x"}
    }
    assert notebook.metadata == {"a": 1}
    nbformat.validate(notebook)
    before = nbformat.writes(notebook)
    twins.static_outputs(notebook)
    assert nbformat.writes(notebook) == before
