"""Pictures that lie about their size, are cut off, or unpack to far more than they are, by name."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

__all__ = ["exif_block", "honest", "jpeg_with_exif", "refused", "survived"]

SIDE = 64


def pixels(seed: int = 0, side: int = SIDE) -> np.ndarray:
    """A smooth picture, different in each corner."""
    x, y = np.meshgrid(np.linspace(0, 255, side), np.linspace(0, 255, side))
    return np.stack([x, y, np.full_like(x, 40 + seed)], axis=2).astype(np.uint8)


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels()).convert(mode).save(file, kind, **options)
    return file.getvalue()


# --- PNG ---------------------------------------------------------------------------------------------------


def png(
    width: int, height: int, data: bytes, *chunks: tuple[bytes, bytes], depth: int = 8, kind: int = 2
) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", data), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def zeros(count: int) -> bytes:
    """``count`` zeros, deflated in pieces: they are never all in memory."""
    packer = zlib.compressobj(9)
    piece = bytes(1 << 20)
    parts = [packer.compress(piece) for _ in range(count >> 20)]
    return b"".join([*parts, packer.flush()])


def png_rows(width: int, height: int, kind: int = 2) -> bytes:
    """A whole PNG file of black pixels."""
    row = bytes(1 + width * {0: 1, 2: 3, 6: 4}[kind])
    packer = zlib.compressobj(9)
    parts = [packer.compress(row) for _ in range(height)]
    return png(width, height, b"".join([*parts, packer.flush()]), kind=kind)


def one_pixel(*chunks: tuple[bytes, bytes]) -> bytes:
    return png(1, 1, zlib.compress(b"\0abc"), *chunks)


# --- JPEG --------------------------------------------------------------------------------------------------


def jpeg_with_scans(count: int, side: int = 4096) -> bytes:
    """A progressive JPEG file whose every scan walks over all blocks and changes nothing, for a few bytes."""
    blocks = (side // 8) ** 2
    head = b"\xff\xd8" + _segment(0xDB, b"\0" + bytes([1] * 64))
    head += _segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0]))
    # The codes of the AC table: 00 for EOB0, and 01 for EOB14, a run of 2^14 blocks and what 14 bits add.
    head += _segment(0xC4, bytes([0x00, 1, *[0] * 15, 0]))
    head += _segment(0xC4, bytes([0x10, 0, 2, *[0] * 14, 0x00, 0xE0]))
    first = _segment(0xDA, bytes([1, 1, 0x00, 0, 0, 0x00])) + bytes(blocks // 8)
    runs, bits = blocks // (1 << 14), ""
    for _ in range(runs):
        bits += "01" + "0" * 14
    bits += "00" * (blocks % (1 << 14) if not runs else 0)  # of a small picture, block by block
    bits += "1" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    scan = _segment(0xDA, bytes([1, 1, 0x00, 1, 63, 0x00])) + body
    return head + first + scan * count + b"\xff\xd9"


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG file whose head was changed to claim another size."""
    data = saved("JPEG")
    start = data.index(b"\xff\xc0")
    return data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]


