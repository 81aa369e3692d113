"""Packaging: recipes and citation say what pyproject.toml says."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

ONLY_IN_PIP = {"ptychi"}
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def test_the_recipe_of_conda_has_the_dependencies_of_pip():
    recipe = (ROOT / "packaging/conda/meta.yaml").read_text()
    wanted = {re.split(r"[>=]", line)[0]: line for line in PROJECT["dependencies"]}
    for name, line in wanted.items():
        if name in ONLY_IN_PIP:
            continue
        needed = line.replace(name, f"{CONDA_NAMES.get(name, name)} ", 1)
        assert f"    - {needed}\n" in recipe, needed
    assert f'version = "{PROJECT["version"]}"' in recipe


def test_the_citation_has_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_the_workflow_runs_the_checks_of_the_project():
    workflow = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text())
    assert {"run": ".ci/run"} in workflow["jobs"]["checks"]["steps"]


def test_the_hooks_are_those_of_make_lint():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    lint = (ROOT / "Makefile").read_text().split("lint: venv")[1].split("\n\n")[0]
    for hook in hooks:
        assert hook["entry"].replace(".venv/bin/", "$(BIN)/") in lint
