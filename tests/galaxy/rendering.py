"""The command line of a Galaxy tool, as Galaxy makes it of a filled form, with a value of its own for each param."""

import re
import shlex
from dataclasses import dataclass, field
from types import SimpleNamespace
from xml.etree.ElementTree import Element

from Cheetah.Template import Template

#: What is in each typed text, and what datasets and their elements are called: nothing of it may be read by a shell.
HOSTILE = " 'é';$(touch x)"


class Dataset(SimpleNamespace):
    """A dataset of a history: as text its path."""

    def __str__(self) -> str:
        return self.path


class Datasets(list):
    """Datasets of a param that takes several; Galaxy gives one that is none where nothing is chosen."""

    def __bool__(self) -> bool:
        return any(each is not None for each in self)


def path_of(name: str, number: int = 0) -> str:
    """Where the dataset of a param lies."""
    return f"/datasets/{name}.{number}"


def called(name: str, number: int = 0) -> str:
    """What the dataset of a param is called."""
    return f"{name} {number}{HOSTILE}"


def dataset(name: str, number: int = 0) -> Dataset:
    return Dataset(path=path_of(name, number), element_identifier=called(name, number))


def typed(name: str) -> str:
    """What is typed for a param, or chosen."""
    return f"{name}{HOSTILE}"


def name_of(param: Element) -> str:
    return param.get("name") or param.get("argument").removeprefix("--")


@dataclass(frozen=True)
class Form:
    """How a form is filled. chosen: values of selects by their names, where they have these; others have a value that tells
    which they are, or of a conditional the first. without: params that may be left out, and are."""

    chosen: dict[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()

    def fill(self, element: Element) -> dict[str, object]:
        """The variables of a command, of the params of an element."""
        found: dict[str, object] = {}
        for child in element:
            if child.tag == "param":
                found[name_of(child)] = self.value(child)
            elif child.tag == "section":
                found[child.get("name")] = SimpleNamespace(**self.fill(child))
            elif child.tag == "conditional":
                found[child.get("name")] = self._conditional(child)
            elif child.tag == "repeat":
                filled = SimpleNamespace(**self.fill(child))
                found[child.get("name")] = [] if child.get("name") in self.without else [filled, filled]
        return found

    def _conditional(self, element: Element) -> SimpleNamespace:
        select, when = element.find("param"), self.when(element)
        return SimpleNamespace(**{select.get("name"): when.get("value")}, **self.fill(when))

    def when(self, conditional: Element) -> Element:
        """The part of a conditional that is shown."""
        cases = {each.get("value"): each for each in conditional.findall("when")}
        first = conditional.find("param/option").get("value")
        return cases.get(self.chosen.get(conditional.find("param").get("name")), cases[first])

    def value(self, param: Element) -> object:
        """What a command finds of a param."""
        name, kind = name_of(param), param.get("type")
        several = param.get("multiple") == "true" or kind == "data_collection"
        if name in self.without:
            return Datasets([None]) if several and kind == "data" else None if kind in ("data", "data_collection") else ""
        if kind in ("data", "data_collection"):
            return Datasets([dataset(name, 0), dataset(name, 1)]) if several else dataset(name)
        if kind == "boolean":
            return self.chosen.get(name, param.get("truevalue"))
        if param.find("options[@from_data_table]") is not None:
            return SimpleNamespace(fields=SimpleNamespace(path=path_of(name), name=called(name)))
        # Only a name that is quoted may have letters that a shell reads.
        return self.chosen.get(name, typed(name) if kind == "text" or param.find("options") is not None else f"{name}?")


@dataclass(frozen=True)
class Step:
    """A script that a command runs, with its words."""

    script: str
    words: list[str]

    def given(self, option: str, count: int = 1) -> list[list[str]]:
        """The words behind each `--option`."""
        places = [place for place, word in enumerate(self.words) if word == f"--{option}"]
        return [self.words[place + 1 : place + 1 + count] for place in places]


def steps(tool: Element, form: Form) -> list[Step]:
    """The scripts that a tool runs for a filled form; links to datasets are followed."""
    variables = form.fill(tool.find("inputs")) | {"__tool_directory__": "/tool"}
    text = str(Template(tool.find("command").text, searchList=[variables]))
    words = shlex.split(text.replace("\\$", "$"))
    links = {words[place + 3]: words[place + 2] for place, word in enumerate(words) if words[place : place + 2] == ["ln", "-s"]}
    found: list[Step] = []
    for word in words:
        if script := re.fullmatch(r"/tool/bin/(\w+)\.py", word):
            found.append(Step(script[1], []))
        elif found and word in ("&&", ")"):
            found.append(Step("", []))
        elif found:
            found[-1].words.append(links.get(word, word))
    return [step for step in found if step.script]
