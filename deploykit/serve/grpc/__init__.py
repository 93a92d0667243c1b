"""The gRPC side of the server: the Open Inference Protocol and the health service.

auth.py           The bearer key of gRPC calls, which travels in the metadata ``authorization``
calls.py          What every call does alike: bytes in, bytes out, and errors as gRPC statuses
counting.py       Every call of gRPC with its status, for the metrics and the log
generate.py       Make ``inference_pb2.py`` and ``inference_pb2.pyi`` from ``inference.proto``
health.py         ``grpc.health.v1.Health``, which orchestrators and load balancers ask
inference.py      ``inference.GRPCInferenceService``: the Open Inference Protocol over gRPC
inference_pb2.py  Made from inference.proto by generate.py; do not edit
service.py        The gRPC server: its socket, limits and key, and the two services
stream.py         ModelStreamInfer: many requests and their answers over one call
tensors.py        The tensors of a ModelInferRequest as arrays, and arrays as the tensors of a
                  ModelInferResponse
wire.py           ModelInfer messages to and from bytes, with the tensors left where they lie
"""