def exif_block(orientation: int, *, kind: int = 3, order: str = "<", count: int = 1) -> bytes:
    """EXIF with an orientation, written by hand so that it may lie."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(f"{order}HHI", 0x0112, kind, count)
    value = struct.pack(
        f"{order}HH" if kind == 3 else f"{order}I", *((orientation, 0)[: 2 if kind == 3 else 1])
    )
    head = struct.pack(f"{order}I", 8) + struct.pack(f"{order}H", 1)
    return b"Exif\0\0" + mark + head + entry + value + bytes(4)


def jpeg_with_exif(block: bytes) -> bytes:
    data = saved("JPEG", quality=95)
    return data[:2] + _segment(0xE1, block) + data[2:]


# --- others ------------------------------------------------------------------------------------------------


def gif(width: int, height: int, frame: tuple[int, int] | None = None) -> bytes:
    inner = frame or (width, height)
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return head + b"," + struct.pack("<HHHHB", 0, 0, *inner, 0) + b"\x02\x02\x4c\x01\x00;"


def bmp(width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 64, 0, 0, 54) + info + bytes(64)


def webp(width: int, height: int, *, animated: bool = False) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"VP8X" + struct.pack("<I", 10) + bytes([0x02 if animated else 0, 0, 0, 0]) + size
    if animated:
        chunks += b"ANIM" + struct.pack("<I", 6) + bytes(6)
    still = saved("WEBP", lossless=True)[12:]
    if animated:
        place = bytes(6) + (SIDE - 1).to_bytes(3, "little") * 2 + bytes(3) + b"\0"
        chunks += b"ANMF" + struct.pack("<I", len(place + still)) + place + still
    else:
        chunks += still
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def tiff(width: int, height: int, *tags: tuple[int, int, int, int], compression: int = 1) -> bytes:
    """A TIFF file of one page; tags as number, type, count, value."""
    own = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression)]
    own += [(262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 64)]
    entries = sorted({tag[0]: tag for tag in (*own, *tags)}.values())
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 72) + bytes(64) + struct.pack("<H", len(entries)) + body + bytes(4)


def jpeg2000_of(width: int, height: int) -> bytes:
    """A JPEG 2000 file whose heads were changed to claim another size."""
    data = saved("JPEG2000")
    data = data.replace(struct.pack(">II", SIDE, SIDE), struct.pack(">II", height, width))
    assert struct.pack(">II", height, width) in data
    return data


def tiff_with_endless_pages() -> bytes:
    """The next page is the first one again."""
    data = tiff(8, 8)
    return data[:-4] + struct.pack("<I", 72)


def frames(kind: str, count: int = 40) -> bytes:
    images = [Image.fromarray(pixels(seed)) for seed in range(count)]
    file = io.BytesIO()
    images[0].save(file, kind, save_all=True, append_images=images[1:])
    return file.getvalue()


def palette_with_alpha() -> bytes:
    image = Image.fromarray(pixels()).quantize(64)
    file = io.BytesIO()
    image.save(file, "PNG", transparency=bytes(range(0, 256, 4)))
    return file.getvalue()


def sixteen_bits(mode: str) -> bytes:
    values = (pixels()[..., 0].astype(np.uint16) << 8) | 7
    file = io.BytesIO()
    if mode == "grey":
        Image.fromarray(values).save(file, "PNG")
        return file.getvalue()
    rows = np.repeat(values[..., None], 3, axis=2).astype(">u2")
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    return png(SIDE, SIDE, zlib.compress(body), depth=16)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(x) (w) file closefile\nshowpage\n"


def refused() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Files that a server has to refuse with a reason, by name."""
    huge = 65_500
    yield "png claims 4 G pixels and holds none", lambda: png(huge, huge, zlib.compress(b""))
    yield "png claims 2^31 columns", lambda: png(2**31 - 1, 1, zlib.compress(b""))
    yield "png of 60 M pixels, whole", lambda: png_rows(10_000, 6_000, kind=0)
    yield "png without pixels", lambda: png(64, 64, zlib.compress(b""))
    yield "png of no columns", lambda: png(0, 64, zlib.compress(b""))
    yield "png, cut", lambda: saved("PNG")[:-80]
    yield "png with a comment of 200 MB", lambda: one_pixel((b"zTXt", b"a\0\0" + zeros(200 << 20)))
    yield (
        "png with comments of 100 MB together",
        lambda: one_pixel(*[(b"zTXt", b"a%d\0\0" % n + zeros(1 << 20)) for n in range(100)]),
    )
    yield "jpeg claims 4 G pixels", lambda: jpeg_of(huge, huge)
    yield "jpeg of no rows", lambda: jpeg_of(64, 0)
    yield "jpeg, cut in its head", lambda: saved("JPEG")[:300]
    yield "jpeg, cut in its pixels", lambda: saved("JPEG", quality=95)[:-400]
    yield "jpeg of 3000 scans", lambda: jpeg_with_scans(3000)
    yield "webp claims 268 M pixels", lambda: webp(16_384, 16_384)
    yield "webp claims 268 M pixels in motion", lambda: webp(16_384, 16_384, animated=True)
    yield "webp claims 2^24 columns", lambda: webp(1 << 24, 1 << 8)
    yield "webp, cut", lambda: saved("WEBP")[:-50]
    yield "gif claims 4 G pixels", lambda: gif(65_535, 65_535)
    yield "gif with a frame of 4 G pixels", lambda: gif(1, 1, (65_535, 65_535))
    yield "gif, cut", lambda: saved("GIF")[:800]
    yield "bmp claims 4 G pixels", lambda: bmp(huge, huge)
    yield "bmp claims 2^31 columns", lambda: bmp(2**31 - 1, 1)
    yield "bmp upside down, claims 2^31 rows", lambda: bmp(1, -(2**31))
    yield "bmp, cut", lambda: saved("BMP")[:-2000]
    yield "bmp run-length coded, 40 M pixels of none", lambda: bmp(8_000, 5_000, 8, 1)
    yield "tiff claims 4 G pixels", lambda: tiff(huge, huge)
    yield "tiff claims 2^32 columns", lambda: tiff(2**32 - 1, 2**32 - 1)
    yield "tiff, cut", lambda: saved("TIFF")[:3000]
    yield "tiff with 2^30 strips", lambda: tiff(64, 64, (273, 4, 1 << 30, 8))
    yield "tiff with a tag of 4 GB", lambda: tiff(8_000, 6_000, (700, 1, (1 << 32) - 1, 8))
    yield "tiff with strips of a bomb", lambda: tiff(7_000, 7_000, compression=8)
    yield "PostScript, which another program would run", lambda: EPS
    yield "jpeg2000 claims 4 G pixels", lambda: jpeg2000_of(huge, huge)
    yield "avif, cut", lambda: saved("AVIF")[:-40]
    yield "a picture of letters", lambda: b"P3\n9999999 9999999\n255\n1 2 3"


