"""Real clients against real units: `openai`, `tritonclient`, and what plain HTTP may do wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.integration.tier_helpers import (
    CHAT,
    CLASSIFIER,
    BareLlama,
    BareMlp,
    RunningTier,
    running,
    services,
    until,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def tier(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTier]:
    with running(tmp_path_factory.mktemp("home"), services(models)) as tier:
        tier.ready(CHAT, 1)
        tier.ready(CLASSIFIER, 1)
        yield tier


@pytest.fixture(scope="module")
def client(tier: RunningTier) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tier.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def llama(models: Path) -> BareLlama:
    return BareLlama(models)


@pytest.fixture(scope="module")
def triton(tier: RunningTier) -> Iterator[Any]:
    http = pytest.importorskip("tritonclient.http")
    client = http.InferenceServerClient(tier.url.removeprefix("http://"))
    yield client
    client.close()


# -- OpenAI ------------------------------------------------------------------------------------


def test_a_completion_is_what_the_bare_session_says(
    client: openai.OpenAI, llama: BareLlama
) -> None:
    answer = client.completions.create(
        model=CHAT, prompt="The tide is", max_tokens=40, temperature=0
    )
    assert answer.choices[0].text == llama.text("The tide is", 40)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 40)
    ids = client.completions.create(
        model=CHAT, prompt=list(b"The tide is"), max_tokens=40, temperature=0
    )
    assert ids.choices[0].text == answer.choices[0].text


def test_a_stream_adds_up_to_the_answer_and_ends_with_usage(
    client: openai.OpenAI, llama: BareLlama
) -> None:
    chunks = list(
        client.completions.create(
            model=CHAT,
            prompt=["low water"],
            max_tokens=25,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    assert text == llama.text("low water", 25)
    assert len(chunks) == 26, "a chunk a token, and the usage"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 25


def test_chat_uses_one_plain_template(client: openai.OpenAI, llama: BareLlama) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    fields: dict[str, Any] = {"model": CHAT, "messages": messages, "temperature": 0}
    answer = client.chat.completions.create(**fields, max_tokens=20)
    expected = llama.text("system: Be brief.\nuser: Hi\nassistant: ", 20)
    assert answer.choices[0].message.content == expected
    stream = client.chat.completions.create(**fields, max_completion_tokens=20, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in stream) == expected


def test_an_answer_ends_before_its_stop_string(client: openai.OpenAI, llama: BareLlama) -> None:
    whole = llama.text("buoy", 60)
    stop = whole[20:23]
    fields: dict[str, Any] = {"model": CHAT, "prompt": "buoy", "max_tokens": 60, "temperature": 0}
    answer = client.completions.create(**fields, stop=stop)
    assert answer.choices[0].text == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"
    stream = client.completions.create(**fields, stop=[stop, "never so"], stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == whole[: whole.index(stop)]


def test_sampling_repeats_with_its_seed(client: openai.OpenAI) -> None:
    def text(seed: int) -> str:
        answer = client.completions.create(
            model=CHAT, prompt="x", max_tokens=20, temperature=1, seed=seed
        )
        return answer.choices[0].text

    assert text(1) == text(1) != text(2)


def test_many_answers_at_once_through_the_asynchronous_client(
    tier: RunningTier, llama: BareLlama
) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{tier.url}/v1", api_key="none") as client:

            async def one(number: int) -> str:
                fields: dict[str, Any] = {"model": CHAT, "temperature": 0, "max_tokens": 6 + number}
                if number % 2:
                    stream = await client.completions.create(
                        **fields, prompt=f"wave {number}", stream=True
                    )
                    return "".join([chunk.choices[0].text async for chunk in stream])
                answer = await client.completions.create(**fields, prompt=f"wave {number}")
                return answer.choices[0].text

            return await asyncio.gather(*(one(number) for number in range(40)))

    texts = asyncio.run(ask())
    assert texts == [llama.text(f"wave {number}", 6 + number) for number in range(40)]


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [CHAT, CLASSIFIER]
    assert client.models.retrieve(CHAT).id == CHAT


def test_refusals_have_openais_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.completions.create(model="nobody", prompt="x")
    with pytest.raises(openai.BadRequestError, match="context is 2048 tokens"):
        client.completions.create(model=CHAT, prompt="x" * 2000, max_tokens=100)
    with pytest.raises(openai.BadRequestError, match="does not generate text"):
        client.completions.create(model=CLASSIFIER, prompt="x")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ""),
        ("prompt", ["a", "b"]),
        ("prompt", [1, -2]),
        ("prompt", [300]),
        ("prompt", {}),
        ("max_tokens", 0),
        ("max_tokens", "9"),
        ("temperature", -1),
        ("temperature", True),
        ("seed", "x"),
        ("stop", [""]),
        ("stop", ["a"] * 5),
        ("n", 2),
        ("model", ["chat"]),
    ],
)
def test_bad_fields_are_refused_with_a_reason(tier: RunningTier, field: str, value: Any) -> None:
    body = {"model": CHAT, "prompt": "x", "max_tokens": 2, field: value}
    response = httpx.post(f"{tier.url}/v1/completions", json=body)
    assert response.status_code in {400, 404}, response.text
    assert response.json()["error"]["message"]


def test_a_body_that_is_no_object_is_refused(tier: RunningTier) -> None:
    for content in (b"", b"{", b"[]", b"\xff\xfe"):
        for path in ("/v1/completions", f"/v2/models/{CLASSIFIER}/infer"):
            assert httpx.post(tier.url + path, content=content).status_code == 400


def test_a_client_that_leaves_frees_its_unit(tier: RunningTier) -> None:
    body = {"model": CHAT, "prompt": "x", "max_tokens": 2000, "stream": True}
    with httpx.stream("POST", f"{tier.url}/v1/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        assert sum(u.in_flight for u in tier.actuator.observe(CHAT).units) == 1
    until(
        lambda: not any(u.in_flight for u in tier.actuator.observe(CHAT).units),
        "the cancelled request leaves its unit",
    )
    last = until(
        lambda: [r for r in tier.actuator.requests_after(0) if r.status == 499],
        "the cancelled request is logged",
    )[-1]
    assert 0 < last.output_tokens < 2000


def test_every_request_is_logged_once_with_its_tokens_and_times(
    tier: RunningTier, client: openai.OpenAI
) -> None:
    before = tier.actuator.stats()["requests_last"]
    client.completions.create(model=CHAT, prompt="abc", max_tokens=7, temperature=0)
    features = [0.5] * 64
    httpx.post(f"{tier.url}/v2/models/{CLASSIFIER}/infer", json=_infer_json(features))
    chat, classifier = tier.actuator.requests_after(before)
    assert (chat.seq, classifier.seq) == (before + 1, before + 2)
    assert (chat.service, chat.prompt_tokens, chat.output_tokens) == (CHAT, 3, 7)
    assert 0 < chat.ttft_s < chat.latency_s
    assert 0 < chat.tpot_s < chat.latency_s
    assert chat.unit_id.startswith(CHAT)
    assert classifier.status == 200
    assert np.isnan(classifier.tpot_s)
    assert classifier.arrival_s >= chat.arrival_s


# -- Open Inference Protocol -------------------------------------------------------------------


def _infer_json(features: list[float]) -> dict[str, Any]:
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 64], "data": features}
    return {"inputs": [tensor]}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_inference_equals_the_bare_session(
    triton: Any, models: Path, binary_in: bool, binary_out: bool
) -> None:
    import tritonclient.http as http

    features = np.random.default_rng(4).standard_normal((3, 64)).astype(np.float32)
    tensor = http.InferInput("features", [3, 64], "FP32")
    tensor.set_data_from_numpy(features, binary_data=binary_in)
    wanted = [http.InferRequestedOutput("probabilities", binary_data=binary_out)]
    answer = triton.infer(CLASSIFIER, [tensor], outputs=wanted, request_id="r-1")
    assert answer.get_response()["id"] == "r-1"
    value = answer.as_numpy("probabilities")
    np.testing.assert_allclose(value, BareMlp(models)(features), rtol=1e-4, atol=1e-6)
    default = triton.infer(CLASSIFIER, [tensor]).as_numpy("probabilities")
    np.testing.assert_allclose(default, value, rtol=1e-4, atol=1e-6)


def test_a_real_client_reads_health_and_metadata(triton: Any) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready(CLASSIFIER)
    assert "binary_tensor_data" in triton.get_server_metadata()["extensions"]
    metadata = triton.get_model_metadata(CLASSIFIER)
    assert metadata["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 64]}]
    index = {each["name"]: each["state"] for each in triton.get_model_repository_index()}
    assert index == {CHAT: "READY", CLASSIFIER: "READY"}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "feature"},
        {"datatype": "FP64"},
        {"datatype": "BYTES"},
        {"shape": [1, 63]},
        {"shape": [2, 64]},
        {"shape": [0, 64], "data": []},
        {"shape": "x"},
        {"data": ["a"] * 64},
        {"data": None},
        {"parameters": {"binary_data_size": 256}},
    ],
)
def test_bad_tensors_are_refused_with_a_reason(tier: RunningTier, change: dict[str, Any]) -> None:
    body = _infer_json([0.0] * 64)
    body["inputs"][0] |= change
    response = httpx.post(f"{tier.url}/v2/models/{CLASSIFIER}/infer", json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]


def test_unknown_models_and_wrong_kinds_are_refused(tier: RunningTier) -> None:
    body = _infer_json([0.0] * 64)
    assert httpx.post(f"{tier.url}/v2/models/nobody/infer", json=body).status_code == 404
    wrong = httpx.post(f"{tier.url}/v2/models/{CHAT}/infer", json=body)
    assert (wrong.status_code, "use /v1/completions" in wrong.json()["error"]) == (400, True)
    assert httpx.get(f"{tier.url}/healthz").json() == {"status": "ok"}
    lost = httpx.get(f"{tier.url}/v1/nowhere")
    assert (lost.status_code, lost.json()["error"]["code"]) == (404, "not_served")
    assert httpx.get(f"{tier.url}/v1/completions").status_code == 405
