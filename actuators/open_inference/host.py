"""One server that speaks the Open Inference Protocol with the model repository extension.

What servers do differently ends here: Triton answers an unload at once and finishes what is in flight behind it,
MLServer says 404 for a model that is not loaded; each has metrics of its own.

Source: https://github.com/kserve/open-inference-protocol, Triton's ``extension_model_repository.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import httpx

from actuators.open_inference.metrics import Traffic, traffic_of
from forecaster.domain.errors import ActuatorError, ActuatorUnavailableError

LOOK_S = 3.0
"""A server that takes longer to say what it has loaded is away."""
_LARGEST = 1 << 22
"""Elements of a warm-up tensor that we make up."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a server says of one model.

    Attributes
    ----------
    state : str
        READY, LOADING, UNLOADING, UNAVAILABLE, or nothing before it was ever loaded.
    reason : str
        Its words where it is not ready.
    """

    state: str = ""
    reason: str = ""

    @property
    def ready(self) -> bool:
        """Whether it answers requests."""
        return self.state == "READY"

    @property
    def idle(self) -> bool:
        """Whether nothing of it is in memory, nor on its way in or out."""
        return self.state in ("", "UNAVAILABLE")


class Host:
    """A server by its address.

    Parameters
    ----------
    url : str
        As in ``http://gpu-1:8000``.
    metrics_url : str
        Where Prometheus would read; empty: nobody knows what is in flight.
    token : str
        Bearer token; empty: none.
    load_s : float
        Longest that a load may take, real seconds.
    """

    def __init__(
        self, url: str, metrics_url: str = "", token: str = "", load_s: float = 1800.0
    ) -> None:
        self.url, self._metrics_url, self._load_s = url.rstrip("/"), metrics_url, load_s
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=LOOK_S)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def index(self) -> dict[str, Loaded]:
        """Every model of its repository.

        Raises
        ------
        ActuatorUnavailableError
            When it does not answer.
        ActuatorError
            When it has no model repository to control.
        """
        found: dict[str, Loaded] = {}
        for each in self._post("/v2/repository/index", {}).json():
            said = Loaded(each.get("state", ""), each.get("reason", ""))
            known = found.get(each["name"])
            if known is None or _RANK[said.state] > _RANK[known.state]:  # the liveliest version
                found[each["name"]] = said
        return found

    def load(self, model: str) -> None:
        """Load a model and wait for it; one that is loaded is loaded anew."""
        self._post(f"/v2/repository/models/{model}/load", {}, self._load_s)

    def unload(self, model: str) -> None:
        """Unload a model; one that is not loaded is unloaded already."""
        self._post(f"/v2/repository/models/{model}/unload", {}, self._load_s, gone=True)

    def warm_up(self, model: str, request: Any = None) -> str:
        """One inference, so that the first user does not pay for it.

        Parameters
        ----------
        request : object, optional
            JSON body of a request of yours; None: zeros of the shapes that the model states, 1 where it
            states none.

        Returns
        -------
        str
            Empty; or why zeros were refused, which says nothing about the model.

        Raises
        ------
        ActuatorError
            When your request was refused.
        """
        path = f"/v2/models/{model}/infer"
        if request is not None:
            self._post(path, request, self._load_s)
            return ""
        try:
            tensors = [_zeros(each) for each in self._get(f"/v2/models/{model}")["inputs"]]
            self._post(path, {"inputs": tensors}, self._load_s)
        except ActuatorUnavailableError:
            raise
        except (ActuatorError, KeyError, TypeError, ValueError) as error:
            return f"not warmed up: {error}"
        return ""

    def traffic(self, model: str) -> Traffic | None:
        """What its metrics say of a model; None where nobody knows."""
        if not self._metrics_url:
            return None
        try:
            answer = self._client.get(self._metrics_url)
            answer.raise_for_status()
        except httpx.HTTPError:
            return None
        return traffic_of(answer.text, model)

    def _get(self, path: str) -> Any:
        return self._ask("GET", path).json()

    def _post(
        self, path: str, body: Any, wait_s: float = LOOK_S, gone: bool = False
    ) -> httpx.Response:
        return self._ask("POST", path, body, wait_s, gone)

    def _ask(
        self, verb: str, path: str, body: Any = None, wait_s: float = LOOK_S, gone: bool = False
    ) -> httpx.Response:
        try:
            answer = self._client.request(
                verb, path, json=body, timeout=httpx.Timeout(wait_s, connect=LOOK_S)
            )
        except httpx.HTTPError as error:
            raise ActuatorUnavailableError(
                f"{self.url} does not answer: {error or type(error).__name__}", "retry"
            ) from error
        if answer.is_success or (gone and answer.status_code == 404):
            return answer
        raise ActuatorError(
            f"{self.url}{path} says {answer.status_code}: {answer.text[:300].strip()}",
            "Triton wants --model-control-mode=explicit; see docs/open-inference.md",
        )


_RANK = {"": 0, "UNKNOWN": 0, "UNAVAILABLE": 1, "UNLOADING": 2, "LOADING": 3, "READY": 4}


def _zeros(tensor: dict[str, Any]) -> dict[str, Any]:
    """A tensor of the stated type and shape."""
    shape = [max(int(size), 1) for size in tensor["shape"]]
    count = math.prod(shape)
    if count > _LARGEST:
        raise ValueError(f"{tensor['name']} has {count} elements")
    zero: Any = {"BYTES": "", "BOOL": False}.get(tensor["datatype"], 0)
    return {
        "name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": [zero] * count,
    }  # fmt: skip
