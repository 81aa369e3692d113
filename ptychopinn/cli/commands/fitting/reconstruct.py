"""``ptychopinn reconstruct``."""

from ptychopinn.cli import options
from ptychopinn.commands.shared.request import Request


@options.command("reconstruct raw.h5 --out image", working="Reconstructing", live=True)
def reconstruct(scan: options.Scan, request: Request) -> str:
    """From the file of a detector to an image: find mask, centre, probe and scale, fit down to the noise, and report.

    The probe of the file is taken where it has one, and refined. Each step says what it
    decided; settings.json has it all.
    """
    from ptychopinn.commands.reconstruct import reconstruct_folder

    reconstruct_folder(scan, request)
    return f"Image: {request.out / 'reconstruction.h5'}; report: {request.out / 'report.html'}"
