"""The course: what lessons share, the checks of their exercises, and a check of the machine."""
