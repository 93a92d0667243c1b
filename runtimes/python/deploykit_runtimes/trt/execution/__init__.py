"""What runs an engine: streams, buffers and the pool of contexts.

buffers.py    memory on both sides, grown when needed and kept
context.py    one execution context with its stream and buffers
graphs.py     CUDA graphs: the work of one call, recorded once per shape and replayed
placement.py  what the engine inspector tells
runner.py     the pool of contexts that keeps the Runner protocol
"""
