"""SteeringExplorer: turn the dials of steering, and hear and see at once what it does.

    explorer = SteeringExplorer(lm)                       # scenes of sounds that the model knows
    explorer = SteeringExplorer(lm, "street.wav")         # or a file, samples with their rate, a Scene, a ClipBank
    explorer                                              # as the last line of a cell
    explorer.seen.interval, explorer.code                 # what is shown, and the lines that give the same

A slider that moves never queues up work (`latest`): the newest position is what is worked out next. With a pocket model
an answer takes a tenth of a second or so on two cores; with a 7B checkpoint, as long as its passes take.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from steer_utils.lm.checkpoints import Checkpoint, alone
from steer_utils.methods.locate import known_event
from steer_utils.methods.settings import Settings, model_settings
from steer_utils.show.widgets.dials import Dials, SoundDials
from steer_utils.show.widgets.exploration import Choice, Exploration, ExplorerSession, code_of
from steer_utils.show.widgets.intake import Sound, as_sound
from steer_utils.show.widgets.latest import Latest
from steer_utils.show.widgets.listening import PLAIN, STEERED, Listening
from steer_utils.show.widgets.panels import (
    BUSY,
    StatusLine,
    WorkingPanel,
    code_block,
    panel_box,
    row,
    text_line,
    widgets,
)
from steer_utils.show.widgets.twins import alt_text_twin, twin
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Scene
from steer_utils.study.benchmark import scene_set


@dataclass(frozen=True, eq=False)
class _Request:
    """What the dials say at one moment: a sound, and the arguments of `Choice`."""

    sound: Sound
    values: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _Answer:
    """What was worked out for a request, and where."""

    sound: Sound
    session: ExplorerSession
    seen: Exploration

    def listening(self) -> Listening:
        """What the player shows; the answers stand above it."""
        return replace(self.session.listening(self.seen), answers={})


class SteeringExplorer(WorkingPanel):
    """Choose a sound and a query, steer, and see where the model then listens.

    `sound`: a file, samples (with `sampling_rate`), a Scene, or a ClipBank to make scenes of; None: procedural scenes.
    `settings`: where the dials stand at first and after a reset (default: the model's own). `index`, `seed`: which
    scene comes first. The first answer is worked out here, so that a sound or settings that cannot be used raise at
    once: AudioError for what cannot be heard, UnknownEventError or ValueError for what cannot be chosen. Mistakes made
    with the dials later are said in the status line, and the last good answer stays.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        sound: Sound | Scene | ClipBank | str | os.PathLike[str] | np.ndarray | None = None,
        *,
        sampling_rate: int | None = None,
        settings: Settings | None = None,
        query: str | None = None,
        index: int = 0,
        seed: int = 0,
    ) -> None:
        from steer_utils.show.widgets.player import ListeningPlayer

        self.checkpoint = checkpoint
        self.settings = settings or model_settings(checkpoint)
        Choice.of(self.settings, (checkpoint.events or ("sound",))[0]).fitted(checkpoint)  # refuses what does not fit
        clips = sound if isinstance(sound, ClipBank) else None
        first = None if sound is None or isinstance(sound, ClipBank) else as_sound(sound, sampling_rate, checkpoint)
        maker = scene_maker(checkpoint, self.settings, clips, needed=first is None)
        self.dials = Dials(checkpoint, self.settings, self._submit)
        self.sounds = SoundDials(
            checkpoint, maker, first, index=index, seed=seed, heard=self._hear, failed=self._complain
        )
        self._sound = first or self.sounds.scene()
        self.dials.offer(self._sound.events)
        if query is not None:
            self.dials.ask(known_event(checkpoint, query))
        elif not self.dials.query.value:
            raise ValueError("nothing is known to sound here; say what is sought: query='dog bark'")
        self._session: tuple[Sound, ExplorerSession] | None = None  # the worker's last
        self._answer = self._explored(_Request(self._sound, self.dials.values()))
        self._latest = Latest(self._explored, done=self._show, failed=lambda request, error: self._complain(error))
        self.player = ListeningPlayer(self._answer.listening())
        self.status = StatusLine()
        self._busy, self._said, self._code = (widgets().HTML() for _ in range(3))
        self._code_is_shown = False
        self.box = self._boxed()
        self._show(_Request(self._sound, {}), self._answer)

    def __repr__(self) -> str:
        return f"SteeringExplorer({self.checkpoint.name}, {self.sound.title!r}, {self.caption()})"

    # -- what is shown -----------------------------------------------------------------------------------------
    @property
    def seen(self) -> Exploration:
        """The last good answer."""
        return self._answer.seen

    @property
    def sound(self) -> Sound:
        """What it was heard in: for `CompareView(lm, explorer.sound)`."""
        return self._answer.sound

    @property
    def session(self) -> ExplorerSession:
        """The hearing that it was made on, with what is cached for it."""
        return self._answer.session

    @property
    def code(self) -> str:
        """The lines of steer_utils that give the same interval."""
        return code_of(self.seen.choice, self.checkpoint.name, self.sound.code)

    def twin(self) -> Figure:
        """What is shown, as a figure."""
        return twin(self._answer.listening())

    def alt_text(self) -> str:
        """What `twin` shows, in words."""
        return alt_text_twin(self._answer.listening())

    def caption(self) -> str:
        """The query and its interval, in one line."""
        return f"{self.seen.choice.query}: {self.seen.described()}"

    # -- from dials to answers ---------------------------------------------------------------------------------
    def _submit(self) -> None:
        self._busy.value = BUSY
        self._latest.submit(_Request(self._sound, self.dials.values()))

    def _hear(self, sound: Sound) -> None:
        self._sound = sound
        self.dials.offer(sound.events)
        self._submit()

    def _explored(self, request: _Request) -> _Answer:
        """The work itself, in the worker's thread (the first time in ours)."""
        choice = Choice(**request.values).fitted(self.checkpoint)
        if self._session is None or self._session[0] is not request.sound:
            with alone(self.checkpoint):
                hearing = request.sound.heard(self.checkpoint)
            self._session = request.sound, ExplorerSession(hearing, request.sound.events)
        session = self._session[1]
        return _Answer(request.sound, session, session.explore(choice))

    def _show(self, request: _Request, answer: _Answer) -> None:
        other_read = answer.seen.choice.read != self.seen.choice.read
        self._answer, seen = answer, answer.seen
        self.player.show(answer.listening())
        if other_read:
            self.player.curve = self.player.listening.read
        self._said.value = (
            text_line(seen.described(), mark="interval-line")
            + text_line(f"{PLAIN}: {seen.answer_plain or '(nothing)'}", mark="answer-plain")
            + text_line(f"{STEERED}: {seen.answer_steered or '(nothing)'}", mark="answer-steered")
        )
        self._fill_code()
        if not self._latest.waiting:
            self._busy.value = ""
            self.status.say(f"took {seen.took:.2f} s")

    def _complain(self, error: Exception) -> None:
        if not self._latest.waiting:
            self._busy.value = ""
        self.status.complain(str(error) or type(error).__name__)

    # -- the box -----------------------------------------------------------------------------------------------
    def _boxed(self) -> Any:
        module = widgets()
        reset = module.Button(description="Reset", tooltip="All dials as the settings have them")
        code = module.Button(description="Show the code", tooltip="The lines of steer_utils that give the same")
        reset.on_click(lambda _: self._reset())
        code.on_click(self._switch_code)
        lines = row(reset, code, self._busy, self.status.line)
        return panel_box(self.sounds.box, self.dials.box, lines, self._code, self._said, self.player)

    def _reset(self) -> None:
        self.dials.reset()
        self._submit()

    def _switch_code(self, button: Any) -> None:
        self._code_is_shown = not self._code_is_shown
        button.description = "Hide the code" if self._code_is_shown else "Show the code"
        self._fill_code()

    def _fill_code(self) -> None:
        self._code.value = code_block(self.code) if self._code_is_shown else ""


def scene_maker(
    checkpoint: Checkpoint, settings: Settings, clips: ClipBank | None, *, needed: bool
) -> SceneMaker | None:
    """The maker of the benchmark's scenes for this model. None where none can be made, unless they are `needed`:
    then ValueError, as `benchmark.scene_set` raises it."""
    try:
        return scene_set(checkpoint, settings, count=1, seed=0, clips=clips).maker
    except ValueError:
        if needed:
            raise
        return None
