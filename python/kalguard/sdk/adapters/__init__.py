"""Adapters for agent frameworks, one module each, imported by name: `kalguard.sdk.adapters.langchain` and so on.

Every module needs its framework, which comes with the extra of that name: `pip install "kalguard[langchain]"`.
"""
