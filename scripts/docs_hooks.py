"""Hooks of mkdocs: the pages in the project's root join those of docs/, and links between the two lead on.

Links are written as they are right in a clone: `docs/usage.md` in README.md, `../README.md` in docs/usage.md.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
#: A file of the root -> its name in the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "code_of_conduct.md",
    "CHANGELOG.md": "changelog.md",
    "CITATIONS.md": "citations.md",
    "CITATION.cff": "CITATION.cff",
    "LICENSE": "LICENSE.txt",
}
ROOT_LINK = re.compile(rf"\]\((?:\.\./)?({'|'.join(map(re.escape, PAGES))})(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the root's files to those of docs/."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, **_page: object) -> str:
    """Links as they are in a clone -> links as they are in the site, where all pages are in one folder."""
    markdown = ROOT_LINK.sub(lambda link: f"]({PAGES[link[1]]}", markdown)
    return markdown.replace("](docs/", "](")
