"""Options: declared once, read in every reasonable form.

arguments.py  Values of options in their one form: what a user may reasonably write is taken, the rest refused
option.py     An option, declared once: as a field of a dataclass
"""
