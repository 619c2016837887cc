"""The embedded text: the help topics that come with Python, always there, no download.

Each topic stands for one user and each of its paragraphs for one post. Every fifth topic is a test user, fixed and
public.
"""

from __future__ import annotations

import hashlib

from experiments.datasets.catalogue_entry import CatalogueEntry
from experiments.datasets.posts import Posts

__all__ = ["TopicsSource"]

_TEST_EVERY = 5
_SHORTEST = 20  # characters of a paragraph; shorter ones are headings and marks


class TopicsSource:
    """`pydoc_data.topics`, a topic a user, a paragraph a post."""

    name = "topics"

    def load(self) -> Posts:
        """Both splits; the words depend on Python's minor version, which the note says."""
        import platform

        from datasets import Dataset

        rows: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
        for place, (topic, text) in enumerate(sorted(_topics().items())):
            split = "test" if place % _TEST_EVERY == _TEST_EVERY - 1 else "train"
            paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
            rows[split] += [(f"topics:{topic}", paragraph) for paragraph in paragraphs if len(paragraph) >= _SHORTEST]
        train, test = (
            Dataset.from_dict({"user": [user for user, _ in some], "text": [text for _, text in some]})
            for some in rows.values()
        )
        digest = hashlib.sha256(repr(rows).encode()).hexdigest()
        note = f"help topics of Python {platform.python_version()}, a topic a user, every fifth topic a test user"
        return Posts(self.name, train, test, digest, "embedded", note)

    def describe(self) -> CatalogueEntry:
        """Always present; it has no files of its own to check."""
        return CatalogueEntry(self.name, "embedded (Python's own documentation)", present=True)


def _topics() -> dict[str, str]:
    from pydoc_data.topics import topics

    return dict(topics)
