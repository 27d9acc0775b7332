"""The llama unit type is what its public measurements say."""

import pytest

from benchmarks import splitwise
from forecaster.config import load_unit_type
from forecaster.domain.profile import GenerativeProfile


@pytest.mark.traces
def test_the_fit_gives_the_declared_coefficients() -> None:
    if not splitwise.SOURCE.exists():
        pytest.skip(f"no measurements at {splitwise.SOURCE}")
    found, r2, count = splitwise.coefficients()
    profile = load_unit_type(splitwise.ROOT / "models", "llama70b-h100x8").profile
    assert isinstance(profile, GenerativeProfile)
    assert count == 105
    assert min(r2) > 0.96
    # the file states two or three digits
    for name, digits in (("alpha_s", 0.005), ("beta_s", 0.005), ("kappa_s", 0.03), ("gamma_s", 0.005)):  # fmt: skip
        assert found[name] == pytest.approx(getattr(profile, name), rel=digits), name
