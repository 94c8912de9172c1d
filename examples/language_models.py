"""Creates the language model of the LlamaIndex examples.

Set TWOFOLD_CHAT_MODEL to any LLM as ``package.module:Class:model``, for example
``llama_index.llms.ollama:Ollama:llama3.2``. Without it, the examples answer with quotations.
"""

import importlib
import os

from llama_index.core.llms import LLM


def language_model() -> LLM | None:
    """Return the model of TWOFOLD_CHAT_MODEL, or None if it isn't set."""
    if not (name := os.environ.get("TWOFOLD_CHAT_MODEL")):
        return None
    module, class_name, model = name.split(":", 2)
    created: LLM = getattr(importlib.import_module(module), class_name)(model=model)
    return created
