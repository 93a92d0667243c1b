"""Pickles, read by a machine that cannot run code.

dangerous.py  Calls that no honest checkpoint makes: they are never made, and a file that asks for one is
              refused
inert.py      Inert stand-ins for the objects of a pickle, and ways to look into them
machine.py    The machine that a pickle runs on: its stack, its memory, and the stand-in for each thing
              that it names
opcodes.py    What each operation of a pickle does to the machine of ``machine.py``
powers.py     What a global that a pickle names could do, were it called: by its module of the standard
              library
rebuild.py    The few globals of a pickle that are rebuilt into real values: tensors, arrays, plain
              containers
unpickle.py   A pickle machine that cannot run code
"""
