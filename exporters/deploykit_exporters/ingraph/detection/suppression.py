"""Non-maximum suppression in standard ONNX operators, equal to ``deploykit_runtimes.answers.nms``.

NonMaxSuppression and NonZero have outputs whose size depends on the data, which engines for GPUs refuse.
Here the candidates of a batch are worked off in blocks of a fixed size, the best first, by a loop that
ends when every image has its fill or no candidates left. So an empty image costs one block, and a crowd
of thousands is still suppressed exactly as the host does it, without a limit to their number.

The loops are scripted, which the TorchScript exporter turns into ONNX Loops. torch's scripts know fewer
operations than torch, and the exporter resolves only the simplest of them without If and Sequence
operators; hence the plain style of the functions below. Where NaN can occur, they ask what is less: in
OpenVINO NaN is greater than any number.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.onnx.operators import shape_as_tensor

from deploykit_exporters.ingraph.detection.candidates import Candidates
from deploykit_exporters.ingraph.detection.overlaps import overlaps, rotated_overlaps
from deploykit_exporters.ingraph.ranking import first_of, ranked

__all__ = ["Kept", "Suppression", "best"]

_BLOCK = 128
# Ultralytics separates the classes by moving each to coordinates of its own, this far apart.
_CLASS_OFFSET = 7680.0


class Kept(NamedTuple):
    """The detections of a batch, best first.

    Attributes:
        scores: float32 [N, K]; 0 marks padding, whose other values are arbitrary.
        rows: Box in pixels of the tensor, class, and place in the head: float32 [N, K, G + 2].
    """

    scores: Tensor
    rows: Tensor

    @property
    def boxes(self) -> Tensor:
        """float32 [N, K, G]."""
        return self.rows[..., :-2]

    @property
    def classes(self) -> Tensor:
        """Whole numbers, float32 [N, K]."""
        return self.rows[..., -2]

    @property
    def anchors(self) -> Tensor:
        """int64 [N, K]."""
        return self.rows[..., -1].to(torch.int64)


def best(found: Candidates, limit: int, *, named: bool) -> Kept:
    """The best candidates, of a head that needs no suppression; ``named`` where it names the classes."""
    scores, index = ranked(_padded(found.scores, limit), limit)
    anchors = torch.minimum(index, _last(found))
    if named:
        classes = found.class_scores.gather(1, anchors * found.step + found.places)
    else:
        classes = _classes(found, anchors)
    numbers = torch.zeros(found.boxes.shape[1], 1, dtype=torch.int64)
    boxes = found.boxes.gather(2, anchors[:, None] + numbers).transpose(1, 2)
    return Kept(scores, torch.cat([boxes, classes[..., None], anchors[..., None].to(torch.float32)], 2))


class _Start(NamedTuple):
    """What the loops take besides the candidates.

    Attributes:
        last: Index of the last anchor, int64 [].
        numbers: Zeros, int64 [G + 2, 1], to repeat an index for every number of a row.
        offsets: What to add to each coordinate per class, float32 [G, 1].
        iou: Overlap above which a box falls, float32 [].
        ranks: Rank of each row minus that of each column, int64 [B, B], among the B candidates of a turn.
        zeros: float32 [N, B].
        scores, rows: The kept ones, none yet: zeros, float32 [N, K] and [N, G + 2, K].
    """

    last: Tensor
    numbers: Tensor
    offsets: Tensor
    iou: Tensor
    ranks: Tensor
    zeros: Tensor
    scores: Tensor
    rows: Tensor


# What becomes of the two where a trace calls a script.
_Found = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
_Starting = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


class Suppression(nn.Module):
    """Greedy suppression of upright boxes, or Fast NMS of rotated ones, as ``nms`` and ``rotated_nms``."""

    offsets: Tensor
    ranks: Tensor

    def __init__(self, *, limit: int, rotated: bool, class_agnostic: bool) -> None:
        super().__init__()
        self.limit = limit
        self.rotated = rotated
        moved = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0] if rotated else [1.0] * 4)
        offsets = moved[:, None] * (0.0 if class_agnostic else _CLASS_OFFSET)
        self.register_buffer("offsets", offsets, persistent=False)
        ranks = torch.arange(_BLOCK)
        self.register_buffer("ranks", ranks[:, None] - ranks, persistent=False)

    def forward(self, found: Candidates, iou: Tensor) -> Kept:
        """Suppress boxes that overlap a better one by more than ``iou``, float32 []."""
        batch, count = found.scores.shape[0], self.offsets.shape[0] + 2
        start = _Start(
            last=_last(found),
            numbers=torch.zeros(count, 1, dtype=torch.int64),
            offsets=self.offsets,
            iou=iou,
            ranks=self.ranks,
            zeros=torch.zeros(batch, _BLOCK),
            scores=torch.zeros(batch, self.limit),
            rows=torch.zeros(batch, count, self.limit),
        )
        if self.rotated:
            # As wide as the head, so that it holds every candidate there can be.
            history = torch.zeros_like(_padded(found.boxes, _BLOCK))
            scores, rows = _script(_fast)(found, start, history, _BLOCK, self.limit)
        else:
            kept = torch.ones(_BLOCK, self.limit, dtype=torch.bool)
            better = torch.cat([kept, self.ranks > 0], 1)
            scores, rows = _script(_greedy)(found, start, better, _BLOCK, self.limit)
        return Kept(scores, rows.transpose(1, 2))


@cache
def _script(function: Callable[..., Any]) -> Callable[..., Any]:
    with warnings.catch_warnings():
        # torch prefers torch.export, which has no loop that ONNX engines take.
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted: Callable[..., Any] = torch.jit.script(function)
    return scripted


def _padded(values: Tensor, length: int) -> Tensor:
    """Longer by ``length`` zeros in the last axis: heads on small images have less than that."""
    return nn.functional.pad(values, (0, length))


def _last(found: Candidates) -> Tensor:
    """Index of the last anchor, int64 []."""
    return shape_as_tensor(found.scores)[1] - 1


def _greedy(
    head: _Found, starting: _Starting, better: Tensor, block: int, limit: int
) -> tuple[Tensor, Tensor]:
    """A box falls to a better box that is kept and overlaps it.

    Args:
        head, starting: The numbers of ``Candidates`` and ``_Start``.
        better: Whether each of the K kept and the B of this turn (columns) is better than each of this turn
            (rows), bool [B, K + B].
        block: B, the number of candidates per turn.
        limit: K, the number of boxes to keep.

    Returns:
        Scores [N, K] and rows [N, G + 2, K]: box, class, anchor.
    """
    found, start = Candidates(*head), _Start(*starting)
    kept_scores, kept = start.scores, start.rows
    remaining = torch.cat([found.scores, start.zeros], 1)
    going = torch.ones(1, dtype=torch.bool)
    while bool(going):
        scores, index = ranked(remaining, block)
        remaining = remaining.scatter(1, index, start.zeros)
        every = torch.cat([kept, _rows(found, start, index)], 2)
        apart = every[:, :-2] + every[:, -2:-1] * start.offsets
        falls = ((start.iou < overlaps(apart, block)) & better).to(torch.float32)
        alive = scores > 0
        known = kept_scores > 0
        # Boxes that nobody better overlaps are right from the start, and each round those that they decide.
        keep = alive
        changed = torch.ones(1, dtype=torch.bool)
        while bool(changed):
            standing = torch.cat([known, keep], 1).to(torch.float32)
            fallen = torch.matmul(falls, standing.unsqueeze(2)).flatten(1) > 0.5
            still = alive & torch.logical_not(fallen)
            changed = (still != keep).any()
            keep = still
        survivors = torch.cat([kept_scores, torch.where(keep, scores, start.zeros)], 1)
        first = first_of(survivors, limit)
        kept_scores = survivors.gather(1, first)
        kept = every.gather(2, first.unsqueeze(1) + start.numbers)
        going = ((remaining.amax(1) > 0) & (kept_scores.amin(1) == 0)).any()
    return kept_scores, kept


def _fast(
    head: _Found, starting: _Starting, history: Tensor, block: int, limit: int
) -> tuple[Tensor, Tensor]:
    """A rotated box falls to any better box that overlaps it, also to one that has fallen itself.

    Args:
        history: Zeros, [N, G, A + B], for the boxes so far, the latest turn first.

    The others, and what is returned, are those of ``_greedy``.
    """
    found, start = Candidates(*head), _Start(*starting)
    kept_scores, kept = start.scores, start.rows
    remaining = torch.cat([found.scores, start.zeros], 1)
    columns = torch.arange(block)
    turns = 0
    going = torch.ones(1, dtype=torch.bool)
    while bool(going):
        scores, index = ranked(remaining, block)
        remaining = remaining.scatter(1, index, start.zeros)
        rows = _rows(found, start, index)
        apart = rows[:, :-2] + rows[:, -2:-1] * start.offsets
        history = torch.cat([apart, history[:, :, :-block]], 2)
        turns = turns + 1
        fallen = start.zeros
        for back in range(turns):
            others = history.index_select(2, columns + back * block)
            falls = (start.iou < rotated_overlaps(apart, others)) & (start.ranks + back * block > 0)
            fallen = torch.maximum(fallen, falls.to(torch.float32).amax(2))
        survivors = torch.cat([kept_scores, torch.where(fallen > 0, start.zeros, scores)], 1)
        first = first_of(survivors, limit)
        kept_scores = survivors.gather(1, first)
        kept = torch.cat([kept, rows], 2).gather(2, first.unsqueeze(1) + start.numbers)
        going = ((remaining.amax(1) > 0) & (kept_scores.amin(1) == 0)).any()
    return kept_scores, kept


def _rows(found: Candidates, start: _Start, index: Tensor) -> Tensor:
    """Box, class and anchor of the candidates at ``index``, int64 [N, B]: float32 [N, G + 2, B]."""
    # The padding has no place in the head.
    anchors = torch.minimum(index, start.last)
    classes = _classes(found, anchors).unsqueeze(1)
    anchors = anchors.unsqueeze(1)
    return torch.cat(
        [found.boxes.gather(2, anchors + start.numbers[2:]), classes, anchors.to(torch.float32)], 1
    )


def _classes(found: Candidates, anchors: Tensor) -> Tensor:
    """The best class at each of ``anchors``, int64 [N, B]: float32 [N, B]."""
    at = (anchors * found.step).unsqueeze(2) + found.places
    values = found.class_scores.gather(1, at.flatten(1)).reshape(
        [-1, anchors.shape[1], found.places.shape[0]]
    )
    return (values * found.weights.gather(1, anchors).unsqueeze(2)).argmax(2).to(torch.float32)
