"""Names of the members, apart from their code: settings need the names without the libraries."""

NAIVE = ("naive-day", "naive-week")
"""The bar: always in."""

MEMBER_NAMES = (
    *NAIVE, "pool", "profile", "ridge", "holt-winters", "boosting", "prophet", "mstl", "structural",
    "ensemble",
)  # fmt: skip

POOLS = ("pool", "ensemble")
"""They weigh their seasons by recent errors themselves: what is chosen against them needs a margin."""
