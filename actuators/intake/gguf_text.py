"""The text of a GGUF model, written as the tokenizer files that other models come with.

Two kinds of vocabulary are known: byte-level merges ("gpt2") cut by one of a few rules, and pieces with
scores ("llama"), whose merges follow from the scores: the best pair of neighbours first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from actuators.intake.gguf_file import AGAIN, GgufFile
from actuators.onnx_tier.tokenizer_files import TOKENIZER, TOKENIZER_CONFIG
from forecaster.domain.errors import ModelError

_NORMAL, _UNKNOWN, _CONTROL, _USER = 1, 2, 3, 4
_SPACE = "\u2581"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_RULES = {
    "gpt-2": "",
    "smollm": "digits",
    "starcoder": "digits",
    "llama-bpe": rf"{_ENDINGS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}",
    "llama3": rf"{_ENDINGS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}",
    "qwen2": rf"{_ENDINGS}|{_WORDS}|\p{{N}}|{_REST}",
}
"""How text is cut before it is merged, by the names that GGUF has for it; empty: as GPT-2 does."""

_WHOLE_WORDS = {"llama-bpe", "llama3"}
"""Words that are in the vocabulary are taken as they are, whatever their merges say."""

_ENDS = ("eos", "eot", "eom")


def write_text(file: GgufFile, folder: Path, vocabulary: int) -> dict[str, int | list[int]]:
    """Write `TOKENIZER` and `TOKENIZER_CONFIG` into `folder`; return what begins, ends and fills.

    Parameters
    ----------
    vocabulary : int
        Rows of the model's embedding: there may be unused ones, but no token without a row.

    Returns
    -------
    dict
        ``bos_token_id`` and ``pad_token_id`` where there are any, and a list ``eos_token_id``.

    Raises
    ------
    ModelError
        When the file has no vocabulary, or one of an unknown kind.
    """
    tokens = file.value("tokenizer.ggml.tokens", list)
    if not 0 < len(tokens) <= vocabulary or len(set(tokens)) < len(tokens):
        raise ModelError(
            f"{file.path} has {len(set(tokens))} different texts for {len(tokens)} tokens "
            f"and {vocabulary} embeddings",
            AGAIN,
        )
    specials = {
        name: token
        for name in ("bos", "eos", "eot", "eom", "unknown", "padding")
        if (token := _special(file, name, tokens)) is not None
    }
    tokenizer = _tokenizer(file, tokens, specials)
    tokenizer.save(str(folder / TOKENIZER))
    config: dict[str, Any] = {
        f"{ours}_token": tokens[specials[theirs]]
        for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown"))
        if theirs in specials
    }
    if file.says("tokenizer.chat_template"):
        config["chat_template"] = file.value("tokenizer.chat_template", str)
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(config), "utf-8")
    ids: dict[str, int | list[int]] = {
        f"{ours}_token_id": specials[theirs]
        for ours, theirs in (("bos", "bos"), ("pad", "padding"))
        if theirs in specials
    }
    return ids | {"eos_token_id": sorted({specials[name] for name in _ENDS if name in specials})}


def score_merges(pieces: list[str], scores: list[float]) -> list[tuple[str, str]]:
    """Return the pairs that make a piece of two others, the best piece first.

    Examples
    --------
    >>> score_merges(["t", "i", "ti", "d", "tid", "id"], [-5, -6, -2, -7, -3, -4])
    [('t', 'i'), ('t', 'id'), ('ti', 'd'), ('i', 'd')]
    """
    known = dict(zip(pieces, scores, strict=True))
    pairs = [
        (-score, piece[:at], piece[at:])
        for piece, score in known.items()
        for at in range(1, len(piece))
        if piece[:at] in known and piece[at:] in known
    ]
    return [(left, right) for _, left, right in sorted(pairs)]


def _tokenizer(file: GgufFile, tokens: list[str], specials: dict[str, int]) -> Any:
    from tokenizers import AddedToken, processors

    model = file.value("tokenizer.ggml.model", str)
    types = file.value("tokenizer.ggml.token_type", list, [_NORMAL] * len(tokens))
    if len(types) != len(tokens):
        raise ModelError(f"{file.path} has {len(types)} types of {len(tokens)} tokens", AGAIN)
    if model == "gpt2":
        tokenizer, begins = _byte_level(file, tokens)
    elif model == "llama":
        tokenizer, begins = _scored(file, tokens, types, specials), True
    else:
        raise ModelError(
            f"{file.path.name} says {model!r} under 'tokenizer.ggml.model', "
            "which is not supported: only 'gpt2' and 'llama'",
            "deploy an ONNX export of this model",
        )
    for kind in (_CONTROL, _USER):
        tokenizer.add_tokens(
            [
                AddedToken(token, normalized=False, special=kind == _CONTROL)
                for token, its in zip(tokens, types, strict=True)
                if its == kind and token
            ]
        )
    if "bos" in specials and file.value("tokenizer.ggml.add_bos_token", bool, begins):
        first = tokens[specials["bos"]]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[first, "$A"], special_tokens=[(first, specials["bos"])]
        )
    return tokenizer


def _byte_level(file: GgufFile, tokens: list[str]) -> tuple[Any, bool]:
    """Return a byte-level tokenizer, and whether its texts begin with BOS unless said otherwise."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    rule = file.value("tokenizer.ggml.pre", str)
    if rule not in _RULES:
        raise ModelError(
            f"{file.path.name} says {rule!r} under 'tokenizer.ggml.pre', "
            f"which is not supported: only {', '.join(_RULES)}",
            "deploy an ONNX export of this model",
        )
    merges = [tuple(each.split(" ")) for each in file.value("tokenizer.ggml.merges", list)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    whole = rule in _WHOLE_WORDS
    try:
        model = models.BPE(vocab=vocabulary, merges=merges, ignore_merges=whole)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ModelError(f"{file.path} has merges of unknown tokens: {error}", AGAIN) from error
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.ByteLevel()
    pattern = _RULES[rule]
    cuts: list[Any] = [
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern in {"", "digits"})
    ]
    if pattern == "digits":
        cuts.insert(0, pre_tokenizers.Digits(individual_digits=True))
    elif pattern:
        cuts.insert(0, pre_tokenizers.Split(Regex(pattern), "isolated"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    return tokenizer, whole


def _scored(file: GgufFile, tokens: list[str], types: list[int], specials: dict[str, int]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers

    scores = file.value("tokenizer.ggml.scores", list)
    if len(scores) != len(tokens):
        raise ModelError(f"{file.path} has {len(scores)} scores of {len(tokens)} tokens", AGAIN)
    mergeable = [at for at, kind in enumerate(types) if kind in {_NORMAL, _USER}]
    merges = score_merges([tokens[at] for at in mergeable], [scores[at] for at in mergeable])
    unknown = tokens[specials["unknown"]] if "unknown" in specials else None
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True
        )
    )
    spaces = normalizers.Replace(" ", _SPACE)
    prefixed = file.value("tokenizer.ggml.add_space_prefix", bool, True)
    tokenizer.normalizer = (
        normalizers.Sequence([normalizers.Prepend(_SPACE), spaces]) if prefixed else spaces
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def _special(file: GgufFile, name: str, tokens: list[str]) -> int | None:
    key = f"tokenizer.ggml.{name}_token_id"
    if not file.says(key):
        return None
    token = int(file.value(key, int))
    # Converters write -1, or 2**32 - 1, for "none".
    return token if 0 <= token < len(tokens) else None
