"""The chat model that the environment names, for the LangChain examples.

Set TWOFOLD_CHAT_MODEL to any chat model as ``package.module:Class:model``, for example
``langchain_ollama:ChatOllama:llama3.2``. Without one, answers are made of quotations.
"""

import importlib
import os

from langchain_core.language_models import BaseChatModel


def chat_model() -> BaseChatModel | None:
    """Return the chat model that the environment names, None if it names none."""
    if not (name := os.environ.get("TWOFOLD_CHAT_MODEL")):
        return None
    module, kind, model = name.split(":", 2)
    made: BaseChatModel = getattr(importlib.import_module(module), kind)(model=model)
    return made
