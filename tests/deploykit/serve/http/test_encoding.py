"""Answers that come compressed to those who want them so."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from deploykit_runtimes import load
from hypothesis import given
from hypothesis import strategies as st

from deploykit.protocol.responses import Response
from deploykit.serve.http.encoding import coding_for, compressed

UNPACK = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@pytest.mark.parametrize(
    ("accepted", "offered", "asked"),
    [
        ("", None, None),
        ("identity", None, None),
        ("gzip", "gzip", "gzip"),
        (" Deflate ", "deflate", "deflate"),
        ("gzip;q=0.5", "gzip", "gzip"),
        ("gzip;q=0", None, None),
        ("gzip, deflate, br, zstd", "gzip", None),
        ("gzip;q=0.2, deflate;q=0.8", "deflate", None),
        ("identity, gzip;q=0.5", None, None),
        ("gzip;q=0, *", "deflate", None),
        ("*", "gzip", None),
        ("br", None, None),
        ("gzip;q=much", None, None),
        ("gzip;q=nan", None, None),
    ],
)
def test_the_coding_that_is_wanted(accepted: str, offered: str | None, asked: str | None) -> None:
    assert coding_for(accepted, alone=False) == offered
    assert coding_for(accepted, alone=True) == asked


@given(st.text(alphabet="gzip deflate,;=q0.1*-e\u00e9"), st.booleans())
def test_any_header_is_read(accepted: str, alone: bool) -> None:
    assert coding_for(accepted, alone=alone) in {None, "gzip", "deflate"}


@pytest.fixture
def tensor() -> np.ndarray:
    return np.random.default_rng(4).random((150, 3, 32, 32), dtype=np.float32)


def images(tensor: np.ndarray, module=triton) -> list[triton.InferInput]:
    given = module.InferInput("images", list(tensor.shape), "FP32")
    given.set_data_from_numpy(tensor)
    return [given]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_gets_what_it_asks_for(server, classifier, tensor, coding, binary) -> None:
    wanted = load(classifier).runner.infer({"images": tensor})["logits"]
    body, length = triton.InferenceServerClient.generate_request_body(
        images(tensor), outputs=[triton.InferRequestedOutput("logits", binary_data=binary)]
    )
    headers = {"Inference-Header-Content-Length": str(length), "Accept-Encoding": coding}
    with triton.InferenceServerClient(f"127.0.0.1:{server.state.port}") as client:
        raw = client._post("v2/models/tiny/infer", body, headers, None)
        assert (raw.status_code, raw.get("Content-Encoding")) == (200, coding)
        assert b"logits" in UNPACK[coding](raw.read())
        result = client.infer(
            "tiny",
            images(tensor),
            outputs=[triton.InferRequestedOutput("logits", binary_data=binary)],
            response_compression_algorithm=coding,
        )
    np.testing.assert_allclose(result.as_numpy("logits"), wanted, atol=1e-5)


def test_tritonclient_s_asyncio_form(server, classifier, tensor) -> None:
    """It offers gzip and deflate with every request, but reads compressed answers of ``infer`` alone."""
    tensor = tensor[:80]  # aiohttp warns of bodies from 1 MB on
    wanted = load(classifier).runner.infer({"images": tensor})["logits"]

    async def go() -> None:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.state.port}") as client:
            assert (await client.get_model_config("tiny"))["name"] == "tiny"
            assert (await client.get_inference_statistics("tiny"))["model_stats"][0]["name"] == "tiny"
            for coding in (None, "gzip", "deflate"):
                result = await client.infer(
                    "tiny", images(tensor, triton_aio), response_compression_algorithm=coding
                )
                np.testing.assert_allclose(result.as_numpy("logits"), wanted, atol=1e-5)

    asyncio.run(go())


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("path", ["/", "/app.js", "/openapi.json", "/metrics"])
def test_what_browsers_and_prometheus_read(client, path: str, coding: str) -> None:
    _, plain, content = client("GET", path)
    assert "content-encoding" not in plain
    status, headers, packed = client("GET", path, Accept_Encoding=f"{coding}, br")
    assert (status, headers["content-encoding"], headers["vary"]) == (200, coding, "Accept-Encoding")
    assert int(headers["content-length"]) == len(packed) < len(content)
    unpacked = UNPACK[coding](packed)
    assert path == "/metrics" or unpacked == content


def test_what_is_small_or_a_picture_stays_as_it_is(client, picture) -> None:
    for path, body in (("/v2/models/tiny", None), ("/v2/models/tiny/predict?format=image", picture)):
        status, headers, _ = client(
            "GET" if body is None else "POST", path, body, Accept_Encoding="gzip", Content_Type="image/png"
        )
        assert status == 200
        assert "content-encoding" not in headers


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_does_not_get_smaller_stays_as_it_is(coding: str) -> None:
    noise = np.random.default_rng(0).bytes(100_000)
    response = Response(body=noise, content_type="application/octet-stream")
    assert compressed(response, coding) is response
    mixed = Response(body=noise + bytes(100_000), content_type="application/octet-stream")
    assert compressed(mixed, coding).headers["Content-Encoding"] == coding
    assert UNPACK[coding](compressed(mixed, coding).body) == mixed.body


def test_http_libraries_get_tensors_as_they_are(client, tensor) -> None:
    body, length = triton.InferenceServerClient.generate_request_body(images(tensor))
    status, headers, content = client(
        "POST",
        "/v2/models/tiny/infer",
        body,
        Inference_Header_Content_Length=str(length),
        Accept_Encoding="gzip, deflate, br",
    )
    assert (status, headers.get("content-encoding")) == (200, None)
    head = int(headers["inference-header-content-length"])
    assert json.loads(content[:head])["outputs"][0]["shape"] == [150, 3]
