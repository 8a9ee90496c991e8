"""The conversational agent: it talks, remembers and uses tools by replying in JSON actions."""

from ragwright.agent.loop import Agent
from ragwright.agent.memory import Exchange, Memory
from ragwright.agent.opening import open_agent
from ragwright.agent.parser import Parsed, parse_reply
from ragwright.agent.prompts import FAMILIES, PromptFamily, family_of
from ragwright.agent.protocol import FINAL_ANSWER, Step, Turn
from ragwright.agent.tools import Tool, calculator_tool, search_tool, tool

__all__ = [
    "FAMILIES",
    "FINAL_ANSWER",
    "Agent",
    "Exchange",
    "Memory",
    "Parsed",
    "PromptFamily",
    "Step",
    "Tool",
    "Turn",
    "calculator_tool",
    "family_of",
    "open_agent",
    "parse_reply",
    "search_tool",
    "tool",
]
