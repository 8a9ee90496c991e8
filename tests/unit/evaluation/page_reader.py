"""Reads a page as a browser would see its structure, and complains where it is not well formed."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "hr"}


@dataclass
class Node:
    name: str
    attributes: dict[str, str | None]
    children: list[Node | str] = field(default_factory=list)

    def all(self, name: str) -> list[Node]:
        found = [self] if self.name == name else []
        return found + [node for child in self.children if isinstance(child, Node) for node in child.all(name)]

    def every(self) -> list[Node]:
        return [self, *(node for child in self.children if isinstance(child, Node) for node in child.every())]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.stack = [Node("document", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} is given twice"
        node = Node(tag, dict(attrs))
        self.stack[-1].children.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack[-1].name == tag, f"</{tag}> ends <{self.stack[-1].name}>"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)


def read_page(text: str) -> Node:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert [node.name for node in reader.stack] == ["document"], "an element is never closed"
    return reader.stack[0]
