"""A config that came in a file of weights: read as data, never run."""

import ast
from typing import Any

from mmsf.engine.building import is_registered
from mmsf.errors import UserError


def parse_config(text: object) -> dict[str, Any]:
    """Read the text of a config, as MMEngine writes it: ``key = value`` lines of plain values, lists, tuples and dicts.

    Args:
        text: The text. MMEngine's own reader would run it.

    Raises:
        UserError: It is something else.
    """
    try:
        found = {}
        for line in ast.parse(text).body:
            (target,) = line.targets
            found[target.id] = _value(line.value)
        return found
    except (AttributeError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise UserError(f"a config in a file is no plain text of values: {error}") from error


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        # dict(key=value, ...), or dict({...}) where a key is no name.
        if not isinstance(node.func, ast.Name) or node.func.id != "dict" or len(node.args) > 1:
            raise ValueError(f"line {node.lineno} calls something")
        found = {key: value for given in node.args for key, value in _value(given).items()}
        return found | {keyword.arg: _value(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _value(value) for key, value in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        return (list if isinstance(node, ast.List) else tuple)(map(_value, node.elts))
    return ast.literal_eval(node)


def require_registered(config: object, path: object) -> None:
    """Refuse a config of a file that names anything but what is registered: MMEngine would import and call it.

    Args:
        config: The config.
        path: The file, for the message.

    Raises:
        UserError: A ``type`` is no registered name.
    """
    if isinstance(config, dict):
        if "type" in config and not is_registered(config["type"]):
            raise UserError(
                f"{path} names the type {config['type']!r}, which is not registered; import the package that it is of, "
                "or do not use the file"
            )
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for item in config:
            require_registered(item, path)
