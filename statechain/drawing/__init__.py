"""Definitions and executions as pictures: SVG, Mermaid, DOT, and a timeline."""
