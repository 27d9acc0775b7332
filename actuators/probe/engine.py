"""A running engine behind the OpenAI API: streams are sent, and each token's time is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx
import numpy as np
import orjson
from prometheus_client.parser import text_string_to_metric_families

from forecaster.domain.errors import DataError

ANSWER_S = 300.0
"""A stream that says nothing for so long has failed."""
WHOLE = {"ignore_eos": True, "temperature": 0}
"""What makes vLLM, SGLang and Dynamo generate as many tokens as they are asked for."""
WORD_LETTERS = 5


@dataclass(frozen=True, slots=True)
class Stream:
    """One answer as it came.

    Attributes
    ----------
    sent_s : float
        When it was asked for, by a clock of our own.
    at_s : float64[n]
        When each piece came.
    prompt_tokens, output_tokens : int
        As the engine counts them.
    """

    sent_s: float
    at_s: np.ndarray[tuple[int], np.dtype[np.float64]]
    prompt_tokens: int
    output_tokens: int

    @property
    def ttft_s(self) -> float:
        """Until the first piece."""
        return float(self.at_s[0] - self.sent_s)

    @property
    def tpot_s(self) -> float:
        """For each token after the first."""
        return float(self.at_s[-1] - self.at_s[0]) / max(self.output_tokens - 1, 1)


class Engine:
    """The OpenAI API at a URL.

    Parameters
    ----------
    url : str
        With or without ``/v1``.
    model : str
        Name that it serves the model under; empty: the only one.
    key : str
        Bearer token; empty for none.
    seed : int
        Of the prompts, which no other run should send: what an engine has read it need not read again.
    """

    def __init__(self, url: str, model: str, key: str, seed: int) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self.model = model
        self._rng = np.random.default_rng(seed)
        self._whole = dict(WHOLE)
        self._tokens_per_word = 2.0
        headers = {"authorization": f"Bearer {key}"} if key else {}
        most = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._http = httpx.AsyncClient(timeout=ANSWER_S, headers=headers, limits=most)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def open(self) -> None:
        """Find the model, how many tokens a word has, and what may be asked for.

        Raises
        ------
        DataError
            When nobody answers, or the answer is none that can be measured.
        """
        if not self.model:
            self.model = await self._only_model()
        words = 64
        try:
            stream = await self.stream(words / self._tokens_per_word, 1)
        except DataError:
            self._whole = {}  # a strict engine refuses what it does not know
            stream = await self.stream(words / self._tokens_per_word, 1)
        self._tokens_per_word *= stream.prompt_tokens / max(words / self._tokens_per_word, 1)

    async def burst(self, requests: Sequence[tuple[float, int]]) -> list[Stream]:
        """Send requests of (prompt tokens, output tokens) all at once."""
        return list(await asyncio.gather(*(self.stream(*each) for each in requests)))

    async def play(
        self, at_s: Sequence[float], requests: Sequence[tuple[float, int]]
    ) -> list[Stream]:
        """Send each request at its time from now."""
        began_s = time.perf_counter()

        async def later(due_s: float, prompt: float, output: int) -> Stream:
            await asyncio.sleep(max(began_s + due_s - time.perf_counter(), 0.0))
            return await self.stream(prompt, output)

        each = (later(due_s, *request) for due_s, request in zip(at_s, requests, strict=True))
        return list(await asyncio.gather(*each))

    async def stream(self, prompt_tokens: float, output_tokens: int) -> Stream:
        """Send one request about so long; keep when its tokens came.

        Raises
        ------
        DataError
            When it is refused, breaks off, or does not say how many tokens there were.
        """
        body = {
            "model": self.model, "prompt": self._prompt(prompt_tokens), "max_tokens": output_tokens,
            "stream": True, "stream_options": {"include_usage": True}, **self._whole,
        }  # fmt: skip
        at_s: list[float] = []
        usage: dict[str, Any] = {}
        sent_s = time.perf_counter()
        try:
            asked = self._http.stream("POST", f"{self.url}/v1/completions", json=body)
            async with asked as response:
                if response.status_code != 200:
                    said = (await response.aread())[:200].decode(errors="replace")
                    raise DataError(
                        f"{self.url} answers {response.status_code}: {said}",
                        "check --model, --api-key and the prompt lengths (--longest)",
                    )
                async for line in response.aiter_lines():
                    now_s = time.perf_counter()
                    if line.startswith("data:") and not line.endswith("[DONE]"):
                        event = orjson.loads(line[5:])
                        usage = event.get("usage") or usage
                        if any(_new(choice) for choice in event.get("choices") or ()):
                            at_s.append(now_s)
        except (httpx.HTTPError, orjson.JSONDecodeError) as error:
            raise DataError(
                f"{self.url}: {str(error) or type(error).__name__}", "is the engine up, and idle?"
            ) from error
        if not at_s or not usage.get("completion_tokens"):
            raise DataError(
                f"{self.url}: a stream came to its end without {'usage' if at_s else 'a token'}",
                "the engine must stream /v1/completions and honour stream_options.include_usage",
            )
        return Stream(
            sent_s, np.array(at_s), int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        )

    async def kv_tokens(self) -> int:
        """Tokens that its cache holds, as its metrics say (vLLM, SGLang); 0 where they do not."""
        try:
            response = await self._http.get(f"{self.url}/metrics")
            families = list(text_string_to_metric_families(response.text))
        except (httpx.HTTPError, ValueError):
            return 0
        for sample in (sample for family in families for sample in family.samples):
            if sample.name == "sglang:max_total_num_tokens":
                return int(sample.value)
            if sample.name == "vllm:cache_config_info":
                counts = [sample.labels.get(name, "") for name in ("num_gpu_blocks", "block_size")]
                if all(count.isdecimal() for count in counts):
                    return int(counts[0]) * int(counts[1])
        return 0

    async def _only_model(self) -> str:
        try:
            response = await self._http.get(f"{self.url}/v1/models")
            names = [str(each["id"]) for each in response.json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.url}: no list of models: {error}", "give --model") from error
        if len(names) != 1:
            raise DataError(
                f"{self.url} serves {', '.join(names) or 'nothing'}", "name one with --model"
            )
        return names[0]

    def _prompt(self, tokens: float) -> str:
        words = max(round(tokens / self._tokens_per_word), 1)
        letters = self._rng.integers(97, 123, (words, WORD_LETTERS), dtype=np.uint8)
        return " ".join(row.tobytes().decode() for row in letters)


def _new(choice: dict[str, Any]) -> bool:
    """Whether a piece has a token; its text may be half a character."""
    return bool(choice.get("text")) or not choice.get("finish_reason")
