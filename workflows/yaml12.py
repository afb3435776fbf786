"""A safe YAML loader for which `on` is a text."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

# The C loader is some ten times faster, where the wheel has it.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BOOLEAN: Final = "tag:yaml.org,2002:bool"


class Loader(_Base):
    """Reads true, false as booleans, nothing else: YAML 1.1 takes `on`, `off`, `yes`, `no` for some too."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML declares it as a class attribute
        first: [(tag, pattern) for tag, pattern in found if tag != _BOOLEAN]
        for first, found in _Base.yaml_implicit_resolvers.items()
    }


Loader.add_implicit_resolver(_BOOLEAN, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
