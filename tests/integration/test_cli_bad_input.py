"""Bad input: one line with key, value and remedy; nothing lost; no traceback."""

from __future__ import annotations

import gzip
import socket
from pathlib import Path

import pytest

from tests.integration.cli_runner import Runner

HEAD = "timestamp,service,prompt_tokens,output_tokens\n"
ROW = "2026-01-05T00:00:{:02d}Z,chat,10,5\n"
SIZE = ("--prompt-tokens", 100, "--output-tokens", 20, "--unit", "llama70b-h100x8")


def write(folder: Path, text: str, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_bounds_may_have_a_unit(cli: Runner) -> None:
    size = ("size", "--rate", 5, *SIZE, "--formula", "--format", "json")
    plain = cli(*size, "--ttft-p99", 0.5, "--tpot-p99", "0.08")
    assert plain.code == 0
    assert cli(*size, "--ttft-p99", "500ms", "--tpot-p99", "80 ms").json == plain.json


def test_unknown_column(cli: Runner, tmp_path: Path) -> None:
    ran = cli("ingest", write(tmp_path, "colour,shape\nred,round\n"))
    assert ran.code in (1, 2)
    assert "colour" in ran.error
    assert "timestamp" in ran.error


def test_wrong_time_stamps_and_negative_tokens_are_counted_and_kept(
    cli: Runner, tmp_path: Path
) -> None:
    body = (
        ROW.format(1) + "yesterday,chat,1,1\n" + ROW.format(2) + "2026-01-05T00:00:03Z,chat,-4,1\n"
    )
    ran = cli("ingest", write(tmp_path, HEAD + body), "--format", "json")
    assert ran.code == 0
    assert (ran.json["accepted"], ran.json["rejected"]) == (2, 2)
    assert sum(ran.json["rejects_by_reason"].values()) == 2
    kept = Path(ran.json["rejects_files"][0]).read_text()
    assert "yesterday" in kept
    assert '"line":3' in kept.replace(" ", "")


def test_empty_file(cli: Runner, tmp_path: Path) -> None:
    ran = cli("ingest", write(tmp_path, ""))
    assert ran.code == 1
    assert "empty" in ran.error


def test_missing_file(cli: Runner, tmp_path: Path) -> None:
    ran = cli("ingest", tmp_path / "none.csv")
    assert ran.code in (1, 2)
    assert "none.csv" in ran.error


def test_truncated_gzip_keeps_what_was_there(cli: Runner, tmp_path: Path) -> None:
    text = HEAD + "".join(f"2026-01-05T{h:02d}:{m:02d}:{s:02d}Z,chat,{h * m},5\n"
                          for h in range(6) for m in range(60) for s in range(60))  # fmt: skip
    whole = gzip.compress(text.encode())
    path = tmp_path / "log.csv.gz"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    ran = cli("ingest", path)
    assert ran.code == 1
    assert "error: " in ran.err
    assert "Traceback" not in ran.err
    path.write_bytes(whole)
    rest = cli("ingest", path, "--format", "json")
    assert rest.code == 0, rest.err
    assert rest.json["skipped"] > 0
    assert rest.json["accepted"] + rest.json["skipped"] == 6 * 3600


def test_unknown_service_names_the_known_ones(cli: Runner, tmp_path: Path) -> None:
    cli("ingest", write(tmp_path, HEAD + ROW.format(1)))
    ran = cli("forecast", "chatt")
    assert ran.code == 1
    assert "chatt" in ran.error
    assert "chat" in ran.error


def test_too_little_history(cli: Runner, tmp_path: Path) -> None:
    rows = "".join(f"2026-01-05T0{h}:{m:02d}:00Z,chat,10,5\n" for h in range(9) for m in range(60))
    cli("ingest", write(tmp_path, HEAD + rows))
    ran = cli("retrain", "chat")
    assert ran.code == 1
    assert "72.0 h are needed" in ran.error


def test_forecast_before_retrain(cli: Runner, tmp_path: Path) -> None:
    minutes = "".join(
        f"2026-01-0{d}T{h:02}:00:00Z,chat,1,1\n" for d in range(1, 6) for h in range(24)
    )
    cli("ingest", write(tmp_path, HEAD + minutes))
    ran = cli("forecast", "chat")
    assert ran.code == 1
    assert "tidegate retrain chat" in ran.error


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("size", "--rate", 5, "--ttft-p99", 0, *SIZE), ("--ttft-p99", "0")),
        (("size", "--rate", 5, "--ttft-p99", "5 parsecs", *SIZE), ("--ttft-p99", "5 parsecs", "500ms")),
        (("size", "--rate", "nan", "--ttft-p99", 1, *SIZE), ("--rate", "nan")),
        (("size", "--rate", -1, "--ttft-p99", 1, *SIZE), ("--rate", "-1")),
        (("size", "--rate", 5, *SIZE), ("slo",)),
        (("size", "--rate", 5, "--ttft-p99", 1, "--unit", "llama70b-h100x8"), ("--prompt-tokens",)),
        (("plan", "chat", "--unit", "tiny-llama", "--elasticity", 1.5), ("--elasticity", "1.5")),
        (("plan", "chat", "--unit", "tiny-llama", "--ttft-p99", 0), ("--ttft-p99", "0")),
        (("plan", "chat", "--unit", "tiny-llama", "--min-units", 5, "--max-units", 2), ("min_units", "max_units")),
        (("forecast", "chat", "--quantile", 1.5), ("--quantile", "1.5")),
        (("forecast", "chat", "--horizon", "soon"), ("--horizon", "soon")),
        (("forecast", "chat", "--plot", "tide.docx"), ("--plot", ".png")),
        (("ingest", "x.csv", "--origin", "later"), ("--origin", "later")),
        (("config", "--config", "nowhere.toml"), ("nowhere.toml", "no such file")),
        (("run", "--api-port", "99999999"), ("--api-port",)),
        (("florecast", "chat"), ("florecast",)),
    ],
)  # fmt: skip
def test_usage_errors_exit_2(cli: Runner, argv: tuple[object, ...], words: tuple[str, ...]) -> None:
    ran = cli(*argv)
    assert ran.code == 2, ran.err
    for word in words:
        assert word in ran.error


