"""``deploykit eval``, a room for what is printed of an evaluation.

command.py  the options, the run, and what is written
"""

from deploykit.commands.eval.command import command

__all__ = ["command"]
