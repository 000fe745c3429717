"""Sound from the reader's browser: `Recorder`, some seconds of the microphone; `Uploader`, one file. Bytes, no files.

    recorder = Recorder(longest=8.0)
    recorder.observe(lambda _: hear(intake.recorded(recorder.pcm, recorder.rate, lm)), "take")

    uploader = Uploader()
    uploader.observe(lambda _: hear(intake.uploaded(uploader.content, uploader.name, lm)), "take")

Where the browser has no microphone, or may not use it, the recorder says so and points to uploading. A file that is too
large is refused in the browser: Jupyter would drop the connection.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import traitlets

from steer_utils.show.widgets.intake import FORMATS, MOST_BYTES

try:
    import anywidget
except ImportError as error:
    raise ImportError("recording and uploading need anywidget: pip install 'steer-utils[course]'") from error

STATIC = Path(__file__).parent / "static"
MOST_SECONDS = 48.0  # float32 at 48 kHz: 8.8 MiB, which still fits one message


class _Buffer(traitlets.Bytes):
    """Bytes that a browser sends: they arrive as a memoryview."""

    def validate(self, obj: Any, value: Any) -> Any:
        return super().validate(obj, bytes(value) if isinstance(value, memoryview) else value)


class Recorder(anywidget.AnyWidget):
    """Record, stop, and there it is. Traits are synced with the browser.

    longest    seconds after which recording stops by itself (at most 48)
    pcm, rate  mono float32, little-endian, and its samples a second, once something was recorded
    take       counts recordings: observe this one, the others are set when it changes
    recording  whether it records now (set it to False to stop)
    status     one line: what happens, or why nothing can be recorded

    Raises ValueError for a `longest` that is no positive number.
    """

    _esm = STATIC / "recorder.js"
    _css = STATIC / "recorder.css"

    longest = traitlets.Float(8.0).tag(sync=True)
    pcm = _Buffer().tag(sync=True)
    rate = traitlets.Int(0).tag(sync=True)
    take = traitlets.Int(0).tag(sync=True)
    recording = traitlets.Bool(False).tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)

    def __init__(self, longest: float = 8.0) -> None:
        if not (math.isfinite(longest) and longest > 0):
            raise ValueError(f"longest is {longest}; pass a positive number of seconds")
        super().__init__(longest=min(float(longest), MOST_SECONDS))

    def __repr__(self) -> str:
        return f"Recorder(at most {self.longest:g} s, {self.take} recorded)"


class Uploader(anywidget.AnyWidget):
    """One file, chosen in the browser. Traits are synced with it.

    content, name  the bytes of the file, and what it is called
    take           counts files: observe this one, the others are set when it changes
    most           bytes that a file may have; `formats`: the endings that the file chooser offers
    status         one line: what was handed over, or why it was not
    """

    _esm = STATIC / "uploader.js"
    _css = STATIC / "recorder.css"

    content = _Buffer().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    take = traitlets.Int(0).tag(sync=True)
    most = traitlets.Int(MOST_BYTES).tag(sync=True)
    formats = traitlets.Unicode(f"audio/*,{FORMATS}").tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)

    def __repr__(self) -> str:
        return f"Uploader({self.name!r}, {len(self.content)} bytes)" if self.take else "Uploader(nothing yet)"
