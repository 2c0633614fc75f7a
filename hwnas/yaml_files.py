"""YAML that users write: read safely, and so that no mistake in it goes unseen."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from hwnas.errors import UserError


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping: the second would take the place of the first unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[tuple[str, str]]()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    told = f"the key {key.value!r} came twice"
                    raise yaml.constructor.ConstructorError(None, None, told, key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, what: str) -> object:
    """What the file holds. UserError that names it as `what`, and where in it the mistake is."""
    try:
        return _UniqueKeys(path.read_text(encoding="utf-8")).get_single_data()
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, AttributeError) as error:
        # the last three are what the library itself raises where a value is not of its tag: a 13th month, say
        raise UserError(f"{what} {path} is not valid YAML: {' '.join(str(error).split())}") from None
