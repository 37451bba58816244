"""The language: Amazon States Language text → model → plan. No waiting, no clock, no storage in here."""

from statechain.asl.definition import Definition, load
from statechain.asl.plan import Plan

__all__ = ["Definition", "Plan", "load"]
