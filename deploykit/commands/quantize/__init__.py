"""``deploykit quantize``.

command.py  The command, and what it prints of a float16 file
"""

from deploykit.commands.quantize.command import command

__all__ = ["command"]
