"""What HDF5 and NPZ files of other programs have in common: links, units, frames that are not square."""
