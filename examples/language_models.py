"""The language model that the environment names, for the LlamaIndex examples.

Set TWOFOLD_CHAT_MODEL to any LLM as ``package.module:Class:model``, for example
``llama_index.llms.ollama:Ollama:llama3.2``. Without one, answers are made of quotations.
"""

import importlib
import os

from llama_index.core.llms import LLM


def language_model() -> LLM | None:
    """Return the language model that the environment names, None if it names none."""
    if not (name := os.environ.get("TWOFOLD_CHAT_MODEL")):
        return None
    module, kind, model = name.split(":", 2)
    made: LLM = getattr(importlib.import_module(module), kind)(model=model)
    return made
