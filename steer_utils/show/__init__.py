"""Figures and widgets: everything that is looked at or listened to.

- `palette`: every colour, once.
- `plots/`: figures, one file a subject; `figures` writes them, `located` has what most lessons draw.
- `widgets/`: the player, the explorer, methods side by side, the worst misses, and the figure that stands in for each.
- `analyses`: sensitivity, shift, occlusion and swap: how each is run, summed up and drawn.
"""
