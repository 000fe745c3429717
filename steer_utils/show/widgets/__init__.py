"""Widgets: hear a sound and see where the model listens, turn the dials of steering, compare methods, replay misses.

- `listening`: what a player shows, as plain data; `player` shows it in any front end of ipywidgets, `standalone` in any
  page, without a kernel.
- `exploration`: one choice of steering, worked out; `explorer` has its dials (`dials`, `latest`).
- `compare`: methods side by side; `misses`: the worst misses of a run.
- `intake`: sound from a file, a scene or a microphone; `recorder` is the browser's side of it.
- `panels`: the parts that all panels share; `twins`: the static figure that stands in for each.
"""
