"""Steps that look for spots over HTTP (manifest)."""

from __future__ import annotations

from xtal.hooks import Step, hookimpl


@hookimpl
def xtal_steps() -> list[Step]:
    """Offer the steps."""
    return [
        Step(
            name="find_spots_server",
            summary="Look for spots on images as HTTP requests name them",
            factory="xtal_steps_server.server:run",
            options="xtal_steps_server.options:ServerOptions",
            order=220,
        ),
        Step(
            name="find_spots_client",
            summary="Ask a find_spots_server about images",
            factory="xtal_steps_server.client:run",
            options="xtal_steps_server.options:ClientOptions",
            order=221,
            inputs=("images?",),
        ),
    ]
