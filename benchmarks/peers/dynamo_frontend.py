"""Dynamo's own frontend and its mock engine, the real processes of `ai-dynamo`, on one CPU: for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from benchmarks.peers.servers import Peer, free_port, python_of, served

MODEL = "llama"
SPECIAL = ("<unk>", "<s>", "</s>")


def model_folder(folder: Path) -> Path:
    """What a frontend reads of a model: a tokenizer of single bytes, a configuration, a chat template."""
    folder.mkdir()
    letters = (*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()))
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=SPECIAL[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "bos_token_id": 1,
        "eos_token_id": 2, "max_position_embeddings": 4096, "vocab_size": len(vocabulary),
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    }  # fmt: skip
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    return folder


@contextmanager
def dynamo_frontend(work: Path) -> Iterator[Peer]:
    """The frontend in front of one mock worker that serves `llama`."""
    python, port = python_of("dynamo"), free_port()
    environment = {
        "DYN_DISCOVERY_BACKEND": "file", "DYN_FILE_KV": str(work / "discovery"), "DYN_EVENT_PLANE": "zmq",
        "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    (work / "discovery").mkdir()
    folder = model_folder(work / "model")
    worker = [python, "-m", "dynamo.mocker", "--model-path", folder, "--model-name", MODEL]
    front = [python, "-m", "dynamo.frontend", "--http-host", "127.0.0.1", "--http-port", str(port)]
    url = f"http://127.0.0.1:{port}"

    def knows_the_model() -> bool:
        return bool(httpx.get(f"{url}/v1/models", timeout=1.0).json()["data"])

    with (
        served(worker, work / "mocker.log", lambda: True, environment),
        served(front, work / "frontend.log", knows_the_model, environment),
    ):
        yield Peer(url, f"{url}/metrics")
