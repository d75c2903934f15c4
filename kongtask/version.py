"""The version of the package, which its distribution takes from here.

Asking the installed distribution for it instead would be a sixth of the time of importing.
"""

__version__ = "0.1.0"
