"""The contract: what clients and servers of Interlock agree on."""

__version__ = "0.1.0"
