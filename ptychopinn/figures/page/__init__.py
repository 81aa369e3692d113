"""One self-contained page for results: images with linked zoom, values, profiles, frames; drawn by Bokeh."""
