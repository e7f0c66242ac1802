"""Pictures of identifications. matplotlib loads with the first picture, not with this package."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eg_agent.view.contact import contact_sheet
    from eg_agent.view.error_flow import plot_error_flow
    from eg_agent.view.picture import plot_identification
    from eg_agent.view.reliability import plot_reliability

#: Endings of the pictures that can be written.
FORMATS = (".png", ".pdf", ".svg")

__all__ = ["FORMATS", "contact_sheet", "plot_error_flow", "plot_identification", "plot_reliability"]


def __getattr__(name: str) -> Any:
    if name == "plot_identification":
        from eg_agent.view.picture import plot_identification

        return plot_identification
    if name == "contact_sheet":
        from eg_agent.view.contact import contact_sheet

        return contact_sheet
    if name == "plot_error_flow":
        from eg_agent.view.error_flow import plot_error_flow

        return plot_error_flow
    if name == "plot_reliability":
        from eg_agent.view.reliability import plot_reliability

        return plot_reliability
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
