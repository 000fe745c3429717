"""Steering what audio-language models listen to.

    import steer_utils as su

    lm      = su.load("pocket-qwen2-audio")
    hearing = lm.hear("street.wav")
    focus   = hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.")
    reading = hearing.read("Describe the sound.", steer=0.5 * focus.late())
    shift   = reading.attention - hearing.read("Describe the sound.").attention
    shift.window(seconds=2.0)

Names are imported when they are first used, so `import steer_utils` is quick and loads no torch. All public names,
and the files they come from, stand in `__init__.pyi`.
"""

from importlib import metadata

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

try:
    __version__ = metadata.version("steer-utils")
except metadata.PackageNotFoundError:  # used from its source folder
    __version__ = "0+unknown"
