"""``ptychopinn doctor``."""

from ptychopinn.cli import options, screen

app = options.new_app()


@app.command(epilog="Example: ptychopinn doctor")
def doctor() -> None:
    """Say what is installed, which devices and HDF5 filters work and how fast they are, and what is missing."""
    from ptychopinn.commands.doctor import examine

    screen.show(examine(), columns=2)
