"""Creates the chat model of the LangChain examples.

Set TWOFOLD_CHAT_MODEL to any chat model as ``package.module:Class:model``, for example
``langchain_ollama:ChatOllama:llama3.2``. Without it, the examples answer with quotations.
"""

import importlib
import os

from langchain_core.language_models import BaseChatModel


def chat_model() -> BaseChatModel | None:
    """Return the chat model of TWOFOLD_CHAT_MODEL, or None if it isn't set."""
    if not (name := os.environ.get("TWOFOLD_CHAT_MODEL")):
        return None
    module, class_name, model = name.split(":", 2)
    created: BaseChatModel = getattr(importlib.import_module(module), class_name)(model=model)
    return created
