"""What several commands take: their options, each said in one place, and how what was given is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eg_agent.errors import BadInput
from eg_agent.records.tiled_client import redacted
from eg_agent.view import FORMATS

if TYPE_CHECKING:
    from eg_agent.chemistry import Composition

#: Exit status when at least one pattern was refused.
REFUSED = 3


Wavelength = Annotated[
    str | None,
    typer.Option(
        metavar="A[,A2]",
        help="Wavelength in angstrom, or K-alpha1,K-alpha2; or an anode (Cu, Co, Mo). "
        "Needed where the file states none.",
    ),
]
WavelengthOfRuns = Annotated[float | None, typer.Option(help="Angstrom, for runs that do not say.")]
Checkpoint = Annotated[str, typer.Option(help="Name of a shipped checkpoint, or a path.")]
Prior = Annotated[
    str,
    typer.Option(
        help="What samples are expected: mineral, inorganic, organic, uniform, or a file of 99 weights."
    ),
]
Records = Annotated[
    Path | None,
    typer.Option(help="Folder of ledger and lock; $EG_AGENT_RECORDS, else ~/.local/state/eg-agent."),
]
Identifier = Annotated[str | None, typer.Option(hidden=True, help="module:factory instead of the network.")]


def parse_wavelength(text: str | None) -> tuple[float | None, float | None]:
    """(K-alpha1 or the only wavelength, K-alpha2) in angstrom; raises BadInput."""
    from eg_agent.patterns.radiation import ANODES, Radiation

    if text is None:
        return None, None
    if text.strip() in ANODES:
        first, second, _ = ANODES[text.strip()]
        return first, second
    values = _numbers(text, "--wavelength", "angstrom, as in 1.5406 or 1.54059,1.54443")
    if len(values) > 2:
        raise BadInput(f"--wavelength {text}: give one wavelength, or K-alpha1,K-alpha2.")
    # Tables that always have two columns repeat a single wavelength.
    second = values[1] if len(values) == 2 and values[1] != values[0] else None
    Radiation(values[0], second)
    return values[0], second


def parse_cell(text: str | None) -> tuple[float, ...] | None:
    """Six numbers of a cell that can exist; raises BadInput."""
    from eg_agent.verify.metric import check_cell

    if text is None:
        return None
    return check_cell(tuple(_numbers(text, "--cell", "a,b,c in angstrom and alpha,beta,gamma in degrees")))


def parse_chemistry(composition: str | None, elements: str | None) -> Composition | None:
    """What is known of the sample's chemistry; raises BadInput for both at once, or for what is none."""
    from eg_agent.chemistry import Composition

    if composition is not None and elements is not None:
        raise BadInput("give --composition or --elements, not both: a composition names its elements.")
    if composition is not None:
        return Composition.of_formula(composition)
    return None if elements is None else Composition.of_elements(elements)


def _numbers(text: str, option: str, wanted: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"{option} {text!r} is not a list of numbers: give {wanted}.") from None


def one_file(path: Path) -> Path:
    """The path of one pattern; raises BadInput where there is none."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder: give one file of it.")
    if not path.exists():
        raise BadInput(f"there is no file {path}: check the path.")
    return path


def check_targets(*targets: Path | None, pictures: tuple[Path | None, ...] = ()) -> None:
    """Raise BadInput for a file that cannot be written, before the work that it is to hold; None is none."""
    for target in (*targets, *pictures):
        if target is None:
            continue
        if target.is_dir():
            raise BadInput(f"{target} is a folder: name a file in it.")
        if not target.absolute().parent.is_dir():
            raise BadInput(f"{target.absolute().parent} is not a folder: make it first.")
    for picture in pictures:
        if picture is not None and picture.suffix.lower() not in FORMATS:
            raise BadInput(f"cannot draw to {picture.name!r}: end the name in {', '.join(FORMATS)}.")


def check_tiled(uri: str) -> str:
    """The URI of a Tiled catalog, as it was given; raises BadInput for what is none."""
    scheme, _, rest = uri.partition("://")
    if scheme not in ("http", "https") or not rest.strip("/"):
        raise BadInput(f"{redacted(uri)} is no URI of a Tiled server: give one like http://HOST:8000.")
    return uri


def check_model(checkpoint: str, prior: str) -> None:
    """Raise BadInput where there is no such checkpoint or prior, before a worker process fails over it."""
    if prior != "mineral":
        from eg_agent.model.prior import log_prior

        log_prior(prior)
    if checkpoint != "default":
        from eg_agent.model.checkpoint import find_checkpoint

        find_checkpoint(checkpoint)


def records_folder(chosen: Path | None) -> Path:
    """The folder of the records: chosen, by $EG_AGENT_RECORDS, or the usual one."""
    from eg_agent.agent.folder import records_folder as usual

    return usual(chosen)


def made_records_folder(chosen: Path | None) -> Path:
    """The same, made where it is not there yet. Raises BadInput where that cannot be."""
    folder = records_folder(chosen)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"cannot write records to {folder} ({error.strerror}): give another --records."
        ) from None
    return folder


def secret_in(path: Path) -> str:
    """The key in a file. Raises BadInput when it cannot be read, is empty, or others may read it."""
    try:
        text = path.read_text(encoding="utf-8").strip()
        shared = os.name == "posix" and path.stat().st_mode & 0o077
    except OSError as error:
        raise BadInput(f"the key file {path} cannot be read ({error.strerror}).") from None
    if not text:
        raise BadInput(f"the key file {path} is empty.")
    if shared:
        raise BadInput(f"the key file {path} may be read by others: chmod 600 {path}.")
    return text
