"""The Open Inference Protocol over gRPC; see ``service.start_grpc``."""
