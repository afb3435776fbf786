"""Modules name their operations once; the registry finds them."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.modules import Module, ModuleRegistry, UnknownOperation


def _module() -> Module:
    module = Module("mail", "1.2.0", "Sends mail")

    @module.operation("send", input_schema={"type": "object"}, timeout_s=5, queue="mail", idempotent=False)
    def send(_context: Any, to: str) -> str:
        """Send one mail.

        More words.
        """
        return to

    assert send(None, to="x") == "x"
    return module


def test_an_operation_is_found_by_its_qualified_name() -> None:
    registry = ModuleRegistry([_module()])
    spec = registry.operation("mail.send")
    assert (spec.module, spec.summary, spec.queue, spec.timeout_s) == ("mail", "Send one mail.", "mail", 5)
    assert spec.function(None, to="y") == "y"
    (manifest,) = registry.manifests()
    assert manifest["operations"][0]["name"] == "mail.send"
    assert manifest["version"] == "1.2.0"
    assert registry.find("mail.lose") is None
    with pytest.raises(UnknownOperation, match=r"mail\.lose"):
        registry.operation("mail.lose")


def test_names_are_unique_and_legal() -> None:
    module = _module()
    for name, timeout in (("send", 1), ("Bad", 1), ("slow", 0)):
        with pytest.raises(ValueError, match=r"twice|must match|positive"):
            module.operation(name, timeout_s=timeout)
    with pytest.raises(ValueError, match="must match"):
        Module("no.dots", "1")
    with pytest.raises(ValueError, match="two installed modules"):
        ModuleRegistry([_module(), _module()])
