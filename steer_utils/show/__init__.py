"""Figures, the player, the explorers, and their static twins."""