def survived() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """By name, what may be answered or refused, but with bounded memory."""
    yield "png of 49 M pixels with alpha", lambda: png_rows(7_000, 7_000, kind=6)
    yield "png with a profile of 500 MB", lambda: one_pixel((b"iCCP", b"a\0\0" + zeros(500 << 20)))
    yield "png with more rows than it says", lambda: png(64, 64, zeros(300 << 20))
    yield "jpeg of 100 scans", lambda: jpeg_with_scans(99)
    yield "tiff whose pages go in a circle", tiff_with_endless_pages


def honest() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """By name, odd pictures that are answered: each shows ``pixels``, in colours or in grey."""
    yield "jpeg", lambda: saved("JPEG", quality=95)
    yield "jpeg, progressive", lambda: saved("JPEG", quality=95, progressive=True)
    yield "jpeg of inks", lambda: saved("JPEG", "CMYK", quality=95)
    yield "jpeg, grey", lambda: saved("JPEG", "L", quality=95)
    yield "png", lambda: saved("PNG")
    yield "png of 16 bits, grey", lambda: sixteen_bits("grey")
    yield "png of 16 bits a colour", lambda: sixteen_bits("colours")
    yield "png with a palette with alpha", palette_with_alpha
    yield "png of 1 bit", lambda: saved("PNG", "1")
    yield "png with alpha", lambda: saved("PNG", "RGBA")
    yield "png in motion", lambda: frames("PNG")
    yield "webp", lambda: saved("WEBP")
    yield "webp in motion", lambda: frames("WEBP")
    yield "gif in motion", lambda: frames("GIF")
    yield "bmp", lambda: saved("BMP")
    yield "tiff", lambda: saved("TIFF")
    yield "tiff of inks", lambda: saved("TIFF", "CMYK")
    yield "jpeg2000", lambda: saved("JPEG2000")
    yield "avif", lambda: saved("AVIF")
    yield "tiff, deflated", lambda: saved("TIFF", compression="tiff_deflate")
