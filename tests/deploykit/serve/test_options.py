from __future__ import annotations

from pathlib import Path

import pytest
from deploykit_runtimes.errors import OptionError

from deploykit.serve.options import ServeOptions, read_keys


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 65536},
        {"grpc_port": -1},
        {"runtime": "gpu"},
        {"queue": 0},
        {"host": ""},
        {"host": " "},
        {"host": None},
        {"host": "a..b"},
        {"host": "x" * 300},
        {"host": "\u202e\x1b]0;title\x07"},
        {"host": "\udcff"},
        {"host": "a\0b"},
        {"log_level": "loud"},
        {"instances": 0},
        {"max_delay_ms": -1.0},
        {"timeout_s": 0.0},
        {"max_body_mb": float("inf")},
        {"poll_s": float("nan")},
    ],
)
def test_values_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        ServeOptions(**wrong)


def test_keys_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# clients\nfirst-secret\n\n  second-secret  \n")
    options = ServeOptions(api_keys=read_keys(file))
    assert options.accepts_key("Bearer first-secret")
    assert options.accepts_key("bearer second-secret")
    for header in ("", "first-secret", "Bearer", "Bearer ", "Bearer first", "Basic first-secret", "Bearer é"):
        assert not options.accepts_key(header)


def test_without_keys_everyone_may_come() -> None:
    assert ServeOptions().accepts_key("")


@pytest.mark.parametrize("text", ["", "# none\n", "short\n", "a space inside\n", "schlüssel-schlüssel\n"])
def test_files_without_good_keys(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(OptionError):
        read_keys(file)
    with pytest.raises(OptionError, match="cannot be read"):
        read_keys(tmp_path / "missing")
