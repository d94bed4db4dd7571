"""Persona files: their schema and the shipped library."""

from personascope.personas.library import load_persona, persona_names
from personascope.personas.schema import InstructionPair, Persona

__all__ = ["InstructionPair", "Persona", "load_persona", "persona_names"]
