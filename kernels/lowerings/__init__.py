"""What the methods do not know, made of what they do: importing this package registers each method for it under the method's name."""

import importlib
import pkgutil

importlib.import_module("kernels.methods")  # what there is to lower to

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")
