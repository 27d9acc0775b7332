"""The llama unit types are what their public measurements say."""

import pytest

from benchmarks import splitwise
from forecaster.config import load_unit_type
from forecaster.domain.profile import GenerativeProfile


@pytest.mark.traces
@pytest.mark.parametrize("unit", splitwise.CASES)
def test_the_fit_gives_the_declared_coefficients(unit: str) -> None:
    if not splitwise.SOURCE.exists():
        pytest.skip(f"no measurements at {splitwise.SOURCE}")
    found, r2, count = splitwise.coefficients(unit)
    profile = load_unit_type(splitwise.ROOT / "models", unit).profile
    assert isinstance(profile, GenerativeProfile)
    assert count == 105
    assert min(r2) > 0.955
    # the file states two or three digits
    for name, digits in (("alpha_s", 0.005), ("beta_s", 0.005), ("kappa_s", 0.03), ("gamma_s", 0.005)):  # fmt: skip
        assert found[name] == pytest.approx(getattr(profile, name), rel=digits), name
