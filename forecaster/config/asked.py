"""Settings of scalers that ask: the daemon answers how many units should run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from forecaster.config.table import TlsTable
from forecaster.domain.pools import of_pool


class GrpcTable(TlsTable):
    """A table whose server speaks gRPC."""

    port: int | None = Field(
        None, ge=0, le=65535, description="gRPC port; set: the units are its own; 0 picks one"
    )
    host: str = Field("127.0.0.1", description="address to bind; in a cluster 0.0.0.0")
    client_ca: Path | None = Field(
        None, description="PEM; only clients with a certificate from it may ask"
    )

    @model_validator(mode="after")
    def _closed(self) -> Self:
        if self.client_ca is not None and self.tls_cert is None:
            raise ValueError("client_ca wants tls_cert and tls_key")
        return self


class KedaSettings(GrpcTable):
    """KEDA's external scaler: `tidegate daemon` answers how many replicas should run."""

    port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="gRPC port; set: units are KEDA's and no tier of ours is needed; 0 picks one",
    )


class DynamoSettings(GrpcTable):
    """A planner plugin of NVIDIA Dynamo: `tidegate daemon` proposes how many workers should run."""

    port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="gRPC port; set: units are a planner's workers; 0 picks one",
    )
    decode: str = Field(
        "", description="service of decode workers, or of ones that do both; empty: the only one"
    )
    prefill: str = Field(
        "", description="service of the prefill workers; empty: decode workers do both"
    )

    def components(self, names: Sequence[str]) -> dict[str, str]:
        """Service of each component of the deployment.

        Parameters
        ----------
        names : sequence of str
            The services that are configured.

        Raises
        ------
        ValueError
            When one of them is not mapped, or none of that name is configured.

        Examples
        --------
        >>> DynamoSettings().components(["chat"])
        {'decode': 'chat'}
        >>> DynamoSettings(decode="chat", prefill="chat-in").components(["chat", "chat-in"])
        {'prefill': 'chat-in', 'decode': 'chat'}
        """
        decode = self.decode or (names[0] if len(names) == 1 else "")
        found = {"prefill": self.prefill, "decode": decode} if self.prefill else {"decode": decode}
        for key, name in found.items():
            if name not in names and of_pool(name)[0] not in names:
                known = ", ".join(names) or "none"
                raise ValueError(f"dynamo.{key} = {name!r} is no service, there are: {known}")
        if len(set(found.values())) < len(found):
            raise ValueError("dynamo.prefill and dynamo.decode are one service: each has its own")
        mapped = {*found.values(), *(of_pool(name)[0] for name in found.values())}
        left = [name for name in names if name not in mapped]
        if left:
            raise ValueError(
                f"{', '.join(left)}: a planner scales one deployment, and no component of it is this"
                " service: name it as dynamo.decode or dynamo.prefill, or let another daemon have it"
            )
        return found