def test_unknown_unit_type(cli: Runner) -> None:
    ran = cli("size", "--rate", 5, "--ttft-p99", 1, "--unit", "gpt-9")
    assert ran.code == 1
    assert "tiny-llama" in ran.error


def services_file(folder: Path, models: Path) -> Path:
    file = folder / "tidegate.toml"
    file.write_text(
        f'models = "{models}"\n[[service]]\nname = "chat"\nunit = "mine"\n[service.slo]\nttft_p99_s = 1.0\n'
    )
    return file


def unit_folder(folder: Path) -> Path:
    unit = folder / "models" / "mine"
    unit.mkdir(parents=True)
    (unit / "unit.toml").write_text(
        'kind = "generative"\nmodel_file = "model.onnx"\n[profile]\nalpha_s = 0.01\nbeta_s = 0.001\n'
        "kappa_s = 0.0\ngamma_s = 0.001\n"
    )
    return unit


def test_missing_model_file(cli: Runner, tmp_path: Path) -> None:
    unit = unit_folder(tmp_path)
    ran = cli("run", "--config", services_file(tmp_path, unit.parent), "--format", "json")
    assert ran.code == 1
    assert "model.onnx" in ran.error


def test_corrupt_onnx(cli: Runner, tmp_path: Path) -> None:
    unit = unit_folder(tmp_path)
    (unit / "model.onnx").write_bytes(b"this is no model" * 100)
    ran = cli("run", "--config", services_file(tmp_path, unit.parent), "--format", "json")
    assert ran.code == 1
    assert "model.onnx" in ran.error


def test_no_service_configured(cli: Runner, tmp_path: Path) -> None:
    empty = write(tmp_path, "", "t.toml")
    ran = cli("run", "--config", empty, "--format", "json")
    assert ran.code == 2
    assert "[[service]]" in ran.error


@pytest.mark.parametrize("which", ["--api-port", "--tier-port"])
def test_port_taken(cli: Runner, tmp_path: Path, which: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        file = tmp_path / "tidegate.toml"
        file.write_text(
            '[[service]]\nname = "classify"\nunit = "mlp-classifier"\n[service.slo]\nlatency_p99_s = 1.0\n'
        )
        other = "--tier-port" if which == "--api-port" else "--api-port"
        ran = cli("run", "--config", file, which, port, other, 0, "--format", "json")
    assert ran.code == 2
    assert str(port) in ran.error


def test_database_away(cli: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_DSN", "host=127.0.0.1 port=1 dbname=none connect_timeout=1")
    ran = cli("ingest", write(tmp_path, HEAD + ROW.format(1)))
    assert ran.code == 1
    assert "database" in ran.error.lower()


def test_no_daemon_answers(cli: Runner) -> None:
    ran = cli("units", "chat", "--url", "http://127.0.0.1:1")
    assert ran.code == 1
    assert "tidegate run" in ran.error
