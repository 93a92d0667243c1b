"""The machine: its cores and GPUs, what it runs out of, and folders that others could write to.

cores.py           How many cores a computation may use
cpu.py             Which instructions a processor has, and its class: how it multiplies bytes, which INT8
                   models depend on
elf.py             Which shared libraries a shared library needs, and whether this process can load them
engine_cache.py    Compiled engines on disk, under a key of everything they depend on
exhausted.py       What a machine ran out of, read from whatever a library raises for it: memory, disk,
                   files, threads
heap.py            Freed memory that the allocator keeps, given back to the system
memory_limit.py    How much memory a model may take, in a process that is deploykit's own
nvidia.py          The NVIDIA driver, asked directly: no CUDA toolkit or package is needed for it
scratch.py         Folders for unfinished work, which the next run removes where this one is killed
trusted_folder.py  Folders of compiled engines: whether anybody else could have put something there, and one
                   user at a time
"""
