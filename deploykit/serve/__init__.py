"""The model server: the Open Inference Protocol over HTTP and gRPC, an image endpoint and a page."""
