"""Each house rule is broken on purpose: the check tells it, an innocent file passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks import commands, documents, house, lock

INNOCENT = '''"""One thing."""

import os

PATH = os.sep
'''
# Broken words have a tilde inside, taken out below, for the check reads this file too.
CASES = [
    ("app/x.py", "\n" * 401, "lines in a file"),
    ("app/x.py", '"""One."""\n\n\ndef long():\n' + "    pass\n" * 50, "lines in long()"),
    ("app/x.py", "PATH = 1\n", "docstring is missing"),
    ("app/x.py", '"""One thing and another."""\n', 'says "and"'),
    ("app/x.py", '"""One thing. Another."""\n', "not one sentence"),
    ("app/x.py", '"""One."""\n\nimport os\n\nHOME = os.environ["HOME"]\n', "os.environ outside"),
    ("tasks/x.py", '"""One."""\n\nfrom os import getenv\n', "os.getenv outside"),
    ("tests/x.py", '"""One."""\n\nimport time\n\ntime.sleep(1)\n', "time.sleep in a test"),
    ("tests/x.py", '"""One."""\n\nfrom time import sleep\n', "time.sleep in a test"),
    ("app/x.py", '"""One."""\n\nX = 1  # no~qa\n', "suppression"),
    ("app/x.py", '"""One."""\n\nX = 1  # no~qa: E501\n', "suppression"),
    ("app/x.py", '"""One."""\n\nX = 1  # type: ig~nore[misc]\n', "suppression"),
    ("app/x.py", '"""One."""\n\nX = 1  # pra~gma: no cover\n', "suppression"),
    ("app/x.py", '"""One."""\n\ntry:\n    pass\nexcept:\n    pass\n', "bare except"),
    ("app/domain/x.py", '"""One."""\n\n\n@dataclass(slots=True)\nclass X:\n    pass\n', "not frozen"),
    ("app/x.py", '"""One."""\n\nX = "/wo~rk/main"\n', "path of one machine"),
    ("docs/x.md", "see /wo~rk/x\n", "path of one machine"),
    ("app/x.py", '"""One."""\n\n# TO~DO: the rest\n', "unfinished"),
    ("Makefile", ".PHONY: new\nnew:\n\ttrue\n", "has no `## words`"),
    ("Makefile", "new: ## Words\n\ttrue\n", "not in .PHONY"),
]


def told(root: Path, path: str, text: str) -> list[str]:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace("~", ""))
    return [fault.words for fault in house.faults(root, [path])]


def test_an_innocent_file_is_not_told(tmp_path: Path) -> None:
    assert told(tmp_path, "app/x.py", INNOCENT) == []


@pytest.mark.parametrize(("path", "text", "words"), CASES)
def test_each_broken_rule_is_told(tmp_path: Path, path: str, text: str, words: str) -> None:
    assert any(words in fault for fault in told(tmp_path, path, text))


def test_a_suppression_with_code_and_reason_passes(tmp_path: Path) -> None:
    lines = ("# no~qa: S101 - a reason", "# type: ig~nore[misc]  # a reason")
    for line in lines:
        assert told(tmp_path, "app/x.py", f'"""One."""\n\nX = 1  {line}\n') == []


@pytest.mark.parametrize(
    ("pinned", "words"),
    [
        ("", "not pinned"),
        ("flask==2.0 \\\n    --hash=sha256:00", "does not meet"),
        ("flask==3.1", "no hash"),
        ("--index-url https://example.org\nflask==3.1 \\\n    --hash=sha256:00", "package index"),
    ],
)
def test_a_stale_lock_is_told(tmp_path: Path, pinned: str, words: str) -> None:
    (tmp_path / "setup.cfg").write_text(
        "[options]\ninstall_requires =\n    flask>=3\n[options.extras_require]\n"
    )
    (tmp_path / "requirements.lock").write_text(pinned)
    assert any(words in fault.words for fault in lock.faults(tmp_path))


def test_a_link_to_nowhere_or_to_no_heading_is_told(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# Some heading\n")
    (tmp_path / "a.md").write_text("[gone](c.md) [x](b.md#other) [fine](b.md#some-heading) `[code](x.md)`\n")
    assert [fault.words.split(",")[0] for fault in documents.links(tmp_path, ["a.md"])] == [
        "links to c.md",
        "links to b.md#other",
    ]


def test_an_undescribed_variable_is_told(tmp_path: Path) -> None:
    (tmp_path / "app" / "settings").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    (tmp_path / "app" / "settings" / "any.py").write_text('reader.text("NEW_VARIABLE", "")\n')
    (tmp_path / "docs" / "configuration.md").write_text("`ENVIRONMENT` is described.\n| `OLD_ONE` | x |\n")
    assert [fault.words for fault in documents.configuration(tmp_path)] == [
        "does not describe `NEW_VARIABLE`",
        "nothing reads `OLD_ONE`",
    ]


@pytest.mark.parametrize(
    ("shown", "wrong"),
    [
        ("$ quantum runs retrry RUN", "no command retrry"),
        ("$ TZ=UTC quantum runs retry RUN --form STEP", "no option --form"),
        ("$ quantum doctor && quantum runs show", "takes 1 to 1 arguments"),
        ("$ quantum runs skip RUN STEP \\\n    --reason", "--reason takes a value"),
        ("so `quantum runs cancle` it is", "no command cancle"),
        ("| `quantum runs list`, `shwo` | HTTP |", "no command shwo"),
        ("$ quantum runs show RUN | less --weird; quantum runs retry RUN --wait &  # quantum what", ""),
        (
            "| `quantum workers`, `workers resize NAME +1`, `queues` | `quantum runs logs RUN STEP [-f]` |",
            "",
        ),
        ("`quantum flags list\\|show` `quantum GROUP COMMAND --help` `quantum usage [--tenants]`", ""),
        ("`quantum events replay --sink NAME (--from T \\| --to T…)`", ""),
    ],
)
def test_a_command_that_is_none_is_told(tmp_path: Path, shown: str, wrong: str) -> None:
    (tmp_path / "a.md").write_text(f"{shown}\n")
    found = [fault.words for fault in commands.faults(tmp_path, ["a.md"])]
    assert (len(found) == 1 and wrong in found[0]) if wrong else found == []
