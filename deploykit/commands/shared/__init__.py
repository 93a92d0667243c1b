"""What the commands share: how they read their line, their options and their words.

completing.py  What the shell is offered for options and arguments: names that exist, without an engine or
               torch
declared.py    Options of the command line, made of the fields of a dataclass of options
describe.py    Parts of the contract in words, as several commands print them
line.py        How every command reads its line: nothing that was typed is dropped in silence
options.py     Options that several commands share
"""
