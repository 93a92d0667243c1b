"""Progress of a build, from phases as TensorRT reports them: nested, repeated, in any order."""

from __future__ import annotations

from deploykit_runtimes.build_options import BuildReport
from deploykit_runtimes.trt.builder.monitor import BuildProgress
from hypothesis import given
from hypothesis import strategies as st


def test_a_step_of_an_inner_phase_is_a_part_of_a_step_of_the_outer_one() -> None:
    notes: list[str] = []
    progress = BuildProgress(BuildReport(note=notes.append))
    progress.start("Building engine", None, 4)
    progress.step("Building engine")
    progress.start("Timing", "Building engine", 10)
    for _ in range(5):
        assert progress.step("Timing")
    assert progress.share() == (1 + 0.5) / 4
    assert notes[-1] == "Building the engine [#########...............]  38%  timing"
    progress.finish("Timing")
    progress.start("Timing", "Building engine", 10)  # again, for the next subgraph
    assert progress.share() == (1 + 0.5) / 4
    progress.finish("Building engine")
    assert progress.share() == 1.0


def test_a_wish_to_stop_reaches_tensorrt() -> None:
    progress = BuildProgress(BuildReport())
    progress.start("Building engine", None, 4)
    progress.cancelled = True
    assert not progress.step("Building engine")


names = st.sampled_from(["a", "b", "c"])
events = st.one_of(
    st.tuples(st.just("start"), names, st.one_of(st.none(), names), st.integers(-1, 5)),
    st.tuples(st.just("step"), names),
    st.tuples(st.just("finish"), names),
)


@given(st.lists(events, max_size=40))
def test_no_order_of_events_breaks_it_or_takes_progress_back(sequence: list[tuple[object, ...]]) -> None:
    progress = BuildProgress(BuildReport())
    shares = []
    for kind, *arguments in sequence:
        getattr(progress, str(kind))(*arguments)
        shares.append(progress.share())
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
