"""Token moments of one request, from the sums of many."""

from __future__ import annotations

from forecaster.domain.demand import SlotSums, TokenMix


def token_mix(slots: SlotSums) -> TokenMix:
    """Return the moments of the tokens of one request over all `slots`.

    Examples
    --------
    Two requests of 10 and 20 prompt tokens, with as many output tokens:

    >>> import numpy as np
    >>> from forecaster.demand.binning import bin_requests
    >>> from forecaster.domain.demand import RequestBatch
    >>> tokens = np.array([10, 20])
    >>> mix = token_mix(bin_requests(RequestBatch("s", np.array([1.0, 2.0]), tokens, tokens)))
    >>> mix.prompt_mean, mix.prompt_sq, mix.prompt_output
    (15.0, 250.0, 250.0)
    """
    requests = float(slots.arrivals.sum())
    if requests <= 0:
        return TokenMix(0.0, 0.0, 0.0, 0.0, 0.0)
    return TokenMix(
        prompt_mean=float(slots.prompt_tokens.sum()) / requests,
        output_mean=float(slots.output_tokens.sum()) / requests,
        prompt_sq=float(slots.prompt_sq.sum()) / requests,
        output_sq=float(slots.output_sq.sum()) / requests,
        prompt_output=float(slots.prompt_output.sum()) / requests,
    )
