"""JSON or YAML text → value, and where in the text each place of the value is."""

from statechain.asl.text.json_text import read_json
from statechain.asl.text.places import Place, Positions, pointer_to
from statechain.asl.text.reading import read_text
from statechain.asl.text.yaml_text import YAMLReader, read_yaml, read_yaml_with

__all__ = ["Place", "Positions", "YAMLReader", "pointer_to", "read_json", "read_text", "read_yaml", "read_yaml_with"]
