"""Asking a language model: the port, its implementations, and how one is opened."""

from ragwright.generation.chat import render_chat
from ragwright.generation.endpoint import EndpointGenerator, check_json
from ragwright.generation.opening import open_generator
from ragwright.generation.port import Generation, Generator, Message
from ragwright.generation.scripted import ScriptedGenerator

__all__ = [
    "EndpointGenerator",
    "Generation",
    "Generator",
    "Message",
    "ScriptedGenerator",
    "check_json",
    "open_generator",
    "render_chat",
]
