"""The examples of the README and the docs run, and say what is so."""

import re
import shlex
from pathlib import Path

import pytest

import coincide
from coincide.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def examples(language: str):
    return [
        pytest.param(block, id=f"{page.name}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page, language), 1)
    ]


@pytest.fixture
def folder_with_images(tmp_path, monkeypatch, small_pair):
    fixed, moving = small_pair
    coincide.write_image(fixed, tmp_path / "fixed.nii.gz")
    coincide.write_image(moving, tmp_path / "moving.nii.gz")
    (tmp_path / "my-images").mkdir()
    for subject in range(10):
        coincide.write_image(moving, tmp_path / "my-images" / f"sub-{subject}.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", examples("python"))
def test_python_examples_run(code, folder_with_images):
    exec(compile(code, "example", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("lines", examples("sh"))
def test_commands_in_the_docs_exist_with_their_options(lines):
    commands = {c.name or c.callback.__name__.replace("_", "-"): c for c in app.registered_commands}
    for line in lines.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["coincide"] or words[1].startswith("-"):
            continue
        assert words[1] in commands, line
        help_text = _options(commands[words[1]].callback)
        for word in words[2:]:
            if word.startswith("--"):
                assert word in help_text, f"{line}: no option {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def _options(command) -> set[str]:
    import typer

    group = typer.main.get_command(app)
    named = next(c for c in group.commands.values() if c.callback.__name__ == command.__name__)
    return {option for parameter in named.params for option in parameter.opts} | {"--help", "--debug"}


def test_the_contract_names_every_file_and_exit_code():
    from coincide.results import NAMES

    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in NAMES)
    codes = {error.exit_code for error in _subclasses(coincide.CoincideError)} | {0, 2, 143}
    assert all(re.search(rf"\b{code}\b", text) for code in codes)


def _subclasses(cls):
    return {cls}.union(*(_subclasses(sub) for sub in cls.__subclasses__()))
