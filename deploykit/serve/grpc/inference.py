"""``inference.GRPCInferenceService``: the Open Inference Protocol over gRPC.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
and the extensions of NVIDIA Triton that clients call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import numpy as np
from google.protobuf.json_format import ParseDict

from deploykit.protocol.datatypes import datatype_of
from deploykit.protocol.errors import NotFoundError, NotReadyError
from deploykit.serve import messages
from deploykit.serve.grpc import inference_pb2 as pb
from deploykit.serve.grpc.calls import Context, refusing, status_of, unary
from deploykit.serve.grpc.stream import Stream
from deploykit.serve.grpc.tensors import check_datatypes, read_feeds, requested, write_outputs
from deploykit.serve.grpc.wire import join_response, join_stream_response, split_request
from deploykit.serve.repository import Repository

__all__ = ["SERVICE", "InferenceService"]

SERVICE = "inference.GRPCInferenceService"

_SHARED_MEMORY = "This server does not read its clients' memory: send the tensors in the request."
_REFUSED = {
    **{
        f"{kind}SharedMemory{verb}": _SHARED_MEMORY
        for kind in ("System", "Cuda")
        for verb in ("Status", "Register", "Unregister")
    },
    "TraceSetting": "This server has no traces; its metrics are at /metrics over HTTP.",
    "LogSettings": "The log is set up by the options of the command `deploykit serve`.",
}


class InferenceService:
    """The calls of the service.

    Args:
        repository: The models.
        stopping: Set when the server begins to stop.
    """

    def __init__(self, repository: Repository, stopping: asyncio.Event) -> None:
        self._repository = repository
        self._stopping = stopping

    def handler(self) -> grpc.GenericRpcHandler:
        """What ``grpc.aio.Server.add_generic_rpc_handlers`` takes."""
        handlers = {
            "ServerLive": unary(pb.ServerLiveRequest.FromString, self.server_live),
            "ServerReady": unary(pb.ServerReadyRequest.FromString, self.server_ready),
            "ServerMetadata": unary(pb.ServerMetadataRequest.FromString, self.server_metadata),
            "ModelReady": unary(pb.ModelReadyRequest.FromString, self.model_ready),
            "ModelMetadata": unary(pb.ModelMetadataRequest.FromString, self.model_metadata),
            "ModelConfig": unary(pb.ModelConfigRequest.FromString, self.model_config),
            "ModelStatistics": unary(pb.ModelStatisticsRequest.FromString, self.model_statistics),
            "ModelInfer": unary(bytes, self.model_infer, limit=None),
            "ModelStreamInfer": Stream(self.model_stream_infer, self._stopping).handler(),
            "RepositoryIndex": unary(pb.RepositoryIndexRequest.FromString, self.repository_index),
            "RepositoryModelLoad": unary(pb.RepositoryModelLoadRequest.FromString, self.load),
            "RepositoryModelUnload": unary(pb.RepositoryModelUnloadRequest.FromString, self.unload),
        }
        handlers |= {name: refusing(reason) for name, reason in _REFUSED.items()}
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def services(self) -> dict[str, bool]:
        """Whether the server (``""``), this service and each model can answer."""
        models = {state.name: state.state == "READY" for state in self._repository.index()}
        return {**models, SERVICE: self._ready, "": self._ready}

    @property
    def _ready(self) -> bool:
        return self._repository.ready and not self._stopping.is_set()

    async def server_live(self, _request: pb.ServerLiveRequest, _context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def server_ready(
        self, _request: pb.ServerReadyRequest, _context: Context
    ) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._ready)

    async def server_metadata(
        self, _request: pb.ServerMetadataRequest, _context: Context
    ) -> pb.ServerMetadataResponse:
        return ParseDict(messages.server_metadata(), pb.ServerMetadataResponse())

    async def model_ready(self, request: pb.ModelReadyRequest, _context: Context) -> pb.ModelReadyResponse:
        try:
            self._repository.get(request.name, request.version)
        except (NotFoundError, NotReadyError):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=not self._stopping.is_set())

    async def model_metadata(
        self, request: pb.ModelMetadataRequest, _context: Context
    ) -> pb.ModelMetadataResponse:
        model = self._repository.get(request.name, request.version)
        return ParseDict(
            messages.model_metadata(model), pb.ModelMetadataResponse(), ignore_unknown_fields=True
        )

    async def model_config(self, request: pb.ModelConfigRequest, _context: Context) -> pb.ModelConfigResponse:
        config = messages.model_config(self._repository.get(request.name, request.version))
        return ParseDict({"config": config}, pb.ModelConfigResponse(), ignore_unknown_fields=True)

    async def model_statistics(
        self, request: pb.ModelStatisticsRequest, _context: Context
    ) -> pb.ModelStatisticsResponse:
        statistics = messages.statistics(self._repository, request.name, request.version)
        return ParseDict(statistics, pb.ModelStatisticsResponse(), ignore_unknown_fields=True)

    async def repository_index(
        self, request: pb.RepositoryIndexRequest, _context: Context
    ) -> pb.RepositoryIndexResponse:
        response = pb.RepositoryIndexResponse()
        for state in self._repository.index(ready=request.ready):
            response.models.add(
                name=state.name, version=state.version, state=state.state, reason=state.reason
            )
        return response

    async def load(
        self, request: pb.RepositoryModelLoadRequest, _context: Context
    ) -> pb.RepositoryModelLoadResponse:
        await self._repository.load(request.model_name)
        return pb.RepositoryModelLoadResponse()

    async def unload(
        self, request: pb.RepositoryModelUnloadRequest, _context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        await self._repository.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    async def model_infer(self, data: bytes, context: Context) -> bytes:
        """Bytes of a ModelInferRequest to bytes of a ModelInferResponse."""
        request, raw = split_request(data)
        return join_response(*await self._infer(request, raw, context))

    async def model_stream_infer(self, data: bytes, context: Context) -> bytes:
        """As ``model_infer``, to a ModelStreamInferResponse, which holds the error if there is one."""
        request = pb.ModelInferRequest()
        try:
            request, raw = split_request(data)
            response, tensors = await self._infer(request, raw, context)
        except Exception as error:  # noqa: BLE001 - every error becomes a message
            _, text = status_of(error)
            failed = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
            return pb.ModelStreamInferResponse(error_message=text, infer_response=failed).SerializeToString()
        response.parameters["triton_final_response"].bool_param = True
        return join_stream_response(response, tensors)

    async def _infer(
        self, request: pb.ModelInferRequest, raw: Sequence[memoryview], context: Context
    ) -> tuple[pb.ModelInferResponse, list[np.ndarray]]:
        model = self._repository.get(request.model_name, request.model_version)
        names = requested(request, [info.name for info in model.outputs])
        check_datatypes(request, {info.name: datatype_of(info.dtype) for info in model.outputs})
        feeds = await read_feeds(request, raw)
        # Looked up again: large inputs take their time, and the model may have been loaded anew meanwhile.
        model = self._repository.get(request.model_name, request.model_version)
        answer = await model.infer(feeds, timeout=_timeout(request, context))
        response = pb.ModelInferResponse(model_name=model.name, model_version=answer.version, id=request.id)
        response.parameters["placement"].string_param = model.placed
        return response, write_outputs(response, {name: answer.outputs[name] for name in names})


def _timeout(request: pb.ModelInferRequest, context: Context) -> float | None:
    """Seconds left until the call's deadline, or the request's ``timeout`` if that is shorter."""
    given = request.parameters.get("timeout")
    microseconds = (given.int64_param or given.uint64_param) if given else 0
    times = [context.time_remaining(), microseconds / 1e6 if microseconds > 0 else None]
    return min((time for time in times if time is not None), default=None)
