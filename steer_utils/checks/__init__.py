"""Answer checks of the course's exercises, one module a lesson.

A check says what is right, or raises `Wrong` with a hint at the likely mistake. It works out the right answer by
itself, offline, and needs nothing but what it is given.
"""

from .answers import Wrong as Wrong
