"""The Open Inference Protocol over HTTP, and `predict` beside it, as every server here reads them.

Bytes and headers in, values out, and back: no server, no model and no engine. `deploykit serve` answers with
it, and so does the Ray Serve application of `deploykit package ray`. The server's gRPC side shares the
datatypes and the errors.

datatypes.py     Tensors of the protocol and numpy's: names, sizes, bytes and JSON values
documents.py     JSON objects, read and written
errors.py        Errors of requests, with the statuses that clients see
http.py          What HTTP brings along: headers by name, the query, compressed bodies
limits.py        How large requests and pictures may be where nobody says otherwise
metadata.py      What a model declares to clients: its inputs and outputs
picture_cost.py  What a picture will cost, read before it is decoded, and how much may be in memory at once
pictures.py      The pictures and options of a ``predict`` request, and its answers
responses.py     What a client gets: a status, headers and a body, also for an error
tensors.py       Requests and responses of ``infer``: JSON, with binary tensors after it
"""
