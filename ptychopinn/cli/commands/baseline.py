"""``ptychopinn baseline``."""

from ptychopinn.cli import applicable, options
from ptychopinn.commands.shared.request import Request


@options.command("baseline star.npz --out lsqml --engine lsqml --epochs 30", working="Reconstructing")
def baseline(scan: options.Scan, request: Request, init: options.Init = None) -> str:
    """Reconstruct a scan with an iterative engine of pty-chi, to compare with, or with the native one.

    The image lies in the same frame as that of 'infer'. The probe of the file is taken as it is unless refined.
    """
    if (engine := request.settings.baseline.engine) != "native":
        why = f"has no effect with engine {engine}; it is a setting of --engine native"
        applicable.refuse(request.written, applicable.NATIVE_ONLY, why)
    else:
        why = "has no effect with engine native, which finds positions in a way of its own"
        applicable.refuse(request.written, applicable.PTYCHI_POSITIONS, why)

    from ptychopinn.commands.refine import baseline_folder

    baseline_folder(scan, request, init)
    return f"Image: {request.out / 'reconstruction.h5'} and {request.out / 'reconstruction.png'}"
