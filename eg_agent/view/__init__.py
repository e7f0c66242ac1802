"""Pictures of identifications. matplotlib loads with the first picture, not with this package."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eg_agent.view.contact import contact_sheet
    from eg_agent.view.picture import plot_identification

__all__ = ["contact_sheet", "plot_identification"]


def __getattr__(name: str) -> Any:
    if name == "plot_identification":
        from eg_agent.view.picture import plot_identification

        return plot_identification
    if name == "contact_sheet":
        from eg_agent.view.contact import contact_sheet

        return contact_sheet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
