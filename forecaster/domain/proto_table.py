"""Protocol buffers from a table of fields: no generated code, no compiler at set-up."""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    name: getattr(_Field, f"TYPE_{name.upper()}")
    for name in (
        "bool",
        "string",
        "bytes",
        "double",
        "float",
        "int32",
        "int64",
        "uint32",
        "uint64",
        "fixed64",
        "sfixed64",
    )
}


def message_classes(package: str, file_name: str, table: str) -> dict[str, Any]:
    """The message classes of a proto3 package, by name.

    Descriptors are made in a pool of their own: a client library in the same process may register
    the same names.

    Parameters
    ----------
    package, file_name : str
        As the protocol names them.
    table : str
        A line a message: ``Message: number type name, ...``; ``*`` repeats, ``%`` maps from a
        string, ``?`` tells 0 from unset, ``| name`` makes the fields a oneof; lines that begin with
        blanks go on.

    Examples
    --------
    >>> classes = message_classes("p", "p.proto", "Point: 1 double x, 2 double* more")
    >>> classes["Point"](x=1.5).SerializeToString().hex()
    '09000000000000f83f'
    >>> message_classes("p", "p.proto", "Few: 1 int32? units")["Few"](units=0).SerializeToString().hex()
    '0800'
    """
    pool = descriptor_pool.DescriptorPool()
    file = _file(package, file_name, table)
    pool.Add(file)
    return {
        each.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{package}.{each.name}")
        )
        for each in file.message_type
    }


def _file(package: str, file_name: str, table: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=file_name, package=package, syntax="proto3")
    made: dict[str, Any] = {}
    rows = re.sub(r",\n\s+", ", ", table.strip()).split("\n")
    # A parent is made before the messages that it holds.
    for row in sorted(rows, key=lambda each: each.split(":")[0].count(".")):
        name, _, rest = row.partition(":")
        parent, _, leaf = name.rpartition(".")
        made[name] = (made[parent].nested_type if parent else file.message_type).add(name=leaf)
        fields, _, choice = rest.partition("|")
        if choice:
            made[name].oneof_decl.add(name=choice.strip())
        for entry in filter(None, map(str.strip, fields.split(","))):
            _add_field(package, made[name], name, entry, bool(choice))
    return file


def _add_field(package: str, message: Any, owner: str, entry: str, in_choice: bool) -> None:
    number, kind, name = entry.split()
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind.endswith(("*", "%")):
        field.label = _Field.LABEL_REPEATED
    if kind.endswith("?"):
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")
    if kind.endswith("%"):
        holder = message.nested_type.add(name="".join(map(str.title, name.split("_"))) + "Entry")
        holder.options.map_entry = True
        key = holder.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL)
        _set_type(package, key, "string")
        value = holder.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL)
        _set_type(package, value, kind[:-1])
        kind = f"{owner}.{holder.name}"
    _set_type(package, field, kind.rstrip("*?"))
    if in_choice:
        field.oneof_index = 0


def _set_type(package: str, field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{package}.{kind}"
