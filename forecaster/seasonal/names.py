"""Names of the members, apart from their code: settings need the names without the libraries."""

NAIVE = ("naive-day", "naive-week")
"""The bar: always in."""

MEMBER_NAMES = (
    *NAIVE, "pool", "profile", "ridge", "holt-winters", "boosting", "prophet", "mstl", "structural",
)  # fmt: skip
