"""Files cut into pieces of limited size, and put together again."""

from __future__ import annotations

from pathlib import Path


def split_file(path: Path, piece_mb: float) -> list[Path]:
    """Replaces a file by ``NAME.000``, ``NAME.001``, ...; one that is small enough stays as it is.

    Args:
        path: the file.
        piece_mb: size of a piece in MB of 2**20 bytes.

    Returns:
        What there is now, in order.
    """
    size = int(piece_mb * 2**20)
    for old in path.parent.glob(f"{path.name}.[0-9][0-9][0-9]"):
        old.unlink()
    if path.stat().st_size <= size:
        return [path]
    pieces: list[Path] = []
    with path.open("rb") as file:
        while part := file.read(size):
            pieces.append(path.with_name(f"{path.name}.{len(pieces):03d}"))
            pieces[-1].write_bytes(part)
    path.unlink()
    return pieces


def join_pieces(folder: Path, name: str, target: Path) -> Path:
    """Writes the file that :func:`split_file` cut up.

    Raises:
        FileNotFoundError: if there is neither the file nor its first piece, or a piece is missing.
    """
    pieces = sorted(folder.glob(f"{name}.[0-9][0-9][0-9]"))
    if not pieces:
        pieces = [folder / name]
    elif [piece.suffix for piece in pieces] != [f".{i:03d}" for i in range(len(pieces))]:
        raise FileNotFoundError(f"a piece of {name} is missing in {folder}")
    with target.open("wb") as file:
        for piece in pieces:
            file.write(piece.read_bytes())
    return target
