"""How images and labels are laid out in files and folders: one layout a module, registered in `LAYOUTS`."""

from vesalius.formats.given import LAYOUTS, Given, Layout, Options

__all__ = ["LAYOUTS", "Given", "Layout", "Options"]
