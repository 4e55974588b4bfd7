"""The walls that a process puts up around itself before it touches what a stranger sent. Standard library only.

They are one-way: nothing that runs behind them, the stranger's machine code included, can take one down.
"""
