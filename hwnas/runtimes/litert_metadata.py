"""What a TFLite file says of itself: text that it carries, and its operators."""

from typing import Any

from ai_edge_litert import schema_py_generated as tfl

from hwnas.runtimes.litert_blocks import buffer_of, packed


def _own_buffer(buffer: Any, content: bytes) -> Any:
    """A buffer that holds its data itself: quantisers put data behind the flatbuffer, which packing would lose."""
    if buffer.offset > 1:  # 0 and 1 mean that there is none
        return buffer_of(content[buffer.offset : buffer.offset + buffer.size])
    return buffer if buffer.data is None else buffer_of(bytes(buffer.data))


def add_metadata(content: bytes, name: str, text: str) -> bytes:
    """The same model with a named metadata buffer; one of that name is replaced."""
    model = tfl.ModelT.InitFromPackedBuf(content, 0)
    model.buffers = [_own_buffer(b, content) for b in model.buffers]
    model.metadata = model.metadata or []
    entry = next((entry for entry in model.metadata if entry.name == name.encode()), None)
    if entry is None:
        entry = tfl.MetadataT()
        entry.name, entry.buffer = name.encode(), len(model.buffers)
        model.metadata.append(entry)
        model.buffers.append(None)
    model.buffers[entry.buffer] = buffer_of(text.encode())
    return packed(model, len(content) + len(text) + 1024)


def metadata_text(content: bytes, name: str) -> str:
    """The metadata buffer of that name; empty where there is none."""
    model = tfl.ModelT.InitFromPackedBuf(content, 0)
    found = [model.buffers[entry.buffer] for entry in model.metadata or [] if entry.name == name.encode()]
    data = _own_buffer(found[0], content).data if found else None
    return "" if data is None else bytes(data).decode()


def operator_names(content: bytes) -> list[str]:
    """The operators of a file in order of execution."""
    names = {code: name for name, code in vars(tfl.BuiltinOperator).items() if isinstance(code, int)}
    model = tfl.ModelT.InitFromPackedBuf(content, 0)
    return [names[model.operatorCodes[node.opcodeIndex].builtinCode] for node in model.subgraphs[0].operators]
