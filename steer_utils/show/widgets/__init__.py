"""Widgets: hear a sound and see where the model listens, turn the dials of steering, compare methods, replay misses."""
