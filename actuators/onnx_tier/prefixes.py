"""Prompts that begin alike are read once: the cached keys and values of whole blocks, by content.

A block's key digests its tokens and everything before them, so that equal keys mean equal prefixes.
Blocks live beside the rows, in memory of their own, and the least recently used give way.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator

from actuators.onnx_tier.kv_memory import KvBlock
from actuators.onnx_tier.kv_rows import KvRows, Tokens

BLOCK_TOKENS = 32


class PrefixStore:
    """Blocks of prompts that were read.

    Parameters
    ----------
    kv : KvRows
        The rows that blocks are copied from and to.
    tokens : int
        Tokens kept at most; below one block nothing is kept.
    """

    def __init__(self, kv: KvRows, tokens: int) -> None:
        self._kv = kv
        self._blocks_most = tokens // BLOCK_TOKENS
        self._blocks: OrderedDict[bytes, KvBlock] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def restore(self, prompt: Tokens, row: int) -> int:
        """Copy the longest known prefix of `prompt` into `row`; return its length in tokens.

        The last token is never restored: reading it gives the first logits.
        """
        at = 0
        for key in _keys(prompt[:-1]):
            block = self._blocks.get(key)
            if block is None:
                break
            self._blocks.move_to_end(key)
            self._kv.write(row, at, block)
            at += BLOCK_TOKENS
        return at

    def keep(self, prompt: Tokens, row: int) -> None:
        """Keep the blocks of a prompt that `row` has read."""
        for number, key in enumerate(_keys(prompt)):
            if key in self._blocks:
                self._blocks.move_to_end(key)
            elif self._blocks_most:
                if len(self._blocks) >= self._blocks_most:
                    self._blocks.popitem(last=False)
                start = number * BLOCK_TOKENS
                self._blocks[key] = self._kv.read(row, start, start + BLOCK_TOKENS)


def _keys(prompt: Tokens) -> Iterator[bytes]:
    chain = b""
    for start in range(0, prompt.size - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        block = prompt[start : start + BLOCK_TOKENS].tobytes()
        chain = hashlib.blake2b(chain + block, digest_size=16).digest()
        yield chain
