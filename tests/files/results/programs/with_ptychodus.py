"""Run by the interpreter of ptychodus: PRODUCT.h5 PRODUCT.npz; it reads the one and writes the other."""

import sys
from pathlib import Path

from ptychodus.plugins.h5_product_file import H5ProductFileIO
from ptychodus.plugins.npz_product_file import NPZProductFileIO

NPZProductFileIO().write(Path(sys.argv[2]), H5ProductFileIO().read(Path(sys.argv[1])))
