"""The AsyncAPI document by the specification's own schema, which npm brings."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import jsonschema_rs
import pytest

from checks.asyncapi import COMMITTED

pytestmark = pytest.mark.services

PACKAGE = "@asyncapi/specs@6.11.1"


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not here")
def test_the_document_is_valid_asyncapi_3(tmp_path: Path) -> None:
    subprocess.run(["npm", "pack", PACKAGE], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    (archive,) = tmp_path.glob("*.tgz")
    shutil.unpack_archive(archive, tmp_path)
    schema = json.loads((tmp_path / "package" / "schemas" / "3.0.0.json").read_text())
    validator = jsonschema_rs.validator_for(schema)
    document = json.loads(COMMITTED.read_text())
    assert [error.message for error in validator.iter_errors(document)] == []
    document["channels"]["redis"]["address"] = 5
    assert not validator.is_valid(document), "the schema would notice"
