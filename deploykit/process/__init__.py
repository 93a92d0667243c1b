"""The command's own process: what it prints of itself, and how it ends.

children.py      Processes that a command starts for a part of its work, and that never outlive it
hooks.py         What Python prints of itself: warnings, and tracebacks of errors that nobody catches
interrupted.py   What an interrupted command says and ends with; a module of its own, which loads before all
                 others
interruption.py  Ctrl-C and the other signals that end a command: in order, within seconds, and without a
                 word too many
supervision.py   A second process that speaks where the first one cannot
wishes.py        Signals as what somebody wants: one that comes twice at once was sent to a process and to
                 its group
"""
