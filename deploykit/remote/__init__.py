"""Models that a server runs, over the Open Inference Protocol: Triton, KServe, ``deploykit serve``.

connection.py  Requests to a server of the protocol, and what it says about itself
exchange.py    One request, within limits of time and size
runner.py      A model of such a server as a runner, so that the golden cases of its file can be run there
"""
